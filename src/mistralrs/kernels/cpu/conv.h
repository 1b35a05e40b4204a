// Causal convolution of every channel with its own taps. Lanes are channels; one output adds its taps from the newest row
// to the oldest, then the bias, whichever of the rows come from the tail that an earlier step left.
#pragma once
#include "glu.h"
#include "pool.h"
#include "scratch.h"
#include "table.h"

namespace mistralrs {
namespace ISA {

constexpr int64_t CHANNELS = 64;  // of one task

// Weights [n, taps] of neighbouring channels as float32 [taps][CHANNELS].
template <class T>
inline void turn(const T* w, int64_t n, int64_t taps, float* flat, float* out) {
  for (int64_t i = 0; i < n * taps; i += W) store_some(flat + i, load_some(w + i, n * taps - i), n * taps - i);
  for (int64_t t = 0; t < taps; ++t) {
    for (int64_t c = 0; c < n; ++c) out[t * CHANNELS + c] = flat[c * taps + t];
  }
}

// The rows of one sequence: y and then its new tail [taps - 1, channels], for n channels from `c`.
inline void convolve(const Conv& a, int64_t sequence, int64_t c, int64_t n, const float* w, const float* bias) {
  const int64_t first = a.starts[sequence], count = a.starts[sequence + 1] - first, past = a.taps - 1;
  float* tail = a.tails + a.slots[sequence] * past * a.channels + c;
  const float* x = a.x + first * a.stride + c;
  if (a.fresh[sequence]) {
    for (int64_t i = 0; i < past; ++i) memset(tail + i * a.channels, 0, n * sizeof(float));
  }
  auto row = [&](int64_t t) { return t < 0 ? tail + (past + t) * a.channels : x + t * a.stride; };
  for (int64_t t = 0; t < count; ++t) {
    float* y = a.y + (first + t) * a.channels + c;
    for (int64_t d = 0; d < n; d += W) {
      vec sum = mul(load_some(row(t) + d, n - d), load(w + past * CHANNELS + d));
      for (int64_t back = 1; back <= past; ++back)
        sum = fma(load_some(row(t - back) + d, n - d), load(w + (past - back) * CHANNELS + d), sum);
      if (bias) sum = add(sum, load(bias + d));
      store_some(y + d, a.silu ? silu(sum) : sum, n - d);
    }
  }
  for (int64_t i = 0; i < past; ++i) memmove(tail + i * a.channels, row(count - past + i), n * sizeof(float));
}

inline void conv(const Conv& a) {
  const int64_t blocks = ceil_div(a.channels, CHANNELS), rows = a.starts[a.sequences] - a.starts[0];
  auto body = [&](int64_t i) {
    const int64_t c = i * CHANNELS, n = least(CHANNELS, a.channels - c);
    float* w = (float*)scratch((2 * a.taps + 1) * CHANNELS * sizeof(float));
    float *bias = w + a.taps * CHANNELS, *flat = bias + CHANNELS;
    typed(a.type, a.weight, [&](auto weight) {
      turn(weight + c * a.taps, n, a.taps, flat, w);
      if (a.bias) turn((decltype(weight))a.bias + c, n, 1, flat, bias);
    });
    for (int64_t s = 0; s < a.sequences; ++s) convolve(a, s, c, n, w, a.bias ? bias : nullptr);
  };
  parallel(blocks, (rows + a.sequences) * a.channels * a.taps * 4, body);
}

}  // namespace ISA
}  // namespace mistralrs
