// A tile of up to 6 x 64 sums in 24 AVX-512 registers, by vpdpbusd.
#pragma once

#include <utility>

#include "ahead.h"

namespace {

struct Tile {
  static constexpr std::size_t rows = 6;
  static void begin() {}
  static void end() {}

  // Indices are constants after expansion: g++ 12 keeps sums that a loop indexes in memory, at less
  // than half the speed.
  template <std::size_t... I>
  LN_INLINE void multiply_rows(const std::uint8_t* a, std::size_t stride, const std::int8_t* panel,
                               std::size_t depth, std::int32_t* out, Ahead ahead,
                               std::index_sequence<I...>) {
    __m512i sums[] = {(static_cast<void>(I), _mm512_setzero_si512())...};
    const std::uint8_t* const end = a + depth;
    for (; a != end; a += 4, panel += 256) {
      ahead.four_depths();
      const __m512i columns[4] = {_mm512_load_si512(panel), _mm512_load_si512(panel + 64),
                                  _mm512_load_si512(panel + 128), _mm512_load_si512(panel + 192)};
      ((sums[I] = _mm512_dpbusd_epi32(sums[I], four_bytes(a + (I / 4) * stride), columns[I % 4])),
       ...);
    }
    (_mm512_store_si512(out + 16 * I, sums[I]), ...);
  }

  LN_INLINE __m512i four_bytes(const std::uint8_t* from) {
    std::int32_t bytes;
    __builtin_memcpy(&bytes, from, 4);
    return _mm512_set1_epi32(bytes);
  }

  template <std::size_t R>
  static void multiply_rows(const std::uint8_t* a, std::size_t stride, const std::int8_t* panel,
                            std::size_t depth, std::int32_t* sums, Ahead ahead) {
    multiply_rows(a, stride, panel, depth, sums, ahead, std::make_index_sequence<4 * R>());
  }

  static void multiply(const std::uint8_t* a, std::size_t stride, std::size_t rows,
                       const std::int8_t* panel, std::size_t depth, std::int32_t* sums,
                       Ahead ahead) {
    switch (rows) {
      case 1: return multiply_rows<1>(a, stride, panel, depth, sums, ahead);
      case 2: return multiply_rows<2>(a, stride, panel, depth, sums, ahead);
      case 3: return multiply_rows<3>(a, stride, panel, depth, sums, ahead);
      case 4: return multiply_rows<4>(a, stride, panel, depth, sums, ahead);
      case 5: return multiply_rows<5>(a, stride, panel, depth, sums, ahead);
      default: return multiply_rows<6>(a, stride, panel, depth, sums, ahead);
    }
  }
};

}  // namespace
