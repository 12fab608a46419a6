// What becomes of the tokens' vectors after the last layer.
#pragma once

#include <cstddef>

#include "kernels/kernels.h"
#include "lanner_native.h"

namespace lanner {

// to = the pooled rows of a sequence.
void pool(ln_pooling pooling, FloatRows rows, std::size_t count, std::size_t width, float* to);

// Divide a vector by its L2 norm, but at least by 1e-12 as PyTorch does.
void divide_by_norm(float* vector, std::size_t width);

}  // namespace lanner
