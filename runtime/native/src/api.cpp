// The C functions of lanner_native.h: exceptions become statuses and texts.
#include <algorithm>
#include <cstring>
#include <new>

#include "error.h"
#include "instruction_set.h"
#include "runner.h"

struct ln_model {
  const lanner::InstructionSet& instruction_set;
  lanner::Runner runner;
};

namespace {

void write_error(const char* text, char* error, std::size_t size) {
  if (error == nullptr || size == 0) return;
  const std::size_t length = std::min(std::strlen(text), size - 1);
  std::memcpy(error, text, length);
  error[length] = 0;
}

template <class F>
ln_status guarded(char* error, std::size_t error_size, F&& function) {
  write_error("", error, error_size);
  try {
    function();
    return LN_OK;
  } catch (const lanner::Error& caught) {
    write_error(caught.what(), error, error_size);
    return caught.status();
  } catch (const std::bad_alloc&) {
    write_error("there is not enough memory", error, error_size);
    return LN_OUT_OF_MEMORY;
  } catch (const std::exception& caught) {
    write_error(caught.what(), error, error_size);
    return LN_INTERNAL_ERROR;
  }
}

}  // namespace

extern "C" {

ln_status ln_load(const ln_config* config, const ln_tensor* tensors, std::size_t tensor_count,
                  ln_model** model, char* error, std::size_t error_size) {
  return guarded(error, error_size, [&] {
    if (config == nullptr || model == nullptr || (tensors == nullptr && tensor_count > 0))
      lanner::invalid_model("ln_load needs a description, tensors, and a place for the model");
    *model = nullptr;
    const auto& set = lanner::choose_instruction_set(config->instruction_set, config->bf16 != 0);
    *model = new ln_model{
        set, {*config, lanner::Tensors(tensors, tensor_count), *set.kernels, set.bf16}};
  });
}

void ln_free(ln_model* model) { delete model; }

ln_status ln_run(ln_model* model, const ln_batch* batch, std::uint32_t threads, float* output,
                 std::size_t output_floats, char* error, std::size_t error_size) {
  return guarded(error, error_size, [&] {
    if (model == nullptr || batch == nullptr) lanner::invalid_input("there is no model, or no batch");
    const lanner::Model& m = model->runner.model();
    const std::size_t rows =
        m.config.pooling == LN_POOLING_NONE ? batch->tokens : batch->sequences;
    if (rows > 0 && (output == nullptr || output_floats / m.output_size < rows))
      lanner::invalid_input("the output has room for " + std::to_string(output_floats) +
                            " floats, and " + std::to_string(rows) + " rows of " +
                            std::to_string(m.output_size) + " are needed");
    model->runner.run(*batch, std::clamp<std::uint32_t>(threads, 1, 256), output);
  });
}

std::uint32_t ln_output_size(const ln_model* model) {
  return static_cast<std::uint32_t>(model->runner.model().output_size);
}

const char* ln_model_instruction_set(const ln_model* model) { return model->instruction_set.name; }

std::size_t ln_instruction_set_count(void) { return lanner::instruction_sets().size(); }

ln_status ln_instruction_set_get(std::size_t index, ln_instruction_set* out) {
  return guarded(nullptr, 0, [&] {
    const auto& sets = lanner::instruction_sets();
    if (out == nullptr || index >= sets.size())
      lanner::invalid_input("there is no instruction set of this index");
    const lanner::InstructionSet& set = sets[index];
    *out = {set.name,   set.kernels != nullptr, set.supported,
            set.passed, set.bf16_supported,     set.bf16_passed};
  });
}

}  // extern "C"
