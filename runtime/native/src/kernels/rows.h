// Passes over rows of activations: layer norm, and floats to bytes.
#pragma once

#include "elementary.h"

namespace {

LN_INLINE float sum(const Four& x) { return sum(add(add(x.v[0], x.v[1]), add(x.v[2], x.v[3]))); }

// Rows are padded with zeros to whole panels, which are four vectors, so only sums of what zeros
// would change need to know the true width.
void norm(lanner::FloatRows rows, std::size_t count, std::size_t padded_width,
          const lanner::Norm& norm, lanner::FloatRows out) {
  const Floats zero = broadcast(0.0f);
  const float width = static_cast<float>(norm.width);
  for (std::size_t i = 0; i < count; ++i) {
    const float* row = rows.data + i * rows.stride;
    float* to = out.data + i * out.stride;
    Four total = all<4>(zero);
    for (std::size_t j = 0; norm.centred && j < padded_width; j += 64)
      for (std::size_t k = 0; k < 4; ++k) total.v[k] = add(total.v[k], load(row + j + 16 * k));
    const Floats mean = broadcast(sum(total) / width);
    Four squares = all<4>(zero);
    for (std::size_t j = 0; j < padded_width; j += 64) {
      for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t at = j + 16 * k;
        Floats x = sub(load(row + at), mean);
        if (at + 16 > norm.width) x = first(at < norm.width ? norm.width - at : 0, x, zero);
        squares.v[k] = fma(x, x, squares.v[k]);
      }
    }
    const Floats inverse = broadcast(1.0f / __builtin_sqrtf(sum(squares) / width + norm.epsilon));
    for (std::size_t j = 0; j < padded_width; j += 16)
      store(to + j, fma(mul(sub(load(row + j), mean), inverse), load(norm.weight + j),
                        load(norm.bias + j)));
  }
}

// The bytes of a row reach from its least to its greatest value, 0 included.
LN_INLINE lanner::Quantization range_of(const float* row, std::size_t width) {
  Four low = all<4>(broadcast(0.0f)), high = low;
  for (std::size_t j = 0; j < width; j += 64) {
    for (std::size_t k = 0; k < 4; ++k) {
      const Floats x = load(row + j + 16 * k);
      low.v[k] = min(x, low.v[k]);
      high.v[k] = max(x, high.v[k]);
    }
  }
  const float least = smallest(min(min(low.v[0], low.v[1]), min(low.v[2], low.v[3])));
  const float most = largest(max(max(high.v[0], high.v[1]), max(high.v[2], high.v[3])));
  const float range = most - least;
  if (!(range > 1e-30f)) return {true, 0.0f, 0};  // 255 / range would not be finite
  return {true, range / 255.0f, static_cast<std::int32_t>(-least * (255.0f / range) + 0.5f)};
}

// One row as bytes. As ONNX has it: round(x / scale) + zero point. A product with the inverse and one step of
// correction is the quotient as a division rounds it, for less.
template <bool clamped>
LN_INLINE void to_bytes(const float* row, std::size_t width, const lanner::Quantization& q, Element* to) {
  const Floats inverse = broadcast(q.scale > 0.0f ? 1.0f / q.scale : 0.0f);
  const Floats negative_scale = broadcast(-q.scale);
  const float least = static_cast<float>(-q.zero_point) * q.scale;
  const float most = static_cast<float>(255 - q.zero_point) * q.scale;
  for (std::size_t j = 0; j < width; j += 64) {
    const Four numbers = each_of<4>([&](std::size_t k) LN_IN_PLACE {
      Floats x = load(row + j + 16 * k);
      if constexpr (clamped) x = clamp(x, least, most);
      const Floats quotient = mul(x, inverse);
      const Floats rest = fma(quotient, negative_scale, x);
      return fma(rest, inverse, quotient);
    });
    store_rounded(to + j, numbers.v, q.zero_point);
  }
}

void quantize(lanner::FloatRows rows, std::size_t count, std::size_t padded_width,
              const lanner::Quantization& given, const lanner::ByteRows& out) {
  // The range of a row ends in a long chain, so it is asked for while the row before it becomes bytes.
  lanner::Quantization next = given;
  if (given.per_row && count > 0) next = range_of(rows.data, padded_width);
  for (std::size_t i = 0; i < count; ++i) {
    const float* row = rows.data + i * rows.stride;
    auto* to = reinterpret_cast<Element*>(out.data + i * out.stride);
    const lanner::Quantization q = next;
    if (given.per_row && i + 1 < count) next = range_of(row + rows.stride, padded_width);
    out.scales[i] = q.scale;
    out.zero_pairs[i] = lanner::zero_pair(q.zero_point);
    // Numbers within the range of their row are near 0 to 255 already.
    if (given.per_row)
      to_bytes<false>(row, padded_width, q, to);
    else
      to_bytes<true>(row, padded_width, q, to);
  }
}

}  // namespace
