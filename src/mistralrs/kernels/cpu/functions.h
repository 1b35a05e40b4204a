// exp, tanh and erfc on vectors; tests/kernels/test_glu.py measures them through the activations.
#pragma once
#include "simd.h"

namespace mistralrs {
namespace ISA {

inline vec horner(vec, float c) { return set(c); }
template <class... Rest>
inline vec horner(vec x, float c, Rest... rest) {
  return fma(horner(x, rest...), x, set(c));
}

// exp(x) / 2^n for the integer n that is next to x / ln 2.
inline vec exp_rest(vec x, vec n) {
  const vec r = fma(n, set(2.12194440e-4f), fma(n, set(-0.693359375f), x));  // ln 2 in two parts
  return fma(mul(r, r), horner(r, 0.5f, 0.166665778f, 0.0416668542f, 0.00836314447f, 0.00139012758f), add(r, set(1)));
}

// exp(x), relative error below 2^-22; 0 below -87.3 (no subnormal results), 2^127.9 above 88.7; NaN stays NaN.
inline vec exp(vec x) {
  const vec clamped = min(set(88.7f), max(set(-87.3f), x));
  const vec n = round(mul(clamped, set(1.44269504f)));
  const vec half = round(mul(n, set(0.5f)));  // 2^n in two halves: n reaches 128
  return less(x, set(-87.3f), set(0), mul(mul(exp_rest(clamped, n), power2(half)), power2(sub(n, half))));
}

// exp(x) of x <= 0, the same bits: one factor is enough for its powers of two.
inline vec exp_down(vec x) {
  const vec clamped = max(set(-87.3f), x);
  const vec n = round(mul(clamped, set(1.44269504f)));
  return less(x, set(-87.3f), set(0), mul(exp_rest(clamped, n), power2(n)));
}

// tanh(x), relative error below 2^-21: a polynomial near 0, where 1 - 2 / (exp(2x) + 1) would cancel.
inline vec tanh(vec x) {
  const vec z = mul(x, x);
  const vec near = fma(mul(x, z), 
      horner(z, -0.333333343f, 0.133333042f, -0.0539592654f, 0.021768963f, -0.00834408030f, 0.00229288824f), x);
  const vec far = sub(set(1), div(set(2), add(exp(add(x, x)), set(1))));
  return less(z, set(0.39f), near, far);
}

// erfc(x) for x >= 0, relative error below 2^-19 to x = 3 and 2^-16 to x = 9: exp(-x^2) times a polynomial of t = 1 / (1 + 0.4 x).
inline vec erfc(vec x) {
  const vec t = div(set(1), fma(set(0.4f), x, set(1)));
  const vec p = horner(t, 0.22570691f, 0.22495202f, 0.2149191f, 0.1296796f, 0.27206623f, -0.28436669f,
                       0.54743545f, -0.4988115f, 0.19801322f, -0.029594338f);
  return mul(mul(exp(sub(set(0), mul(x, x))), t), p);
}

// One float through the vector function, so that scalars and vectors agree bit by bit.
inline float exp(float x) {
  float lanes[W];
  store(lanes, exp(set(x)));
  return lanes[0];
}

}  // namespace ISA
}  // namespace mistralrs
