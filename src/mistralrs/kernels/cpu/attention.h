// Paged attention over a ragged batch, causal or not, after FlashAttention (Dao et al. 2022) and PagedAttention (Kwon et al. 2023).
//
// What one output is does not depend on the batch: a query meets the pages of its past in order, 512 keys at a time with a
// running maximum, and the results of those segments are merged in order. Blocks of queries only share the reading.
#pragma once
#include <math.h>

#include "functions.h"
#include "matmul.h"
#include "pool.h"
#include "scratch.h"
#include "table.h"

namespace mistralrs {
namespace ISA {

constexpr int64_t SEGMENT = 512;  // keys that share one running maximum
constexpr int64_t BLOCK = 64;     // query rows (positions times heads of a group) that read a page together
constexpr int VROWS = W == 16 ? 6 : 3, VVECS = 4;  // accumulators of a tile
constexpr float NONE = -INFINITY;

inline int64_t padded(int64_t n) { return ceil_div(n, W) * W; }

// One unit of work: some consecutive rows of one sequence and some heads of one group.
struct Unit {
  int64_t sequence, group, head, heads;  // head: first query head of the unit
  int64_t row, rows, position;           // row: first row of the batch; position: of that row in its sequence
  int64_t length;                        // keys of the sequence
};

// Running softmax of `rows` query rows: maximum, sum of weights, both in whole vectors, and weighted sum of values [rows, width].
struct State {
  float *most, *total, *out;
};

struct Buffers {  // of one thread, for one unit
  float *q, *k, *v, *scores, *shrink;
  int64_t *from, *to;
  State part, whole;
};

struct Cut {  // hands out pieces of one allocation
  char* next;
  template <class T>
  T* take(int64_t n) {
    T* p = (T*)next;
    next += ceil_div(n * sizeof(T), 64) * 64;
    return p;
  }
};

// Rows of the next page. They are asked of the memory bit by bit, while this page is computed with: what a head has in a
// page is too short, and too far from the next, for the processor to fetch it by itself.
template <class T>
struct Ahead {
  const T* rows = nullptr;  // null: nothing
  int64_t stride = 0;

  void fetch(int64_t row, int64_t first, int64_t count) const {
    if (!rows) return;
    const char* p = (const char*)(rows + row * stride + first);
    for (const char* end = p + count * sizeof(T); p < end; p += 64) prefetch(p);
  }
};

struct Attend {
  const Attention& a;
  const int64_t group, part, span;  // heads of a group, heads and positions of a unit
  const int64_t page, kwidth, vwidth, swidth;

  explicit Attend(const Attention& a)
      : a(a), group(a.heads / a.groups), part(least(group, BLOCK)), span(most(1, BLOCK / part)), page(a.batch.page),
        kwidth(padded(a.keys.width)), vwidth(padded(a.values.width)), swidth(padded(page)) {}

  int64_t parts() const { return ceil_div(group, part); }
  int64_t rows() const { return part * span; }
  int64_t pages_of_segment() const { return most(1, SEGMENT / page); }

  // Multiply-adds of the whole call, at most.
  int64_t cost() const {
    int64_t pairs = 0;
    for (int64_t s = 0; s < a.batch.sequences; ++s)
      pairs += (a.batch.starts[s + 1] - a.batch.starts[s]) * (int64_t)a.batch.lengths[s];
    return pairs * a.heads * (a.keys.width + a.values.width);
  }

  int64_t units_of(int64_t sequence) const {
    return ceil_div(a.batch.starts[sequence + 1] - a.batch.starts[sequence], span) * a.groups * parts();
  }

  Unit unit(int64_t index) const {
    int64_t s = 0;
    while (index >= units_of(s)) index -= units_of(s++);
    const int64_t start = a.batch.starts[s], end = a.batch.starts[s + 1], each = a.groups * parts();
    const int64_t row = start + index / each * span, group_part = index % each;
    const int64_t g = group_part / parts(), first = group_part % parts() * part;
    return {s,   g,   g * group + first, least(part, group - first),
            row, least(span, end - row), a.batch.lengths[s] - (end - row), a.batch.lengths[s]};
  }

  int64_t first_key(int64_t position) const { return a.window ? most(0, position - a.window + 1) : 0; }
  // The key after the last one that a row at `position` sees.
  int64_t end_key(const Unit& u, int64_t position) const {
    return a.causal ? position + 1 : a.window ? least(u.length, position + a.window) : u.length;
  }
  int64_t end_key(const Unit& u) const { return end_key(u, u.position + u.rows - 1); }
  int64_t first_segment(const Unit& u) const { return first_key(u.position) / page / pages_of_segment(); }
  int64_t last_segment(const Unit& u) const { return (end_key(u) - 1) / page / pages_of_segment(); }

