// y = x w^T + bias with w as short codes: groups of inputs share a scale, and a code stands for an integer or for a small float.
// Codes are decoded to float32 a block at a time and multiplied as linear.h does, in its order: the result is bit for bit
// that of the decoded matrix, whatever the number of rows.
#pragma once
#include "gather.h"

namespace mistralrs {
namespace ISA {

// --- eight codes -> eight floats ------------------------------------------------------------------------------------

// E2M1 doubled, so that all are integers.
constexpr float E2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12};

#if defined(ISA_portable)

inline float wide(f16 x) { return widen(x); }

template <Numbers N>
inline float number(uint32_t code) {
  if constexpr (N == Numbers::e2m1) return E2M1[code];
  if constexpr (N == Numbers::integers) return (float)(int8_t)code;
  if constexpr (N == Numbers::e4m3) {
    // As a float16 the exponent is off by 8; the last code is a nan.
    const uint32_t bits = (code & 0x7f) == 0x7f ? 0x7e00 : (code & 0x7f) << 7;
    return widen(f16{(uint16_t)(bits | (code & 0x80) << 8)}) * 256.0f;
  }
  return (float)code;
}

template <Numbers N, int Bits, class Finish>
inline void eight(const uint8_t* p, float* out, Finish finish) {
  uint64_t word = 0;
  for (int i = 0; i < Bits; ++i) word |= (uint64_t)p[i] << 8 * i;
  float values[8];
  for (int i = 0; i < 8; ++i) values[i] = number<N>((uint32_t)(word >> Bits * i) & ((1u << Bits) - 1));
  for (int i = 0; i < 8; i += W) store(out + i, finish(load(values + i)));
}

using Lanes = vec;
inline Lanes spread(float x) { return set(x); }

#else

using Lanes = __m256;
inline Lanes spread(float x) { return _mm256_set1_ps(x); }

inline float wide(f16 x) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(x.bits))); }

template <class T>
inline uint64_t word_at(const uint8_t* p) {
  T word;
  memcpy(&word, p, sizeof word);
  return word;
}

// Eight codes: no byte beyond them is read, and nothing goes through memory in parts, which would stall.
template <int Bits>
inline uint64_t eight_codes(const uint8_t* p) {
  if constexpr (Bits == 2) return word_at<uint16_t>(p);
  if constexpr (Bits == 3) return word_at<uint16_t>(p) | (uint64_t)p[2] << 16;
  if constexpr (Bits == 6) return word_at<uint32_t>(p) | word_at<uint16_t>(p + 4) << 32;
  return word_at<uint32_t>(p);
}

template <int Bits>
inline __m256i codes(const uint8_t* p) {
  if constexpr (Bits == 8) return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
  const uint64_t word = eight_codes<Bits>(p);
  const int half = Bits > 4 ? 4 : 0;  // 32 bits hold eight short codes, or four long ones
  const __m256i low = _mm256_set1_epi32((int)(uint32_t)word);
  const __m256i words = half ? _mm256_inserti128_si256(low, _mm_set1_epi32((int)(uint32_t)(word >> half * Bits)), 1) : low;
  const int shift = half ? half * Bits : 0;
  const __m256i shifts = _mm256_setr_epi32(0, Bits, 2 * Bits, 3 * Bits, 4 * Bits - shift, 5 * Bits - shift,
                                           6 * Bits - shift, 7 * Bits - shift);
  return _mm256_and_si256(_mm256_srlv_epi32(words, shifts), _mm256_set1_epi32((1 << Bits) - 1));
}

inline __m256 e4m3(const uint8_t* p) {
  const __m128i code = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i*)p));
  const __m128i size = _mm_and_si128(code, _mm_set1_epi16(0x7f));
  const __m128i nan = _mm_and_si128(_mm_cmpeq_epi16(size, _mm_set1_epi16(0x7f)), _mm_set1_epi16(0x7e00));
  const __m128i sign = _mm_slli_epi16(_mm_and_si128(code, _mm_set1_epi16(0x80)), 8);
  const __m128i half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(size, 7), sign), nan);
  return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));  // the exponent is off by 8
}

inline __m256 e2m1(const uint8_t* p) {
  const __m256i code = codes<4>(p);
  const __m256 size = _mm256_permutevar8x32_ps(_mm256_loadu_ps(E2M1), code);  // by the three lowest bits
  const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(code, _mm256_set1_epi32(8)), 28);
  return _mm256_or_ps(size, _mm256_castsi256_ps(sign));
}

template <Numbers N, int Bits>
inline __m256 numbers(const uint8_t* p) {
  if constexpr (N == Numbers::e4m3) return e4m3(p);
  if constexpr (N == Numbers::e2m1) return e2m1(p);
  if constexpr (N == Numbers::integers) return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
  return _mm256_cvtepi32_ps(codes<Bits>(p));
}

