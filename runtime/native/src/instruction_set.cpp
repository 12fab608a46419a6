#include "instruction_set.h"

#include <cstring>

#include "cpu.h"
#include "error.h"

namespace lanner {

extern const Kernels kPlain;
extern const Bf16Kernels kPlainBf16;
#if defined(LN_X86)
extern const Kernels kAvx2, kAvxVnni, kAvx512Vnni, kAmxInt8;
extern const Bf16Kernels kAmxBf16;
#endif

namespace {

std::vector<InstructionSet> find_instruction_sets() {
  const Cpu cpu = Cpu::detect();
#if defined(LN_X86)
  std::vector<InstructionSet> sets = {
      {"amx_int8", &kAmxInt8, cpu.amx_int8, false, &kAmxBf16, cpu.amx_bf16, false},
      {"avx512_vnni", &kAvx512Vnni, cpu.avx512_vnni, false, nullptr, false, false},
      {"avx_vnni", &kAvxVnni, cpu.avx_vnni, false, nullptr, false, false},
      {"avx2", &kAvx2, cpu.avx2, false, nullptr, false, false},
  };
#else
  static_cast<void>(cpu);
  std::vector<InstructionSet> sets = {
      {"amx_int8", nullptr, false, false, nullptr, false, false},
      {"avx512_vnni", nullptr, false, false, nullptr, false, false},
      {"avx_vnni", nullptr, false, false, nullptr, false, false},
      {"avx2", nullptr, false, false, nullptr, false, false}};
#endif
  for (InstructionSet& set : sets) {
    set.passed = set.supported && self_test(*set.kernels);
    set.bf16_passed = set.passed && set.bf16_supported && self_test(*set.kernels, *set.bf16);
  }
  sets.push_back({"plain", &kPlain, true, true, &kPlainBf16, true, true});
  return sets;
}

const char* no_bf16(const InstructionSet& set) {
  return set.bf16 == nullptr   ? " has no kernels for bf16"
         : set.bf16_supported ? " failed its self-test with bf16 on this processor"
                              : " does not multiply bf16 on this processor or system";
}

}  // namespace

const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> sets = find_instruction_sets();
  return sets;
}

const InstructionSet& choose_instruction_set(const char* name, bool bf16) {
  std::string names;
  for (const InstructionSet& set : instruction_sets()) {
    if (name == nullptr) {
      // Who asks for bf16 wants to be fast.
      if (bf16 ? set.bf16_passed && set.kernels != &kPlain : set.passed) return set;
    } else if (std::strcmp(name, set.name) == 0) {
      if (bf16 && set.passed && !set.bf16_passed)
        throw Error(LN_NOT_AVAILABLE, std::string("instruction set ") + name + no_bf16(set));
      if (set.passed) return set;
      throw Error(LN_NOT_AVAILABLE,
                  std::string("instruction set ") + name +
                      (set.kernels == nullptr ? " is not compiled into this library"
                       : set.supported        ? " failed its self-test on this processor"
                                              : " is not supported by this processor or system"));
    }
    names += std::string(names.empty() ? "" : ", ") + set.name;
  }
  if (name == nullptr) {
    for (const InstructionSet& set : instruction_sets())
      if (set.bf16_supported && set.kernels != &kPlain)
        throw Error(LN_NOT_AVAILABLE, std::string("instruction set ") + set.name + no_bf16(set));
    throw Error(LN_NOT_AVAILABLE,
                "this processor does not multiply bf16: that needs AMX (Intel's servers since Sapphire Rapids)");
  }
  throw Error(LN_NOT_AVAILABLE,
              "unknown instruction set " + std::string(name) + ": there are " + names);
}

}  // namespace lanner
