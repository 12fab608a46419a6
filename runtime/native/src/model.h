// An encoder as ln_load leaves it: checked, packed, and never written to again.
#pragma once

#include <vector>

#include "kernels/kernels.h"
#include "lanner_native.h"
#include "linear.h"
#include "table.h"
#include "tensors.h"

namespace lanner {

struct NormWeights {
  NormWeights() = default;
  NormWeights(Tensors& tensors, const std::string& name, std::size_t width, const ln_config& config);
  // Empty if the model has no such norm.
  static NormWeights optional(Tensors& tensors, const std::string& name, std::size_t width,
                              const ln_config& config);
  bool empty() const { return width == 0; }
  Norm view() const { return {weight.data(), bias.data(), width, epsilon, centred}; }

  Buffer<float> weight, bias;
  std::size_t width = 0;
  float epsilon = 0.0f;
  bool centred = true;
};

// The weights of a layer; ALBERT's layers share them.
struct LayerWeights {
  Linear query_key_value, attention_output, intermediate, up, output;
  NormWeights attention_norm, norm;
};

// The angles of each position.
struct RotaryTable {
  RotaryTable(Tensors& tensors, const std::string& name, const ln_config& config);

  std::size_t half;  // padded pairs
  Buffer<float> cosine, sine;
};

struct Layer {
  const LayerWeights* weights;
  const RotaryTable* rotary;  // nullptr: none
  std::size_t window;         // keys further away than this are not read
  Quantization attention_input, attention_output_input, intermediate_input, output_input;
};

struct Dense {
  Linear linear;
  Quantization input;
  Activation activation;
  NormWeights norm;
};

class Model {
 public:
  Model(const ln_config& config, Tensors tensors, const Kernels& kernels, const Bf16Kernels* bf16);
  Model(const Model&) = delete;

  // Biases of one head by distance, key - query; nullptr without them.
  const float* relative_bias(std::size_t head) const;
  // A head is padded to whole vectors, and so are both values of its pairs.
  std::size_t head_width() const;
  std::size_t query_width() const { return round_up(config.heads * head_width(), kPanel); }
  std::size_t key_width() const { return round_up(config.key_value_heads * head_width(), kPanel); }
  std::size_t hidden_width() const { return round_up(config.hidden_size, kPanel); }
  std::size_t embedding_width() const { return round_up(config.embedding_size, kPanel); }

  ln_config config;  // with its defaults filled in
  const Kernels& kernels;
  const Bf16Kernels* bf16;  // nullptr unless products are to be in bf16
  Table words, positions, types;
  NormWeights embedding_norm, final_norm;
  bool has_projection = false;
  Linear projection;
  Quantization projection_input{};
  std::vector<LayerWeights> weights;
  std::vector<RotaryTable> rotary;
  std::vector<Layer> layers;
  std::vector<Dense> dense;
  std::size_t output_size = 0;

 private:
  // A product of the encoder.
  Linear load_linear(Tensors& tensors, const std::vector<Part>& parts, bool spread_rows = false);
  void load_embeddings(Tensors& tensors);
  void load_weights(Tensors& tensors);
  void load_layers(Tensors& tensors);
  void load_head(Tensors& tensors);
  void load_relative_bias(Tensors& tensors);

  Arena arena_;
  Buffer<float> relative_bias_;
  std::size_t relative_stride_ = 0;
};

}  // namespace lanner
