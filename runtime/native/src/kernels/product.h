// Products of bytes: tiles of 32-bit sums from the instruction set, and one epilogue for them all.
//
// The includer defines a struct Tile:
//   rows                      the most rows of a tile
//   static void multiply(const uint8_t* a, size_t stride, size_t rows, const int8_t* panel,
//                        size_t depth, int32_t* sums, Ahead ahead)   sums [rows][64] = a x panel
//   static void begin(), end()                           around the tiles of a call
#pragma once

#include "ahead.h"
#include "finish.h"

namespace {

using Element = std::uint8_t;

void product(const lanner::ByteRows& rows, std::size_t count, const lanner::ByteWeights& weights,
             std::size_t first, std::size_t last, const std::int8_t* next,
             lanner::Epilogue epilogue, lanner::FloatRows out) {
  const std::size_t tiles = (count + Tile::rows - 1) / Tile::rows;
  alignas(64) std::int32_t sums[Tile::rows * lanner::kPanel];
  Tile::begin();
  const std::size_t panel_bytes = lanner::kPanel * weights.depth;
  for (std::size_t panel = first; panel < last; ++panel) {
    const std::int8_t* b = weights.panels + panel * panel_bytes;
    const std::int8_t* ahead = panel + 1 < last ? b + panel_bytes : next;
    std::size_t row = 0;
    for (std::size_t left = tiles; left > 0; --left) {
      // 14 rows are 5 + 5 + 4, not 6 + 6 + 2: short tiles wait for their own sums.
      const std::size_t height = (count - row + left - 1) / left;
      Tile::multiply(rows.data + row * rows.stride, rows.stride, height, b, weights.depth, sums,
                     Ahead::of_tile(ahead, weights.depth, tiles - left, tiles));
      const Sums<4, lanner::kPanel> finished = {sums,
                                                rows,
                                                row,
                                                weights,
                                                panel * lanner::kPanel,
                                                epilogue.merge,
                                                out};
      finished.finish(epilogue.activation, height);
      row += height;
    }
  }
  Tile::end();
}

}  // namespace
