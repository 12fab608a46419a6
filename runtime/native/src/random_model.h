// Encoders of random weights and batches of random ids: for self-tests, tests and benchmarks.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "lanner_native.h"

namespace lanner {

// Random numbers that are the same everywhere (a 32-bit generator of Numerical Recipes).
class Random {
 public:
  explicit Random(std::uint32_t seed) : state_(seed) {}
  std::uint32_t below(std::uint32_t limit) {
    state_ = state_ * 1664525u + 1013904223u;
    return (state_ >> 8) % limit;
  }
  float around(float centre, float spread) {
    return centre + spread * (static_cast<float>(below(2001)) / 1000.0f - 1.0f);
  }

 private:
  std::uint32_t state_;
};

// All tensors that a description asks for.
class RandomModel {
 public:
  struct Sizes {
    std::size_t vocabulary = 50;
    std::size_t types = 0;
    std::vector<std::size_t> dense = {};  // columns of each Dense layer
    ln_dtype products = LN_S8;
    ln_dtype tables = LN_S8;
    // What an encoder may lack or have.
    bool embedding_norm = true;
    bool biases = true;  // of products and norms in the layers
    bool dense_norms = false;
    std::vector<float> windows = {};  // of each layer
  };

  RandomModel(const ln_config& config, const Sizes& sizes, std::uint32_t seed = 1);
  RandomModel(const RandomModel&) = delete;

  // BERT's layout, with defaults for everything else.
  static ln_config bert(std::uint32_t layers, std::uint32_t hidden, std::uint32_t heads,
                        std::uint32_t head_size, std::uint32_t intermediate);

  const ln_config& config() const { return config_; }
  const Sizes& sizes() const { return sizes_; }
  const std::vector<ln_tensor>& tensors() const { return tensors_; }
  const ln_tensor* find(const std::string& name) const;

 private:
  float* add_floats(const std::string& name, std::vector<std::size_t> shape, float centre,
                    float spread);
  void add_bytes(const std::string& name, std::size_t rows, std::size_t columns);
  void add_tensor(const std::string& name, ln_dtype dtype, const std::vector<std::size_t>& shape,
                  const void* data);
  void add_norm(const std::string& name, std::size_t width, bool bias);
  void add_table(const std::string& name, std::size_t rows);
  void add_product(const std::string& name, std::size_t depth, std::size_t columns, bool bias);
  void add_layer(const std::string& name);
  void add_rotary();
  void add_head();
  void add_input(const std::string& name);

  ln_config config_;
  Sizes sizes_;
  Random random_;
  std::deque<std::string> names_;
  std::deque<std::vector<float>> floats_;
  std::deque<std::vector<std::int8_t>> bytes_;
  std::vector<ln_tensor> tensors_;
};

class RandomBatch {
 public:
  RandomBatch(const std::vector<std::int32_t>& lengths, const RandomModel& model,
              std::uint32_t seed = 1);
  ln_batch view() const {
    return {ids.data(), type_ids.data(), starts.data(), ids.size(), starts.size() - 1};
  }

  std::vector<std::int32_t> ids, type_ids, starts;
};

}  // namespace lanner