  Buffers buffers() const {
    const int64_t n = rows(), all = padded(n);
    const int64_t floats = n * (kwidth + swidth + 2 * vwidth) + 5 * all + page * (kwidth + vwidth);
    Cut cut{(char*)scratch(floats * sizeof(float) + 2 * n * sizeof(int64_t) + 16 * 64)};
    Buffers b;
    b.q = cut.take<float>(n * kwidth);
    b.k = cut.take<float>(page * kwidth);
    b.v = cut.take<float>(page * vwidth);
    b.scores = cut.take<float>(n * swidth);
    b.shrink = cut.take<float>(all);
    b.part = {cut.take<float>(all), cut.take<float>(all), cut.take<float>(n * vwidth)};
    b.whole = {cut.take<float>(all), cut.take<float>(all), cut.take<float>(n * vwidth)};
    b.from = cut.take<int64_t>(n);
    b.to = cut.take<int64_t>(n);
    return b;
  }

  bool values_are_keys() const {  // latent attention: the values are the first features of the keys
    return a.values.data == a.keys.data && a.values.width <= a.keys.width &&
           a.values.page_stride == a.keys.page_stride && a.values.token_stride == a.keys.token_stride;
  }

  void read_queries(const Unit& u, float* q) const {
    for (int64_t r = 0; r < u.rows * u.heads; ++r) {
      const int64_t width = a.keys.width;
      const float* from = a.q + ((u.row + r / u.heads) * a.heads + u.head + r % u.heads) * width;
      for (int64_t d = 0; d < width; d += W) store(q + r * kwidth + d, load_some(from + d, width - d));
    }
  }

  void begin(State s, int64_t n) const {
    for (int64_t r = 0; r < padded(n); ++r) s.most[r] = NONE, s.total[r] = 0;
    memset(s.out, 0, n * vwidth * sizeof(float));
  }

  // Keys [from, to) of a page as float32 rows: in place where they are, else widened into `buffer`.
  const float* read(const Pages& p, const Unit& u, int64_t index, int64_t from, int64_t to, float* buffer,
                    int64_t* stride) const {
    const int64_t number = a.batch.table[u.sequence * a.batch.table_stride + index];
    const int64_t offset = number * p.page_stride + u.group * p.head_stride;
    if (p.type == Type::f32 && p.width % W == 0) {
      *stride = p.token_stride;
      return (const float*)p.data + offset;
    }
    *stride = padded(p.width);
    typed(p.type, p.data, [&](auto data) {
      for (int64_t t = from; t < to; ++t)
        for (int64_t d = 0; d < p.width; d += W)
          store(buffer + t * *stride + d, load_some(data + offset + t * p.token_stride + d, p.width - d));
    });
    return buffer;
  }

  template <class T>
  void score(const Unit& u, const Buffers& b, const T* k, int64_t stride, int64_t from, int64_t to, Ahead<T> ahead) const {
    const int64_t n = u.rows * u.heads;
    auto tile = [&](int64_t r, int64_t c, auto rows, auto cols) {
      for (int j = 0; r == 0 && j < cols.value; ++j) ahead.fetch(from + c + j, 0, a.keys.width);
      vec acc[rows.value][cols.value];
      clear(acc);
      dots(b.q + r * kwidth, kwidth, k + (from + c) * stride, stride, a.keys.width, acc);
      sums(acc, b.scores + r * swidth + from + c, swidth);
    };
    tiles<VROWS, 4>(n, to - from, tile);
  }

  // Scales the scores of a row; the keys that it does not see get -inf. The largest of them.
  float scale(float* s, int64_t from, int64_t to) const {
    for (int64_t c = 0; c < from; ++c) s[c] = NONE;
    for (int64_t c = to; c < swidth; ++c) s[c] = NONE;
    const vec factor = set(a.scale), cap = set(a.softcap);
    vec peak = set(NONE);
    for (int64_t c = 0; c < swidth; c += W) {
      vec x = mul(load(s + c), factor);
      if (a.softcap) x = less(set(NONE), x, mul(tanh(div(x, cap)), cap), x);
      store(s + c, x);
      peak = max(x, peak);
    }
    return largest(peak);
  }

