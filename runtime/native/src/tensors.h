// The named tensors of ln_load, checked as they are taken.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lanner_native.h"

namespace lanner {

class Tensors {
 public:
  Tensors(const ln_tensor* tensors, std::size_t count);

  // A tensor by name, of these extents (kAny: any); an error if it is missing or differs.
  const ln_tensor& take(const std::string& name, std::vector<std::size_t> shape);
  const ln_tensor* find(const std::string& name, std::vector<std::size_t> shape);
  // Finite floats.
  const float* floats(const std::string& name, std::vector<std::size_t> shape);
  const float* find_floats(const std::string& name, std::vector<std::size_t> shape);
  // Marks tensors as known that this model does not read.
  void ignore(const std::string& name);
  void refuse_unknown() const;

  static constexpr std::size_t kAny = static_cast<std::size_t>(-1);

 private:
  struct Entry {
    const ln_tensor* tensor;
    bool used = false;
  };
  std::map<std::string, Entry> entries_;
};

}  // namespace lanner
