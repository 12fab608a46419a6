#include "table.h"

namespace lanner {

namespace {

template <class T>
const T* keep(const T* from, std::size_t size, bool in_place, Buffer<T>& own) {
  if (in_place) return from;
  own = Buffer<T>(size);
  std::memcpy(own.data(), from, size * sizeof(T));
  return own.data();
}

}  // namespace

Table::Table(Tensors& tensors, const std::string& name, std::size_t width, bool in_place)
    : width_(width) {
  const ln_tensor& weight = tensors.take(name + ".weight", {Tensors::kAny, width});
  rows_ = weight.shape[0];
  if (weight.dtype == LN_F32) {
    floats_ = keep(tensors.floats(name + ".weight", {rows_, width}), rows_ * width, in_place,
                   own_floats_);
  } else {
    bytes_ = keep(static_cast<const std::int8_t*>(weight.data), rows_ * width, in_place, own_bytes_);
    keep(tensors.floats(name + ".scales", {rows_}), rows_, false, scales_);
  }
}

void Table::copy_row(std::size_t row, float* to) const {
  if (floats_) {
    std::memcpy(to, floats_ + row * width_, width_ * sizeof(float));
  } else {
    for (std::size_t j = 0; j < width_; ++j)
      to[j] = static_cast<float>(bytes_[row * width_ + j]) * scales_[row];
  }
}

void Table::add_row(std::size_t row, float* to) const {
  if (floats_) {
    for (std::size_t j = 0; j < width_; ++j) to[j] += floats_[row * width_ + j];
  } else {
    for (std::size_t j = 0; j < width_; ++j)
      to[j] += static_cast<float>(bytes_[row * width_ + j]) * scales_[row];
  }
}

}  // namespace lanner