  // Scores of n rows into weights, in place; what a row does not see weighs exactly 0. In three passes, because the steps
  // of one row wait for each other and those of different rows do not.
  void soften(const Buffers& b, int64_t n) const {
    float *most = b.part.most, *total = b.part.total, *high = b.shrink;
    for (int64_t r = 0; r < padded(n); ++r)
      high[r] = r < n && b.from[r] < b.to[r] ? scale(b.scores + r * swidth, b.from[r], b.to[r]) : NONE;
    for (int64_t r = 0; r < n; r += W) {
      const vec old = load(most + r), now = max(old, load(high + r));
      const vec shrink = less(set(NONE), now, exp_down(sub(old, now)), set(1));
      store(most + r, now);
      store(total + r, mul(load(total + r), shrink));
      store(b.shrink + r, shrink);
    }
    for (int64_t r = 0; r < n; ++r) {
      if (b.from[r] >= b.to[r]) continue;
      float* s = b.scores + r * swidth;
      vec weights = set(0);
      for (int64_t c = 0; c < swidth; c += W) {
        const vec p = exp_down(sub(load(s + c), set(most[r])));
        store(s + c, p);
        weights = add(weights, p);
      }
      total[r] += sum(weights);
    }
  }

  template <int M, int N, class T>
  void blend(const float* p, const T* v, int64_t stride, int64_t from, int64_t to, const float* shrink, float* out,
             Ahead<T> ahead, int64_t first) const {
    vec acc[M][N];
    UNROLL for (int i = 0; i < M; ++i) {
      UNROLL for (int j = 0; j < N; ++j) acc[i][j] = mul(load(out + i * vwidth + j * W), set(shrink[i]));
    }
    for (int64_t t = from; t < to; ++t) {
      ahead.fetch(t, first, N * W);
      vec weight[M];
      UNROLL for (int i = 0; i < M; ++i) weight[i] = set(p[i * swidth + t]);
      UNROLL for (int j = 0; j < N; ++j) {
        const vec x = load(v + t * stride + j * W);
        UNROLL for (int i = 0; i < M; ++i) acc[i][j] = fma(weight[i], x, acc[i][j]);
      }
    }
    UNROLL for (int i = 0; i < M; ++i) {
      UNROLL for (int j = 0; j < N; ++j) store(out + i * vwidth + j * W, acc[i][j]);
    }
  }

  // out = out * shrink + weights * values; rows that see the same keys share the reading.
  template <class T>
  void gather(const Unit& u, const Buffers& b, const T* v, int64_t stride, Ahead<T> ahead) const {
    const int64_t n = u.rows * u.heads;
    for (int64_t r = 0, m; r < n; r += m) {
      m = 1;
      while (m < VROWS && r + m < n && b.from[r + m] == b.from[r] && b.to[r + m] == b.to[r]) ++m;
      if (b.from[r] >= b.to[r]) continue;
      constant<VROWS>(m, [&](auto rows) {
        for (int64_t d = 0; d < vwidth;) {
          auto run = [&](auto vecs) {
            blend<rows.value, vecs.value>(b.scores + r * swidth, v + d, stride, b.from[r], b.to[r], b.shrink + r,
                                          b.part.out + r * vwidth + d, ahead, d);
            d += vecs.value * W;
          };
          vwidth - d >= VVECS * W ? run(Int<VVECS>()) : run(Int<1>());
        }
      });
    }
  }

  // A few query rows take half-precision pages as they are; more of them share one widening.
  bool directly(const Unit& u) const {
    return u.rows * u.heads <= 2 * VROWS && a.keys.type == a.values.type && a.keys.width % W == 0 && a.values.width % W == 0;
  }

  void one_page(const Unit& u, const Buffers& b, int64_t index) const {
    const int64_t base = index * page;
    const int64_t from = most(first_key(u.position) - base, 0), to = least(end_key(u) - base, page);
    if (directly(u)) {
      const int64_t number = a.batch.table[u.sequence * a.batch.table_stride + index];
      return typed(a.keys.type, a.keys.data, [&](auto keys) {
        const auto* values = (decltype(keys))a.values.data;
        const auto next_keys = next(u, index, a.keys, keys), next_values = next(u, index, a.values, values);
        keys += number * a.keys.page_stride + u.group * a.keys.head_stride;
        values += number * a.values.page_stride + u.group * a.values.head_stride;
        attend(u, b, base, keys, a.keys.token_stride, values, a.values.token_stride, from, to, next_keys, next_values);
      });
    }
    int64_t kstride, vstride;
    const float* k = read(a.keys, u, index, from, to, b.k, &kstride);
    const float* v = b.k;
    vstride = kstride;
    if (k != b.k || !values_are_keys()) v = read(a.values, u, index, from, to, b.v, &vstride);
    attend(u, b, base, k, kstride, v, vstride, from, to, {}, {});
  }

  // The same head's rows in the next page, if there is one.
  template <class T>
  Ahead<T> next(const Unit& u, int64_t index, const Pages& p, const T* data) const {
    if ((index + 1) * page >= end_key(u)) return {};
    const int64_t number = a.batch.table[u.sequence * a.batch.table_stride + index + 1];
    return {data + number * p.page_stride + u.group * p.head_stride, p.token_stride};
  }

