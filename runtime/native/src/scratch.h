// The memory of a run besides its output: enough for one block of packed tokens.
#pragma once

#include <memory>

#include "arena.h"
#include "kernels/kernels.h"
#include "model.h"

namespace lanner {

class Scratch {
 public:
  // Make room for `rows` tokens in sequences of at most `longest`, computed by `members` threads.
  // Allocates only where a run is larger than all before it.
  void reserve(const Model& model, std::size_t rows, std::size_t longest, std::size_t members);

  FloatRows hidden() const { return {hidden_, hidden_stride_}; }
  FloatRows normed() const { return {normed_, hidden_stride_}; }  // of a model with norms before its parts
  FloatRows wide(std::size_t stride) const { return {wide_, stride}; }
  FloatRows context(std::size_t stride) const { return {context_, stride}; }
  FloatRows head(std::size_t index) const { return {heads_[index], head_stride_}; }
  ByteRows bytes(std::size_t stride) const {
    return {bytes_, stride * element_bytes_, scales_, zero_pairs_};
  }
  Bf16Rows bf16(std::size_t stride) const {
    return {reinterpret_cast<std::uint16_t*>(bytes_), stride};
  }
  float* attention(std::size_t member) const { return attention_ + member * attention_size_; }

 private:
  std::size_t rows_ = 0, longest_ = 0, members_ = 0;
  std::size_t hidden_stride_ = 0, head_stride_ = 0, attention_size_ = 0, element_bytes_ = 0;
  std::unique_ptr<Arena> arena_;
  float *hidden_ = nullptr, *normed_ = nullptr, *wide_ = nullptr, *context_ = nullptr, *heads_[2] = {};
  float *scales_ = nullptr, *attention_ = nullptr;
  std::uint8_t* bytes_ = nullptr;
  std::int32_t* zero_pairs_ = nullptr;
};

// The most rows that the two products after attention take at once: what is between them, in
// floats, is the widest of all activations and should stay in a core's own cache.
inline constexpr std::size_t kInnerRows = 128;

}  // namespace lanner
