// Elementary functions over 16 lanes. libm's differ from machine to machine, so they are our own.
#pragma once

#include "together.h"

namespace {

template <class X>
LN_INLINE X clamp(X x, float low, float high) {
  return min(max(x, broadcast(low)), broadcast(high));
}

// e to the power x: x = n ln 2 + r, and a polynomial in r; relative error 2e-7. Range reduction and
// coefficients are those of expf in Cephes (S. L. Moshier). Arguments are cut at -87 and 88.
template <std::size_t N>
LN_INLINE Together<N> exp(Together<N> x) {
  x = clamp(x, -87.0f, 88.0f);
  const Floats round = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Together<N> shifted = fma(x, broadcast(1.44269504f), round);
  const Together<N> n = sub(shifted, round);
  Together<N> r = fma(n, broadcast(-0.693359375f), x);
  r = fma(n, broadcast(2.12194440e-4f), r);
  Together<N> p = all<N>(broadcast(1.9875691500e-4f));
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, broadcast(1.0f)));
  return each_of<N>([&](std::size_t i) LN_IN_PLACE {
    return mul(p.v[i], power_of_two(shifted.v[i]));
  });
}
LN_INLINE Floats exp(Floats x) { return exp(all<1>(x)).v[0]; }

// 1 / (1 + e^-x)
LN_INLINE Floats logistic(Floats x) {
  const Floats one = broadcast(1.0f);
  return div(one, add(one, exp(sub(broadcast(0.0f), x))));
}

LN_INLINE Floats tanh(Floats x) {
  return fma(broadcast(2.0f), logistic(add(x, x)), broadcast(-1.0f));
}

// x * Phi(x), Phi the normal distribution. Phi(x) - 1/2 = x * P(x^2) on [-5.2, 5.2], with P a
// minimax polynomial in 2 x^2 / 5.2^2 - 1 (so that its coefficients do not cancel), weighted so that
// x * Phi(x) is within 9e-7, as near as x / 2 * (1 + erf(x / sqrt(2))) comes in fp32.
// tests/fit_gelu.py finds the coefficients (Lawson's method).
template <std::size_t N>
LN_INLINE Together<N> gelu_erf(Together<N> x) {
  const Together<N> inside = clamp(x, -5.2f, 5.2f);
  const Together<N> t = fma(mul(inside, inside), broadcast(2.0f / (5.2f * 5.2f)), broadcast(-1.0f));
  Together<N> p = all<N>(broadcast(0x1.5a7d12p-13f));
  p = fma(p, t, broadcast(-0x1.15ece4p-11f));
  p = fma(p, t, broadcast(0x1.7377d6p-11f));
  p = fma(p, t, broadcast(-0x1.184352p-10f));
  p = fma(p, t, broadcast(0x1.4d38d2p-9f));
  p = fma(p, t, broadcast(-0x1.45bdaep-8f));
  p = fma(p, t, broadcast(0x1.089824p-7f));
  p = fma(p, t, broadcast(-0x1.9667a0p-7f));
  p = fma(p, t, broadcast(0x1.28d2cep-6f));
  p = fma(p, t, broadcast(-0x1.958776p-6f));
  p = fma(p, t, broadcast(0x1.05da40p-5f));
  p = fma(p, t, broadcast(-0x1.471428p-5f));
  p = fma(p, t, broadcast(0x1.99d02ep-5f));
  p = fma(p, t, broadcast(-0x1.157a7ep-4f));
  p = fma(p, t, broadcast(0x1.166cf2p-3f));
  return mul(x, clamp(fma(inside, p, broadcast(0.5f)), 0.0f, 1.0f));
}

// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), by tanh(y) = 2 logistic(2 y) - 1.
LN_INLINE Floats gelu_tanh(Floats x) {
  const Floats inner = fma(mul(x, x), broadcast(0.044715f * 1.5957691216f), broadcast(1.5957691216f));
  return mul(x, logistic(mul(x, inner)));
}

LN_INLINE Floats activated(lanner::Activation activation, Floats x) {
  switch (activation) {
    case lanner::Activation::gelu_tanh: return gelu_tanh(x);
    case lanner::Activation::relu: return max(x, broadcast(0.0f));
    case lanner::Activation::silu: return mul(x, logistic(x));
    case lanner::Activation::tanh: return tanh(x);
    case lanner::Activation::gelu_erf: return gelu_erf(all<1>(x)).v[0];
    case lanner::Activation::none: break;
  }
  return x;
}
template <std::size_t N>
LN_INLINE Together<N> activated(lanner::Activation activation, Together<N> x) {
  if (activation == lanner::Activation::none) return x;
  if (activation == lanner::Activation::gelu_erf) return gelu_erf(x);
  return each_of<N>([&](std::size_t i) LN_IN_PLACE {
    return activated(activation, x.v[i]);
  });
}

}  // namespace
