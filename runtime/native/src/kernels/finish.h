// What becomes of a product's exact sums: floats, with bias, activation and residual.
#pragma once

#include "elementary.h"

namespace {

LN_INLINE Floats merged(lanner::Merge merge, const float* with, Floats x) {
  if (merge == lanner::Merge::add) return add(load(with), x);
  return merge == lanner::Merge::multiply ? mul(load(with), x) : x;
}

// f.operator()<activation>(), so that loops know it.
template <class F>
LN_INLINE void by_activation(lanner::Activation activation, F&& f) {
  switch (activation) {
    case lanner::Activation::gelu_erf: return f.template operator()<lanner::Activation::gelu_erf>();
    case lanner::Activation::gelu_tanh: return f.template operator()<lanner::Activation::gelu_tanh>();
    case lanner::Activation::relu: return f.template operator()<lanner::Activation::relu>();
    case lanner::Activation::silu: return f.template operator()<lanner::Activation::silu>();
    case lanner::Activation::tanh: return f.template operator()<lanner::Activation::tanh>();
    case lanner::Activation::none: break;
  }
  f.template operator()<lanner::Activation::none>();
}

// Sums [rows][columns], of 64 columns or of 16. `together` vectors are taken at once: those of a row
// of 64 columns, or of as many rows of 16. Either way each number is computed alike.
template <std::size_t together, std::size_t columns>
struct Sums {
  static constexpr std::size_t row_vectors = columns / 16, step = together / row_vectors;
  const std::int32_t* sums;
  const lanner::ByteRows& a;
  std::size_t row;  // in `a` and `out`, of the first of these sums
  const lanner::ByteWeights& w;
  std::size_t column;
  lanner::Merge merge;
  lanner::FloatRows out;

  template <lanner::Activation activation, std::size_t N>
  LN_STEP void finish(const Sums& s, std::size_t from) {
    const Together<N> x = activated(activation, each_of<N>([&](std::size_t i) LN_IN_PLACE {
      const std::size_t at_row = s.row + from + i / row_vectors;
      const std::size_t at = s.column + i % row_vectors * 16;
      const Ints exact = add_pairs(load_ints(s.sums + from * columns + 16 * i),
                                   load_ints(s.w.column_pairs + at),
                                   broadcast_int(s.a.zero_pairs[at_row]));
      // Rounded twice, as in ONNX Runtime.
      const Floats scale = mul(load(s.w.scales + at), broadcast(s.a.scales[at_row]));
      return add(mul(to_floats(exact), scale), load(s.w.bias + at));
    }));
    for (std::size_t i = 0; i < N; ++i) {
      float* to = s.out.data + (s.row + from + i / row_vectors) * s.out.stride + s.column +
                  i % row_vectors * 16;
      store(to, merged(s.merge, to, x.v[i]));
    }
  }

  template <lanner::Activation activation>
  static void finish_rows(const Sums& s, std::size_t rows) {
    std::size_t i = 0;
    for (; i + step <= rows; i += step) finish<activation, together>(s, i);
    if constexpr (step > 1)
      for (; i < rows; ++i) finish<activation, row_vectors>(s, i);
  }

  void finish(lanner::Activation activation, std::size_t rows) const {
    by_activation(activation, [&]<lanner::Activation known>() { finish_rows<known>(*this, rows); });
  }
};

}  // namespace
