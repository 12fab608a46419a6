// Four vectors, step by step together. A processor looks ahead a hundred operations or so; a long
// chain after the other would fill that with operations that wait for each other.
#pragma once

#include "kernels.h"

namespace {

struct Four {
  Floats v[4];
};

LN_INLINE Four four(Floats x) { return {{x, x, x, x}}; }

template <class F>
LN_INLINE Four each_of_four(F&& value) {
  return {{value(0), value(1), value(2), value(3)}};
}
LN_INLINE Four min(Four a, Floats b) {
  return each_of_four([&](int i) { return min(a.v[i], b); });
}
LN_INLINE Four max(Four a, Floats b) {
  return each_of_four([&](int i) { return max(a.v[i], b); });
}
LN_INLINE Four mul(Four a, Four b) {
  return each_of_four([&](int i) { return mul(a.v[i], b.v[i]); });
}
LN_INLINE Four fma(Four a, Floats b, Floats c) {
  return each_of_four([&](int i) { return fma(a.v[i], b, c); });
}
LN_INLINE Four fma(Four a, Four b, Floats c) {
  return each_of_four([&](int i) { return fma(a.v[i], b.v[i], c); });
}

}  // namespace
