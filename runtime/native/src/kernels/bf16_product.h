// Products of bfloat16: tiles of fp32 sums from the instruction set, and one epilogue for them all.
//
// The includer defines store_bf16 (see vector_plain.h) and a struct Bf16Tile:
//   rows                      the most rows of a tile
//   static void multiply(const uint16_t* a, size_t stride, size_t rows, const uint16_t* panel,
//                        size_t depth, float* sums, Ahead ahead)   sums [rows][64] = a x panel
//   static void begin(), end()                           around the tiles of a call
#pragma once

#include "ahead.h"
#include "finish.h"

namespace {

void round_to_bf16(lanner::FloatRows rows, std::size_t count, std::size_t padded_width,
                   lanner::Bf16Rows out) {
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t j = 0; j < padded_width; j += 16)
      store_bf16(out.data + i * out.stride + j, load(rows.data + i * rows.stride + j));
}

// Sums [rows][64] that are floats already.
void finish_floats(const float* sums, std::size_t rows, const float* bias, lanner::Epilogue epilogue,
                   lanner::FloatRows out) {
  by_activation(epilogue.activation, [&]<lanner::Activation activation>() {
    for (std::size_t i = 0; i < rows; ++i, sums += lanner::kPanel) {
      const Four x = activated(activation, each_of<4>([&](std::size_t j) LN_IN_PLACE {
        return add(load(sums + 16 * j), load(bias + 16 * j));
      }));
      for (std::size_t j = 0; j < 4; ++j) {
        float* to = out.data + i * out.stride + 16 * j;
        store(to, merged(epilogue.merge, to, x.v[j]));
      }
    }
  });
}

void bf16_product(lanner::Bf16Rows rows, std::size_t count, const lanner::Bf16Weights& weights,
                  std::size_t first, std::size_t last, const std::uint16_t* next,
                  lanner::Epilogue epilogue, lanner::FloatRows out) {
  const std::size_t tiles = (count + Bf16Tile::rows - 1) / Bf16Tile::rows;
  alignas(64) float sums[Bf16Tile::rows * lanner::kPanel];
  Bf16Tile::begin();
  const std::size_t panel_size = lanner::kPanel * weights.depth;
  for (std::size_t panel = first; panel < last; ++panel) {
    const std::uint16_t* b = weights.panels + panel * panel_size;
    const auto* ahead = reinterpret_cast<const std::int8_t*>(panel + 1 < last ? b + panel_size : next);
    std::size_t row = 0;
    for (std::size_t left = tiles; left > 0; --left) {
      const std::size_t height = (count - row + left - 1) / left;
      Bf16Tile::multiply(rows.data + row * rows.stride, rows.stride, height, b, weights.depth, sums,
                         Ahead::of_tile(ahead, 2 * weights.depth, tiles - left, tiles));
      finish_floats(sums, height, weights.bias + panel * lanner::kPanel, epilogue,
                    {out.data + row * out.stride + panel * lanner::kPanel, out.stride});
      row += height;
    }
  }
  Bf16Tile::end();
}

}  // namespace
