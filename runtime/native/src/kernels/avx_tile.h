// Tiles of up to 6 rows in 12 AVX registers, one group of columns after the other.
#pragma once

#include <utility>

#include "ahead.h"

namespace {

template <class T>
LN_INLINE T unaligned(const void* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

// 6 x 16 sums by vpdpbusd on 256 bits.
#if defined(__AVXVNNI__)
struct AvxVnniTile {
  using Element = std::uint8_t;
  static constexpr std::size_t rows = 6;
  static constexpr std::size_t columns = 16;

  LN_INLINE __m256i broadcast_depth(const std::uint8_t* from) {
    return _mm256_set1_epi32(unaligned<std::int32_t>(from));
  }
  LN_INLINE __m256i load_weights(const std::int8_t* from) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
  }
  LN_INLINE __m256i multiply_add(__m256i sum, __m256i a, __m256i b) {
    return _mm256_dpbusd_avx_epi32(sum, a, b);
  }
  static constexpr std::size_t weight_bytes = 32;
  LN_INLINE void store_row(std::int32_t* to, __m256i low, __m256i high) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + 8), high);
  }
};
#endif

// 6 x 8 sums by vpmaddwd, of bytes widened to 16 bits: exact, where vpmaddubsw saturates. A register
// has four columns with two sums each, of depths 4k, 4k + 1 and of 4k + 2, 4k + 3.
struct Avx2Tile {
  using Element = std::int16_t;
  static constexpr std::size_t rows = 6;
  static constexpr std::size_t columns = 8;

  LN_INLINE __m256i broadcast_depth(const std::int16_t* from) {
    return _mm256_set1_epi64x(unaligned<std::int64_t>(from));
  }
  LN_INLINE __m256i load_weights(const std::int8_t* from) {
    return _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(from)));
  }
  LN_INLINE __m256i multiply_add(__m256i sum, __m256i a, __m256i b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
  static constexpr std::size_t weight_bytes = 16;
  LN_INLINE void store_row(std::int32_t* to, __m256i low, __m256i high) {
    // Columns 0 1 4 5 | 2 3 6 7
    const __m256i sums = _mm256_hadd_epi32(low, high);
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(sums, 0xd8));
  }
};

template <class Base>
struct AvxTile : Base {
  using Element = typename Base::Element;
  static void begin() {}
  static void end() {}

  template <std::size_t... I, std::size_t... R>
  LN_INLINE void multiply_rows(const Element* a, std::size_t stride, const std::int8_t* panel,
                               std::size_t depth, std::int32_t* out, std::index_sequence<I...>,
                               std::index_sequence<R...>) {
    __m256i sums[] = {(static_cast<void>(I), _mm256_setzero_si256())...};
    const Element* const end = a + depth;
    for (; a != end; a += 4, panel += 4 * lanner::kPanel) {
      const __m256i weights[2] = {Base::load_weights(panel),
                                  Base::load_weights(panel + Base::weight_bytes)};
      ((sums[I] = Base::multiply_add(sums[I], Base::broadcast_depth(a + (I / 2) * stride),
                                     weights[I % 2])),
       ...);
    }
    (Base::store_row(out + R * lanner::kPanel, sums[2 * R], sums[2 * R + 1]), ...);
  }

  template <std::size_t R>
  static void multiply_rows(const Element* a, std::size_t stride, const std::int8_t* panel,
                            std::size_t depth, std::int32_t* sums) {
    for (std::size_t j = 0; j < lanner::kPanel; j += Base::columns)
      multiply_rows(a, stride, panel + 4 * j, depth, sums + j, std::make_index_sequence<2 * R>(),
                    std::make_index_sequence<R>());
  }

  static void multiply(const Element* a, std::size_t stride, std::size_t rows,
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
