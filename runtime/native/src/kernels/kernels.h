// The table of kernels that each instruction set fills; see kernel_table.h for how it is filled.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lanner {

// Columns of a panel of weights; the widths of all rows are multiples of it.
inline constexpr std::size_t kPanel = 64;
// Floats that are computed side by side, whatever the register's width: the order of every sum.
inline constexpr std::size_t kLanes = 16;
// Kernels may read this many rows beyond the last, and never use what they read there.
inline constexpr std::size_t kSpareRows = 16;
// zero_points() is exact up to this depth.
inline constexpr std::size_t kMaxDepth = 32768;

enum class Activation : std::uint32_t { none, gelu_erf, gelu_tanh, relu, silu, tanh };

// Rows of unsigned bytes: value = scales[row] * (byte - zero point of the row). Instruction sets that
// multiply 16-bit integers keep each byte in one.
struct ByteRows {
  std::uint8_t* data;
  std::size_t stride;  // in bytes
  float* scales;
  std::int32_t* zero_pairs;  // see zero_pair()
};

// Signed weights [depth, columns] in panels [columns / 64][depth / 4][64][4], depth a multiple of
// 64. VNNI and AMX read them as they are, and AVX2 widens them as it goes.
struct ByteWeights {
  const std::int8_t* panels;
  std::size_t depth;
  const float* scales;              // [columns]
  const float* bias;                // [columns]
  const std::int32_t* column_pairs;  // [columns], see column_pair()
};

// Weights [depth, columns] in panels [columns / 64][depth][64].
struct FloatWeights {
  const float* panels;
  std::size_t depth;
  const float* bias;
};

// Rows of bfloat16: the upper halves of floats.
struct Bf16Rows {
  std::uint16_t* data;
  std::size_t stride;  // in numbers
};

// Weights [depth, columns] in bfloat16, in panels [columns / 64][depth / 2][64][2].
struct Bf16Weights {
  const std::uint16_t* panels;
  std::size_t depth;
  const float* bias;
};

// A zero point z adds -z * (sum of the column's weights) to a product. One vpmaddwd or vpdpwssd
// computes that exactly: the sum is split as 128 * high + low, and both parts fit 16 bits.
constexpr std::int32_t pair(std::int32_t low, std::int32_t high) {
  return static_cast<std::int32_t>((static_cast<std::uint32_t>(low) & 0xffff) |
                                   static_cast<std::uint32_t>(high) << 16);
}
constexpr std::int32_t zero_pair(std::int32_t zero_point) {
  return pair(-zero_point, -128 * zero_point);
}
constexpr std::int32_t column_pair(std::int32_t sum) { return pair(sum & 127, sum >> 7); }

// What becomes of a product p: out = activation(p), out += activation(p), or out *= activation(p).
enum class Merge : std::uint32_t { none, add, multiply };
struct Epilogue {
  Activation activation = Activation::none;
  Merge merge = Merge::none;
};

struct FloatRows {
  float* data;
  std::size_t stride;
};

// Activations become bytes with one scale and zero point, or with those of each row.
struct Quantization {
  bool per_row;
  float scale;
  std::int32_t zero_point;
};

struct Norm {
  const float* weight;  // [padded width], zero beyond the width
  const float* bias;
  std::size_t width;
  float epsilon;
  bool centred;  // false: only divided by the root of the mean square
};

// Turns of the heads of one token, in place: the values i and `half` + i of each head are a point of the
// plane, and angle i turns it.
struct Rotation {
  std::size_t heads;
  std::size_t head_width;
  std::size_t half;     // a multiple of 16; the head is at least twice as wide
  const float* cosine;  // [half]
  const float* sine;
};

// One head of one sequence. query, key and value are columns of the same rows.
struct AttentionHead {
  const float* query;
  const float* key;
  const float* value;
  std::size_t stride;
  std::size_t tokens;
  std::size_t width;           // a multiple of 16
  float scale;                 // of the products of queries and keys
  const float* relative_bias;  // of distance 0 (key - query); nullptr: none
  std::size_t window;          // keys further away than this are not read
  float* output;
  std::size_t output_stride;
  float* workspace;  // attention_workspace() floats
};

constexpr std::size_t round_up(std::size_t value, std::size_t step) {
  return (value + step - 1) / step * step;
}

// Query rows that attention takes at once.
inline constexpr std::size_t kQueryRows = 8;
constexpr std::size_t attention_workspace(std::size_t tokens, std::size_t width) {
  return round_up(tokens, kLanes) * (2 * width + kQueryRows);
}

struct Kernels {
  std::size_t element_bytes;  // of each byte in ByteRows
  // Columns [64 * first, 64 * last) of rows x weights. `next` is the panel that will be read after
  // these, to bring it into the cache.
  void (*product)(const ByteRows& rows, std::size_t count, const ByteWeights& weights,
                  std::size_t first, std::size_t last, const std::int8_t* next, Epilogue epilogue,
                  FloatRows out);
  void (*float_product)(FloatRows rows, std::size_t count, const FloatWeights& weights,
                        std::size_t first, std::size_t last, Epilogue epilogue, FloatRows out);
  // `out` may be `rows`.
  void (*norm)(FloatRows rows, std::size_t count, std::size_t padded_width, const Norm& norm,
               FloatRows out);
  void (*quantize)(FloatRows rows, std::size_t count, std::size_t padded_width,
                   const Quantization& quantization, const ByteRows& out);
  void (*rotate)(float* row, const Rotation& rotation);
  void (*attention)(const AttentionHead& head);
};

// Products of bfloat16, which few processors have. Each 32 products of a sum are those of the numbers with
// even places, added one after the other, and those with odd places; both are added to each other, and then
// to the sum. That is the order of AMX.
struct Bf16Kernels {
  // Values below kLeastBf16 become 0.
  void (*round)(FloatRows rows, std::size_t count, std::size_t padded_width, Bf16Rows out);
  // As Kernels::product.
  void (*product)(Bf16Rows rows, std::size_t count, const Bf16Weights& weights, std::size_t first,
                  std::size_t last, const std::uint16_t* next, Epilogue epilogue, FloatRows out);
};
// Products of these are whole multiples of 2^-126, and so are their sums: none is subnormal, which AMX
// would take as 0.
inline constexpr float kLeastBf16 = 0x1p-56f;

// Rounded to the nearest, halves to the even one. What is no number stays none.
static inline std::uint16_t to_bf16(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  if (value != value) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  if (__builtin_fabsf(value) < kLeastBf16) return 0;
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

}  // namespace lanner
