// Plain C++: the reference for all others, and what runs where none of them can.
#include "vector_plain.h"
#include "ahead.h"

namespace {

constexpr std::size_t kFloatRows = 8, kFloatVectors = 1;
constexpr std::size_t kSoftmaxRows = 1;

struct Tile {
  static constexpr std::size_t rows = 8;
  static void begin() {}
  static void end() {}
  static void multiply(const std::uint8_t* a, std::size_t stride, std::size_t rows,
                       const std::int8_t* panel, std::size_t depth, std::int32_t* sums, Ahead) {
    for (std::size_t i = 0; i < rows; ++i) {
      std::int32_t* to = sums + i * lanner::kPanel;
      for (std::size_t j = 0; j < lanner::kPanel; ++j) to[j] = 0;
      for (std::size_t k = 0; k < depth; k += 4)
        for (std::size_t j = 0; j < lanner::kPanel; ++j)
          for (std::size_t p = 0; p < 4; ++p)
            to[j] += a[i * stride + k + p] * panel[k * lanner::kPanel + 4 * j + p];
    }
  }
};

// 16 numbers, rounded to the nearest, halves to the even one. What is no number stays none.
LN_INLINE void store_bf16(std::uint16_t* to, Floats x) {
  for (std::size_t i = 0; i < 16; ++i) to[i] = lanner::to_bf16(x.v[i]);
}

struct Bf16Tile {
  static constexpr std::size_t rows = 8;
  static void begin() {}
  static void end() {}
  static void multiply(const std::uint16_t* a, std::size_t stride, std::size_t rows,
                       const std::uint16_t* panel, std::size_t depth, float* sums, Ahead) {
    for (std::size_t i = 0; i < rows * lanner::kPanel; ++i) sums[i] = 0.0f;
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < lanner::kPanel; ++j) {
        float& sum = sums[i * lanner::kPanel + j];
        for (std::size_t k = 0; k < depth; k += 32) {
          float halves[2] = {};
          for (std::size_t p = 0; p < 32; ++p)
            halves[p % 2] = std::fma(
                number(a[i * stride + k + p]),
                number(panel[(k + p) / 2 * 2 * lanner::kPanel + 2 * j + p % 2]), halves[p % 2]);
          sum += halves[0] + halves[1];
        }
      }
    }
  }
  static float number(std::uint16_t bf16) {
    const std::uint32_t bits = std::uint32_t{bf16} << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
};

}  // namespace

#include "product.h"

#include "bf16_product.h"

#include "kernel_table.h"

namespace lanner {
extern const Kernels kPlain;
const Kernels kPlain = kTable;
extern const Bf16Kernels kPlainBf16;
const Bf16Kernels kPlainBf16 = {round_to_bf16, bf16_product};
}  // namespace lanner
