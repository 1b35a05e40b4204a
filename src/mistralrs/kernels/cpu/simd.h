// One vector type `vec` of `W` floats per instruction set, and the few functions that the kernels are written in.
// Every function here is inline in the namespace of its instruction set: shared inline code could be linked from the
// object with the widest instructions and then run on a machine without them. Nothing of <algorithm> or <vector> either.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "table.h"

#if !defined(ISA_portable)
#include <immintrin.h>
#endif

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif

namespace mistralrs {
namespace ISA {

inline void prefetch(const void* p) {  // asks for a cache line; does nothing where there is no such instruction
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(p);
  __asm__ volatile("");  // else GCC takes a function that only prefetches for one that does nothing, and drops it
#elif !defined(ISA_portable)
  _mm_prefetch((const char*)p, _MM_HINT_T0);
#else
  (void)p;
#endif
}

struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

#if !defined(ISA_portable)
// The sums of neighbours, as _mm256_hadd_ps has them; two shuffles and an addition are faster.
inline __m256 pairs(__m256 a, __m256 b) {
  return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
}
inline float sum8(__m256 a) {
  const __m256 b = pairs(a, a), c = pairs(b, b);
  return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(c), _mm256_extractf128_ps(c, 1)));
}
inline float largest8(__m256 a) {
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)), c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}
#endif

#if defined(ISA_avx512) || defined(ISA_avx512vnni)

