// 16 floats in plain C++: the reference that every instruction set repeats bit for bit.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define LN_INLINE static inline

namespace {

struct Floats {
  float v[16];
};
struct Ints {
  std::int32_t v[16];
};

template <class F>
LN_INLINE Floats each(F&& value) {
  Floats x;
  for (std::size_t i = 0; i < 16; ++i) x.v[i] = value(i);
  return x;
}

LN_INLINE Floats load(const float* from) {
  return each([&](std::size_t i) { return from[i]; });
}
LN_INLINE void store(float* to, Floats x) { std::memcpy(to, x.v, sizeof x.v); }
LN_INLINE Floats broadcast(float x) {
  return each([&](std::size_t) { return x; });
}
LN_INLINE Floats add(Floats a, Floats b) {
  return each([&](std::size_t i) { return a.v[i] + b.v[i]; });
}
LN_INLINE Floats sub(Floats a, Floats b) {
  return each([&](std::size_t i) { return a.v[i] - b.v[i]; });
}
LN_INLINE Floats mul(Floats a, Floats b) {
  return each([&](std::size_t i) { return a.v[i] * b.v[i]; });
}
LN_INLINE Floats div(Floats a, Floats b) {
  return each([&](std::size_t i) { return a.v[i] / b.v[i]; });
}
// a * b + c, rounded once.
LN_INLINE Floats fma(Floats a, Floats b, Floats c) {
  return each([&](std::size_t i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
// As minps and maxps: the second operand if one is not a number.
LN_INLINE Floats min(Floats a, Floats b) {
  return each([&](std::size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
LN_INLINE Floats max(Floats a, Floats b) {
  return each([&](std::size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
// The first `count` lanes of x, at most 16, and the rest of `rest`.
LN_INLINE Floats first(std::size_t count, Floats x, Floats rest) {
  return each([&](std::size_t i) { return i < count ? x.v[i] : rest.v[i]; });
}

// 2 to the power n, for shifted = 1.5 * 2^23 + n: the float's last bits are the integer n.
LN_INLINE Floats power_of_two(Floats shifted) {
  return each([&](std::size_t i) {
    std::uint32_t bits;
    std::memcpy(&bits, &shifted.v[i], 4);
    bits = (bits << 23) + (127u << 23);
    float power;
    std::memcpy(&power, &bits, 4);
    return power;
  });
}

// Halves are added to halves: lanes i and i + 8, then i + 4, i + 2, i + 1.
template <class F>
LN_INLINE float reduce(Floats x, F&& operation) {
  for (std::size_t half = 8; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) x.v[i] = operation(x.v[i], x.v[i + half]);
  return x.v[0];
}
LN_INLINE float sum(Floats x) {
  return reduce(x, [](float a, float b) { return a + b; });
}
LN_INLINE float largest(Floats x) {
  return reduce(x, [](float a, float b) { return a > b ? a : b; });
}
LN_INLINE float smallest(Floats x) {
  return reduce(x, [](float a, float b) { return a < b ? a : b; });
}

LN_INLINE Ints load_ints(const std::int32_t* from) {
  Ints x;
  std::memcpy(x.v, from, sizeof x.v);
  return x;
}
LN_INLINE Ints broadcast_int(std::int32_t value) {
  Ints x;
  for (auto& lane : x.v) lane = value;
  return x;
}
LN_INLINE Floats to_floats(Ints x) {
  return each([&](std::size_t i) { return static_cast<float>(x.v[i]); });
}
// sum + the products of both 16-bit halves of each lane.
LN_INLINE Ints add_pairs(Ints sum, Ints a, Ints b) {
  for (std::size_t i = 0; i < 16; ++i) {
    std::int16_t x[2], y[2];
    std::memcpy(x, &a.v[i], 4);
    std::memcpy(y, &b.v[i], 4);
    sum.v[i] += x[0] * y[0] + x[1] * y[1];
  }
  return sum;
}

// 64 numbers, rounded to the nearest integer, halves to the even one, plus the zero point. What is below 0 or no
// number becomes 0, and what is beyond 255 becomes 255.
LN_INLINE void store_rounded(std::uint8_t* to, const Floats (&x)[4], std::int32_t zero_point) {
  const auto zero = static_cast<float>(zero_point);
  for (std::size_t i = 0; i < 64; ++i) {
    const float above = x[i / 16].v[i % 16] > -zero ? x[i / 16].v[i % 16] : -zero;
    const float inside = above < 255.0f - zero ? above : 255.0f - zero;
    const float shifted = inside + 12582912.0f;  // 1.5 * 2^23: leaves no room for a fraction
    std::uint32_t bits;
    std::memcpy(&bits, &shifted, 4);
    to[i] = static_cast<std::uint8_t>(bits + static_cast<std::uint32_t>(zero_point));
  }
}

// 16 rows of 16 floats become columns.
LN_INLINE void transpose(const float* from, std::size_t stride, float* to, std::size_t to_stride) {
  for (std::size_t i = 0; i < 16; ++i)
    for (std::size_t j = 0; j < 16; ++j) to[j * to_stride + i] = from[i * stride + j];
}

}  // namespace
