// A table of embeddings: a row of floats, or of signed bytes with a scale, for each index.
#pragma once

#include <string>

#include "buffer.h"
#include "tensors.h"

namespace lanner {

class Table {
 public:
  Table() = default;
  // `in_place`: bytes or floats are read where the caller has them.
  Table(Tensors& tensors, const std::string& name, std::size_t width, bool in_place);

  std::size_t rows() const { return rows_; }
  // to = row, or to += row.
  void copy_row(std::size_t row, float* to) const;
  void add_row(std::size_t row, float* to) const;

 private:
  const float* floats_ = nullptr;
  const std::int8_t* bytes_ = nullptr;
  Buffer<float> own_floats_, scales_;
  Buffer<std::int8_t> own_bytes_;
  std::size_t rows_ = 0, width_ = 0;
};

}  // namespace lanner
