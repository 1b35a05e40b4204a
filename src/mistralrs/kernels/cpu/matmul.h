// The dot products that matmul and attention are made of.
// One output is always the same sum: lane i of one vector adds the products k = i, i + W, i + 2W, ... in order, then the
// lanes are added by `sum`. Tile sizes, blocks and threads change which outputs are computed together, never this order.
#pragma once
#include "simd.h"

namespace mistralrs {
namespace ISA {

// acc[i][j] += x[i] * w[j] over `inner` elements, lane by lane.
template <int M, int N, class T>
inline void dots(const float* x, int64_t ldx, const T* w, int64_t ldw, int64_t inner, vec (&acc)[M][N]) {
  int64_t k = 0;
  for (; k + W <= inner; k += W) {
    // The shorter side stays in registers: three, twelve sums and one more are all the sixteen that AVX2 has.
    if constexpr (M < N) {
      vec a[M];
      UNROLL for (int i = 0; i < M; ++i) a[i] = load(x + i * ldx + k);
      UNROLL for (int j = 0; j < N; ++j) {
        const vec b = load(w + j * ldw + k);
        UNROLL for (int i = 0; i < M; ++i) acc[i][j] = fma(a[i], b, acc[i][j]);
      }
    } else {
      vec b[N];
      UNROLL for (int j = 0; j < N; ++j) b[j] = load(w + j * ldw + k);
      UNROLL for (int i = 0; i < M; ++i) {
        const vec a = load(x + i * ldx + k);
        UNROLL for (int j = 0; j < N; ++j) acc[i][j] = fma(a, b[j], acc[i][j]);
      }
    }
  }
  if (k == inner) return;
  for (int j = 0; j < N; ++j) {
    const vec b = load(w + j * ldw + k, inner - k);
    for (int i = 0; i < M; ++i) acc[i][j] = fma(load(x + i * ldx + k, inner - k), b, acc[i][j]);
  }
}

template <int M, int N>
inline void clear(vec (&acc)[M][N]) {
  UNROLL for (int i = 0; i < M; ++i) {
    UNROLL for (int j = 0; j < N; ++j) acc[i][j] = set(0);
  }
}

// out[i * stride + j] = sum(acc[i][j]).
template <int M, int N>
inline void sums(const vec (&acc)[M][N], float* out, int64_t stride) {
  if constexpr (N == 4) {
    UNROLL for (int i = 0; i < M; ++i) sum4(acc[i][0], acc[i][1], acc[i][2], acc[i][3], out + i * stride);
  } else if constexpr (M == 4) {
    UNROLL for (int j = 0; j < N; ++j) {
      float column[4];
      sum4(acc[0][j], acc[1][j], acc[2][j], acc[3][j], column);
      for (int i = 0; i < 4; ++i) out[i * stride + j] = column[i];
    }
  } else {
    UNROLL for (int i = 0; i < M; ++i) {
      UNROLL for (int j = 0; j < N; ++j) out[i * stride + j] = sum(acc[i][j]);
    }
  }
}

// `body(Int<n>())` for a run-time n in [1, N].
template <int N>
struct Int {
  static constexpr int value = N;
};
template <int N, class Body>
inline void constant(int64_t n, Body&& body) {
  if constexpr (N > 1) {
    if (n < N) return constant<N - 1>(n, body);
  }
  body(Int<N>());
}

// `body(first row, first column, Int<rows>, Int<columns>)` over tiles of at most M x N; columns outermost.
template <int M, int N, class Body>
inline void tiles(int64_t rows, int64_t cols, Body&& body) {
  for (int64_t c = 0; c < cols;) {
    const bool full = cols - c >= N;
    for (int64_t r = 0; r < rows; r += M) {
      constant<M>(least(M, rows - r), [&](auto m) { full ? body(r, c, m, Int<N>()) : body(r, c, m, Int<1>()); });
    }
    c += full ? N : 1;
  }
}

}  // namespace ISA
}  // namespace mistralrs
