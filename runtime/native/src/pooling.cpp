#include "pooling.h"

#include <algorithm>
#include <cmath>

namespace lanner {

void pool(ln_pooling pooling, FloatRows rows, std::size_t count, std::size_t width, float* to) {
  std::copy_n(rows.data, width, to);
  if (pooling != LN_POOLING_MEAN && pooling != LN_POOLING_MAX) return;
  for (std::size_t i = 1; i < count; ++i) {
    const float* row = rows.data + i * rows.stride;
    for (std::size_t j = 0; j < width; ++j)
      to[j] = pooling == LN_POOLING_MEAN ? to[j] + row[j] : std::max(to[j], row[j]);
  }
  if (pooling == LN_POOLING_MEAN)
    for (std::size_t j = 0; j < width; ++j) to[j] /= static_cast<float>(count);
}

void divide_by_norm(float* vector, std::size_t width) {
  // Sums of squares side by side and then in halves, as in the kernels.
  float squares[kLanes] = {};
  for (std::size_t j = 0; j < width; ++j) squares[j % kLanes] += vector[j] * vector[j];
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j) squares[j] += squares[j + half];
  const float norm = std::max(std::sqrt(squares[0]), 1e-12f);
  for (std::size_t j = 0; j < width; ++j) vector[j] /= norm;
}

}  // namespace lanner
