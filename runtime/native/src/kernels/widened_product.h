// Products of bytes widened to 16 bits, by vpmaddwd: exact, where vpmaddubsw saturates.
//
// Rows are 16-bit integers already. Weights are widened as the first tile of rows reads them, and kept
// in the L1 cache for the tiles after it: the instructions that widen would take the place of others.
#pragma once

#include "finish.h"

namespace {

using Element = std::int16_t;

// 12 sums, two columns of weights and what is multiplied fill the registers.
constexpr std::size_t kTileRows = 6, kTileColumns = 8;
constexpr std::size_t kColumns = 16;     // finished together
constexpr std::size_t kDepth = 768;      // 12 KB of widened weights
constexpr std::size_t kSumRows = 128;    // 8 KB of sums
constexpr std::size_t kFour = 4 * lanner::kPanel;  // bytes of packed weights from four depths to the next

template <class T>
LN_INLINE T unaligned(const void* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

// A part of a product: 8 columns, and as much of the depth as stays in the L1 cache.
struct Part {
  const Element* a;
  std::size_t stride;
  const std::int8_t* packed;
  std::int16_t* widened;
  std::size_t depth;
  std::int32_t* sums;  // [rows][16]
  bool accumulate;
  const std::int8_t* ahead;  // weights to bring into the cache, 32 bytes each four depths
};

// Four depths of a row times 8 columns. In assembly, because compilers would add products to each other
// before the sums, which then do not fit the registers any more (g++ 12).
LN_INLINE void add_products(__m256i& low, __m256i& high, const Element* a, const __m256i* weights) {
  __m256i four = _mm256_set1_epi64x(unaligned<std::int64_t>(a)), product;
  asm("vpmaddwd %[high_weights], %[four], %[product]\n\t"
      "vpmaddwd %[low_weights], %[four], %[four]\n\t"
      "vpaddd %[product], %[high], %[high]\n\t"
      "vpaddd %[four], %[low], %[low]"
      : [low] "+x"(low), [high] "+x"(high), [four] "+x"(four), [product] "=&x"(product)
      : [low_weights] "x"(weights[0]), [high_weights] "x"(weights[1]));
}

// A register has four columns with two sums each, of depths 4k, 4k + 1 and of 4k + 2, 4k + 3. Indices
// are constants after expansion: g++ 12 keeps sums that a loop indexes in memory.
template <bool is_first, std::size_t... I, std::size_t... R>
LN_INLINE void multiply_rows(const Part& part, const Element* a, std::int32_t* sums,
                             std::index_sequence<I...>, std::index_sequence<R...>) {
  __m256i s[] = {(static_cast<void>(I), _mm256_setzero_si256())...};
  const std::size_t stride = part.stride;
  const std::int8_t *packed = part.packed, *ahead = part.ahead;
  std::int16_t* widened = part.widened;
  const Element* const end = a + part.depth;
  const auto four_depths = [&](const Element* at, std::size_t step) __attribute__((always_inline)) {
    __m256i weights[2];
    auto* const kept = reinterpret_cast<__m256i*>(widened + 32 * step);
    if constexpr (is_first) {
      const auto* from = reinterpret_cast<const __m128i*>(packed + kFour * step);
      weights[0] = _mm256_cvtepi8_epi16(_mm_load_si128(from));
      weights[1] = _mm256_cvtepi8_epi16(_mm_load_si128(from + 1));
      _mm256_store_si256(kept, weights[0]);
      _mm256_store_si256(kept + 1, weights[1]);
    } else {
      weights[0] = _mm256_load_si256(kept);
      weights[1] = _mm256_load_si256(kept + 1);
    }
    (add_products(s[2 * R], s[2 * R + 1], at + R * stride + 4 * step, weights), ...);
  };
  for (; a != end; a += 8, widened += 64) {
    four_depths(a, 0);
    four_depths(a, 1);
    if constexpr (is_first) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += 64;
      packed += 2 * kFour;
    }
  }
  const auto store_row = [&](std::int32_t* to, __m256i low, __m256i high) {
    // Columns 0 1 4 5 | 2 3 6 7
    __m256i sum = _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0xd8);
    auto* out = reinterpret_cast<__m256i*>(to);
    if (part.accumulate) sum = _mm256_add_epi32(sum, _mm256_load_si256(out));
    _mm256_store_si256(out, sum);
  };
  (store_row(sums + R * kColumns, s[2 * R], s[2 * R + 1]), ...);
}

template <bool is_first, std::size_t R>
__attribute__((noinline)) void multiply_rows(const Part& part, std::size_t row) {
  multiply_rows<is_first>(part, part.a + row * part.stride, part.sums + row * kColumns,
                          std::make_index_sequence<2 * R>(), std::make_index_sequence<R>());
}

template <bool is_first>
LN_INLINE void multiply_some(const Part& part, std::size_t row, std::size_t rows) {
  switch (rows) {
    case 1: return multiply_rows<is_first, 1>(part, row);
    case 2: return multiply_rows<is_first, 2>(part, row);
    case 3: return multiply_rows<is_first, 3>(part, row);
    case 4: return multiply_rows<is_first, 4>(part, row);
    case 5: return multiply_rows<is_first, 5>(part, row);
    default: return multiply_rows<is_first, kTileRows>(part, row);
  }
}

LN_INLINE void multiply(const Part& part, std::size_t rows) {
  multiply_some<true>(part, 0, rows);
  for (std::size_t row = kTileRows; row < rows; row += kTileRows)
    multiply_some<false>(part, row, rows - row);
}

void product(const lanner::ByteRows& rows, std::size_t count, const lanner::ByteWeights& weights,
             std::size_t first, std::size_t last, const std::int8_t* next,
             lanner::Epilogue epilogue, lanner::FloatRows out) {
  alignas(64) std::int16_t widened[kTileColumns * kDepth];
  alignas(64) std::int32_t sums[kSumRows * kColumns];
  const std::size_t panel_bytes = lanner::kPanel * weights.depth;
  for (std::size_t row = 0; row < count; row += kSumRows) {
    const std::size_t height = count - row < kSumRows ? count - row : kSumRows;
    const auto* a = reinterpret_cast<const Element*>(rows.data + row * rows.stride);
    for (std::size_t panel = first; panel < last; ++panel) {
      const std::int8_t* b = weights.panels + panel * panel_bytes;
      const std::int8_t* ahead = panel + 1 < last ? b + panel_bytes : next;
      for (std::size_t column = 0; column < lanner::kPanel; column += kColumns) {
        for (std::size_t k = 0; k < weights.depth; k += kDepth) {
          const std::size_t depth = weights.depth - k < kDepth ? weights.depth - k : kDepth;
          for (std::size_t half = 0; half < kColumns; half += kTileColumns) {
            multiply({a + k, rows.stride / sizeof(Element),
                      b + k * lanner::kPanel + 4 * (column + half), widened, depth, sums + half,
                      k > 0, ahead},
                     height);
            ahead += 8 * depth;
          }
        }
        const Sums<2, kColumns> finished = {
            sums, rows, row, weights, panel * lanner::kPanel + column, epilogue.merge, out};
        finished.finish(epilogue.activation, height);
      }
    }
  }
}

}  // namespace
