// Some vectors, step by step together. A processor looks ahead a hundred operations or so; a long
// chain after the other would fill that with operations that wait for each other.
#pragma once

#include <utility>

#include "kernels.h"

// Compilers would call functions for some of the vectors, if they were not told. With the address sanitizer they
// may: it makes a branch of each access, and g++ 12 would take minutes for a source with all of them in one place.
#if defined(__SANITIZE_ADDRESS__)
#define LN_IN_PLACE
#define LN_STEP static __attribute__((noinline))
#else
#define LN_IN_PLACE __attribute__((always_inline))
#define LN_STEP LN_INLINE
#endif

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
  return each_of<N>([&](std::size_t) LN_IN_PLACE { return x; });
}
template <std::size_t N>
LN_INLINE Together<N> min(Together<N> a, Floats b) {
  return each_of<N>([&](std::size_t i) LN_IN_PLACE { return min(a.v[i], b); });
}
template <std::size_t N>
LN_INLINE Together<N> max(Together<N> a, Floats b) {
  return each_of<N>([&](std::size_t i) LN_IN_PLACE { return max(a.v[i], b); });
}
template <std::size_t N>
LN_INLINE Together<N> add(Together<N> a, Floats b) {
  return each_of<N>([&](std::size_t i) LN_IN_PLACE { return add(a.v[i], b); });
}
template <std::size_t N>
LN_INLINE Together<N> sub(Together<N> a, Floats b) {
  return each_of<N>([&](std::size_t i) LN_IN_PLACE { return sub(a.v[i], b); });
}
template <std::size_t N>
LN_INLINE Together<N> mul(Together<N> a, Together<N> b) {
  return each_of<N>([&](std::size_t i) LN_IN_PLACE { return mul(a.v[i], b.v[i]); });
}
template <std::size_t N>
LN_INLINE Together<N> fma(Together<N> a, Floats b, Floats c) {
  return each_of<N>([&](std::size_t i) LN_IN_PLACE { return fma(a.v[i], b, c); });
}
template <std::size_t N>
LN_INLINE Together<N> fma(Together<N> a, Together<N> b, Floats c) {
  return each_of<N>([&](std::size_t i) LN_IN_PLACE { return fma(a.v[i], b.v[i], c); });
}

template <std::size_t N>
LN_INLINE Together<N> fma(Together<N> a, Floats b, Together<N> c) {
  return each_of<N>([&](std::size_t i) LN_IN_PLACE { return fma(a.v[i], b, c.v[i]); });
}
template <std::size_t N>
LN_INLINE Together<N> fma(Together<N> a, Together<N> b, Together<N> c) {
  return each_of<N>([&](std::size_t i) LN_IN_PLACE { return fma(a.v[i], b.v[i], c.v[i]); });
}

}  // namespace
