// Products of bytes: tiles of 32-bit sums from the instruction set, and one epilogue for them all.
//
// The includer defines a struct Tile:
//   using Element             what rows are multiplied as: uint8_t, or int16_t (widened first)
//   rows                      the most rows of a tile
//   static void multiply(const Element* a, size_t stride, size_t rows, const int8_t* panel,
//                        size_t depth, int32_t* sums, Ahead ahead)   sums [rows][64] = a x panel
//   static void begin(), end()                           around the tiles of a call
#pragma once

#include "ahead.h"
#include "elementary.h"

namespace {

template <lanner::Activation activation>
void finish_as(const std::int32_t* sums, std::size_t rows, const lanner::ByteRows& a,
               std::size_t row, const lanner::ByteWeights& w, std::size_t column, bool accumulate,
               float* out, std::size_t stride) {
  for (std::size_t i = 0; i < rows; ++i, sums += lanner::kPanel) {
    const Floats row_scale = broadcast(a.scales[row + i]);
    const Ints zero_pair = broadcast_int(a.zero_pairs[row + i]);
    float* to = out + (row + i) * stride + column;
    const Four x = activated(activation, each_of_four([&](std::size_t j) {
      const Ints exact =
          add_pairs(load_ints(sums + 16 * j), load_ints(w.column_pairs + column + 16 * j), zero_pair);
      return fma(to_floats(exact), mul(load(w.scales + column + 16 * j), row_scale),
                 load(w.bias + column + 16 * j));
    }));
    for (std::size_t j = 0; j < 4; ++j)
      store(to + 16 * j, accumulate ? add(load(to + 16 * j), x.v[j]) : x.v[j]);
  }
}

using Finish = decltype(&finish_as<lanner::Activation::none>);

inline Finish finish_of(lanner::Activation activation) {
  switch (activation) {
    case lanner::Activation::gelu_erf: return finish_as<lanner::Activation::gelu_erf>;
    case lanner::Activation::gelu_tanh: return finish_as<lanner::Activation::gelu_tanh>;
    case lanner::Activation::relu: return finish_as<lanner::Activation::relu>;
    case lanner::Activation::silu: return finish_as<lanner::Activation::silu>;
    case lanner::Activation::tanh: return finish_as<lanner::Activation::tanh>;
    case lanner::Activation::none: break;
  }
  return finish_as<lanner::Activation::none>;
}

// Rows as the tile reads them.
inline const std::uint8_t* elements(const lanner::ByteRows& rows, std::size_t, std::size_t,
                                    std::uint8_t*) {
  return rows.data;
}
inline const std::int16_t* elements(const lanner::ByteRows& rows, std::size_t count,
                                    std::size_t depth, std::int16_t* workspace) {
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t k = 0; k < depth; ++k)
      workspace[i * depth + k] = rows.data[i * rows.stride + k];
  return workspace;
}

void product(const lanner::ByteRows& rows, std::size_t count, const lanner::ByteWeights& weights,
             std::size_t first, std::size_t last, lanner::Epilogue epilogue, lanner::FloatRows out,
             std::int16_t* workspace) {
  using Element = Tile::Element;
  constexpr bool in_place = sizeof(Element) == 1;
  const Element* a = elements(rows, count, weights.depth, reinterpret_cast<Element*>(workspace));
  const std::size_t stride = in_place ? rows.stride : weights.depth;
  const std::size_t tiles = (count + Tile::rows - 1) / Tile::rows;
  const Finish finish = finish_of(epilogue.activation);
  alignas(64) std::int32_t sums[Tile::rows * lanner::kPanel];
  Tile::begin();
  const std::size_t panel_bytes = lanner::kPanel * weights.depth;
  for (std::size_t panel = first; panel < last; ++panel) {
    const std::int8_t* b = weights.panels + panel * panel_bytes;
    const std::int8_t* next = panel + 1 < last ? b + panel_bytes : b;
    std::size_t row = 0;
    for (std::size_t left = tiles; left > 0; --left) {
      // 14 rows are 5 + 5 + 4, not 6 + 6 + 2: short tiles wait for their own sums.
      const std::size_t height = (count - row + left - 1) / left;
      Tile::multiply(a + row * stride, stride, height, b, weights.depth, sums,
                     Ahead::of_tile(next, weights.depth, tiles - left, tiles));
      finish(sums, height, rows, row, weights, panel * lanner::kPanel, epilogue.accumulate, out.data,
             out.stride);
      row += height;
    }
  }
  Tile::end();
}

}  // namespace
