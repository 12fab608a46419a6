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
  if (c.key_value_heads == 0) c.key_value_heads = c.heads;
  require_range("key_value_heads", c.key_value_heads, 1, c.heads);
  if (c.heads % c.key_value_heads != 0)
    invalid_model("heads is " + std::to_string(c.heads) + ", which is no multiple of key_value_heads, " +
                  std::to_string(c.key_value_heads));
  require_range("norm", c.norm, 0, LN_NORM_RMS);
  require_range("norm_place", c.norm_place, 0, LN_PRE_NORM);
  require_range("gated", c.gated, 0, 1);
  require_range("rotary_tables", c.rotary_tables, 0, 1024);
  require_range("rotary_pairs", c.rotary_pairs, c.rotary_tables ? 1 : 0,
                c.rotary_tables ? c.head_size / 2 : 0);
  require_range("rotary_neighbours", c.rotary_neighbours, 0, 1);
  require_range("max_tokens", c.max_tokens, 1, 1 << 17);
  require_range("positions", c.positions, 0, LN_POSITIONS_ABSOLUTE);
  require_range("position_offset", c.position_offset, c.padding_id < 0 ? 0 : 1, 1 << 16);
  require_range("relative_buckets", c.relative_buckets, 0, 1 << 16);
  require_range("scales", c.scales, 0, LN_SCALES_PER_TOKEN);
  require_range("bf16", c.bf16, 0, 1);
  require_range("pooling", c.pooling, 0, LN_POOLING_MAX);
  require_range("dense_layers", c.dense_layers, 0, LN_MAX_DENSE);
  require_range("dense_before_pooling", c.dense_before_pooling, 0, c.dense_layers);
  require_range("normalize", c.normalize, 0, 1);
  activation_of(c.activation);
  if (!(c.norm_epsilon >= 0.0f && c.norm_epsilon < 1.0f))
    invalid_model("norm_epsilon must be 0 or more, and less than 1");
  if (c.attention_scale == 0.0f) c.attention_scale = 1.0f / std::sqrt(float(c.head_size));
  if (!std::isfinite(c.attention_scale)) invalid_model("attention_scale must be finite");
  c.instruction_set = nullptr;
  return c;
}

// A tensor of a number for each layer, less than `limit`; zeros without it.
std::vector<std::size_t> whole_numbers(Tensors& tensors, const std::string& name, std::size_t layers,
                                       std::size_t limit) {
  std::vector<std::size_t> found(layers);
  if (const float* values = tensors.find_floats(name, {layers})) {
    for (std::size_t i = 0; i < layers; ++i) {
      if (!(values[i] >= 0.0f && values[i] < static_cast<float>(limit)) ||
          values[i] != std::nearbyint(values[i]))
        invalid_model(name + " has a value that is not a whole number below " + std::to_string(limit));
      found[i] = static_cast<std::size_t>(values[i]);
    }
  }
  return found;
}

Part whole(const std::string& name, std::size_t depth, std::size_t columns) {
  return {name, depth, columns, columns, columns};
}

}  // namespace

NormWeights::NormWeights(Tensors& tensors, const std::string& name, std::size_t width,
                         const ln_config& config)
    : weight(round_up(width, kPanel)),
      bias(round_up(width, kPanel)),
      width(width),
      epsilon(config.norm_epsilon),
      centred(config.norm == LN_NORM_LAYER) {
  std::memcpy(weight.data(), tensors.floats(name + ".weight", {width}), width * sizeof(float));
  if (const float* biases = tensors.find_floats(name + ".bias", {width}))
    std::memcpy(bias.data(), biases, width * sizeof(float));
}

NormWeights NormWeights::optional(Tensors& tensors, const std::string& name, std::size_t width,
                                  const ln_config& config) {
  if (tensors.find(name + ".weight", {width}) == nullptr) return {};
  return {tensors, name, width, config};
}

RotaryTable::RotaryTable(Tensors& tensors, const std::string& name, const ln_config& config)
    : half(round_up(config.rotary_pairs, kLanes)) {
  const std::size_t pairs = config.rotary_pairs;
  const auto read = [&](const std::string& part) {
    const ln_tensor& tensor = tensors.take(name + part, {Tensors::kAny, pairs});
    if (tensor.shape[0] < config.max_tokens)
      invalid_model("max_tokens is " + std::to_string(config.max_tokens) + ", and " + name + part +
                    " has rows for " + std::to_string(tensor.shape[0]));
    const float* from = tensors.floats(name + part, {tensor.shape[0], pairs});
    Buffer<float> padded(config.max_tokens * half);
    for (std::size_t i = 0; i < config.max_tokens; ++i)
      std::memcpy(padded.data() + i * half, from + i * pairs, pairs * sizeof(float));
    return padded;
  };
  cosine = read(".cosine");
  sine = read(".sine");
}

