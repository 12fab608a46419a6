#include "linear.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace lanner {

namespace {

// Index i of a part whose runs are padded, and whose pairs stand apart.
std::size_t spread(std::size_t i, const Part& part) {
  const std::size_t begin = i / part.run * part.padded_run, at = i % part.run;
  const std::size_t half = round_up(part.pairs, kLanes);
  if (at >= 2 * part.pairs) return begin + 2 * (half - part.pairs) + at;
  return part.neighbours ? begin + at % 2 * half + at / 2
                         : begin + at / part.pairs * half + at % part.pairs;
}

// The places of the columns of a part.
std::vector<std::size_t> columns_of(const Part& part, std::size_t start, bool spread_rows) {
  std::vector<std::size_t> found(part.columns);
  for (std::size_t j = 0; j < part.columns; ++j)
    found[j] = start + (spread_rows ? j : spread(j, part));
  return found;
}

std::uint16_t in_bf16(float value, const Part& part) {
  constexpr std::uint16_t kInfinity = 0x7f80, kWithoutSign = 0x7fff;
  const std::uint16_t rounded = to_bf16(value);
  if ((rounded & kWithoutSign) == kInfinity)
    invalid_model(part.name + ".weight has a value beyond the range of bf16");
  return rounded;
}

}  // namespace

Linear::Linear(Arena& arena, Tensors& tensors, const std::vector<Part>& parts, bool spread_rows,
               bool rounded) {
  std::vector<std::size_t> starts;
  std::vector<const ln_tensor*> weights;
  for (const Part& part : parts) {
    const ln_tensor& weight = tensors.take(part.name + ".weight", {part.depth, part.columns});
    weights.push_back(&weight);
    if (weight.dtype != weights.front()->dtype)
      invalid_model(part.name + ".weight and " + parts.front().name + ".weight differ in dtype");
    starts.push_back(columns_);
    const auto padded = [&](std::size_t size) {
      return round_up(size / part.run * part.padded_run, kPanel);
    };
    depth_ = std::max(depth_, spread_rows ? padded(part.depth) : round_up(part.depth, kPanel));
    columns_ += spread_rows ? round_up(part.columns, kPanel) : padded(part.columns);
  }
  if (depth_ > kMaxDepth)
    invalid_model(parts.front().name + " is deeper than " + std::to_string(kMaxDepth));
  bias_ = arena.take<float>(columns_);
  const bool bytes = weights.front()->dtype == LN_S8;
  if (bytes) {
    panels_ = arena.take<std::int8_t>(columns_ * depth_);
    scales_ = arena.take<float>(columns_);
    column_pairs_ = arena.take<std::int32_t>(columns_);
  } else if (rounded) {
    bf16_panels_ = arena.take<std::uint16_t>(columns_ * depth_);
  } else {
    float_panels_ = arena.take<float>(columns_ * depth_);
  }
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const Part& part = parts[p];
    const std::vector<std::size_t> columns = columns_of(part, starts[p], spread_rows);
    if (const float* bias = tensors.find_floats(part.name + ".bias", {part.columns}))
      for (std::size_t j = 0; j < part.columns; ++j) bias_[columns[j]] = bias[j];
    if (bytes)
      pack_bytes(tensors, part, *weights[p], columns, spread_rows);
    else
      pack_floats(part, tensors.floats(part.name + ".weight", {part.depth, part.columns}), columns,
                  spread_rows);
  }
}

void Linear::pack_bytes(Tensors& tensors, const Part& part, const ln_tensor& weight,
                        const std::vector<std::size_t>& columns, bool spread_rows) {
  const float* scales = tensors.floats(part.name + ".scales", {part.columns});
  const auto* from = static_cast<const std::int8_t*>(weight.data);
  std::vector<std::int32_t> sums(part.columns);
  for (std::size_t k = 0; k < part.depth; ++k) {
    const std::size_t row = spread_rows ? spread(k, part) : k;
    std::int8_t* four = panels_ + row / 4 * 4 * kPanel + row % 4;
    for (std::size_t j = 0; j < part.columns; ++j) {
      const std::int8_t value = from[k * part.columns + j];
      const std::size_t column = columns[j];
      four[column / kPanel * kPanel * depth_ + column % kPanel * 4] = value;
      sums[j] += value;
    }
  }
  for (std::size_t j = 0; j < part.columns; ++j) {
    scales_[columns[j]] = scales[j];
    column_pairs_[columns[j]] = column_pair(sums[j]);
  }
}

void Linear::pack_floats(const Part& part, const float* weight,
                         const std::vector<std::size_t>& columns, bool spread_rows) {
  for (std::size_t k = 0; k < part.depth; ++k) {
    const std::size_t row = spread_rows ? spread(k, part) : k;
    for (std::size_t j = 0; j < part.columns; ++j) {
      const std::size_t column = columns[j] % kPanel;
      const std::size_t panel = columns[j] / kPanel * kPanel * depth_;
      const float value = weight[k * part.columns + j];
      if (bf16())
        bf16_panels_[panel + row / 2 * 2 * kPanel + 2 * column + row % 2] = in_bf16(value, part);
      else
        float_panels_[panel + row * kPanel + column] = value;
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
