#include "instruction_set.h"

#include <cstring>

#include "cpu.h"
#include "error.h"

namespace lanner {

extern const Kernels kPlain;
#if defined(LN_X86)
extern const Kernels kAvx2, kAvxVnni, kAvx512Vnni, kAmxInt8;
#endif

namespace {

std::vector<InstructionSet> find_instruction_sets() {
  const Cpu cpu = Cpu::detect();
#if defined(LN_X86)
  std::vector<InstructionSet> sets = {
      {"amx_int8", &kAmxInt8, cpu.amx_int8, false},
      {"avx512_vnni", &kAvx512Vnni, cpu.avx512_vnni, false},
      {"avx_vnni", &kAvxVnni, cpu.avx_vnni, false},
      {"avx2", &kAvx2, cpu.avx2, false},
  };
#else
  static_cast<void>(cpu);
  std::vector<InstructionSet> sets = {{"amx_int8", nullptr, false, false},
                                      {"avx512_vnni", nullptr, false, false},
                                      {"avx_vnni", nullptr, false, false},
                                      {"avx2", nullptr, false, false}};
#endif
  for (InstructionSet& set : sets) set.passed = set.supported && self_test(*set.kernels);
  sets.push_back({"plain", &kPlain, true, true});
  return sets;
}

}  // namespace

const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> sets = find_instruction_sets();
  return sets;
}

const InstructionSet& choose_instruction_set(const char* name) {
  std::string names;
  for (const InstructionSet& set : instruction_sets()) {
    if (name == nullptr) {
      if (set.passed) return set;
    } else if (std::strcmp(name, set.name) == 0) {
      if (set.passed) return set;
      throw Error(LN_NOT_AVAILABLE,
                  std::string("instruction set ") + name +
                      (set.kernels == nullptr ? " is not compiled into this library"
                       : set.supported        ? " failed its self-test on this processor"
                                              : " is not supported by this processor or system"));
    }
    names += std::string(names.empty() ? "" : ", ") + set.name;
  }
  throw Error(LN_NOT_AVAILABLE,
              "unknown instruction set " + std::string(name) + ": there are " + names);
}

}  // namespace lanner
