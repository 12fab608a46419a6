#include "random_model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace lanner {

ln_config RandomModel::bert(std::uint32_t layers, std::uint32_t hidden, std::uint32_t heads,
                            std::uint32_t head_size, std::uint32_t intermediate) {
  ln_config config{};
  config.version = LN_VERSION;
  config.layers = layers;
  config.hidden_size = hidden;
  config.intermediate_size = intermediate;
  config.heads = heads;
  config.head_size = head_size;
  config.norm_epsilon = 1e-12f;
  config.activation = LN_ACTIVATION_GELU_ERF;
  config.positions = LN_POSITIONS_ABSOLUTE;
  config.padding_id = -1;
  config.max_tokens = 512;
  config.scales = LN_SCALES_PER_TOKEN;
  config.pooling = LN_POOLING_MEAN;
  config.normalize = 1;
  return config;
}

RandomModel::RandomModel(const ln_config& config, const Sizes& sizes, std::uint32_t seed)
    : config_(config), sizes_(sizes), random_(seed) {
  const std::size_t hidden = config.hidden_size;
  const std::size_t width = config.embedding_size ? config.embedding_size : hidden;
  config_.dense_layers = static_cast<std::uint32_t>(sizes.dense.size());
  add_table("embeddings.word", sizes.vocabulary);
  if (config.positions == LN_POSITIONS_ABSOLUTE)
    add_table("embeddings.position", config.max_tokens + config.position_offset);
  if (sizes.types) add_table("embeddings.type", sizes.types);
  if (sizes.embedding_norm) add_norm("embeddings.norm", width, true);
  if (width != hidden) {
    add_product("embeddings.projection", width, hidden, true);
    add_input("embeddings.projection");
  }
  const std::size_t groups = config.layer_groups ? config.layer_groups : config.layers;
  for (std::size_t g = 0; g < groups; ++g) add_layer("layer." + std::to_string(g) + ".");
  for (std::size_t i = 0; i < config.layers; ++i)
    for (const char* part : {"attention", "attention.output", "intermediate", "output"})
      add_input("layer." + std::to_string(i) + "." + part);
  if (config.relative_buckets)
    add_floats("attention.relative_bias", {config.relative_buckets, config.heads}, 0.0f, 1.0f);
  if (config.norm_place == LN_PRE_NORM) add_norm("final.norm", hidden, sizes.biases);
  if (!sizes.windows.empty()) {
    float* windows = add_floats("attention.windows", {sizes.windows.size()}, 0.0f, 0.0f);
    std::copy(sizes.windows.begin(), sizes.windows.end(), windows);
  }
  if (config.rotary_tables) add_rotary();
  add_head();
}

void RandomModel::add_layer(const std::string& name) {
  const std::size_t hidden = config_.hidden_size, inner = config_.intermediate_size;
  const std::size_t all = std::size_t{config_.heads} * config_.head_size;
  const std::size_t shared =
      config_.key_value_heads ? std::size_t{config_.key_value_heads} * config_.head_size : all;
  const bool biases = sizes_.biases, post = config_.norm_place == LN_POST_NORM;
  add_product(name + "attention.query", hidden, all, biases);
  for (const char* part : {"key", "value"})
    add_product(name + "attention." + part, hidden, shared, biases);
  add_product(name + "attention.output", all, hidden, biases);
  if (post || name != "layer.0.") add_norm(name + "attention.norm", hidden, biases);
  add_product(name + "intermediate", hidden, inner, biases);
  if (config_.gated) add_product(name + "up", hidden, inner, biases);
  add_product(name + "output", inner, hidden, biases);
  add_norm(name + "norm", hidden, biases);
}

// Angles of any length, and a table for each layer in turn.
void RandomModel::add_rotary() {
  for (std::uint32_t k = 0; k < config_.rotary_tables; ++k)
    for (const char* part : {".cosine", ".sine"})
      add_floats("rotary." + std::to_string(k) + part, {config_.max_tokens, config_.rotary_pairs}, 0.0f,
                 1.0f);
  float* tables = add_floats("attention.rotary", {config_.layers}, 0.0f, 0.0f);
  for (std::uint32_t i = 0; i < config_.layers; ++i)
    tables[i] = static_cast<float>(i % config_.rotary_tables);
}

