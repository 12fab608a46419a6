// Tiles of fp32 sums: R rows x V vectors of 16 columns, each sum in order of the depth.
#pragma once

#include <utility>

#include "finish.h"

namespace {

// Indices are constants after expansion, so compilers keep all sums in registers; g++ 12 does not
// if they are indices of a loop.
template <std::size_t R, std::size_t V, std::size_t... I>
LN_INLINE void float_tile(const float* a, std::size_t a_stride, const float* b, std::size_t b_stride,
                          std::size_t depth, float* out, std::size_t out_stride,
                          std::index_sequence<I...>) {
  Floats sums[R * V] = {(static_cast<void>(I), broadcast(0.0f))...};
  for (std::size_t k = 0; k < depth; ++k) {
    Floats columns[V];
    for (std::size_t j = 0; j < V; ++j) columns[j] = load(b + k * b_stride + 16 * j);
    ((sums[I] = fma(broadcast(a[(I / V) * a_stride + k]), columns[I % V], sums[I])), ...);
  }
  (store(out + (I / V) * out_stride + 16 * (I % V), sums[I]), ...);
}

template <std::size_t R, std::size_t V>
void float_tile(const float* a, std::size_t a_stride, const float* b, std::size_t b_stride,
                std::size_t depth, float* out, std::size_t out_stride) {
  float_tile<R, V>(a, a_stride, b, b_stride, depth, out, out_stride,
                   std::make_index_sequence<R * V>());
}

// The same for a number of rows that is known at run time, 1 to R.
template <std::size_t R, std::size_t V>
void float_rows(std::size_t rows, const float* a, std::size_t a_stride, const float* b,
                std::size_t b_stride, std::size_t depth, float* out, std::size_t out_stride) {
  if (rows == R)
    float_tile<R, V>(a, a_stride, b, b_stride, depth, out, out_stride);
  else if constexpr (R > 1)
    float_rows<R - 1, V>(rows, a, a_stride, b, b_stride, depth, out, out_stride);
}

// Any number of rows and columns: `kFloatRows` x `kFloatVectors` sums fit this set's registers.
// Not inline: this is most of the code, and two callers would each have a copy.
__attribute__((noinline)) void float_block(std::size_t rows, const float* a, std::size_t a_stride, const float* b,
                        std::size_t b_stride, std::size_t depth, float* out, std::size_t out_stride,
                        std::size_t columns) {
  for (std::size_t row = 0; row < rows; row += kFloatRows) {
    const std::size_t height = rows - row < kFloatRows ? rows - row : kFloatRows;
    const float* from = a + row * a_stride;
    float* to = out + row * out_stride;
    std::size_t j = 0;
    for (; j + 16 * kFloatVectors <= columns; j += 16 * kFloatVectors)
      float_rows<kFloatRows, kFloatVectors>(height, from, a_stride, b + j, b_stride, depth, to + j,
                                            out_stride);
    for (; j < columns; j += 16)
      float_rows<kFloatRows, 1>(height, from, a_stride, b + j, b_stride, depth, to + j, out_stride);
  }
}

void float_product(lanner::FloatRows rows, std::size_t count, const lanner::FloatWeights& weights,
                   std::size_t first, std::size_t last, lanner::Epilogue epilogue,
                   lanner::FloatRows out) {
  float sums[kFloatRows * lanner::kPanel];
  for (std::size_t panel = first; panel < last; ++panel) {
    const float* b = weights.panels + panel * lanner::kPanel * weights.depth;
    const float* bias = weights.bias + panel * lanner::kPanel;
    for (std::size_t row = 0; row < count; row += kFloatRows) {
      const std::size_t height = count - row < kFloatRows ? count - row : kFloatRows;
      float_block(height, rows.data + row * rows.stride, rows.stride, b, lanner::kPanel,
                  weights.depth, sums, lanner::kPanel, lanner::kPanel);
      for (std::size_t i = 0; i < height; ++i) {
        for (std::size_t j = 0; j < lanner::kPanel; j += 16) {
          float* to = out.data + (row + i) * out.stride + panel * lanner::kPanel + j;
          const Floats x = activated(epilogue.activation,
                                     add(load(sums + i * lanner::kPanel + j), load(bias + j)));
          store(to, merged(epilogue.merge, to, x));
        }
      }
    }
  }
}

}  // namespace
