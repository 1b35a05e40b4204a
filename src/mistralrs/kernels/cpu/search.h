// K-quants by search: for every group some trial codes, the best scale and min for each (least squares), then the
// integer scales and mins with the least squared error.
// The lanes are groups: a sum runs over one group in order, and nothing is fused, so every instruction set finds the
// same bytes.
#pragma once
#include <math.h>

#include "blocks.h"
#include "codes.h"
#include "matmul.h"

namespace mistralrs {
namespace ISA {

constexpr int TRIALS = 3;   // of the 21 of a search that run side by side, to hide the latency of sums
constexpr int GROUPS = 16;  // that are searched together: one super-block or two

// x[k * GROUPS + g]: number k of group g; codes go from `low` to `high`.
template <int N>
struct Lanes {
  const float* x;  // of the first of W groups
  vec low, high;

  vec at(int k) const { return load(x + k * GROUPS); }
  vec code(vec number, vec inverse) const { return round(min(high, max(low, mul(number, inverse)))); }
};

inline vec size_of(vec a) { return max(a, sub(set(0), a)); }
inline vec inverse_of(vec scale) { return less(set(0), size_of(scale), div(set(1), scale), set(0)); }

// The squared error of x ~ scale * code - offset.
template <int N>
inline vec error(const Lanes<N>& g, vec scale, vec offset) {
  const vec inverse = inverse_of(scale);
  vec total = set(0);
  UNROLL for (int k = 0; k < N; ++k) {
    const vec x = add(g.at(k), offset), off = sub(x, mul(scale, g.code(x, inverse)));
    total = add(total, mul(off, off));
  }
  return total;
}

struct Fit {
  vec scale, min;
};

// The fit with the least error for the codes of a trial, where it is better than the best so far: n numbers, their sum and
// their squares; sums of codes, of their squares, and of codes times numbers.
inline void better(vec n, vec total, vec squares, vec q, vec qq, vec qx, vec& least, Fit& best) {
  const vec det = sub(mul(n, qq), mul(q, q));
  vec scale = div(sub(mul(n, qx), mul(total, q)), det), under = div(sub(mul(q, qx), mul(total, qq)), det);
  scale = less(under, set(0), div(qx, qq), scale), under = max(under, set(0));
  const vec two = set(2), curve = sub(sub(mul(scale, qq), mul(two, qx)), mul(mul(two, under), q));
  const vec off = add(mul(scale, curve), mul(under, add(mul(two, total), mul(n, under))));
  const vec found = less(set(0), det, less(set(0), scale, add(squares, off), set(INFINITY)), set(INFINITY));
  best = {less(found, least, scale, best.scale), less(found, least, under, best.min)};
  least = less(found, least, found, least);
}

// Least squares in scale and min for each trial; a min is never negative.
template <int N>
inline Fit fit_affine(const Lanes<N>& g) {
  vec low = set(0), high = g.at(0), total = set(0), squares = set(0);
  for (int k = 0; k < N; ++k) {
    const vec x = g.at(k);
    low = min(x, low), high = max(x, high);
    total = add(total, x), squares = add(squares, mul(x, x));
  }
  const vec span = sub(high, low), offset = sub(set(0), low), n = set((float)N);
  Fit best{div(span, g.high), offset};
  vec least = error(g, best.scale, best.min);
  float top[W];
  store(top, g.high);
  for (int step = -10; step <= 10; step += TRIALS) {
    vec inverse[TRIALS], q[1][TRIALS], qq[1][TRIALS], qx[1][TRIALS];
    clear(q), clear(qq), clear(qx);
    for (int t = 0; t < TRIALS; ++t)
      inverse[t] = div(set(top[0] + (top[0] > 4 ? 0.1f : 0.06f) * (float)(step + t)), span);
    for (int k = 0; k < N; ++k) {  // no number is below `low`
      const vec x = g.at(k), above = add(x, offset);
      UNROLL for (int t = 0; t < TRIALS; ++t) {
        const vec c = round(min(g.high, mul(above, inverse[t])));
        q[0][t] = add(q[0][t], c), qq[0][t] = add(qq[0][t], mul(c, c)), qx[0][t] = add(qx[0][t], mul(c, x));
      }
    }
    for (int t = 0; t < TRIALS; ++t)
      better(n, total, squares, q[0][t], qq[0][t], qx[0][t], least, best);
  }
  return {less(low, high, best.scale, set(0)), less(low, high, best.min, offset)};
}

// Least squares in the scale for each trial; it is negative where the longer side of the codes serves positive numbers.
template <int N>
inline vec fit_centered(const Lanes<N>& g) {
  vec low = g.at(0), high = g.at(0);
  for (int k = 1; k < N; ++k) low = min(g.at(k), low), high = max(g.at(k), high);
  const vec enough = mul(set(0.6f), max(high, sub(set(0), low)));
  vec best = set(0), gain = set(0);
  const vec both[] = {low, high};
  for (const vec end : both) {
    const vec ends = div(set(1), end);
    for (int step = -10; step <= 10; step += TRIALS) {
      vec inverse[TRIALS], qq[1][TRIALS], qx[1][TRIALS];
      clear(qq), clear(qx);
      for (int t = 0; t < TRIALS; ++t) inverse[t] = mul(sub(g.low, set(0.09f * (float)(step + t))), ends);
      for (int k = 0; k < N; ++k) {
        const vec x = g.at(k);
        UNROLL for (int t = 0; t < TRIALS; ++t) {
          const vec c = g.code(x, inverse[t]);
          qq[0][t] = add(qq[0][t], mul(c, c)), qx[0][t] = add(qx[0][t], mul(c, x));
        }
      }
      for (int t = 0; t < TRIALS; ++t) {
        const vec square = less(size_of(end), enough, set(0), mul(qx[0][t], qx[0][t]));  // a short end cannot win
        const vec beaten = mul(gain, qq[0][t]);
        best = less(beaten, square, div(qx[0][t], qq[0][t]), best);
        gain = less(beaten, square, div(square, qq[0][t]), gain);
      }
    }
  }
  return best;
}

inline uint16_t half(float x) {
  f16 lanes[W];
  store(lanes, set(x));
  return lanes[0].bits;
}
inline float widened(uint16_t bits) {
  const f16 lanes[W] = {{bits}};
  float out[W];
  store(out, load(lanes));
  return out[0];
}

// The nearest integer between two others.
inline float near(float value, int low, int high) {
  return (float)lrintf(fminf(fmaxf(value, (float)low), (float)high));
}

// The integers nearest to scale / d and min / dmin, or a neighbour of one or both that has a smaller error.
template <int N>
inline Fit refine(const Lanes<N>& g, Fit start, vec d, vec dmin, float low, float high, bool mins) {
  Fit best = start;
  vec least = set(INFINITY);
  for (int ds = -1; ds <= 1; ++ds) {
    for (int dm = -mins; dm <= mins; ++dm) {
      const vec s = add(start.scale, set((float)ds)), m = add(start.min, set((float)dm));
      vec found = error(g, mul(d, s), mul(dmin, m));
      found = less(s, set(low), set(INFINITY), less(set(high), s, set(INFINITY), found));
      found = less(m, set(0), set(INFINITY), less(set(high), m, set(INFINITY), found));
      best = {less(found, least, s, best.scale), less(found, least, m, best.min)};
      least = less(found, least, found, least);
    }
  }
  return best;
}

// The codes of one group with its final scale and min.
template <int N>
inline void encode(const float* x, float low, float high, float scale, float offset, uint8_t* codes) {
  const vec inverse = inverse_of(set(scale));
  for (int k = 0; k < N; k += W) {
    const vec scaled = mul(add(load(x + k), set(offset)), inverse);
    narrow((int8_t*)codes + k, sub(round(min(set(high), max(set(low), scaled))), set(low)));
  }
}

// GROUPS groups of N numbers into their super-blocks. Mins: codes from 0 and a min for each group; else codes around 0.
template <int N, bool Mins>
inline void search_groups(const float* x, int low, int high, int limit, Block* blocks) {
  constexpr int each = 256 / N;
  float turned[N * GROUPS], scale[GROUPS], offset[GROUPS] = {}, d[GROUPS], dmin[GROUPS] = {};
  for (int g = 0; g < GROUPS; ++g)
    for (int k = 0; k < N; ++k) turned[k * GROUPS + g] = x[g * N + k];
  auto lanes = [&](int g) { return Lanes<N>{turned + g, set((float)low), set((float)high)}; };
  for (int g = 0; g < GROUPS; g += W) {
    if constexpr (Mins) {
      const Fit fit = fit_affine(lanes(g));
      store(scale + g, fit.scale), store(offset + g, fit.min);
    } else {
      store(scale + g, fit_centered(lanes(g)));
    }
  }
  const int least = Mins ? 0 : -limit, largest = Mins ? limit : limit - 1;
  for (int g = 0; g < GROUPS; g += each) {
    float top = 0, under = 0;
    for (int i = g; i < g + each; ++i) {
      top = fabsf(scale[i]) > fabsf(top) ? scale[i] : top;
      under = offset[i] > under ? offset[i] : under;
    }
    Block& b = blocks[g / each];
    b.d = half(top / (float)(Mins ? limit : -limit)), b.dmin = half(under / (float)limit);
    for (int i = g; i < g + each; ++i) {
      d[i] = widened(b.d), dmin[i] = widened(b.dmin);
      scale[i] = d[i] != 0 ? near(scale[i] / d[i], least, largest) : 0;
      offset[i] = dmin[i] > 0 ? near(offset[i] / dmin[i], 0, limit) : 0;
    }
  }
  for (int g = 0; g < GROUPS; g += W) {
    const Fit start{load(scale + g), load(offset + g)};
    const Fit best = refine(lanes(g), start, load(d + g), load(dmin + g), (float)least, (float)largest, Mins);
    store(scale + g, best.scale), store(offset + g, best.min);
  }
  for (int g = 0; g < GROUPS; ++g) {
    Block& b = blocks[g / each];
    const int i = g % each;
    b.scales[i] = (int8_t)scale[g], b.mins[i] = (uint8_t)offset[g];
    encode<N>(x + g * N, (float)low, (float)high, d[g] * scale[g], dmin[g] * offset[g], b.codes + i * N);
  }
}

// SEARCHED super-blocks of 256 numbers.
inline void search_blocks(int format, const float* x, Block* blocks) {
  for (int i = 0; i < SEARCHED; ++i) {
    const float* at = x + 256 * i;
    if (format == 10) search_groups<16, true>(at, 0, 3, 15, blocks + i);
    if (format == 11) search_groups<16, false>(at, -4, 3, 32, blocks + i);
    if (format == 14) search_groups<16, false>(at, -32, 31, 128, blocks + i);
  }
  if (format == 12) search_groups<32, true>(x, 0, 15, 63, blocks);
  if (format == 13) search_groups<32, true>(x, 0, 31, 63, blocks);
}

}  // namespace ISA
}  // namespace mistralrs
