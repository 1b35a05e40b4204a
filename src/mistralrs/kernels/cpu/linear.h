// y = x w^T + bias with w as it lies in a checkpoint: [cols, inner] in float32, float16 or bfloat16.
#pragma once
#include "matmul.h"
#include "pool.h"
#include "scratch.h"
#include "table.h"

namespace mistralrs {
namespace ISA {

constexpr int64_t THIN = 8;       // up to this many rows the weights are used from memory as they are
constexpr int64_t PANEL = 24;     // weight rows that a thread widens and keeps in its cache
constexpr int64_t DEPTH = 512;    // inner elements of one block of a panel
constexpr int64_t BAND = 32;      // rows of x that pass over a panel together
static_assert(PANEL % COLS == 0 && DEPTH % W == 0, "whole tiles");

// y[i * stride + j] += bias[first + j]
inline void add_bias(const Linear& a, float* y, int64_t rows, int64_t stride, int64_t first, int64_t cols) {
  if (!a.bias) return;
  typed(a.bias_type, a.bias, [&](auto bias) {
    for (int64_t j = 0; j < cols; j += W) {
      const vec b = load_some(bias + first + j, cols - j);
      for (int64_t i = 0; i < rows; ++i) {
        float* out = y + i * stride + j;
        store_some(out, add(load_some((const float*)out, cols - j), b), cols - j);
      }
    }
  });
}

// A few rows: memory bound, each weight is read once. The first rows of x ask the memory for the weights that come next, in
// these rows or, after their end, in the same number of rows below; the processor takes too long to learn where those lie.
template <class T>
inline void thin(const Linear& a, int64_t first, int64_t last) {
  constexpr int64_t LINE = 64 / sizeof(T), AHEAD = 8 * LINE;
  const T* w = (const T*)a.w + first * a.inner;
  auto tile = [&](int64_t r, int64_t c, auto m, auto n) {
    vec acc[m.value][n.value];
    clear(acc);
    for (int64_t k = 0; k < a.inner; k += LINE) {
      const T* here = w + c * a.inner + k;
      const int64_t ahead = AHEAD + (k + AHEAD < a.inner ? 0 : (n.value - 1) * a.inner);
      for (int j = 0; r == 0 && j < n.value; ++j) prefetch(here + j * a.inner + ahead);
      dots(a.x + r * a.inner + k, a.inner, here, a.inner, least(LINE, a.inner - k), acc);
    }
    sums(acc, a.y + r * a.cols + first + c, a.cols);
  };
  a.rows <= 2 ? tiles<2, 4>(a.rows, last - first, tile) : tiles<ROWS, COLS>(a.rows, last - first, tile);
  add_bias(a, a.y + first, a.rows, a.cols, first, last - first);
}

// Weight rows [first, last) as float32 blocks [inner / DEPTH][PANEL][DEPTH].
template <class T>
inline void widen_panel(const Linear& a, int64_t first, int64_t last, float* panel) {
  for (int64_t n = first; n < last; ++n) {
    const T* w = (const T*)a.w + n * a.inner;
    for (int64_t k = 0; k < a.inner; k += W) {
      float* out = panel + (k / DEPTH * PANEL + n - first) * DEPTH + k % DEPTH;
      store(out, load_some(w + k, a.inner - k));
    }
  }
}

// Rows [top, bottom) of y for one panel: the lane sums wait in `partial` [BAND][PANEL][W] between the blocks.
inline void band(const Linear& a, const float* panel, int64_t first, int64_t last, int64_t top, int64_t bottom,
                 float* partial) {
  for (int64_t k = 0; k < a.inner; k += DEPTH) {
    const int64_t depth = least(DEPTH, a.inner - k);
    const float* w = panel + k * PANEL;
    const bool begin = k == 0, end = k + depth == a.inner;
    auto tile = [&](int64_t r, int64_t c, auto m, auto n) {
      vec acc[m.value][n.value];
      float* saved = partial + (r * PANEL + c) * W;
      if (begin) {
        clear(acc);
      } else {
        UNROLL for (int i = 0; i < m.value; ++i) {
          UNROLL for (int j = 0; j < n.value; ++j) acc[i][j] = load(saved + (i * PANEL + j) * W);
        }
      }
      dots(a.x + (top + r) * a.inner + k, a.inner, w + c * DEPTH, DEPTH, depth, acc);
      if (end) return sums(acc, a.y + (top + r) * a.cols + first + c, a.cols);
      UNROLL for (int i = 0; i < m.value; ++i) {
        UNROLL for (int j = 0; j < n.value; ++j) store(saved + (i * PANEL + j) * W, acc[i][j]);
      }
    };
    // A few rows of x stay in the first cache while the block of weights passes through it.
    for (int64_t r = 0; r < bottom - top; r += ROWS)
      tiles<ROWS, COLS>(least(ROWS, bottom - top - r), last - first,
                        [&](int64_t, int64_t c, auto m, auto n) { tile(r, c, m, n); });
  }
  add_bias(a, a.y + top * a.cols + first, bottom - top, a.cols, first, last - first);
}

template <class T>
inline void thick(const Linear& a, int64_t first, int64_t last, int64_t top, int64_t bottom) {
  float* panel = (float*)scratch((ceil_div(a.inner, DEPTH) * DEPTH + BAND * W) * PANEL * sizeof(float));
  float* partial = panel + ceil_div(a.inner, DEPTH) * DEPTH * PANEL;
  widen_panel<T>(a, first, last, panel);
  for (int64_t r = top; r < bottom; r += BAND) band(a, panel, first, last, r, least(bottom, r + BAND), partial);
}

inline void linear(const Linear& a) {
  typed(a.type, a.w, [&](auto w) {
    using T = typename Plain<decltype(w)>::type;
    const int64_t size = most(1, a.inner * (int64_t)sizeof(T)), work = a.rows * a.cols * a.inner;
    if (a.rows <= THIN) {
      // Contiguous pieces of weights, at least 64 KB and about eight for each thread.
      const int64_t piece = most(ceil_div(65536, size), ceil_div(a.cols, 8 * threads()));
      auto body = [&](int64_t i) { thin<T>(a, i * piece, least(a.cols, (i + 1) * piece)); };
      return parallel(ceil_div(a.cols, piece), work, body);
    }
    const int64_t panels = ceil_div(a.cols, PANEL);
    // Few panels for many threads: the rows are cut too, at the price of widening a panel more than once.
    const int64_t cuts = least(ceil_div(a.rows, BAND), ceil_div(4 * threads(), panels));
    const int64_t height = ceil_div(ceil_div(a.rows, BAND), most(1, cuts)) * BAND;
    const int64_t heights = ceil_div(a.rows, height);
    auto body = [&](int64_t i) {
      const int64_t first = i / heights * PANEL, top = i % heights * height;
      thick<T>(a, first, least(a.cols, first + PANEL), top, least(a.rows, top + height));
    };
    parallel(panels * heights, work, body);
  });
}

}  // namespace ISA
}  // namespace mistralrs