Model::Model(const ln_config& given, Tensors tensors, const Kernels& kernels, const Bf16Kernels* of_set)
    : config(checked(given)), kernels(kernels), bf16(config.bf16 ? of_set : nullptr) {
  load_embeddings(tensors);
  load_weights(tensors);
  load_layers(tensors);
  load_head(tensors);
  if (config.relative_buckets) load_relative_bias(tensors);
  tensors.refuse_unknown();
}

Linear Model::load_linear(Tensors& tensors, const std::vector<Part>& parts, bool spread_rows) {
  return {arena_, tensors, parts, spread_rows, bf16 != nullptr};
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
  embedding_norm = NormWeights::optional(tensors, "embeddings.norm", width, config);
  const std::string name = "embeddings.projection";
  has_projection = width != config.hidden_size ||
                   tensors.find(name + ".weight", {width, config.hidden_size}) != nullptr;
  if (has_projection) {
    projection = load_linear(tensors, {whole(name, width, config.hidden_size)});
    projection_input =
        input_of(tensors, name, projection.bytes(), static_cast<ln_scales>(config.scales));
  }
}

void Model::load_weights(Tensors& tensors) {
  const std::size_t hidden = config.hidden_size, inner = config.intermediate_size;
  const std::size_t all = std::size_t{config.heads} * config.head_size;
  const std::size_t shared = std::size_t{config.key_value_heads} * config.head_size;
  const bool post = config.norm_place == LN_POST_NORM;
  weights.resize(config.layer_groups);
  for (std::size_t g = 0; g < weights.size(); ++g) {
    const std::string name = "layer." + std::to_string(g) + ".";
    const auto heads = [&](const char* part, std::size_t columns, std::uint32_t pairs) {
      return Part{name + "attention." + part, hidden, columns, config.head_size, head_width(), pairs,
                  config.rotary_neighbours == 1};
    };
    LayerWeights& w = weights[g];
    w.query_key_value = load_linear(
        tensors, {heads("query", all, config.rotary_pairs), heads("key", shared, config.rotary_pairs),
                  heads("value", shared, 0)});
    w.attention_output = load_linear(
        tensors, {{name + "attention.output", all, hidden, config.head_size, head_width()}}, true);
    // ModernBERT's first layer has none, because that of the embeddings precedes it.
    w.attention_norm = post ? NormWeights(tensors, name + "attention.norm", hidden, config)
                            : NormWeights::optional(tensors, name + "attention.norm", hidden, config);
    w.intermediate = load_linear(tensors, {whole(name + "intermediate", hidden, inner)});
    if (config.gated) {
      w.up = load_linear(tensors, {whole(name + "up", hidden, inner)});
      if (w.up.bytes() != w.intermediate.bytes())
        invalid_model(name + "up.weight and " + name + "intermediate.weight differ in dtype");
    }
    w.output = load_linear(tensors, {whole(name + "output", inner, hidden)});
    w.norm = NormWeights(tensors, name + "norm", hidden, config);
  }
  if (!post) final_norm = NormWeights(tensors, "final.norm", hidden, config);
}

void Model::load_layers(Tensors& tensors) {
  const auto scales = static_cast<ln_scales>(config.scales);
  for (std::size_t k = 0; k < config.rotary_tables; ++k)
    rotary.emplace_back(tensors, "rotary." + std::to_string(k), config);
  const std::vector<std::size_t> tables =
      whole_numbers(tensors, "attention.rotary", config.layers, config.rotary_tables);
  const std::vector<std::size_t> windows =
      whole_numbers(tensors, "attention.windows", config.layers, std::size_t{1} << 17);
  for (std::size_t i = 0; i < config.layers; ++i) {
    const std::string name = "layer." + std::to_string(i) + ".";
    const LayerWeights& w = weights[i * weights.size() / config.layers];
    // Up and intermediate read the same bytes.
    layers.push_back(
        {&w, rotary.empty() ? nullptr : &rotary[tables[i]],
         windows[i] ? windows[i] : std::size_t{config.max_tokens},
         input_of(tensors, name + "attention", w.query_key_value.bytes(), scales),
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
    layer.norm = NormWeights::optional(tensors, name + ".norm", weight.shape[1], config);
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

std::size_t Model::head_width() const {
  const std::size_t pairs = config.rotary_pairs;
  return 2 * round_up(pairs, kLanes) + round_up(config.head_size - 2 * pairs, kLanes);
}

const float* Model::relative_bias(std::size_t head) const {
  if (relative_bias_.size() == 0) return nullptr;
  return relative_bias_.data() + head * relative_stride_ + config.max_tokens - 1;
}

}  // namespace lanner
