#include "tensors.h"

#include <cmath>

#include "error.h"

namespace lanner {

namespace {

std::size_t element_size(const ln_tensor& tensor) { return tensor.dtype == LN_F32 ? 4 : 1; }

std::string shape_text(const ln_tensor& tensor) {
  std::string text = "[" + std::to_string(tensor.shape[0]);
  if (tensor.rank == 2) text += ", " + std::to_string(tensor.shape[1]);
  return text + "]";
}

}  // namespace

Tensors::Tensors(const ln_tensor* tensors, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const ln_tensor& tensor = tensors[i];
    if (tensor.name == nullptr) invalid_model("tensor " + std::to_string(i) + " has no name");
    const std::string name = tensor.name;
    if (tensor.data == nullptr) invalid_model(name + " has no data");
    if (tensor.dtype != LN_F32 && tensor.dtype != LN_S8)
      invalid_model(name + " is neither F32 nor S8");
    if (tensor.rank != 1 && tensor.rank != 2) invalid_model(name + " has neither 1 nor 2 dimensions");
    std::uint64_t size = element_size(tensor);
    for (std::size_t j = 0; j < tensor.rank; ++j) {
      // Sizes of what follows, padded and widened, stay far below 64 bits.
      if (tensor.shape[j] == 0 || tensor.shape[j] >= (1u << 30))
        invalid_model(name + " has an extent of " + std::to_string(tensor.shape[j]));
      size *= tensor.shape[j];
    }
    if (size >= (std::uint64_t{1} << 40)) invalid_model(name + " is larger than a terabyte");
    if (!entries_.emplace(name, Entry{&tensor}).second) invalid_model(name + " is given twice");
  }
}

const ln_tensor* Tensors::find(const std::string& name, std::vector<std::size_t> shape) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return nullptr;
  found->second.used = true;
  const ln_tensor& tensor = *found->second.tensor;
  bool fits = tensor.rank == shape.size();
  std::string wanted;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    fits = fits && (shape[i] == kAny || shape[i] == tensor.shape[i]);
    wanted += (i ? ", " : "") + (shape[i] == kAny ? std::string("any") : std::to_string(shape[i]));
  }
  if (!fits) invalid_model(name + " is " + shape_text(tensor) + ", and [" + wanted + "] is needed");
  return &tensor;
}

const ln_tensor& Tensors::take(const std::string& name, std::vector<std::size_t> shape) {
  const ln_tensor* tensor = find(name, std::move(shape));
  if (tensor == nullptr) invalid_model(name + " is missing");
  return *tensor;
}

const float* Tensors::find_floats(const std::string& name, std::vector<std::size_t> shape) {
  const ln_tensor* tensor = find(name, std::move(shape));
  if (tensor == nullptr) return nullptr;
  if (tensor->dtype != LN_F32) invalid_model(name + " is not F32");
  const float* data = static_cast<const float*>(tensor->data);
  const std::size_t size = tensor->shape[0] * (tensor->rank == 2 ? tensor->shape[1] : 1);
  for (std::size_t i = 0; i < size; ++i)
    if (!std::isfinite(data[i])) invalid_model(name + " has a value that is not finite");
  return data;
}

const float* Tensors::floats(const std::string& name, std::vector<std::size_t> shape) {
  take(name, shape);
  return find_floats(name, std::move(shape));
}

void Tensors::ignore(const std::string& name) {
  const auto found = entries_.find(name);
  if (found != entries_.end()) found->second.used = true;
}

void Tensors::refuse_unknown() const {
  for (const auto& [name, entry] : entries_)
    if (!entry.used) invalid_model(name + " is unknown, or not used by this model");
}

}  // namespace lanner
