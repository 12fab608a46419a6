// A matrix product's weights, packed for the kernels.
#pragma once

#include <string>
#include <vector>

#include "arena.h"
#include "kernels/kernels.h"
#include "tensors.h"

namespace lanner {

// Where one matrix goes in packed weights: products that read the same rows are packed side by side,
// and heads start on whole vectors.
struct Part {
  std::string name;
  std::size_t depth;     // rows of its weights
  std::size_t columns;
  std::size_t run;       // columns (or rows) in a row: those of a head
  std::size_t padded_run;
  std::size_t pairs = 0;    // of the columns of a run, whose first values are put before all second ones
  bool neighbours = false;  // a pair is of neighbours
};

// Rows x weights + bias, with weights of bytes, of floats, or of floats rounded to bfloat16.
class Linear {
 public:
  Linear() = default;
  // Parts side by side. Rows beyond a part's depth are zero, so activations may be padded.
  // `spread_rows`: the runs are of rows, not of columns. `rounded`: floats become bfloat16.
  Linear(Arena& arena, Tensors& tensors, const std::vector<Part>& parts, bool spread_rows = false,
         bool rounded = false);

  bool bytes() const { return panels_ != nullptr; }
  bool bf16() const { return bf16_panels_ != nullptr; }
  std::size_t depth() const { return depth_; }      // padded
  std::size_t columns() const { return columns_; }  // padded
  std::size_t panels() const { return columns_ / kPanel; }
  ByteWeights byte_weights() const {
    return {panels_, depth_, scales_, bias_, column_pairs_};
  }
  // A panel of weights in bytes.
  const std::int8_t* panel(std::size_t index) const {
    return panels_ + index * kPanel * depth_;
  }
  FloatWeights float_weights() const { return {float_panels_, depth_, bias_}; }
  Bf16Weights bf16_weights() const { return {bf16_panels_, depth_, bias_}; }
  const std::uint16_t* bf16_panel(std::size_t index) const {
    return bf16_panels_ + index * kPanel * depth_;
  }

 private:
  void pack_bytes(Tensors& tensors, const Part& part, const ln_tensor& weight,
                  const std::vector<std::size_t>& columns, bool spread_rows);
  void pack_floats(const Part& part, const float* weight, const std::vector<std::size_t>& columns,
                   bool spread_rows);

  std::size_t depth_ = 0, columns_ = 0;
  // In the arena.
  std::int8_t* panels_ = nullptr;
  float *float_panels_ = nullptr, *scales_ = nullptr, *bias_ = nullptr;
  std::int32_t* column_pairs_ = nullptr;
  std::uint16_t* bf16_panels_ = nullptr;
};

// Static scale and zero point of "<name>.input", or of each token.
Quantization input_of(Tensors& tensors, const std::string& name, bool bytes, ln_scales scales);

}  // namespace lanner
