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
  NormWeights(Tensors& tensors, const std::string& name, std::size_t width, float epsilon);
  Norm view() const { return {weight.data(), bias.data(), width, epsilon}; }

  Buffer<float> weight, bias;
  std::size_t width = 0;
  float epsilon = 0.0f;
};

// The weights of a layer; ALBERT's layers share them.
struct LayerWeights {
  Linear query_key_value, attention_output, intermediate, output;
  NormWeights attention_norm, norm;
};

struct Layer {
  const LayerWeights* weights;
  Quantization attention_input, attention_output_input, intermediate_input, output_input;
};

struct Dense {
  Linear linear;
  Quantization input;
  Activation activation;
};

class Model {
 public:
  Model(const ln_config& config, Tensors tensors, const Kernels& kernels);
  Model(const Model&) = delete;

  // Biases of one head by distance, key - query; nullptr without them.
  const float* relative_bias(std::size_t head) const;
  std::size_t head_width() const { return round_up(config.head_size, kLanes); }
  std::size_t attention_width() const { return round_up(config.heads * head_width(), kPanel); }
  std::size_t hidden_width() const { return round_up(config.hidden_size, kPanel); }
  std::size_t embedding_width() const { return round_up(config.embedding_size, kPanel); }

  ln_config config;  // with its defaults filled in
  const Kernels& kernels;
  Table words, positions, types;
  NormWeights embedding_norm;
  bool has_projection = false;
  Linear projection;
  Quantization projection_input{};
  std::vector<LayerWeights> weights;
  std::vector<Layer> layers;
  std::vector<Dense> dense;
  std::size_t output_size = 0;

 private:
  void load_embeddings(Tensors& tensors);
  void load_layers(Tensors& tensors);
  void load_head(Tensors& tensors);
  void load_relative_bias(Tensors& tensors);

  Arena arena_;
  Buffer<float> relative_bias_;
  std::size_t relative_stride_ = 0;
};

}  // namespace lanner
