// y[m] = x[m] w[ids[m]]^T for a stack of matrices: the rows of a matrix are brought together, so that each matrix is read
// once. The sums are those of linear.h.
#pragma once
#include "linear.h"

namespace mistralrs {
namespace ISA {

// starts [matrices + 1] and order [rows]: matrix e takes the rows order[starts[e]] to order[starts[e + 1] - 1].
inline bool group(const Gather& a, int64_t* starts, int64_t* order) {
  memset(starts, 0, (a.matrices + 1) * sizeof(int64_t));
  for (int64_t m = 0; m < a.rows; ++m) {
    if (a.ids[m] < 0 || a.ids[m] >= a.matrices) return false;
    ++starts[a.ids[m] + 1];
  }
  for (int64_t e = 0; e < a.matrices; ++e) starts[e + 1] += starts[e];
  for (int64_t m = 0; m < a.rows; ++m) order[starts[a.ids[m]]++] = m;
  for (int64_t e = a.matrices; e > 0; --e) starts[e] = starts[e - 1];
  starts[0] = 0;
  return true;
}

// Columns [first, last) of the rows of one matrix.
template <class T>
inline void columns(const Linear& a, int64_t first, int64_t last) {
  if (a.rows <= THIN) return thin<T>(a, first, last);
  for (int64_t c = first; c < last; c += PANEL) thick<T>(a, c, least(last, c + PANEL), 0, a.rows);
}

// False where an id is not one of the stack.
inline bool gather(const Gather& a) {
  int64_t *starts = a.places, *order = starts + a.matrices + 1, *used = order + a.rows, runs = 0;
  if (!group(a, starts, order)) return false;
  for (int64_t e = 0; e < a.matrices; ++e) {
    if (starts[e] < starts[e + 1]) used[runs++] = e;
  }
  float *x = a.room, *y = x + a.rows * a.inner;
  const int64_t work = a.rows * a.cols * a.inner;
  auto pack = [&](int64_t i) { memcpy(x + i * a.inner, a.x + order[i] * a.inner, a.inner * sizeof(float)); };
  parallel(a.rows, a.rows * a.inner, pack);
  typed(a.type, a.w, [&](auto w) {
    using T = typename Plain<decltype(w)>::type;
    // Whole panels, at least 64 KB and about eight pieces for each thread.
    const int64_t wanted = most(65536 / most(1, a.inner * (int64_t)sizeof(T)), a.cols * runs / (8 * threads()));
    const int64_t piece = most(1, ceil_div(wanted, PANEL)) * PANEL, pieces = ceil_div(a.cols, piece);
    auto body = [&](int64_t i) {
      const int64_t e = used[i / pieces], first = i % pieces * piece, top = starts[e];
      const Linear one{x + top * a.inner, w + e * a.stride, nullptr, y + top * a.cols,
                       a.type, Type::f32, starts[e + 1] - top, a.cols, a.inner};
      columns<T>(one, first, least(a.cols, first + piece));
    };
    parallel(runs * pieces, work, body);
  });
  auto unpack = [&](int64_t i) { memcpy(a.y + order[i] * a.cols, y + i * a.cols, a.cols * sizeof(float)); };
  parallel(a.rows, a.rows * a.cols, unpack);
  return true;
}

}  // namespace ISA
}  // namespace mistralrs
