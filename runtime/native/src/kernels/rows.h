// Passes over rows of activations: layer norm, and floats to bytes.
#pragma once

#include "elementary.h"

namespace {

void norm(lanner::FloatRows rows, std::size_t count, std::size_t padded_width,
          const lanner::Norm& norm) {
  const std::size_t width = norm.width, whole = width / 16 * 16;
  const Floats zero = broadcast(0.0f);
  for (std::size_t i = 0; i < count; ++i) {
    float* row = rows.data + i * rows.stride;
    Floats total = zero;
    for (std::size_t j = 0; j < whole; j += 16) total = add(total, load(row + j));
    if (whole < width) total = add(total, first(width - whole, load(row + whole), zero));
    const float mean = sum(total) / static_cast<float>(width);
    const Floats centre = broadcast(mean);
    Floats squares = zero;
    for (std::size_t j = 0; j < whole; j += 16) {
      const Floats x = sub(load(row + j), centre);
      squares = fma(x, x, squares);
    }
    if (whole < width) {
      const Floats x = first(width - whole, sub(load(row + whole), centre), zero);
      squares = fma(x, x, squares);
    }
    const float variance = sum(squares) / static_cast<float>(width);
    const Floats inverse = broadcast(1.0f / __builtin_sqrtf(variance + norm.epsilon));
    for (std::size_t j = 0; j < padded_width; j += 16)
      store(row + j, fma(mul(sub(load(row + j), centre), inverse), load(norm.weight + j),
                         load(norm.bias + j)));
  }
}

// The bytes of a row reach from its least to its greatest value, 0 included.
LN_INLINE lanner::Quantization range_of(const float* row, std::size_t width) {
  Floats low = broadcast(0.0f), high = low;
  for (std::size_t j = 0; j < width; j += 16) {
    low = min(load(row + j), low);
    high = max(load(row + j), high);
  }
  const float least = smallest(low), range = largest(high) - least;
  if (!(range > 1e-30f)) return {true, 0.0f, 0};  // 255 / range would not be finite
  return {true, range / 255.0f, static_cast<std::int32_t>(-least * (255.0f / range) + 0.5f)};
}

void quantize(lanner::FloatRows rows, std::size_t count, std::size_t padded_width,
              const lanner::Quantization& given, const lanner::ByteRows& out) {
  for (std::size_t i = 0; i < count; ++i) {
    const float* row = rows.data + i * rows.stride;
    std::uint8_t* to = out.data + i * out.stride;
    const lanner::Quantization q = given.per_row ? range_of(row, padded_width) : given;
    out.scales[i] = q.scale;
    out.zero_pairs[i] = lanner::zero_pair(q.zero_point);
    const Floats inverse = broadcast(q.scale > 0.0f ? 1.0f / q.scale : 0.0f);
    const Floats zero_point = broadcast(static_cast<float>(q.zero_point));
    for (std::size_t j = 0; j < padded_width; j += 16)
      store_bytes(to + j, clamp(fma(load(row + j), inverse, zero_point), 0.0f, 255.0f));
  }
}

}  // namespace
