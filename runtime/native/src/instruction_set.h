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
};

// Fastest first; the last is plain C++, which is always there.
const std::vector<InstructionSet>& instruction_sets();

// By name, or the fastest that passed for nullptr; throws where it may not be used.
const InstructionSet& choose_instruction_set(const char* name);

// A small encoder by these kernels answers as by plain C++, bit for bit.
bool self_test(const Kernels& kernels);

}  // namespace lanner
