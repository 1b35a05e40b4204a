// y = x w^T + bias with packed integer weights (layout.h) and activations that are quantized to bytes on the fly.
// Products and their sums over a group are exact integers. Floats are added in one order for each output: the bias, then
// the mins of all groups, then the groups in the order of the inputs. The lanes are outputs, so tiles, rows and threads
// cannot change it.
#pragma once
#include <math.h>

#include "codes.h"
#include "layout.h"
#include "matmul.h"
#include "pool.h"
#include "scratch.h"

namespace mistralrs {
namespace ISA {

constexpr int PARTS = TILE / W;        // vectors of a tile
constexpr int HEIGHT = W == 16 ? 8 : 4;  // rows of x in the highest tile of outputs: enough sums to hide their latency
constexpr int64_t MANY = 24;             // rows from which on the codes of a tile are unpacked once for all of them
constexpr int STREAMS = W == 4 ? 1 : 2;  // tiles that one row or two read at once; the vectors of two would fill portable code
constexpr int64_t CACHED = 128 << 10;    // bytes of x that pass over a few tiles of weights together
constexpr int64_t PIECE = 64 << 10;      // bytes of weights that a thread takes at a time; twice that for one row or two
constexpr int64_t AHEAD = 1024;          // bytes between the codes that are computed with and those asked of the memory

// The parts of one quantized row.
struct Row {
  const int8_t* codes;
  const float *scales, *sums;
  const int8_t* pairs;

