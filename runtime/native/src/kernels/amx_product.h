// Products of bytes by AMX. While the tile registers multiply, the vectors finish the sums of the tile
// before, so that a part of both takes place at once.
#pragma once

#include "amx_tiles.h"
#include "finish.h"

namespace {

using Element = std::uint8_t;

constexpr std::size_t kTileDepth = 64;
constexpr std::size_t kTileSums = Tiles::rows * lanner::kPanel;
// Weights of this depth, 32 KB, stay in the L1 cache for the tiles of rows that read them. Sums of deeper
// products are added up in parts, for this many tiles of rows.
constexpr std::size_t kPartDepth = 512, kPartTiles = 8;
constexpr std::size_t kFour = 4 * lanner::kPanel;  // bytes of packed weights from four depths to the next

// The next panel on its way into the cache, some lines at each step.
struct Lines {
  const std::int8_t *at, *end;
  std::size_t step;

  LN_INLINE void bring(Lines& lines) {
    for (std::size_t i = lines.step; i > 0 && lines.at < lines.end; --i, lines.at += 64)
      __builtin_prefetch(lines.at, 0, 2);
  }
};

// Sums of a tile that are not finished yet.
struct Unfinished {
  const std::int32_t* sums = nullptr;
  std::size_t row = 0, column = 0;  // of the first sum
  std::size_t next = 0, height = 0;
};

template <lanner::Activation activation>
struct Finisher {
  using Rows = Sums<8, lanner::kPanel>;
  const lanner::ByteRows& rows;
  const lanner::ByteWeights& weights;
  lanner::Merge merge;
  lanner::FloatRows out;

  // Two rows of four vectors at once.
  LN_INLINE void finish(const Finisher& f, Unfinished& tile, std::size_t pairs) {
    const Rows all = {tile.sums, f.rows, tile.row, f.weights, tile.column, f.merge, f.out};
    for (; pairs > 0 && tile.next < tile.height; --pairs, tile.next += 2) {
      if (tile.next + 2 <= tile.height)
        Rows::template finish<activation, 8>(all, tile.next);
      else
        Rows::template finish<activation, 4>(all, tile.next);
    }
  }
};

// Tile register 4 has rows, 6 and 7 weights. Rows beyond the last are multiplied too and not looked at.
// `meanwhile` is called at each 64 depths.
template <class F>
LN_INLINE void multiply_tile(const std::uint8_t* a, std::size_t stride, const std::int8_t* panel,
                             std::size_t depth, bool accumulate, std::int32_t* sums, F&& meanwhile) {
  if (accumulate)
    Tiles::load(sums);
  else
    Tiles::clear();
  for (std::size_t k = 0; k < depth; k += kTileDepth, panel += kTileDepth / 4 * kFour) {
    _tile_loadd(4, a + k, stride);
    _tile_loadd(6, panel, kFour);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(7, panel + 64, kFour);
    _tile_dpbusd(1, 4, 7);
    _tile_loadd(6, panel + 128, kFour);
    _tile_dpbusd(2, 4, 6);
    _tile_loadd(7, panel + 192, kFour);
    _tile_dpbusd(3, 4, 7);
    meanwhile();
  }
  Tiles::store(sums);
}

template <lanner::Activation activation>
void amx_product(const lanner::ByteRows& rows, std::size_t count, const lanner::ByteWeights& weights,
                 std::size_t first, std::size_t last, const std::int8_t* next, lanner::Merge merge,
                 lanner::FloatRows out) {
  alignas(64) std::int32_t sums[kPartTiles * kTileSums];
  const std::size_t panel_bytes = lanner::kPanel * weights.depth;
  const std::size_t tiles = (count + Tiles::rows - 1) / Tiles::rows;
  const std::size_t parts = (weights.depth + kPartDepth - 1) / kPartDepth;
  const std::size_t part_depth = lanner::round_up((weights.depth + parts - 1) / parts, kTileDepth);
  const Finisher<activation> finisher = {rows, weights, merge, out};
  Unfinished before;
  for (std::size_t panel = first; panel < last; ++panel) {
    const std::int8_t* b = weights.panels + panel * panel_bytes;
    const std::int8_t* ahead = panel + 1 < last ? b + panel_bytes : next;
    // One tile of rows reads the weights faster than they could be brought here.
    Lines lines = {ahead, ahead + panel_bytes, tiles > 1 ? (kTileDepth + tiles - 1) / tiles : 0};
    for (std::size_t some = 0; some < tiles; some += kPartTiles) {
      const std::size_t end = tiles - some < kPartTiles ? tiles : some + kPartTiles;
      for (std::size_t k = 0; k < weights.depth; k += part_depth) {
        const std::size_t depth = weights.depth - k < part_depth ? weights.depth - k : part_depth;
        const std::size_t steps = depth / kTileDepth, pairs = (Tiles::rows / 2 + steps - 1) / steps;
        for (std::size_t tile = some; tile < end; ++tile) {
          const std::size_t row = Tiles::rows * tile;
          // All sums of the tile before are finished when those of this one are stored: one place is enough.
          std::int32_t* const to = sums + (parts > 1 ? (tile - some) * kTileSums : 0);
          multiply_tile(rows.data + row * rows.stride + k, rows.stride, b + k * lanner::kPanel, depth,
                        k > 0, to, [&]() LN_IN_PLACE {
                          lines.bring(lines);
                          finisher.finish(finisher, before, pairs);
                        });
          before = {};
          if (k + depth == weights.depth)
            before = {to, row, panel * lanner::kPanel, 0,
                      count - row < Tiles::rows ? count - row : Tiles::rows};
        }
      }
    }
  }
  finisher.finish(finisher, before, Tiles::rows / 2);
}

void product(const lanner::ByteRows& rows, std::size_t count, const lanner::ByteWeights& weights,
             std::size_t first, std::size_t last, const std::int8_t* next,
             lanner::Epilogue epilogue, lanner::FloatRows out) {
  Tiles::begin();
  by_activation(epilogue.activation, [&]<lanner::Activation activation>() {
    amx_product<activation>(rows, count, weights, first, last, next, epilogue.merge, out);
  });
  Tiles::end();
}

}  // namespace
