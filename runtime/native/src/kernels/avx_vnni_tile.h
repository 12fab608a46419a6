// Tiles of up to 6 x 16 sums in 12 AVX registers by vpdpbusd, one group of columns after the other.
#pragma once

#include <utility>

#include "ahead.h"

namespace {

struct Tile {
  static constexpr std::size_t rows = 6;
  static void begin() {}
  static void end() {}

  LN_INLINE __m256i four_bytes(const std::uint8_t* from) {
    std::int32_t bytes;
    __builtin_memcpy(&bytes, from, 4);
    return _mm256_set1_epi32(bytes);
  }

  // Indices are constants after expansion: g++ 12 keeps sums that a loop indexes in memory.
  template <std::size_t... I>
  LN_INLINE void multiply_rows(const std::uint8_t* a, std::size_t stride, const std::int8_t* panel,
                               std::size_t depth, std::int32_t* out, std::index_sequence<I...>) {
    __m256i sums[] = {(static_cast<void>(I), _mm256_setzero_si256())...};
    const std::uint8_t* const end = a + depth;
    for (; a != end; a += 4, panel += 4 * lanner::kPanel) {
      const auto* from = reinterpret_cast<const __m256i*>(panel);
      const __m256i weights[2] = {_mm256_load_si256(from), _mm256_load_si256(from + 1)};
      ((sums[I] = _mm256_dpbusd_avx_epi32(sums[I], four_bytes(a + (I / 2) * stride),
                                          weights[I % 2])),
       ...);
    }
    (_mm256_store_si256(reinterpret_cast<__m256i*>(out + I / 2 * lanner::kPanel + I % 2 * 8), sums[I]),
     ...);
  }

  template <std::size_t R>
  static void multiply_rows(const std::uint8_t* a, std::size_t stride, const std::int8_t* panel,
                            std::size_t depth, std::int32_t* sums) {
    for (std::size_t j = 0; j < lanner::kPanel; j += 16)
      multiply_rows(a, stride, panel + 4 * j, depth, sums + j, std::make_index_sequence<2 * R>());
  }

  static void multiply(const std::uint8_t* a, std::size_t stride, std::size_t rows,
                       const std::int8_t* panel, std::size_t depth, std::int32_t* sums, Ahead) {
    switch (rows) {
      case 1: return multiply_rows<1>(a, stride, panel, depth, sums);
      case 2: return multiply_rows<2>(a, stride, panel, depth, sums);
      case 3: return multiply_rows<3>(a, stride, panel, depth, sums);
      case 4: return multiply_rows<4>(a, stride, panel, depth, sums);
      case 5: return multiply_rows<5>(a, stride, panel, depth, sums);
      default: return multiply_rows<6>(a, stride, panel, depth, sums);
    }
  }
};

}  // namespace
