// Some vectors, step by step together. A processor looks ahead a hundred operations or so; a long
// chain after the other would fill that with operations that wait for each other.
#pragma once

#include <utility>

#include "kernels.h"

namespace {

template <std::size_t N>
struct Together {
  Floats v[N];
};
using Four = Together<4>;

template <class F, std::size_t... I>
LN_INLINE Together<sizeof...(I)> each_of(F&& value, std::index_sequence<I...>) {
  return {{value(I)...}};
}
template <std::size_t N, class F>
LN_INLINE Together<N> each_of(F&& value) {
  return each_of(value, std::make_index_sequence<N>());
}

template <std::size_t N>
LN_INLINE Together<N> all(Floats x) {
  return each_of<N>([&](std::size_t) { return x; });
}
template <std::size_t N>
LN_INLINE Together<N> min(Together<N> a, Floats b) {
  return each_of<N>([&](std::size_t i) { return min(a.v[i], b); });
}
template <std::size_t N>
LN_INLINE Together<N> max(Together<N> a, Floats b) {
  return each_of<N>([&](std::size_t i) { return max(a.v[i], b); });
}
template <std::size_t N>
LN_INLINE Together<N> mul(Together<N> a, Together<N> b) {
  return each_of<N>([&](std::size_t i) { return mul(a.v[i], b.v[i]); });
}
template <std::size_t N>
LN_INLINE Together<N> fma(Together<N> a, Floats b, Floats c) {
  return each_of<N>([&](std::size_t i) { return fma(a.v[i], b, c); });
}
template <std::size_t N>
LN_INLINE Together<N> fma(Together<N> a, Together<N> b, Floats c) {
  return each_of<N>([&](std::size_t i) { return fma(a.v[i], b.v[i], c); });
}

}  // namespace