  // Keys [from, to) of the page that begins with key `base`; `keys` and `values` are those of the next page.
  template <class T>
  void attend(const Unit& u, const Buffers& b, int64_t base, const T* k, int64_t kstride, const T* v, int64_t vstride,
              int64_t from, int64_t to, Ahead<T> keys, Ahead<T> values) const {
    score(u, b, k, kstride, from, to, keys);
    for (int64_t r = 0; r < u.rows * u.heads; ++r) {
      const int64_t position = u.position + r / u.heads;
      b.from[r] = most(first_key(position) - base, 0);
      b.to[r] = least(end_key(u, position) - base, page);
    }
    soften(b, u.rows * u.heads);
    gather(u, b, v, vstride, values);
  }

  void segment(const Unit& u, const Buffers& b, int64_t index) const {
    begin(b.part, u.rows * u.heads);
    const int64_t each = pages_of_segment();
    const int64_t first = most(index * each, first_key(u.position) / page);
    const int64_t end = least((index + 1) * each, (end_key(u) - 1) / page + 1);
    for (int64_t i = first; i < end; ++i) one_page(u, b, i);
  }

  void merge(const Unit& u, State whole, State part) const {
    for (int64_t r = 0; r < u.rows * u.heads; ++r) {
      if (part.total[r] == 0) continue;  // the row sees nothing of this segment
      const float old = whole.most[r], high = part.most[r], now = old > high ? old : high;
      const float keep = exp(old - now), gain = exp(high - now);
      whole.most[r] = now;
      whole.total[r] = whole.total[r] * keep + part.total[r] * gain;
      for (int64_t d = r * vwidth; d < (r + 1) * vwidth; d += W)
        store(whole.out + d, fma(load(part.out + d), set(gain), mul(load(whole.out + d), set(keep))));
    }
  }

  void start(const Unit& u, State whole) const {
    begin(whole, u.rows * u.heads);
    if (!a.sinks) return;
    for (int64_t r = 0; r < u.rows * u.heads; ++r) {
      whole.most[r] = a.sinks[u.head + r % u.heads];
      whole.total[r] = 1;
    }
  }

  void finish(const Unit& u, State whole) const {
    for (int64_t r = 0; r < u.rows * u.heads; ++r) {
      const int64_t width = a.values.width;
      float* out = a.out + ((u.row + r / u.heads) * a.heads + u.head + r % u.heads) * width;
      const vec total = set(whole.total[r]);
      for (int64_t d = 0; d < width; d += W) store_some(out + d, div(load(whole.out + r * vwidth + d), total), width - d);
    }
  }

  void whole_unit(int64_t index) const {
    const Unit u = unit(index);
    const Buffers b = buffers();
    read_queries(u, b.q);
    start(u, b.whole);
    for (int64_t s = first_segment(u); s <= last_segment(u); ++s) {
      segment(u, b, s);
      merge(u, b.whole, b.part);
    }
    finish(u, b.whole);
  }
};

// Few sequences with long pasts leave threads without a unit: then every segment is a task of its own.
inline void by_segments(const Attend& t, int64_t units, int64_t segments) {
  const int64_t n = t.rows(), all = padded(n), floats = 2 * all + n * t.vwidth;
  float* parts = new float[units * segments * floats];
  auto state = [&](int64_t i) {
    float* p = parts + i * floats;
    return State{p, p + all, p + 2 * all};
  };
  auto work = [&](int64_t i) {
    const Unit u = t.unit(i / segments);
    const int64_t s = t.first_segment(u) + i % segments;
    if (s > t.last_segment(u)) return;
    Buffers b = t.buffers();
    b.part = state(i);
    t.read_queries(u, b.q);
    t.segment(u, b, s);
  };
  parallel(units * segments, t.cost(), work);
  auto join = [&](int64_t i) {
    const Unit u = t.unit(i);
    const Buffers b = t.buffers();
    t.start(u, b.whole);
    for (int64_t s = t.first_segment(u); s <= t.last_segment(u); ++s)
      t.merge(u, b.whole, state(i * segments + s - t.first_segment(u)));
    t.finish(u, b.whole);
  };
  parallel(units, t.cost() / 64, join);
  delete[] parts;
}

inline void attention(const Attention& a) {
  const Attend t(a);
  int64_t units = 0;
  for (int64_t s = 0; s < a.batch.sequences; ++s) units += t.units_of(s);
  int64_t segments = 1;
  if (units < 2 * threads()) {
    for (int64_t i = 0; i < units; ++i) {
      const Unit u = t.unit(i);
      segments = most(segments, t.last_segment(u) - t.first_segment(u) + 1);
    }
  }
  if (segments > 1) return by_segments(t, units, segments);
  auto work = [&](int64_t i) { t.whole_unit(i); };
  parallel(units, t.cost(), work);
}

}  // namespace ISA
}  // namespace mistralrs
