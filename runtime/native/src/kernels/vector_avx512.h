// 16 floats in one AVX-512 register. vector_plain.h says what each function means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define LN_INLINE static inline __attribute__((always_inline))

namespace {

struct Floats {
  __m512 v;
};
struct Ints {
  __m512i v;
};

LN_INLINE Floats load(const float* from) { return {_mm512_loadu_ps(from)}; }
LN_INLINE void store(float* to, Floats x) { _mm512_storeu_ps(to, x.v); }
LN_INLINE Floats broadcast(float x) { return {_mm512_set1_ps(x)}; }
LN_INLINE Floats add(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
LN_INLINE Floats sub(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
LN_INLINE Floats mul(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
LN_INLINE Floats div(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
LN_INLINE Floats fma(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
LN_INLINE Floats min(Floats a, Floats b) { return {_mm512_min_ps(a.v, b.v)}; }
LN_INLINE Floats max(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }

LN_INLINE Floats first(std::size_t count, Floats x, Floats rest) {
  return {_mm512_mask_mov_ps(rest.v, static_cast<__mmask16>((1u << count) - 1), x.v)};
}

LN_INLINE Floats power_of_two(Floats shifted) {
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted.v), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(127 << 23)))};
}

#define LN_REDUCE(name, operation)                                                          \
  LN_INLINE float name(Floats x) {                                                          \
    const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x.v), 1)); \
    const __m256 eight = _mm256_##operation##_ps(_mm512_castps512_ps256(x.v), upper);       \
    const __m128 four = _mm_##operation##_ps(_mm256_castps256_ps128(eight),                 \
                                             _mm256_extractf128_ps(eight, 1));              \
    const __m128 two = _mm_##operation##_ps(four, _mm_movehl_ps(four, four));               \
    return _mm_cvtss_f32(_mm_##operation##_ss(two, _mm_movehdup_ps(two)));                  \
  }
LN_REDUCE(sum, add)
LN_REDUCE(largest, max)
LN_REDUCE(smallest, min)
#undef LN_REDUCE

LN_INLINE Ints load_ints(const std::int32_t* from) { return {_mm512_loadu_si512(from)}; }
LN_INLINE Ints broadcast_int(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
LN_INLINE Floats to_floats(Ints x) { return {_mm512_cvtepi32_ps(x.v)}; }
LN_INLINE Ints add_pairs(Ints sum, Ints a, Ints b) {
  return {_mm512_dpwssd_epi32(sum.v, a.v, b.v)};
}

LN_INLINE void store_rounded(std::uint8_t* to, const Floats (&x)[4], std::int32_t zero_point) {
  const __m512i zero = _mm512_set1_epi16(static_cast<short>(zero_point));
  // Packing works within quarters of the registers and saturates: each has four bytes of each vector.
  const __m512i low = _mm512_packs_epi32(_mm512_cvtps_epi32(x[0].v), _mm512_cvtps_epi32(x[1].v));
  const __m512i high = _mm512_packs_epi32(_mm512_cvtps_epi32(x[2].v), _mm512_cvtps_epi32(x[3].v));
  const __m512i bytes =
      _mm512_packus_epi16(_mm512_adds_epi16(low, zero), _mm512_adds_epi16(high, zero));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_si512(to, _mm512_permutexvar_epi32(order, bytes));
}

// Pairs, then fours of floats, then the four quarters of the registers change places.
LN_INLINE void transpose(const float* from, std::size_t stride, float* to, std::size_t to_stride) {
  __m512 rows[16], pairs[16], fours[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) rows[i] = _mm512_loadu_ps(from + i * stride);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
    pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      const __m512d a = _mm512_castps_pd(pairs[4 * i + j]);
      const __m512d b = _mm512_castps_pd(pairs[4 * i + 2 + j]);
      fours[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      fours[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {  // fours[4 * i + j]: columns j, 4 + j, 8 + j, 12 + j of rows 4i..4i+3
    const __m512 low = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0x44);
    const __m512 low_end = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0xee);
    const __m512 high = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0x44);
    const __m512 high_end = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0xee);
    _mm512_storeu_ps(to + j * to_stride, _mm512_shuffle_f32x4(low, high, 0x88));
    _mm512_storeu_ps(to + (4 + j) * to_stride, _mm512_shuffle_f32x4(low, high, 0xdd));
    _mm512_storeu_ps(to + (8 + j) * to_stride, _mm512_shuffle_f32x4(low_end, high_end, 0x88));
    _mm512_storeu_ps(to + (12 + j) * to_stride, _mm512_shuffle_f32x4(low_end, high_end, 0xdd));
  }
}

}  // namespace
