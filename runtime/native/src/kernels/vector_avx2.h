// 16 floats in two AVX registers, with FMA. vector_plain.h says what each function means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define LN_INLINE static inline __attribute__((always_inline))

namespace {

struct Floats {
  __m256 low, high;
};
struct Ints {
  __m256i low, high;
};

#define LN_EACH(name, operation)                                                              \
  LN_INLINE Floats name(Floats a, Floats b) {                                                 \
    return {_mm256_##operation##_ps(a.low, b.low), _mm256_##operation##_ps(a.high, b.high)};  \
  }
LN_EACH(add, add)
LN_EACH(sub, sub)
LN_EACH(mul, mul)
LN_EACH(div, div)
LN_EACH(min, min)
LN_EACH(max, max)
#undef LN_EACH

LN_INLINE Floats load(const float* from) {
  return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}
LN_INLINE void store(float* to, Floats x) {
  _mm256_storeu_ps(to, x.low);
  _mm256_storeu_ps(to + 8, x.high);
}
LN_INLINE Floats broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
LN_INLINE Floats fma(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

LN_INLINE Floats first(std::size_t count, Floats x, Floats rest) {
  const __m256i n = _mm256_set1_epi32(static_cast<int>(count));
  const __m256i low = _mm256_cmpgt_epi32(n, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i high = _mm256_cmpgt_epi32(n, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
  return {_mm256_blendv_ps(rest.low, x.low, _mm256_castsi256_ps(low)),
          _mm256_blendv_ps(rest.high, x.high, _mm256_castsi256_ps(high))};
}

LN_INLINE __m256 power_of_two(__m256 shifted) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(127 << 23)));
}
LN_INLINE Floats power_of_two(Floats shifted) {
  return {power_of_two(shifted.low), power_of_two(shifted.high)};
}

#define LN_REDUCE(name, operation)                                             \
  LN_INLINE float name(Floats x) {                                             \
    const __m256 eight = _mm256_##operation##_ps(x.low, x.high);               \
    const __m128 four = _mm_##operation##_ps(_mm256_castps256_ps128(eight),    \
                                             _mm256_extractf128_ps(eight, 1)); \
    const __m128 two = _mm_##operation##_ps(four, _mm_movehl_ps(four, four));  \
    return _mm_cvtss_f32(_mm_##operation##_ss(two, _mm_movehdup_ps(two)));     \
  }
LN_REDUCE(sum, add)
LN_REDUCE(largest, max)
LN_REDUCE(smallest, min)
#undef LN_REDUCE

LN_INLINE Ints load_ints(const std::int32_t* from) {
  const __m256i* halves = reinterpret_cast<const __m256i*>(from);
  return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}
LN_INLINE Ints broadcast_int(std::int32_t x) {
  return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
LN_INLINE Floats to_floats(Ints x) {
  return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)};
}
LN_INLINE Ints add_pairs(Ints sum, Ints a, Ints b) {
  return {_mm256_add_epi32(sum.low, _mm256_madd_epi16(a.low, b.low)),
          _mm256_add_epi32(sum.high, _mm256_madd_epi16(a.high, b.high))};
}

LN_INLINE __m256i rounded(Floats x, std::int32_t zero_point) {
  const __m256i zero = _mm256_set1_epi32(zero_point);
  // Packing works within halves of 128 bits: 0-3 8-11 | 4-7 12-15.
  const __m256i words = _mm256_packus_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(x.low), zero),
                                            _mm256_add_epi32(_mm256_cvtps_epi32(x.high), zero));
  return _mm256_permute4x64_epi64(_mm256_min_epu16(words, _mm256_set1_epi16(255)), 0xd8);
}
LN_INLINE void store_rounded(std::int16_t* to, const Floats (&x)[4], std::int32_t zero_point) {
  for (std::size_t i = 0; i < 4; ++i)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 16 * i), rounded(x[i], zero_point));
}
LN_INLINE void store_rounded(std::uint8_t* to, const Floats (&x)[4], std::int32_t zero_point) {
  for (std::size_t i = 0; i < 4; ++i) {
    const __m256i words = rounded(x[i], zero_point);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 16 * i),
                     _mm_packus_epi16(_mm256_castsi256_si128(words),
                                      _mm256_extracti128_si256(words, 1)));
  }
}

LN_INLINE void transpose_eight(const float* from, std::size_t stride, float* to,
                               std::size_t to_stride) {
  __m256 rows[8], pairs[8], fours[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) rows[i] = _mm256_loadu_ps(from + i * stride);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
    pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      const __m256 a = pairs[4 * i + j], b = pairs[4 * i + 2 + j];
      fours[4 * i + 2 * j] = _mm256_shuffle_ps(a, b, 0x44);
      fours[4 * i + 2 * j + 1] = _mm256_shuffle_ps(a, b, 0xee);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    _mm256_storeu_ps(to + j * to_stride, _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x20));
    _mm256_storeu_ps(to + (4 + j) * to_stride,
                     _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x31));
  }
}
LN_INLINE void transpose(const float* from, std::size_t stride, float* to, std::size_t to_stride) {
  for (std::size_t i = 0; i < 16; i += 8)
    for (std::size_t j = 0; j < 16; j += 8)
      transpose_eight(from + i * stride + j, stride, to + j * to_stride + i, to_stride);
}

}  // namespace
