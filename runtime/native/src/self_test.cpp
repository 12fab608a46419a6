#include <cstring>
#include <string>

#include "instruction_set.h"
#include "runner.h"

namespace lanner {

extern const Kernels kPlain;

namespace {

// Random numbers that are the same everywhere (Numerical Recipes' 32-bit generator).
class Random {
 public:
  std::int32_t below(std::int32_t limit) {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<std::int32_t>((state_ >> 8) % static_cast<std::uint32_t>(limit));
  }
  float around(float centre, float spread) {
    return centre + spread * (static_cast<float>(below(2001)) / 1000.0f - 1.0f);
  }

 private:
  std::uint32_t state_ = 1;
};

// An encoder of random weights, small enough to take no time and with rows of each kind of tile.
class TestModel {
 public:
  explicit TestModel(ln_scales scales) {
    config_.version = LN_VERSION;
    config_.layers = 1;
    config_.hidden_size = kHidden;
    config_.intermediate_size = 2 * kHidden;
    config_.heads = 2;
    config_.head_size = 24;
    config_.norm_epsilon = 1e-5f;
    config_.activation = scales == LN_SCALES_STATIC ? LN_ACTIVATION_GELU_ERF : LN_ACTIVATION_SILU;
    config_.padding_id = -1;
    config_.max_tokens = 64;
    config_.scales = scales;
    config_.pooling = LN_POOLING_NONE;
    config_.dense_layers = 1;
    config_.dense_activation[0] = LN_ACTIVATION_TANH;
    add("embeddings.word.weight", LN_F32, kWords, kHidden, 0.0f, 1.0f);
    add_norm("embeddings.norm");
    for (const char* name : {"query", "key", "value"})
      add_product(std::string("layer.0.attention.") + name, kHidden, 48);
    add_product("layer.0.attention.output", 48, kHidden);
    add_norm("layer.0.attention.norm");
    add_product("layer.0.intermediate", kHidden, 2 * kHidden);
    add_product("layer.0.output", 2 * kHidden, kHidden);
    add_norm("layer.0.norm");
    add("dense.0.weight", LN_F32, kHidden, 16, 0.0f, 0.2f);
    for (const char* name : {"layer.0.attention", "layer.0.attention.output", "layer.0.intermediate",
                             "layer.0.output"}) {
      float* input = add(std::string(name) + ".input", LN_F32, 2, 0, 0.0f, 0.0f);
      input[0] = 0.02f;
      input[1] = 120.0f;
    }
    for (Tensor& tensor : tensors_) {
      tensor.described.name = tensor.name.c_str();
      tensor.described.data = tensor.data.data();
      described_.push_back(tensor.described);
    }
  }

  std::vector<float> run(const Kernels& kernels) {
    const std::vector<std::int32_t> starts = {0, 1, 6, 23, 62};
    std::vector<std::int32_t> ids;
    Random random;
    for (std::int32_t i = 0; i < starts.back(); ++i) ids.push_back(random.below(kWords));
    Runner runner(config_, Tensors(described_.data(), described_.size()), kernels);
    std::vector<float> output(ids.size() * 16);
    const ln_batch batch = {ids.data(), nullptr, starts.data(), ids.size(), starts.size() - 1};
    runner.run(batch, 1, output.data());
    return output;
  }

 private:
  static constexpr std::int32_t kHidden = 72, kWords = 50;

  struct Tensor {
    std::string name;
    ln_tensor described{};
    std::vector<float> data;
  };

  float* add(const std::string& name, ln_dtype dtype, std::int32_t rows, std::int32_t columns,
             float centre, float spread) {
    Tensor tensor{name, {}, {}};
    tensor.described.dtype = dtype;
    tensor.described.rank = columns ? 2 : 1;
    tensor.described.shape[0] = static_cast<std::uint64_t>(rows);
    tensor.described.shape[1] = static_cast<std::uint64_t>(columns);
    const std::int32_t size = rows * (columns ? columns : 1);
    tensor.data.resize(static_cast<std::size_t>(size));  // bytes use a quarter of it
    if (dtype == LN_S8) {
      auto* bytes = reinterpret_cast<std::int8_t*>(tensor.data.data());
      for (std::int32_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::int8_t>(random_.below(255) - 127);
    } else {
      for (float& value : tensor.data) value = random_.around(centre, spread);
    }
    tensors_.push_back(std::move(tensor));
    return tensors_.back().data.data();
  }
  void add_norm(const std::string& name) {
    add(name + ".weight", LN_F32, kHidden, 0, 1.0f, 0.5f);
    add(name + ".bias", LN_F32, kHidden, 0, 0.0f, 0.3f);
  }
  void add_product(const std::string& name, std::int32_t depth, std::int32_t columns) {
    add(name + ".weight", LN_S8, depth, columns, 0.0f, 0.0f);
    add(name + ".scales", LN_F32, columns, 0, 0.003f, 0.001f);
    add(name + ".bias", LN_F32, columns, 0, 0.0f, 0.3f);
  }

  Random random_;
  ln_config config_{};
  std::vector<Tensor> tensors_;
  std::vector<ln_tensor> described_;
};

}  // namespace

bool self_test(const Kernels& kernels) {
  for (const ln_scales scales : {LN_SCALES_STATIC, LN_SCALES_PER_TOKEN}) {
    TestModel model(scales);
    const std::vector<float> expected = model.run(kPlain), actual = model.run(kernels);
    if (std::memcmp(expected.data(), actual.data(), expected.size() * sizeof(float)) != 0)
      return false;
  }
  return true;
}

}  // namespace lanner
