// The instruction sets that kernels exist for, and which of them may be used here.
#pragma once

#include <vector>

#include "kernels/kernels.h"

namespace lanner {

struct InstructionSet {
  const char* name;
  const Kernels* kernels;  // nullptr: not compiled into this library
  bool supported;          // by this processor and system
  bool passed;             // its self-test
  const Bf16Kernels* bf16;  // nullptr: none
  bool bf16_supported, bf16_passed;
};

// Fastest first; the last is plain C++, which is always there.
const std::vector<InstructionSet>& instruction_sets();

// By name, or the fastest that passed for nullptr; throws where it may not be used. For products in bf16,
// plain C++ is taken by name alone.
const InstructionSet& choose_instruction_set(const char* name, bool bf16);

// A small encoder by these kernels answers as by plain C++, bit for bit.
bool self_test(const Kernels& kernels);
// The same with products in bf16.
bool self_test(const Kernels& kernels, const Bf16Kernels& bf16);

}  // namespace lanner
