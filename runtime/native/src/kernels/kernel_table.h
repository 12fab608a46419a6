// The kernels of one instruction set. Each source of a set includes this once, after its vectors
// (Floats, Ints), its product (product.h or widened_product.h), kFloatRows and kFloatVectors, and is
// compiled with its own flags.
// Everything is in an anonymous namespace and uses no function of the standard library that a
// linker could share: code with AVX-512 must not replace another source's copy.
#pragma once

#include "attention.h"
#include "rows.h"

namespace {
constexpr lanner::Kernels kTable = {sizeof(Element), product, float_product,
                                    norm,            quantize, rotate, attention};
}
