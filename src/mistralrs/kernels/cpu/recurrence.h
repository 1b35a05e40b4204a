// S <- decay S + k u^T, out = S^T q. The columns of a state never meet: lanes are columns, and one column is summed over
// its keys in order, the even and the odd ones apart. So neither chunks nor batches nor threads change a bit.
#pragma once
#include "pool.h"
#include "scratch.h"
#include "simd.h"
#include "table.h"

namespace mistralrs {
namespace ISA {

constexpr int LANES = 4;  // vectors of columns that stay in the first cache, and their sums in registers

struct Step {  // what a token brings, apart from its values
  const float *q, *k;
  float decay;
};

inline void answer(const vec (&even)[LANES], const vec (&odd)[LANES], vec (&out)[LANES]) {
  UNROLL for (int j = 0; j < LANES; ++j) out[j] = add(even[j], odd[j]);
}

// out = S^T k
inline void recall(const float* s, int64_t stride, const float* k, int64_t keys, vec (&out)[LANES]) {
  vec even[LANES], odd[LANES];
  UNROLL for (int j = 0; j < LANES; ++j) even[j] = odd[j] = set(0);
  int64_t i = 0;
  for (; i + 2 <= keys; i += 2, s += 2 * stride) {
    const vec a = set(k[i]), b = set(k[i + 1]);
    UNROLL for (int j = 0; j < LANES; ++j) even[j] = fma(load(s + j * W), a, even[j]);
    UNROLL for (int j = 0; j < LANES; ++j) odd[j] = fma(load(s + stride + j * W), b, odd[j]);
  }
  if (i < keys) {
    UNROLL for (int j = 0; j < LANES; ++j) even[j] = fma(load(s + j * W), set(k[i]), even[j]);
  }
  answer(even, odd, out);
}

// S <- decay S + k u^T, out = S^T q
inline void advance(float* s, int64_t stride, const Step& a, int64_t keys, const vec (&u)[LANES], vec (&out)[LANES]) {
  const vec decay = set(a.decay);
  vec sums[2][LANES];
  UNROLL for (int j = 0; j < LANES; ++j) sums[0][j] = sums[1][j] = set(0);
  auto row = [&](int64_t i, vec(&sum)[LANES]) {
    const vec k = set(a.k[i]), q = set(a.q[i]);
    float* to = s + i * stride;
    UNROLL for (int j = 0; j < LANES; ++j) {
      const vec now = fma(k, u[j], mul(decay, load(to + j * W)));
      store(to + j * W, now);
      sum[j] = fma(now, q, sum[j]);
    }
  };
  int64_t i = 0;
  for (; i + 2 <= keys; i += 2) row(i, sums[0]), row(i + 1, sums[1]);
  if (i < keys) row(i, sums[0]);
  answer(sums[0], sums[1], out);
}

// Rows [first, last) of one head and `cols` columns; s has LANES whole vectors in each row.
inline void march(const Recurrence& a, float* s, int64_t stride, int64_t first, int64_t last, int64_t head, int64_t col,
                  int64_t cols) {
  const int64_t group = head / (a.heads / a.groups);
  for (int64_t t = first; t < last; ++t) {
    const float decay = a.decay[t * a.heads + head], *v = a.v + t * a.v_stride + head * a.v_head + col;
    const float* k = a.k + t * a.k_stride + group * a.k_head;
    vec u[LANES], out[LANES];
    UNROLL for (int j = 0; j < LANES; ++j) u[j] = cols > j * W ? load_some(v + j * W, cols - j * W) : set(0);
    if (a.beta) {
      vec known[LANES];
      recall(s, stride, k, a.keys, known);
      const vec beta = set(a.beta[t * a.heads + head]);
      UNROLL for (int j = 0; j < LANES; ++j) u[j] = mul(beta, sub(u[j], mul(set(decay), known[j])));
    }
    const Step step{a.q + t * a.q_stride + group * a.q_head, k, decay};
    advance(s, stride, step, a.keys, u, out);
    float* y = a.out + (t * a.heads + head) * a.values + col;
    for (int j = 0; j < LANES && j * W < cols; ++j) store_some(y + j * W, out[j], cols - j * W);
  }
}

// `cols` columns of one state through its sequence. A single token works on the state in place; more of them on a dense
// copy, whose rows do not compete for the same places of the cache.
inline void stripe(const Recurrence& a, int64_t sequence, int64_t head, int64_t col, int64_t cols) {
  constexpr int64_t WIDE = LANES * W;
  const int64_t first = a.starts[sequence], last = a.starts[sequence + 1], size = cols * sizeof(float);
  float* state = a.states + (a.slots[sequence] * a.heads + head) * a.keys * a.values + col;
  const bool fresh = a.fresh[sequence];
  if (last - first == 1 && cols == WIDE && !fresh) return march(a, state, a.values, first, last, head, col, cols);
  float* copy = (float*)scratch(a.keys * WIDE * sizeof(float));
  memset(copy, 0, a.keys * WIDE * sizeof(float));
  for (int64_t i = 0; i < a.keys && !fresh; ++i) memcpy(copy + i * WIDE, state + i * a.values, size);
  march(a, copy, WIDE, first, last, head, col, cols);
  for (int64_t i = 0; i < a.keys; ++i) memcpy(state + i * a.values, copy + i * WIDE, size);
}

inline void recurrence(const Recurrence& a) {
  const int64_t rows = a.starts[a.sequences] - a.starts[0];
  auto body = [&](int64_t i) {
    for (int64_t c = 0; c < a.values; c += LANES * W)
      stripe(a, i / a.heads, i % a.heads, c, least(LANES * W, a.values - c));
  };
  parallel(a.sequences * a.heads, 3 * rows * a.heads * a.keys * a.values, body);
}

}  // namespace ISA
}  // namespace mistralrs
