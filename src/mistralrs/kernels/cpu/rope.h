// Rotary position embedding: pairs of features turned by an angle, in halves or as neighbours.
#pragma once
#include "pool.h"
#include "simd.h"
#include "table.h"

namespace mistralrs {
namespace ISA {

inline void turn_halves(const float* x, float* y, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; i += W) {
    const int64_t n = half - i;
    const vec a = load_some(x + i, n), b = load_some(x + half + i, n), c = load_some(cos + i, n), s = load_some(sin + i, n);
    store_some(y + i, sub(mul(a, c), mul(b, s)), n);
    store_some(y + half + i, add(mul(b, c), mul(a, s)), n);
  }
}

inline void turn_neighbours(const float* x, float* y, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    y[2 * i] = a * cos[i] - b * sin[i];
    y[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

inline void rope(const Rope& a) {
  const int64_t piece = most(1, 16384 / most(1, a.heads * a.width));
  auto body = [&](int64_t i) {
    for (int64_t r = i * piece * a.heads; r < least(a.rows, (i + 1) * piece) * a.heads; ++r) {
      const int64_t row = r / a.heads;
      const float* x = a.x + row * a.row_stride + r % a.heads * a.head_stride;
      const float *cos = a.cos + row * a.angle_stride, *sin = a.sin + row * a.angle_stride;
      float* y = a.y + r * a.width;
      (a.interleaved ? turn_neighbours : turn_halves)(x, y, cos, sin, a.half);
      memcpy(y + 2 * a.half, x + 2 * a.half, (a.width - 2 * a.half) * sizeof(float));
    }
  };
  parallel(ceil_div(a.rows, piece), 4 * a.rows * a.heads * a.width, body);
}

}  // namespace ISA
}  // namespace mistralrs
