#include "model.h"

#include <cmath>

#include "error.h"

namespace lanner {

namespace {

Activation activation_of(std::uint32_t value) {
  if (value > LN_ACTIVATION_TANH) invalid_model("unknown activation " + std::to_string(value));
  return static_cast<Activation>(value);
}

void require_range(const char* name, std::uint32_t value, std::uint32_t least, std::uint32_t most) {
  if (value < least || value > most)
    invalid_model(std::string(name) + " is " + std::to_string(value) + ", and must be " +
                  std::to_string(least) + " to " + std::to_string(most));
}

ln_config checked(ln_config c) {
  if (c.version != LN_VERSION)
    invalid_model("the description is of version " + std::to_string(c.version) +
                  ", and this library reads " + std::to_string(LN_VERSION));
  require_range("layers", c.layers, 1, 1024);
  if (c.layer_groups == 0) c.layer_groups = c.layers;
  require_range("layer_groups", c.layer_groups, 1, c.layers);
  require_range("hidden_size", c.hidden_size, 1, kMaxDepth);
  if (c.embedding_size == 0) c.embedding_size = c.hidden_size;
  require_range("embedding_size", c.embedding_size, 1, kMaxDepth);
  require_range("intermediate_size", c.intermediate_size, 1, kMaxDepth);
  require_range("heads", c.heads, 1, 1024);
  require_range("head_size", c.head_size, 1, 1024);
  require_range("max_tokens", c.max_tokens, 1, 1 << 17);
  require_range("positions", c.positions, 0, LN_POSITIONS_ABSOLUTE);
  require_range("position_offset", c.position_offset, c.padding_id < 0 ? 0 : 1, 1 << 16);
  require_range("relative_buckets", c.relative_buckets, 0, 1 << 16);
  require_range("scales", c.scales, 0, LN_SCALES_PER_TOKEN);
  require_range("pooling", c.pooling, 0, LN_POOLING_MAX);
  require_range("dense_layers", c.dense_layers, 0, LN_MAX_DENSE);
  require_range("normalize", c.normalize, 0, 1);
  activation_of(c.activation);
  if (!(c.norm_epsilon >= 0.0f && c.norm_epsilon < 1.0f))
    invalid_model("norm_epsilon must be 0 or more, and less than 1");
  if (c.attention_scale == 0.0f) c.attention_scale = 1.0f / std::sqrt(float(c.head_size));
  if (!std::isfinite(c.attention_scale)) invalid_model("attention_scale must be finite");
  c.instruction_set = nullptr;
  return c;
}

Part whole(const std::string& name, std::size_t depth, std::size_t columns) {
  return {name, depth, columns, columns, columns};
}

}  // namespace

NormWeights::NormWeights(Tensors& tensors, const std::string& name, std::size_t width, float epsilon)
    : weight(round_up(width, kPanel)), bias(round_up(width, kPanel)), width(width), epsilon(epsilon) {
  std::memcpy(weight.data(), tensors.floats(name + ".weight", {width}), width * sizeof(float));
  std::memcpy(bias.data(), tensors.floats(name + ".bias", {width}), width * sizeof(float));
}

Model::Model(const ln_config& given, Tensors tensors, const Kernels& kernels)
    : config(checked(given)), kernels(kernels) {
  load_embeddings(tensors);
  load_layers(tensors);
  load_head(tensors);
  if (config.relative_buckets) load_relative_bias(tensors);
  tensors.refuse_unknown();
}

void Model::load_embeddings(Tensors& tensors) {
  const std::size_t width = config.embedding_size;
  words = Table(tensors, "embeddings.word", width, true);
  if (tensors.find("embeddings.type.weight", {Tensors::kAny, width}))
    types = Table(tensors, "embeddings.type", width, false);
  if (config.positions == LN_POSITIONS_ABSOLUTE) {
    positions = Table(tensors, "embeddings.position", width, false);
    if (config.max_tokens + config.position_offset > positions.rows())
      invalid_model("max_tokens is " + std::to_string(config.max_tokens) +
                    ", and embeddings.position.weight has rows for " +
                    std::to_string(positions.rows()) + " less position_offset");
  }
  embedding_norm = NormWeights(tensors, "embeddings.norm", width, config.norm_epsilon);
  const std::string name = "embeddings.projection";
  has_projection = width != config.hidden_size ||
                   tensors.find(name + ".weight", {width, config.hidden_size}) != nullptr;
  if (has_projection) {
    projection = Linear(arena_, tensors, {whole(name, width, config.hidden_size)});
    projection_input =
        input_of(tensors, name, projection.bytes(), static_cast<ln_scales>(config.scales));
  }
}

void Model::load_layers(Tensors& tensors) {
  const std::size_t hidden = config.hidden_size, inner = config.intermediate_size;
  const std::size_t attention = std::size_t{config.heads} * config.head_size;
  const auto scales = static_cast<ln_scales>(config.scales);
  weights.resize(config.layer_groups);
  for (std::size_t g = 0; g < weights.size(); ++g) {
    const std::string name = "layer." + std::to_string(g) + ".";
    const auto heads = [&](const char* part) {
      return Part{name + "attention." + part, hidden, attention, config.head_size, head_width()};
    };
    LayerWeights& w = weights[g];
    w.query_key_value = Linear(arena_, tensors, {heads("query"), heads("key"), heads("value")});
    w.attention_output = Linear(arena_, tensors,
                                {{name + "attention.output", attention, hidden, config.head_size,
                                  head_width()}},
                                true);
    w.attention_norm = NormWeights(tensors, name + "attention.norm", hidden, config.norm_epsilon);
    w.intermediate = Linear(arena_, tensors, {whole(name + "intermediate", hidden, inner)});
    w.output = Linear(arena_, tensors, {whole(name + "output", inner, hidden)});
    w.norm = NormWeights(tensors, name + "norm", hidden, config.norm_epsilon);
  }
  for (std::size_t i = 0; i < config.layers; ++i) {
    const std::string name = "layer." + std::to_string(i) + ".";
    const LayerWeights& w = weights[i * weights.size() / config.layers];
    layers.push_back(
        {&w, input_of(tensors, name + "attention", w.query_key_value.bytes(), scales),
         input_of(tensors, name + "attention.output", w.attention_output.bytes(), scales),
         input_of(tensors, name + "intermediate", w.intermediate.bytes(), scales),
         input_of(tensors, name + "output", w.output.bytes(), scales)});
  }
}

void Model::load_head(Tensors& tensors) {
  output_size = config.hidden_size;
  for (std::size_t j = 0; j < config.dense_layers; ++j) {
    const std::string name = "dense." + std::to_string(j);
    const ln_tensor& weight = tensors.take(name + ".weight", {output_size, Tensors::kAny});
    Dense layer;
    layer.linear = Linear(arena_, tensors, {whole(name, output_size, weight.shape[1])});
    layer.input =
        input_of(tensors, name, layer.linear.bytes(), static_cast<ln_scales>(config.scales));
    layer.activation = activation_of(config.dense_activation[j]);
    output_size = weight.shape[1];
    dense.push_back(std::move(layer));
  }
}

// The buckets of T5 and MPNet: half of them for keys before the query, a half of those one distance
// each, the others in logarithmic steps up to the greatest distance.
void Model::load_relative_bias(Tensors& tensors) {
  const std::size_t buckets = config.relative_buckets, half = buckets / 2, exact = half / 2;
  if (exact == 0 || config.relative_max_distance <= exact)
    invalid_model("relative_buckets must be 4 or more, and relative_max_distance beyond a quarter");
  const float* table = tensors.floats("attention.relative_bias", {buckets, config.heads});
  const float range = static_cast<float>(
      std::log(double(config.relative_max_distance) / static_cast<double>(exact)));
  // A vector may begin at the last distance, or end beyond it.
  relative_stride_ = 2 * std::size_t{config.max_tokens} - 1 + kLanes;
  relative_bias_ = Buffer<float>(config.heads * relative_stride_);
  for (std::size_t i = 0; i + 1 < 2 * std::size_t{config.max_tokens}; ++i) {
    const auto distance = static_cast<std::ptrdiff_t>(i) - (config.max_tokens - 1);
    const std::size_t n = static_cast<std::size_t>(std::abs(distance));
    std::size_t bucket = n;
    if (n >= exact) {
      const float steps = std::log(static_cast<float>(n) / static_cast<float>(exact)) / range *
                          static_cast<float>(half - exact);
      bucket = std::min(half - 1, exact + static_cast<std::size_t>(steps));
    }
    if (distance > 0) bucket += half;
    for (std::size_t head = 0; head < config.heads; ++head)
      relative_bias_[head * relative_stride_ + i] = table[bucket * config.heads + head];
  }
}

const float* Model::relative_bias(std::size_t head) const {
  if (relative_bias_.size() == 0) return nullptr;
  return relative_bias_.data() + head * relative_stride_ + config.max_tokens - 1;
}

}  // namespace lanner
