// Attention of one head of one sequence, in fp32.
#pragma once

#include "float_tile.h"

namespace {

// The values i and half + i of each head, turned.
void rotate(float* row, const lanner::Rotation& r) {
  for (float* head = row; head != row + r.heads * r.head_width; head += r.head_width) {
    for (std::size_t i = 0; i < r.half; i += 16) {
      const Floats x = load(head + i), y = load(head + r.half + i);
      const Floats cosine = load(r.cosine + i), sine = load(r.sine + i);
      store(head + i, sub(mul(x, cosine), mul(y, sine)));
      store(head + r.half + i, add(mul(y, cosine), mul(x, sine)));
    }
  }
}

LN_INLINE std::size_t at_most_16(std::size_t count) { return count < 16 ? count : 16; }

// Some of 16 lanes from lane `at` on: those of [begin, end), and the others of `rest`.
LN_INLINE Floats between(std::size_t begin, std::size_t end, std::size_t at, Floats x, Floats rest) {
  x = first(end > at ? at_most_16(end - at) : 0, x, rest);
  return begin > at ? first(at_most_16(begin - at), rest, x) : x;
}

// The keys that a query reads, [begin, end), and the biases of all.
struct Keys {
  std::size_t begin, end;
  const float* bias;  // nullptr: none
};

// Softmax of R rows of `span` scores times `scale`, plus a bias, in place; a row alone would wait for its
// own sums. Scores of keys that a query does not read become 0.
template <std::size_t R>
LN_INLINE void softmax(float* scores, std::size_t span, const Keys* keys, float scale) {
  const Floats lowest = broadcast(-3e38f), zero = broadcast(0.0f);
  Together<R> peak = all<R>(lowest), total = all<R>(zero);
  for (std::size_t j = 0; j < span; j += 16)
    peak = each_of<R>([&](std::size_t r) LN_IN_PLACE {
      float* at = scores + r * span + j;
      Floats x = mul(load(at), broadcast(scale));
      if (keys[r].bias) x = add(x, load(keys[r].bias + j));
      x = between(keys[r].begin, keys[r].end, j, x, lowest);
      store(at, x);
      return max(peak.v[r], x);
    });
  peak = each_of<R>(
      [&](std::size_t r) LN_IN_PLACE { return broadcast(largest(peak.v[r])); });
  for (std::size_t j = 0; j < span; j += 16) {
    const Together<R> x = exp(each_of<R>([&](std::size_t r) LN_IN_PLACE {
      return sub(load(scores + r * span + j), peak.v[r]);
    }));
    total = each_of<R>([&](std::size_t r) LN_IN_PLACE {
      const Floats kept = between(keys[r].begin, keys[r].end, j, x.v[r], zero);
      store(scores + r * span + j, kept);
      return add(total.v[r], kept);
    });
  }
  const Together<R> inverse = each_of<R>(
      [&](std::size_t r) LN_IN_PLACE { return broadcast(1.0f / sum(total.v[r])); });
  for (std::size_t j = 0; j < span; j += 16)
    for (std::size_t r = 0; r < R; ++r)
      store(scores + r * span + j, mul(load(scores + r * span + j), inverse.v[r]));
}

void attention(const lanner::AttentionHead& head) {
  const std::size_t tokens = head.tokens, padded = lanner::round_up(tokens, 16);
  float* keys = head.workspace;  // [width][padded]: 16 keys side by side
  float* values = keys + head.width * padded;  // [tokens][width]: rows of a whole page apart would
  float* scores = values + head.width * padded;  // leave each other the same few places in the cache
  for (std::size_t j = 0; j < padded; j += 16)
    for (std::size_t k = 0; k < head.width; k += 16)
      transpose(head.key + j * head.stride + k, head.stride, keys + k * padded + j, padded);
  for (std::size_t i = 0; i < tokens; ++i)
    for (std::size_t k = 0; k < head.width; k += 16)
      store(values + i * head.width + k, load(head.value + i * head.stride + k));
  for (std::size_t row = 0; row < tokens; row += lanner::kQueryRows) {
    const std::size_t rows =
        tokens - row < lanner::kQueryRows ? tokens - row : lanner::kQueryRows;
    // The keys of these rows: vectors [from, from + span), of which some are read.
    const std::size_t from = row > head.window ? (row - head.window) / 16 * 16 : 0;
    const std::size_t most = row + rows + head.window;
    const std::size_t count = (most < tokens ? most : tokens) - from;
    const std::size_t span = lanner::round_up(count, 16);
    float_block(rows, head.query + row * head.stride, head.stride, keys + from, padded, head.width,
                scores, span, span);
    Keys keys[lanner::kQueryRows];
    for (std::size_t i = 0; i < rows; ++i) {
      const std::size_t at = row + i, last = at + head.window + 1;
      keys[i] = {at > from + head.window ? at - head.window - from : 0,
                 (last < tokens ? last : tokens) - from,
                 head.relative_bias ? head.relative_bias - at + from : nullptr};
    }
    std::size_t i = 0;
    for (; i + kSoftmaxRows <= rows; i += kSoftmaxRows)
      softmax<kSoftmaxRows>(scores + i * span, span, keys + i, head.scale);
    if constexpr (kSoftmaxRows > 1)
      for (; i < rows; ++i) softmax<1>(scores + i * span, span, keys + i, head.scale);
    float_block(rows, scores, span, values + from * head.width, head.width, count,
                head.output + row * head.output_stride, head.output_stride, head.width);
  }
}

}  // namespace
