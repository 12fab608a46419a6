// The tile registers of AMX, as all products have them.
#pragma once

#include <immintrin.h>

#include <cstdint>

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
};

}  // namespace
