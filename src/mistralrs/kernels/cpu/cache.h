// Appending keys and values to their pages, rounded to the type of the cache.
#pragma once
#include "pool.h"
#include "simd.h"
#include "table.h"

namespace mistralrs {
namespace ISA {

inline void append(const Pages& p, const Write& a, const float* x, int64_t row, int64_t sequence, int64_t row_stride,
                   int64_t head_stride) {
  const int64_t position = a.batch.lengths[sequence] - (a.batch.starts[sequence + 1] - row);
  const int64_t number = a.batch.table[sequence * a.batch.table_stride + position / a.batch.page];
  typed(p.type, p.data, [&](auto data) {
    using T = typename Plain<decltype(data)>::type;
    T* out = (T*)data + number * p.page_stride + position % a.batch.page * p.token_stride;
    for (int64_t h = 0; h < a.heads; ++h) {
      const float* from = x + row * row_stride + h * head_stride;
      for (int64_t d = 0; d < p.width; d += W)
        store_some(out + h * p.head_stride + d, load_some(from + d, p.width - d), p.width - d);
    }
  });
}

inline void write(const Write& a) {
  const int64_t first = a.batch.starts[0], rows = a.batch.starts[a.batch.sequences] - first, piece = 32;
  const int64_t work = 2 * rows * a.heads * (a.keys.width + a.values.width);
  auto body = [&](int64_t i) {
    int64_t sequence = 0;
    for (int64_t r = first + i * piece; r < first + least(rows, (i + 1) * piece); ++r) {
      while (r >= a.batch.starts[sequence + 1]) ++sequence;
      append(a.keys, a, a.k, r, sequence, a.k_stride, a.k_head);
      if (a.v) append(a.values, a, a.v, r, sequence, a.v_stride, a.v_head);
    }
  };
  parallel(ceil_div(rows, piece), work, body);
}

}  // namespace ISA
}  // namespace mistralrs