  Row() = default;
  Row(const uint8_t* p, int64_t inner)
      : codes((const int8_t*)p), scales((const float*)(p + inner)), sums(scales + inner / 32),
        pairs((const int8_t*)(sums + inner / 16)) {}
};

// 32 inputs x -> bytes and their scale. A nan or an infinity makes the scale nan.
inline void quantize_group(const float* x, int8_t* codes, float* scale) {
  vec top = set(0), poison = set(0);
  for (int i = 0; i < 32; i += W) {
    const vec v = load(x + i);
    top = max(max(v, sub(set(0), v)), top);
    poison = fma(v, set(0), poison);
  }
  const float most = largest(top), rest = sum(poison);
  *scale = most / 127.0f + rest;
  if (!(rest == 0)) return (void)memset(codes, 0, 32);
  const vec inverse = set(most > 0x1p-120f ? 127.0f / most : 0.0f);
  for (int i = 0; i < 32; i += W) narrow(codes + i, round(mul(load(x + i), inverse)));
}

inline void quantize_row(const float* x, uint8_t* y, int64_t inner) {
  const Row row(y, inner);
  for (int64_t k = 0; k < inner; k += 32) quantize_group(x + k, (int8_t*)row.codes + k, (float*)row.scales + k / 32);
  for (int64_t g = 0; g < inner / 16; ++g) {
    const int8_t* c = row.codes + 16 * g;
    const int16_t even = (int16_t)(c[0] + c[1] + c[4] + c[5] + c[8] + c[9] + c[12] + c[13]);
    const int16_t odd = (int16_t)(c[2] + c[3] + c[6] + c[7] + c[10] + c[11] + c[14] + c[15]);
    memcpy((int8_t*)row.pairs + 4 * g, &even, 2);
    memcpy((int8_t*)row.pairs + 4 * g + 2, &odd, 2);
    ((float*)row.sums)[g] = row.scales[g / 2] * (float)(even + odd);
  }
}

inline void quantize_rows(const Rows& a) {
  const int64_t piece = most(1, 16384 / most(1, a.inner));
  auto body = [&](int64_t i) {
    for (int64_t r = i * piece; r < least(a.rows, (i + 1) * piece); ++r)
      quantize_row(a.x + r * a.inner, a.y + r * row_bytes(a.inner), a.inner);
  };
  parallel(ceil_div(a.rows, piece), 4 * a.rows * a.inner, body);
}

// sum[i][j] -= the mins of a tile times the sums of row i.
template <int M>
inline void subtract_mins(const Layout& l, const uint8_t* p, const Row (&x)[M], int64_t inner, vec (&sum)[M][PARTS]) {
  const int groups = l.block / l.group, per = l.group / 16;
  for (int64_t b = 0; b < inner / l.block; ++b, p += l.part()) {
    if (!l.super()) {
      for (int i = 0; i < M; ++i) {
        const vec total = set(-(x[i].sums[2 * b] + x[i].sums[2 * b + 1]));
        UNROLL for (int j = 0; j < PARTS; ++j) sum[i][j] = fma(load_f16(p + 2 * W * j), total, sum[i][j]);
      }
      continue;
    }
    vec part[M][PARTS];
    clear(part);
    for (int g = 0; g < groups; ++g) {
      const int64_t at = (b * groups + g) * per;
      vec min[PARTS];
      UNROLL for (int j = 0; j < PARTS; ++j) min[j] = load_u8(p + 32 + g * TILE + W * j);
      UNROLL for (int i = 0; i < M; ++i) {
        const vec total = set(per == 2 ? x[i].sums[at] + x[i].sums[at + 1] : x[i].sums[at]);
        UNROLL for (int j = 0; j < PARTS; ++j) part[i][j] = fma(min[j], total, part[i][j]);
      }
    }
    UNROLL for (int j = 0; j < PARTS; ++j) {
      const vec d = sub(set(0), load_f16(p + 2 * W * j));
      UNROLL for (int i = 0; i < M; ++i) sum[i][j] = fma(part[i][j], d, sum[i][j]);
    }
  }
}

// The codes of quad K among 32 inputs, a byte each; p is vector j of the first plane.
template <int Base, int Extra, int K>
inline ints unpack(const uint8_t* p) {
  constexpr int per = 8 / Base, low = K % per * Base;
  ints code = load_bytes(p + K / per * 64);
  if constexpr (Base < 8) code = both(shift<low>(code), bytes((1 << Base) - 1));
  if constexpr (Extra > 0) {
    constexpr int share = 8 / Extra, from = K % share * Extra;
    const ints top = load_bytes(p + (Base + K / share) * 64);
    code = either(code, both(shift<from - Base>(top), bytes(((1 << Extra) - 1) << Base)));
  }
  return code;
}

template <int K, int End, class Body>
INLINE inline void each(Body&& body) {
  if constexpr (K < End) {
    body(Int<K>());
    each<K + 1, End>(body);
  }
}

// What the inner loop must know of a layout at compile time.
template <int Base_, int Extra_, int Group_, bool Super_, int Zero_>
struct Shape {
  static constexpr int Base = Base_, Extra = Extra_, Group = Group_, Zero = Zero_;
  static constexpr bool Super = Super_, Signed = Zero_ == 128;
  static constexpr int Bytes = 64 * (Base + Extra);                       // of the codes of 32 inputs of a tile
  static constexpr int Block = Super ? 256 : 32;                          // inputs that share a float16
  static constexpr int Part = Super ? 32 + 256 / Group * (int)TILE : 32;  // bytes of their scales
  // Quads whose products fit in 16 bits together. Centered codes reach half as far: all of a group fits.
  static constexpr int Quads = Group / 4, Safe = WIDE ? Quads : Signed ? 1 : Base + Extra == 5 && Zero == 0 ? 4 : Quads;
};

// Codes of T tiles as they lie in memory.
template <class S, int T>
struct Packed {
  const uint8_t* at[T];
  const uint8_t* end;  // of the first tile
  int64_t size, head;  // bytes of a tile, and of it before the codes

  Packed(const Layout& l, const uint8_t* tile, int64_t inner)
      : end(tile + l.bytes(inner)), size(l.bytes(inner)), head(l.codes(inner)) {
    for (int t = 0; t < T; ++t) at[t] = tile + t * size + head;
  }
  INLINE Packed group(int64_t g) const {
    Packed next = *this;
    UNROLL for (int t = 0; t < T; ++t) next.at[t] += g * S::Bytes;
    return next;
  }
  // Asks for the codes of a later group, perhaps of the T tiles after these. The processor fetches by itself what is read as
  // it lies, but a tile is too short for it to learn that. Whole bytes leave it the time, more rows than two as well.
  template <int M>
  INLINE void fetch() const {
    if constexpr (S::Base + S::Extra == 8 || M > 2) return;
    const int64_t ahead = AHEAD + (at[0] + AHEAD < end ? 0 : (T - 1) * size + head);
    UNROLL for (int t = 0; t < T; ++t) {
      UNROLL for (int64_t line = 0; line < S::Bytes; line += 64) prefetch(at[t] + ahead + line);
    }
  }
  // Asks for the scales of the T tiles after these.
  template <int M>
  void fetch_heads() const {
    for (int t = 0; M <= 2 && t < T; ++t) {
      for (int64_t line = 0; line < head; line += 64) prefetch(end + (T - 1 + t) * size + line);
    }
  }
  template <int Q>
  INLINE ints code(int j) const {
    const ints code = unpack<S::Base, S::Extra, Q>(at[j / PARTS] + j % PARTS * 4 * W);
    return S::Signed && WIDE ? flip(code) : code;
  }
};

// Codes of a tile that lie unpacked in the cache: a byte each, in the order of the quads.
struct Unpacked {
  static constexpr int64_t GROUP = 32 * TILE;
  const uint8_t* at;

