// The tile registers of AMX, as all products have them.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels.h"

namespace {

// 16 rows of a tile register, of 64 bytes each (Intel's manual, volume 1, 18.1: palette 1).
struct TileConfiguration {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfiguration kConfiguration;

struct Tiles {
  static constexpr std::size_t rows = 16;
  static void begin() { _tile_loadconfig(&kConfiguration); }
  static void end() { _tile_release(); }

  // The sums of 16 x 64 are in the registers 0 to 3, 16 columns in each. Products only ever add to them.
  static void clear() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  template <class T>
  static void load(const T* sums) {
    _tile_loadd(0, sums, kRow);
    _tile_loadd(1, sums + 16, kRow);
    _tile_loadd(2, sums + 32, kRow);
    _tile_loadd(3, sums + 48, kRow);
  }
  template <class T>
  static void store(T* sums) {
    _tile_stored(0, sums, kRow);
    _tile_stored(1, sums + 16, kRow);
    _tile_stored(2, sums + 32, kRow);
    _tile_stored(3, sums + 48, kRow);
  }

 private:
  static constexpr std::size_t kRow = 4 * lanner::kPanel;  // bytes
};

}  // namespace
