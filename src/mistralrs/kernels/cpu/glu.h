// Gated linear units: act(gate) * up.
#pragma once
#include "functions.h"
#include "pool.h"
#include "table.h"

namespace mistralrs {
namespace ISA {

inline vec silu(vec x) { return div(x, add(set(1), exp(sub(set(0), x)))); }

// x * P(normal < x) = max(x, 0) - |x| / 2 * erfc(|x| / sqrt 2), which keeps its precision in both tails.
inline vec gelu(vec x) {
  const vec size = max(x, sub(set(0), x));
  return sub(max(set(0), x), mul(mul(set(0.5f), size), erfc(mul(size, set(0.707106781f)))));
}

inline vec gelu_tanh(vec x) {
  const vec inner = mul(mul(x, set(0.797884561f)), fma(mul(x, x), set(0.044715f), set(1)));
  return mul(mul(set(0.5f), x), add(set(1), tanh(inner)));
}

template <class Fn>
inline void gated(const Glu& a, Fn act) {
  const int64_t slices = ceil_div(a.width, 4096);
  auto body = [&](int64_t i) {
    const int64_t row = i / slices, first = i % slices * 4096;
    const float *gate = a.gate + row * a.gate_stride, *up = a.up + row * a.up_stride;
    float* y = a.y + row * a.width;
    for (int64_t d = first; d < least(a.width, first + 4096); d += W) {
      const int64_t n = a.width - d;
      store_some(y + d, mul(act(load_some(gate + d, n)), load_some(up + d, n)), n);
    }
  };
  parallel(a.rows * slices, 16 * a.rows * a.width, body);
}

inline void glu(const Glu& a) {
  if (a.act == Act::silu) return gated(a, [](vec x) { return silu(x); });
  if (a.act == Act::gelu) return gated(a, [](vec x) { return gelu(x); });
  gated(a, [](vec x) { return gelu_tanh(x); });
}

}  // namespace ISA
}  // namespace mistralrs
