// Root-mean-square and layer norm. Each row is reduced by four vectors in one fixed order.
#pragma once
#include <math.h>

#include "pool.h"
#include "simd.h"
#include "table.h"

namespace mistralrs {
namespace ISA {

// Sum over `term(vector of x)`; lanes past the end of the row count as `term` of nothing.
template <class Term>
inline float reduce(const float* x, int64_t width, Term term) {
  vec part[4] = {set(0), set(0), set(0), set(0)};
  int64_t d = 0;
  for (; d + 4 * W <= width; d += 4 * W) {
    UNROLL for (int j = 0; j < 4; ++j) part[j] = term(part[j], load(x + d + j * W), W);
  }
  for (; d < width; d += W) part[0] = term(part[0], load_some(x + d, width - d), width - d);
  return sum(add(add(part[0], part[1]), add(part[2], part[3])));
}

// `row(input, output)` for every row and head, in pieces that are worth waking a thread for.
template <class Row>
inline void by_rows(const Norm& a, Row row) {
  const int64_t rows = a.rows * a.heads, piece = most(1, least(rows, 16384 / most(1, a.width)));
  auto body = [&](int64_t i) {
    for (int64_t r = i * piece; r < least(rows, (i + 1) * piece); ++r)
      row(a.x + r / a.heads * a.row_stride + r % a.heads * a.head_stride, a.y + r * a.width);
  };
  parallel(ceil_div(rows, piece), 4 * rows * a.width, body);
}

inline void rms_norm(const Norm& a) {
  typed(a.type, a.weight, [&](auto weight) {
    by_rows(a, [&](const float* x, float* y) {
      const float square = reduce(x, a.width, [](vec s, vec v, int64_t) { return fma(v, v, s); });
      const vec scale = set(1.0f / sqrtf(square / (float)a.width + a.eps)), offset = set(a.offset);
      for (int64_t d = 0; d < a.width; d += W) {
        const int64_t n = a.width - d;
        const vec w = add(load_some(weight + d, n), offset);
        store_some(y + d, mul(mul(load_some(x + d, n), scale), w), n);
      }
    });
  });
}

// The first n lanes, then zeros.
inline vec keep(vec a, int64_t n) {
  if (n >= W) return a;
  float lanes[W];
  store(lanes, a);
  return load(lanes, n);
}

inline void layer_norm(const Norm& a) {
  typed(a.type, a.weight, [&](auto weight) {
    const auto bias = (decltype(weight))a.bias;
    by_rows(a, [&](const float* x, float* y) {
      const float total = reduce(x, a.width, [](vec s, vec v, int64_t) { return add(s, v); });
      const vec mean = set(total / (float)a.width);
      const float square = reduce(x, a.width, [=](vec s, vec v, int64_t n) {
        const vec off = keep(sub(v, mean), n);
        return fma(off, off, s);
      });
      const vec scale = set(1.0f / sqrtf(square / (float)a.width + a.eps));
      for (int64_t d = 0; d < a.width; d += W) {
        const int64_t n = a.width - d;
        const vec b = bias ? load_some(bias + d, n) : set(0);
        const vec unit = mul(sub(load_some(x + d, n), mean), scale);
        store_some(y + d, fma(unit, load_some(weight + d, n), b), n);
      }
    });
  });
}

}  // namespace ISA
}  // namespace mistralrs
