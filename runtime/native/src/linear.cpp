#include "linear.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace lanner {

namespace {

// Index i of a part whose runs are padded.
std::size_t spread(std::size_t i, const Part& part) {
  return i / part.run * part.padded_run + i % part.run;
}

}  // namespace

Linear::Linear(Arena& arena, Tensors& tensors, const std::vector<Part>& parts, bool spread_rows) {
  std::vector<std::size_t> starts;
  std::vector<const ln_tensor*> weights;
  for (const Part& part : parts) {
    const ln_tensor& weight = tensors.take(part.name + ".weight", {part.depth, part.columns});
    weights.push_back(&weight);
    if (weight.dtype != weights.front()->dtype)
      invalid_model(part.name + ".weight and " + parts.front().name + ".weight differ in dtype");
    starts.push_back(columns_);
    const std::size_t rows = spread_rows ? spread(part.depth - 1, part) + 1 : part.depth;
    const std::size_t columns = spread_rows ? part.columns : spread(part.columns - 1, part) + 1;
    depth_ = std::max(depth_, round_up(rows, kPanel));
    columns_ += round_up(columns, kPanel);
  }
  if (depth_ > kMaxDepth)
    invalid_model(parts.front().name + " is deeper than " + std::to_string(kMaxDepth));
  bias_ = arena.take<float>(columns_);
  const bool bytes = weights.front()->dtype == LN_S8;
  if (bytes) {
    panels_ = arena.take<std::int8_t>(columns_ * depth_);
    scales_ = arena.take<float>(columns_);
    column_pairs_ = arena.take<std::int32_t>(columns_);
  } else {
    float_panels_ = arena.take<float>(columns_ * depth_);
  }
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const Part& part = parts[p];
    if (const float* bias = tensors.find_floats(part.name + ".bias", {part.columns}))
      for (std::size_t j = 0; j < part.columns; ++j)
        bias_[starts[p] + (spread_rows ? j : spread(j, part))] = bias[j];
    if (bytes)
      pack_bytes(tensors, part, *weights[p], starts[p], spread_rows);
    else
      pack_floats(part, tensors.floats(part.name + ".weight", {part.depth, part.columns}), starts[p],
                  spread_rows);
  }
}

void Linear::pack_bytes(Tensors& tensors, const Part& part, const ln_tensor& weight,
                        std::size_t start, bool spread_rows) {
  const float* scales = tensors.floats(part.name + ".scales", {part.columns});
  const auto* from = static_cast<const std::int8_t*>(weight.data);
  std::vector<std::int32_t> sums(part.columns);
  for (std::size_t k = 0; k < part.depth; ++k) {
    const std::size_t row = spread_rows ? spread(k, part) : k;
    std::int8_t* four = panels_ + row / 4 * 4 * kPanel + row % 4;
    for (std::size_t j = 0; j < part.columns; ++j) {
      const std::size_t column = start + (spread_rows ? j : spread(j, part));
      const std::int8_t value = from[k * part.columns + j];
      four[column / kPanel * kPanel * depth_ + column % kPanel * 4] = value;
      sums[j] += value;
    }
  }
  for (std::size_t j = 0; j < part.columns; ++j) {
    const std::size_t column = start + (spread_rows ? j : spread(j, part));
    scales_[column] = scales[j];
    column_pairs_[column] = column_pair(sums[j]);
  }
}

void Linear::pack_floats(const Part& part, const float* weight, std::size_t start,
                         bool spread_rows) {
  for (std::size_t k = 0; k < part.depth; ++k) {
    const std::size_t row = spread_rows ? spread(k, part) : k;
    for (std::size_t j = 0; j < part.columns; ++j) {
      const std::size_t column = start + (spread_rows ? j : spread(j, part));
      float_panels_[column / kPanel * kPanel * depth_ + row * kPanel + column % kPanel] =
          weight[k * part.columns + j];
    }
  }
}

Quantization input_of(Tensors& tensors, const std::string& name, bool bytes, ln_scales scales) {
  const std::string input = name + ".input";
  if (!bytes || scales == LN_SCALES_PER_TOKEN) {
    tensors.ignore(input);
    return {true, 0.0f, 0};
  }
  const float* values = tensors.floats(input, {2});
  if (!(values[0] > 1e-30f)) invalid_model(input + " has a scale that is not positive");
  if (!(values[1] >= 0.0f && values[1] <= 255.0f) || values[1] != std::nearbyint(values[1]))
    invalid_model(input + " has a zero point that is not a byte");
  return {false, values[0], static_cast<std::int32_t>(values[1])};
}

}  // namespace lanner