template <Numbers N, int Bits, class Finish>
inline void eight(const uint8_t* p, float* out, Finish finish) {
  _mm256_storeu_ps(out, finish(numbers<N, Bits>(p)));
}

#if !defined(ISA_avx2)
inline Lanes mul(Lanes a, Lanes b) { return _mm256_mul_ps(a, b); }
inline Lanes add(Lanes a, Lanes b) { return _mm256_add_ps(a, b); }
inline Lanes sub(Lanes a, Lanes b) { return _mm256_sub_ps(a, b); }
#endif

#endif

// --- rows -> floats -------------------------------------------------------------------------------------------------

inline float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

// One scale or zero. E8M0 is halved, since the numbers that go with it are doubled.
inline float scalar(Scale type, const uint8_t* p, int64_t i) {
  if (type == Scale::f32) return ((const float*)p)[i];
  if (type == Scale::bf16) return from_bits((uint32_t)((const uint16_t*)p)[i] << 16);
  if (type == Scale::e8m0) return from_bits(p[i] < 2 ? 0x00200000u << p[i] : p[i] == 255 ? 0x7fc00000 : (p[i] - 1u) << 23);
  if (type == Scale::f16) return wide(((const f16*)p)[i]);
  const uint8_t code = p[i];
  const uint16_t half = (uint16_t)((code & 0x7f) == 0x7f ? 0x7e00 : (code & 0x7f) << 7 | (code & 0x80) << 8);
  return wide(f16{half}) * 256.0f / 448.0f;
}

// Inputs [k, k + count) of row n of matrix m; k and count are multiples of 32.
template <Numbers N, int Bits>
inline void decode_row(const Coded& a, int64_t m, int64_t n, int64_t k, int64_t count, float* out) {
  const uint8_t* p = a.codes + m * a.code_stride + (n * a.inner + k) / 8 * Bits;
  const int64_t groups = ceil_div(a.inner, a.group), width = scale_bytes(a.scale);
  const int64_t at = m * a.scale_stride + n / a.band * groups;
  const uint8_t *scales = a.scales + at * width, *zeros = a.zeros ? a.zeros + at * width : nullptr;
  const int64_t end = k + count;
  for (int64_t g = k / a.group; k < end; ++g) {
    const int64_t stop = least(end, (g + 1) * a.group);
    const Lanes scale = spread(scalar(a.scale, scales, g)), zero = spread(zeros ? scalar(a.scale, zeros, g) : 0.0f);
    for (; k < stop; k += 32, out += 32, p += 4 * Bits) {
      UNROLL for (int i = 0; i < 4; ++i) {
        eight<N, Bits>(p + i * Bits, out + 8 * i, [&](Lanes q) {
          if constexpr (N == Numbers::shifted) return add(mul(q, scale), zero);
          if constexpr (N == Numbers::centered) return mul(sub(q, zero), scale);
          return mul(q, scale);
        });
      }
    }
  }
}

using Decode = void (*)(const Coded&, int64_t m, int64_t n, int64_t k, int64_t count, float* out);

inline Decode decoder(Numbers numbers, int64_t bits) {
  switch (numbers) {
    case Numbers::integers: return decode_row<Numbers::integers, 8>;
    case Numbers::e2m1: return decode_row<Numbers::e2m1, 4>;
    case Numbers::e4m3: return decode_row<Numbers::e4m3, 8>;
    case Numbers::centered: return bits == 8 ? decode_row<Numbers::centered, 8> : decode_row<Numbers::centered, 4>;
    case Numbers::shifted: break;
  }
  switch (bits) {
    case 2: return decode_row<Numbers::shifted, 2>;
    case 3: return decode_row<Numbers::shifted, 3>;
    case 4: return decode_row<Numbers::shifted, 4>;
    case 6: return decode_row<Numbers::shifted, 6>;
    default: return decode_row<Numbers::shifted, 8>;
  }
}

// --- products -------------------------------------------------------------------------------------------------------

// Outputs [first, last) for a few rows: blocks of four weight rows pass through the first cache.
inline void thin_coded(const Coded& a, Decode decode, const Linear& one, int64_t m, int64_t first, int64_t last) {
  constexpr int N = 4, M = 2;
  float block[N * DEPTH] = {};
  for (int64_t n = first; n < last; n += N) {
    const int64_t count = least(N, last - n);
    vec acc[THIN][N];
    clear(acc);
    for (int64_t k = 0; k < a.inner; k += DEPTH) {
      const int64_t depth = least(DEPTH, a.inner - k);
      for (int64_t j = 0; j < count; ++j) decode(a, m, n + j, k, depth, block + j * DEPTH);
      for (int64_t r = 0; r < one.rows; r += M) {
        constant<M>(least(M, one.rows - r), [&](auto rows) {
          dots(one.x + r * a.inner + k, a.inner, block, DEPTH, depth, *(vec(*)[rows.value][N])(acc + r));
        });
      }
    }
    float sums4[THIN * N];
    sums(acc, sums4, N);
    for (int64_t r = 0; r < one.rows; ++r) memcpy(one.y + r * a.cols + n, sums4 + r * N, count * sizeof(float));
  }
  add_bias(one, one.y + first, one.rows, a.cols, first, last - first);
}