  INLINE Unpacked group(int64_t g) const { return {at + g * GROUP}; }
  template <int M>
  INLINE void fetch() const {}
  template <int M>
  void fetch_heads() const {}
  template <int Q>
  INLINE ints code(int j) const {
    return load_bytes(at + (Q * PARTS + j) * 4 * W);
  }
};

// The codes of a tile, unpacked into the memory of this thread.
template <class S>
inline Unpacked unpack_tile(const Packed<S, 1>& tile, int64_t inner) {
  uint8_t* out = (uint8_t*)scratch(inner * TILE);
  for (int64_t g = 0; g < inner / 32; ++g) {
    each<0, 8>([&](auto place) INLINE {
      constexpr int q = decltype(place)::value;
      UNROLL for (int j = 0; j < PARTS; ++j)
        store_bytes(out + g * Unpacked::GROUP + (q * PARTS + j) * 4 * W, tile.group(g).template code<q>(j));
    });
  }
  return {out};
}

// Products over 32 inputs with the integer scales of their groups: whole[i][j], exact.
template <class S, int M, int P, int T, class Codes>
INLINE inline void products(const Codes& codes, const int8_t* const (&scales)[T], const Row (&x)[M], int64_t k,
                            ints (&whole)[M][P]) {
  each<0, 8 / S::Quads>([&](auto half) INLINE {
    constexpr int h = decltype(half)::value;
    each<0, S::Quads / S::Safe>([&](auto piece) INLINE {
      constexpr int first = h * S::Quads + decltype(piece)::value * S::Safe;
      ints acc[M][P];
      UNROLL for (int i = 0; i < M; ++i) {
        ints start = zeros();
        if constexpr (S::Zero && (WIDE || !S::Signed)) {
          start = centered(quad(x[i].pairs + k / 4 + 4 * h), S::Zero);
          if constexpr (S::Group == 32) start = merge(start, centered(quad(x[i].pairs + k / 4 + 4), S::Zero));
        }
        UNROLL for (int j = 0; j < P; ++j) acc[i][j] = start;
      }
      each<first, first + S::Safe>([&](auto place) INLINE {
        constexpr int q = decltype(place)::value;
        ints w[P];
        UNROLL for (int j = 0; j < P; ++j) w[j] = codes.template code<q>(j);
        UNROLL for (int i = 0; i < M; ++i) {
          const ints v = quad(x[i].codes + k + 4 * q);
          UNROLL for (int j = 0; j < P; ++j) {
            acc[i][j] = S::Signed && !WIDE ? dot_signed(w[j], v) : dot(acc[i][j], w[j], v);
            if constexpr (S::Safe > 1) PIN(acc[i][j]);
          }
        }
      });
      UNROLL for (int j = 0; j < P; ++j) {
        ints scale = zeros();
        if constexpr (S::Super) scale = load_scale(scales[j / PARTS] + h * TILE + j % PARTS * W);
        UNROLL for (int i = 0; i < M; ++i) {
          const ints closed = S::Super ? close(acc[i][j], scale) : close(acc[i][j]);
          whole[i][j] = first == 0 ? closed : plus(whole[i][j], closed);
          if constexpr (S::Safe == 1) PIN(whole[i][j]);
        }
      }
    });
  });
}

// sum[i][j] += the scaled products of M rows with one block of T tiles, whose inputs begin at k.
template <class S, int M, int P, int T, class Codes>
INLINE inline void block_dots(const Codes& codes, const uint8_t* const (&scales)[T], const Row (&x)[M], int64_t k,
                              vec (&sum)[M][P]) {
  if constexpr (!S::Super) {
    const int8_t* none[T] = {};
    ints whole[M][P];
    codes.template fetch<M>();
    products<S, M>(codes, none, x, k, whole);
    UNROLL for (int j = 0; j < P; ++j) {
      const vec d = load_f16(scales[j / PARTS] + j % PARTS * 2 * W);
      UNROLL for (int i = 0; i < M; ++i)
        sum[i][j] = fma(mul(floats(whole[i][j]), d), set(x[i].scales[k / 32]), sum[i][j]);
    }
  } else {
    vec block[M][P];
    clear(block);
    for (int g = 0; g < 8; ++g, k += 32) {
      const int8_t* small[T];
      UNROLL for (int t = 0; t < T; ++t) small[t] = (const int8_t*)scales[t] + 32 + g * (32 / S::Group) * TILE;
      ints whole[M][P];
      const Codes here = codes.group(g);
      here.template fetch<M>();
      products<S, M>(here, small, x, k, whole);
      UNROLL for (int i = 0; i < M; ++i) {
        const vec scale = set(x[i].scales[k / 32]);
        UNROLL for (int j = 0; j < P; ++j) block[i][j] = fma(floats(whole[i][j]), scale, block[i][j]);
      }
    }
    UNROLL for (int j = 0; j < P; ++j) {
      const vec d = load_f16(scales[j / PARTS] + j % PARTS * 2 * W);
      UNROLL for (int i = 0; i < M; ++i) sum[i][j] = fma(block[i][j], d, sum[i][j]);
    }
  }
}

// Row r of the order: its place in x and y.
inline int64_t place(const Affine& a, int64_t r) { return a.order ? a.order[r] : r; }

// sum = bias - mins for M rows and T tiles from output n on.
template <int M, int T>
inline void start(const Affine& a, const Layout& l, const uint8_t* const (&tile)[T], const Row (&x)[M], int64_t n,
                  vec (&sum)[M][T * PARTS]) {
  UNROLL for (int t = 0; t < T; ++t) {
    vec one[M][PARTS];
    clear(one);
    for (int j = 0; a.bias && j < PARTS && n + W * j < a.cols; ++j) {
      const vec bias = load_some(a.bias + n + W * j, a.cols - n - W * j);
      for (int i = 0; i < M; ++i) one[i][j] = bias;
    }
    if (l.mins) subtract_mins<M>(l, tile[t], x, a.inner, one);
    UNROLL for (int i = 0; i < M; ++i) {
      UNROLL for (int j = 0; j < PARTS; ++j) sum[i][t * PARTS + j] = one[i][j];
    }
    n += TILE;
  }
}

// M rows of the order from r on times T tiles, the first of which begins with output n: the weights are read once.
template <class S, int M, int T, class Codes>
inline void rows_times_tiles(const Affine& a, const Layout& l, const uint8_t* first, Codes codes, int64_t r, int64_t n) {
  constexpr int P = T * PARTS;
  Row x[M];
  for (int i = 0; i < M; ++i) x[i] = Row(a.x + place(a, r + i) * row_bytes(a.inner), a.inner);
  const uint8_t *tile[T], *scales[T];
  for (int t = 0; t < T; ++t) tile[t] = first + t * l.bytes(a.inner), scales[t] = tile[t] + l.scales(a.inner);
  vec sum[M][P];
  start(a, l, tile, x, n, sum);
  for (int64_t k = 0; k < a.inner; k += S::Block) {
    if (k == a.inner - 256) codes.template fetch_heads<M>();
    block_dots<S, M>(codes, scales, x, k, sum);
    codes = codes.group(S::Block / 32);
    UNROLL for (int t = 0; t < T; ++t) scales[t] += S::Part;
  }
  for (int i = 0; i < M; ++i) {
    for (int j = 0; j < P && n + W * j < a.cols; ++j)
      store_some(a.y + place(a, r + i) * a.cols + n + W * j, sum[i][j], a.cols - n - W * j);
  }
}

// Rows [top, bottom) of the order times tiles [first, last) of the matrix at w. One row or two read two tiles at once: the
// more streams there are, the more of them the memory delivers.
template <class S>
inline void region(const Affine& a, const Layout& l, const uint8_t* w, int64_t top, int64_t bottom, int64_t first,
                   int64_t last) {
  const int64_t size = l.bytes(a.inner);
  for (int64_t t = first, step; t < last; t += step) {
    step = STREAMS == 2 && bottom - top <= 2 && last - t >= 2 ? 2 : 1;
    const uint8_t* tile = w + t * size;
    int64_t r = top;
    if constexpr (S::Base + S::Extra < 8) {
      if (bottom - top >= MANY) {
        const Unpacked codes = unpack_tile(Packed<S, 1>(l, tile, a.inner), a.inner);
        for (; bottom - r >= HEIGHT; r += HEIGHT) rows_times_tiles<S, HEIGHT, 1>(a, l, tile, codes, r, t * TILE);
      }
    }
    for (int64_t left; r < bottom;) {
      auto run = [&](auto rows, auto tiles) {
        constexpr int T = decltype(tiles)::value;
        rows_times_tiles<S, decltype(rows)::value, T>(a, l, tile, Packed<S, T>(l, tile, a.inner), r, t * TILE);
        r += rows.value;
      };
      left = bottom - r;
      if (step == 2) {
        constant<2>(left, [&](auto rows) { run(rows, Int<STREAMS>()); });
      } else if (left >= HEIGHT) {
        run(Int<HEIGHT>(), Int<1>());
      } else {
        constant<4>(least(4, left), [&](auto rows) { run(rows, Int<1>()); });
      }
    }
  }
}

// One matrix: pieces of tiles, and bands of rows that stay in a cache meanwhile.
template <class S>
inline void matrix(const Affine& a, const Layout& l, const uint8_t* w, int64_t top, int64_t bottom) {
  const int64_t tiles = ceil_div(a.cols, TILE), size = l.bytes(a.inner), count = bottom - top;
  const int64_t height = most(32, CACHED / row_bytes(a.inner) / HEIGHT * HEIGHT), bands = ceil_div(count, height);
  const int64_t together = count <= 2 ? STREAMS : 1;  // tiles that are read at once
  int64_t piece = least(most(together, ceil_div(together * PIECE, size)), ceil_div(tiles * bands, 4 * threads()));
  if (piece > 1) piece = ceil_div(piece, together) * together;
  const int64_t pieces = ceil_div(tiles, piece);
  auto body = [&](int64_t i) {
    const int64_t r = top + i / pieces * height, t = i % pieces * piece;
    region<S>(a, l, w, r, least(bottom, r + height), t, least(tiles, t + piece));
  };
  parallel(pieces * bands, count * a.cols * a.inner, body);
}

template <class Body>
inline void shaped(int64_t format, Body&& body) {
  switch (format) {
    case 2: return body(Shape<4, 0, 32, false, 8>());
    case 3: return body(Shape<4, 0, 32, false, 0>());
    case 6: return body(Shape<4, 1, 32, false, 16>());
    case 7: return body(Shape<4, 1, 32, false, 0>());
    case 8: return body(Shape<8, 0, 32, false, 128>());
    case 10: return body(Shape<2, 0, 16, true, 0>());
    case 11: return body(Shape<2, 1, 16, true, 4>());
    case 12: return body(Shape<4, 0, 32, true, 0>());
    case 13: return body(Shape<4, 1, 32, true, 0>());
    case 14: return body(Shape<4, 2, 16, true, 32>());
  }
}

inline void multiply(const Affine& a) {
  const Layout& l = *find_layout((int)a.format);
  const int64_t size = ceil_div(a.cols, TILE) * l.bytes(a.inner);
  shaped(a.format, [&](auto shape) {
    for (int64_t m = 0; m < a.matrices; ++m) {
      const int64_t top = a.order ? a.starts[m] : 0, bottom = a.order ? a.starts[m + 1] : a.rows;
      if (top < bottom) matrix<decltype(shape)>(a, l, a.w + m * size, top, bottom);
    }
  });
}

}  // namespace ISA
}  // namespace mistralrs
