// A model with what its runs share: helper threads and memory.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "batch.h"
#include "model.h"
#include "scratch.h"
#include "team.h"

namespace lanner {

class Runner {
 public:
  // `bf16` is of the same instruction set; it is needed if the model is to run in bf16.
  Runner(const ln_config& config, Tensors tensors, const Kernels& kernels,
         const Bf16Kernels* bf16 = nullptr)
      : model_(config, std::move(tensors), kernels, bf16) {}

  const Model& model() const { return model_; }
  void run(const ln_batch& batch, std::size_t threads, float* output);

 private:
  void run_together(const ln_batch& batch, std::size_t threads, float* output);
  void run_apart(const std::vector<Block>& blocks, std::size_t longest, std::size_t threads,
                 float* output);

  Model model_;
  Team team_;
  // Scratch that no run has at the moment.
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> idle_;
  std::size_t leases_ = 0;

  class Lease;
};

}  // namespace lanner
