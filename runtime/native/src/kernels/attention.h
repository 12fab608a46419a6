// Attention of one head of one sequence, in fp32.
#pragma once

#include "float_tile.h"

namespace {

// Softmax of one row of scores times `scale`, plus `bias`, in place. Lanes beyond `tokens` become 0.
LN_INLINE void softmax(float* scores, std::size_t tokens, float scale, const float* bias) {
  const Floats lowest = broadcast(-3e38f);
  Floats peak = lowest;
  for (std::size_t j = 0; j < tokens; j += 16) {
    Floats x = mul(load(scores + j), broadcast(scale));
    if (bias) x = add(x, load(bias + j));
    x = first(tokens - j < 16 ? tokens - j : 16, x, lowest);
    store(scores + j, x);
    peak = max(peak, x);
  }
  peak = broadcast(largest(peak));
  Floats total = broadcast(0.0f);
  for (std::size_t j = 0; j < tokens; j += 16) {
    Floats x = exp(sub(load(scores + j), peak));
    x = first(tokens - j < 16 ? tokens - j : 16, x, broadcast(0.0f));
    store(scores + j, x);
    total = add(total, x);
  }
  const Floats inverse = broadcast(1.0f / sum(total));
  for (std::size_t j = 0; j < tokens; j += 16) store(scores + j, mul(load(scores + j), inverse));
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
    float_block(rows, head.query + row * head.stride, head.stride, keys, padded, head.width, scores,
                padded, padded);
    for (std::size_t i = 0; i < rows; ++i)
      softmax(scores + i * padded, tokens, head.scale,
              head.relative_bias ? head.relative_bias - (row + i) : nullptr);
    float_block(rows, scores, padded, values, head.width, tokens,
                head.output + row * head.output_stride, head.output_stride, head.width);
  }
}

}  // namespace