// Outputs [first, last), at most PANEL, for many rows: the decoded panel is used by all.
inline void thick_coded(const Coded& a, Decode decode, const Linear& one, int64_t m, int64_t first, int64_t last) {
  const int64_t blocks = ceil_div(a.inner, DEPTH);
  float* panel = (float*)scratch((blocks * DEPTH + BAND * W) * PANEL * sizeof(float));
  for (int64_t n = first; n < last; ++n) {
    for (int64_t k = 0; k < a.inner; k += DEPTH)
      decode(a, m, n, k, least(DEPTH, a.inner - k), panel + (k / DEPTH * PANEL + n - first) * DEPTH);
  }
  float* partial = panel + blocks * DEPTH * PANEL;
  for (int64_t r = 0; r < one.rows; r += BAND) band(one, panel, first, last, r, least(one.rows, r + BAND), partial);
}

inline void columns(const Coded& a, Decode decode, const Linear& one, int64_t m, int64_t first, int64_t last) {
  if (one.rows <= THIN) return thin_coded(a, decode, one, m, first, last);
  for (int64_t c = first; c < last; c += PANEL) thick_coded(a, decode, one, m, c, least(last, c + PANEL));
}

// `rows(i)` is the i-th of `runs` matrices with the rows it takes; threads share pieces of whole panels.
template <class Rows>
inline void multiply(const Coded& a, int64_t runs, Rows rows) {
  const Decode decode = decoder(a.numbers, a.bits);
  const int64_t wanted = most(65536 * 8 / most(1, a.inner * a.bits), a.cols * runs / (8 * threads()));
  const int64_t piece = most(1, ceil_div(wanted, PANEL)) * PANEL, pieces = ceil_div(a.cols, piece);
  auto body = [&](int64_t i) {
    const auto [m, one] = rows(i / pieces);
    const int64_t first = i % pieces * piece;
    columns(a, decode, one, m, first, least(a.cols, first + piece));
  };
  parallel(runs * pieces, a.rows * a.cols * a.inner, body);
}

struct Run {
  int64_t matrix;
  Linear rows;
};

// False where an id is not one of the stack.
inline bool multiply(const Coded& a) {
  auto over = [&](const float* x, float* y, int64_t rows) {
    return Linear{x, nullptr, a.bias, y, Type::f32, Type::f32, rows, a.cols, a.inner};
  };
  if (!a.ids) {
    if (a.rows) multiply(a, 1, [&](int64_t) { return Run{0, over(a.x, a.y, a.rows)}; });
    return true;
  }
  int64_t *starts = a.places, *order = starts + a.matrices + 1, *used = order + a.rows, runs = 0;
  const Gather grouping{a.x, nullptr, a.ids, a.y, a.room, a.places, Type::f32, a.rows, a.matrices, a.cols, a.inner, 0};
  if (!group(grouping, starts, order)) return false;
  for (int64_t e = 0; e < a.matrices; ++e) {
    if (starts[e] < starts[e + 1]) used[runs++] = e;
  }
  float *x = a.room, *y = x + a.rows * a.inner;
  auto pack = [&](int64_t i) { memcpy(x + i * a.inner, a.x + order[i] * a.inner, a.inner * sizeof(float)); };
  parallel(a.rows, a.rows * a.inner, pack);
  if (runs) {
    multiply(a, runs, [&](int64_t i) {
      const int64_t e = used[i], top = starts[e];
      return Run{e, over(x + top * a.inner, y + top * a.cols, starts[e + 1] - top)};
    });
  }
  auto unpack = [&](int64_t i) { memcpy(a.y + order[i] * a.cols, y + i * a.cols, a.cols * sizeof(float)); };
  parallel(a.rows, a.rows * a.cols, unpack);
  return true;
}

// Rows ids[i], or all rows, of one matrix -> y [rows, inner].
inline void decode_rows(const Coded& a) {
  const Decode decode = decoder(a.numbers, a.bits);
  auto body = [&](int64_t i) { decode(a, 0, a.ids ? a.ids[i] : i, 0, a.inner, a.y + i * a.inner); };
  parallel(a.rows, 4 * a.rows * a.inner, body);
}

}  // namespace ISA
}  // namespace mistralrs