void RandomModel::add_head() {
  std::size_t depth = config_.hidden_size;
  for (std::size_t j = 0; j < sizes_.dense.size(); ++j) {
    const std::string name = "dense." + std::to_string(j);
    add_product(name, depth, sizes_.dense[j], true);
    add_input(name);
    if (sizes_.dense_norms) add_norm(name + ".norm", sizes_.dense[j], sizes_.biases);
    depth = sizes_.dense[j];
  }
}

const ln_tensor* RandomModel::find(const std::string& name) const {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                  [&](const ln_tensor& tensor) { return name == tensor.name; });
  return found == tensors_.end() ? nullptr : &*found;
}

void RandomModel::add_tensor(const std::string& name, ln_dtype dtype,
                             const std::vector<std::size_t>& shape, const void* data) {
  names_.push_back(name);
  ln_tensor tensor{names_.back().c_str(), static_cast<std::uint32_t>(dtype),
                   static_cast<std::uint32_t>(shape.size()), {}, data};
  std::copy(shape.begin(), shape.end(), tensor.shape);
  tensors_.push_back(tensor);
}

float* RandomModel::add_floats(const std::string& name, std::vector<std::size_t> shape, float centre,
                               float spread) {
  floats_.emplace_back(std::accumulate(shape.begin(), shape.end(), std::size_t{1},
                                       std::multiplies<std::size_t>()));
  for (float& value : floats_.back()) value = random_.around(centre, spread);
  add_tensor(name, LN_F32, shape, floats_.back().data());
  return floats_.back().data();
}

void RandomModel::add_bytes(const std::string& name, std::size_t rows, std::size_t columns) {
  bytes_.emplace_back(rows * columns);
  for (std::int8_t& value : bytes_.back())
    value = static_cast<std::int8_t>(static_cast<int>(random_.below(255)) - 127);
  add_tensor(name, LN_S8, {rows, columns}, bytes_.back().data());
}

void RandomModel::add_norm(const std::string& name, std::size_t width, bool bias) {
  add_floats(name + ".weight", {width}, 1.0f, 0.5f);
  if (bias) add_floats(name + ".bias", {width}, 0.0f, 0.3f);
}

void RandomModel::add_table(const std::string& name, std::size_t rows) {
  const std::size_t width = config_.embedding_size ? config_.embedding_size : config_.hidden_size;
  if (sizes_.tables == LN_F32) {
    add_floats(name + ".weight", {rows, width}, 0.0f, 1.0f);
  } else {
    add_bytes(name + ".weight", rows, width);
    add_floats(name + ".scales", {rows}, 0.01f, 0.005f);
  }
}

// Weights that leave activations of about the same size.
void RandomModel::add_product(const std::string& name, std::size_t depth, std::size_t columns,
                              bool bias) {
  const float size = 1.0f / std::sqrt(static_cast<float>(depth));
  if (sizes_.products == LN_F32) {
    add_floats(name + ".weight", {depth, columns}, 0.0f, 2.0f * size);
  } else {
    add_bytes(name + ".weight", depth, columns);
    add_floats(name + ".scales", {columns}, size / 75.0f, size / 150.0f);
  }
  if (bias) add_floats(name + ".bias", {columns}, 0.0f, 0.3f);
}

void RandomModel::add_input(const std::string& name) {
  if (config_.scales != LN_SCALES_STATIC) return;
  float* input = add_floats(name + ".input", {2}, 0.0f, 0.0f);
  input[0] = random_.around(0.025f, 0.01f);
  input[1] = static_cast<float>(random_.below(256));
}

RandomBatch::RandomBatch(const std::vector<std::int32_t>& lengths, const RandomModel& model,
                         std::uint32_t seed)
    : starts{0} {
  Random random(seed);
  for (const std::int32_t length : lengths) starts.push_back(starts.back() + length);
  for (std::int32_t i = 0; i < starts.back(); ++i) {
    ids.push_back(static_cast<std::int32_t>(
        random.below(static_cast<std::uint32_t>(model.sizes().vocabulary))));
    type_ids.push_back(static_cast<std::int32_t>(
        random.below(static_cast<std::uint32_t>(std::max<std::size_t>(model.sizes().types, 1)))));
  }
}

}  // namespace lanner
