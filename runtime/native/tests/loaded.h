// A model through the C interface, freed at the end of its scope.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lanner_native.h"
#include "random_model.h"

class Loaded {
 public:
  explicit Loaded(const lanner::RandomModel& random, const char* instruction_set = nullptr)
      : Loaded(random.config(), random.tensors(), instruction_set) {}
  Loaded(ln_config config, const std::vector<ln_tensor>& tensors,
         const char* instruction_set = nullptr) {
    config.instruction_set = instruction_set;
    tokens_ = config.pooling == LN_POOLING_NONE;
    char text[512] = "";
    ln_model* model = nullptr;
    status = ln_load(&config, tensors.data(), tensors.size(), &model, text, sizeof text);
    error = text;
    model_.reset(model);
  }

  std::vector<float> run(const ln_batch& batch, std::uint32_t threads = 1) {
    if (!model_) return {};
    std::vector<float> output((tokens_ ? batch.tokens : batch.sequences) *
                              ln_output_size(model_.get()));
    char text[512] = "";
    status = ln_run(model_.get(), &batch, threads, output.data(), output.size(), text, sizeof text);
    error = text;
    return output;
  }
  ln_model* get() const { return model_.get(); }

  ln_status status = LN_OK;
  std::string error;

 private:
  struct Free {
    void operator()(ln_model* model) const { ln_free(model); }
  };
  std::unique_ptr<ln_model, Free> model_;
  bool tokens_ = false;
};