constexpr int W = 16;
constexpr int ROWS = 6, COLS = 4;  // accumulators of the widest matmul tile
using vec = __m512;
inline vec set(float x) { return _mm512_set1_ps(x); }
inline vec load(const float* p) { return _mm512_loadu_ps(p); }
inline vec load(const f16* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
inline vec load(const bf16* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline void store(float* p, vec a) { _mm512_storeu_ps(p, a); }
inline void store(f16* p, vec a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline vec add(vec a, vec b) { return _mm512_add_ps(a, b); }
inline vec sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
inline vec mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
inline vec div(vec a, vec b) { return _mm512_div_ps(a, b); }
inline vec fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
inline vec max(vec a, vec b) { return _mm512_max_ps(a, b); }  // b when either is NaN
inline vec min(vec a, vec b) { return _mm512_min_ps(a, b); }
inline vec less(vec a, vec b, vec yes, vec no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
inline vec round(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vec power2(vec n) {  // 2^n for an integral n in [-126, 127]
  const __m512i i = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(i, 23));
}
inline __m256 fold(vec a) { return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); }
inline float sum(vec a) { return sum8(fold(a)); }
inline float largest(vec a) {  // of numbers; a NaN may be lost
  return largest8(_mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
}
inline void sum4(vec a, vec b, vec c, vec d, float* out) {
  const __m256 all = pairs(pairs(fold(a), fold(b)), pairs(fold(c), fold(d)));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

#elif defined(ISA_avx2)

constexpr int W = 8;
constexpr int ROWS = 4, COLS = 3;
using vec = __m256;
inline vec set(float x) { return _mm256_set1_ps(x); }
inline vec load(const float* p) { return _mm256_loadu_ps(p); }
inline vec load(const f16* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
inline vec load(const bf16* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline void store(float* p, vec a) { _mm256_storeu_ps(p, a); }
inline void store(f16* p, vec a) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline vec add(vec a, vec b) { return _mm256_add_ps(a, b); }
inline vec sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
inline vec mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
inline vec div(vec a, vec b) { return _mm256_div_ps(a, b); }
inline vec fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
inline vec max(vec a, vec b) { return _mm256_max_ps(a, b); }  // b when either is NaN
inline vec min(vec a, vec b) { return _mm256_min_ps(a, b); }
inline vec less(vec a, vec b, vec yes, vec no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
inline vec round(vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vec power2(vec n) {  // 2^n for an integral n in [-126, 127]
  const __m256i i = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(i, 23));
}
inline float sum(vec a) { return sum8(a); }
inline float largest(vec a) { return largest8(a); }  // of numbers; a NaN may be lost
inline void sum4(vec a, vec b, vec c, vec d, float* out) {  // four of `sum`, the same bits
  const __m256 all = pairs(pairs(a, b), pairs(c, d));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

#else  // portable: four lanes, which compilers map to SSE2 or NEON

constexpr int W = 4;
constexpr int ROWS = 4, COLS = 3;
#if defined(__GNUC__)
typedef float vec __attribute__((vector_size(16)));
#else
struct vec {
  float lane[4];
  float& operator[](int i) { return lane[i]; }
  float operator[](int i) const { return lane[i]; }
};
#endif
#define LANES(expression)                    \
  vec r;                                     \
  for (int i = 0; i < W; ++i) r[i] = expression; \
  return r

inline float widen(float x) { return x; }
inline float widen(bf16 x) {
  const uint32_t bits = (uint32_t)x.bits << 16;
  float r;
  memcpy(&r, &bits, 4);
  return r;
}
inline float widen(f16 x) {
#if defined(__ARM_FP16_FORMAT_IEEE)
  __fp16 h;
  memcpy(&h, &x, 2);
  return h;
#else
  // The exponent moves by a multiplication, which handles subnormal numbers; infinities and NaNs are patched.
  const uint32_t magnitude = (uint32_t)(x.bits & 0x7fff) << 13;
  float r;
  memcpy(&r, &magnitude, 4);
  r *= 0x1p112f;
  uint32_t bits;
  memcpy(&bits, &r, 4);
  bits |= (magnitude >= 0x0f800000u ? 0x7f800000u : 0u) | (uint32_t)(x.bits & 0x8000) << 16;
  memcpy(&r, &bits, 4);
  return r;
#endif
}
#if defined(__GNUC__)
inline vec set(float x) { return vec{x, x, x, x}; }
inline vec add(vec a, vec b) { return a + b; }
inline vec sub(vec a, vec b) { return a - b; }
inline vec mul(vec a, vec b) { return a * b; }
inline vec div(vec a, vec b) { return a / b; }
#else
inline vec set(float x) { LANES(x); }
inline vec add(vec a, vec b) { LANES(a[i] + b[i]); }
inline vec sub(vec a, vec b) { LANES(a[i] - b[i]); }
inline vec mul(vec a, vec b) { LANES(a[i] * b[i]); }
inline vec div(vec a, vec b) { LANES(a[i] / b[i]); }
#endif
inline vec load(const float* p) {
  vec r;
  memcpy(&r, p, sizeof r);
  return r;
}
inline vec load(const f16* p) { LANES(widen(p[i])); }
inline vec load(const bf16* p) { LANES(widen(p[i])); }
inline void store(float* p, vec a) { memcpy(p, &a, sizeof a); }
inline uint16_t narrow(float x) {  // float16, to nearest, ties to even
  uint32_t bits;
  memcpy(&bits, &x, 4);
  const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (size >= 0x47800000) return (uint16_t)(sign | 0x7c00);
  if (size >= 0x38800000) return (uint16_t)(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13);
  float shifted;  // subnormal: adding 0.5 rounds at the last bit that float16 has
  memcpy(&shifted, &size, 4);
  shifted += 0.5f;
  memcpy(&bits, &shifted, 4);
  return (uint16_t)(sign | (bits - 0x3f000000));
}
inline void store(f16* p, vec a) {
  for (int i = 0; i < W; ++i) p[i].bits = narrow(a[i]);
}
#if defined(__FP_FAST_FMAF)
inline vec fma(vec a, vec b, vec c) { LANES(__builtin_fmaf(a[i], b[i], c[i])); }
#else
inline vec fma(vec a, vec b, vec c) { return add(mul(a, b), c); }
#endif
inline vec max(vec a, vec b) { LANES(a[i] > b[i] ? a[i] : b[i]); }  // b when either is NaN
inline vec min(vec a, vec b) { LANES(a[i] < b[i] ? a[i] : b[i]); }
inline vec less(vec a, vec b, vec yes, vec no) { LANES(a[i] < b[i] ? yes[i] : no[i]); }
inline vec round(vec a) {  // to the nearest integer, ties to even, for |a| < 2^22
  const vec magic = set(12582912.0f);
  return sub(add(a, magic), magic);
}
inline vec power2(vec n) {  // 2^n for an integral n in [-126, 127]
  vec r;
  for (int i = 0; i < W; ++i) {
    const int32_t bits = ((int32_t)n[i] + 127) * (1 << 23);
    float x;
    memcpy(&x, &bits, 4);
    r[i] = x;
  }
  return r;
}
inline float sum(vec a) { return (a[0] + a[1]) + (a[2] + a[3]); }
inline float largest(vec a) {  // of numbers; a NaN may be lost
  float r = a[0];
  for (int i = 1; i < W; ++i) r = a[i] > r ? a[i] : r;
  return r;
}
inline void sum4(vec a, vec b, vec c, vec d, float* out) {
  out[0] = sum(a), out[1] = sum(b), out[2] = sum(c), out[3] = sum(d);
}

#endif

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The first n < W elements at p, then zeros; and the first n lanes of a.
template <class T>
inline vec load(const T* p, int64_t n) {
  T lanes[W] = {};
  memcpy(lanes, p, n * sizeof(T));
  return load(lanes);
}
inline void store(bf16* p, vec a) {  // to nearest, ties to even
  uint32_t bits[W];
  memcpy(bits, &a, sizeof bits);
  for (int i = 0; i < W; ++i) {
    const uint32_t rounded = (bits[i] + 0x7fff + (bits[i] >> 16 & 1)) >> 16;
    p[i].bits = (uint16_t)((bits[i] & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
  }
}
template <class T>
inline void store(T* p, vec a, int64_t n) {
  T lanes[W];
  store(lanes, a);
  memcpy(p, lanes, n * sizeof(T));
}

template <class T>
inline vec load_some(const T* p, int64_t n) {
  return n >= W ? load(p) : load(p, n);
}
template <class T>
inline void store_some(T* p, vec a, int64_t n) {
  if (n >= W) return store(p, a);
  store(p, a, n);
}

template <class P>
struct Plain;
template <class T>
struct Plain<const T*> {
  using type = T;
};

// `body(p)` with p as a pointer to its type (an enum Type).
template <class Body>
inline void typed(Type type, const void* p, Body&& body) {
  if (type == Type::f32) return body((const float*)p);
  if (type == Type::f16) return body((const f16*)p);
  body((const bf16*)p);
}

}  // namespace ISA
}  // namespace mistralrs
