// Products of small integers: `ints` is a vector of W int32 lanes, each a quad of four bytes of one output row.
// A sum of products lives in `ints` whose meaning belongs to the instruction set: int32 with VNNI and in portable code,
// two int16 partial sums a lane with the older multiply-add of bytes. `merge` adds two sums, `close` makes one int32.
#pragma once
#include "simd.h"

namespace mistralrs {
namespace ISA {

// The value is computed here and now: GCC likes to multiply everything first and add at the end, for which there are
// not enough registers.
#if defined(__GNUC__) && !defined(ISA_portable)
#define PIN(value) __asm__("" : "+v"(value))
#else
#define PIN(value)
#endif
#if defined(__GNUC__)
#define INLINE __attribute__((always_inline))
#else
#define INLINE
#endif

#if defined(ISA_avx512) || defined(ISA_avx512vnni)

using ints = __m512i;
inline ints load_bytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline void store_bytes(uint8_t* p, ints a) { _mm512_storeu_si512(p, a); }
inline ints quad(const int8_t* x) {
  int32_t word;
  memcpy(&word, x, 4);
  return _mm512_set1_epi32(word);
}
inline ints zeros() { return _mm512_setzero_si512(); }
inline ints both(ints a, ints mask) { return _mm512_and_si512(a, mask); }
inline ints either(ints a, ints b) { return _mm512_or_si512(a, b); }
inline ints bytes(int value) { return _mm512_set1_epi8((char)value); }
template <int N>
inline ints shift(ints a) {  // right by N bits, left if N < 0, in 16-bit lanes
  if constexpr (N > 0) return _mm512_srli_epi16(a, N);
  if constexpr (N < 0) return _mm512_slli_epi16(a, -N);
  return a;
}
inline ints flip(ints a) { return _mm512_xor_si512(a, bytes(128)); }
inline ints plus(ints a, ints b) { return _mm512_add_epi32(a, b); }
inline vec floats(ints a) { return _mm512_cvtepi32_ps(a); }
inline vec load_f16(const uint8_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
inline vec load_u8(const uint8_t* p) { return floats(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p))); }
inline void narrow(int8_t* p, vec a) { _mm_storeu_si128((__m128i*)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a))); }

#if defined(ISA_avx512vnni)
constexpr bool WIDE = true;  // sums are int32
inline ints dot(ints sum, ints w, ints x) { return _mm512_dpbusd_epi32(sum, w, x); }
inline ints centered(ints pairs, int zero) { return _mm512_madd_epi16(pairs, _mm512_set1_epi16((short)-zero)); }
inline ints load_scale(const int8_t* p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)); }
inline ints close(ints sum, ints scale) { return _mm512_mullo_epi32(sum, scale); }
inline ints close(ints sum) { return sum; }
inline ints merge(ints a, ints b) { return plus(a, b); }
#else
constexpr bool WIDE = false;
inline ints merge(ints a, ints b) { return _mm512_add_epi16(a, b); }
inline ints dot(ints sum, ints w, ints x) { return _mm512_add_epi16(sum, _mm512_maddubs_epi16(w, x)); }
inline ints centered(ints pairs, int zero) { return _mm512_mullo_epi16(pairs, _mm512_set1_epi16((short)-zero)); }
inline ints load_scale(const int8_t* p) {
  const __m512i wide = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p));
  return _mm512_mask_blend_epi16(0x55555555, _mm512_slli_epi32(wide, 16), wide);
}
inline ints close(ints sum, ints scale) { return _mm512_madd_epi16(sum, scale); }
inline ints close(ints sum) { return _mm512_madd_epi16(sum, _mm512_set1_epi16(1)); }
#endif
// One product of signed bytes, -128 among them; a second one would not fit.
inline ints dot_signed(ints w, ints x) {
  const ints flipped = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), zeros(), x);
  return _mm512_maddubs_epi16(_mm512_abs_epi8(w), flipped);
}

#elif defined(ISA_avx2)

constexpr bool WIDE = false;  // sums are pairs of int16
using ints = __m256i;
inline ints load_bytes(const uint8_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
inline void store_bytes(uint8_t* p, ints a) { _mm256_storeu_si256((__m256i*)p, a); }
inline ints quad(const int8_t* x) {
  int32_t word;
  memcpy(&word, x, 4);
  return _mm256_set1_epi32(word);
}
inline ints zeros() { return _mm256_setzero_si256(); }
inline ints both(ints a, ints mask) { return _mm256_and_si256(a, mask); }
inline ints either(ints a, ints b) { return _mm256_or_si256(a, b); }
inline ints bytes(int value) { return _mm256_set1_epi8((char)value); }
template <int N>
inline ints shift(ints a) {  // right by N bits, left if N < 0, in 16-bit lanes
  if constexpr (N > 0) return _mm256_srli_epi16(a, N);
  if constexpr (N < 0) return _mm256_slli_epi16(a, -N);
  return a;
}
inline ints flip(ints a) { return _mm256_xor_si256(a, bytes(128)); }
inline ints plus(ints a, ints b) { return _mm256_add_epi32(a, b); }
inline vec floats(ints a) { return _mm256_cvtepi32_ps(a); }
inline vec load_f16(const uint8_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
inline vec load_u8(const uint8_t* p) { return floats(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p))); }
inline void narrow(int8_t* p, vec a) {
  const __m256i i = _mm256_cvtps_epi32(a);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
  _mm_storel_epi64((__m128i*)p, _mm_packs_epi16(words, words));
}
inline ints dot(ints sum, ints w, ints x) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x)); }
inline ints centered(ints pairs, int zero) { return _mm256_mullo_epi16(pairs, _mm256_set1_epi16((short)-zero)); }
inline ints load_scale(const int8_t* p) {
  const __m128i eight = _mm_loadl_epi64((const __m128i*)p);
  return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(eight, eight));
}
inline ints close(ints sum, ints scale) { return _mm256_madd_epi16(sum, scale); }
inline ints close(ints sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
inline ints merge(ints a, ints b) { return _mm256_add_epi16(a, b); }
inline ints dot_signed(ints w, ints x) { return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)); }

#else  // portable: four lanes of int32, bytes by memcpy

constexpr bool WIDE = true;
struct ints {
  int32_t lane[W];
};
inline ints zeros() { return {}; }
#define EACH(expression)                         \
  ints r;                                        \
  for (int i = 0; i < W; ++i) r.lane[i] = expression; \
  return r
inline ints load_bytes(const uint8_t* p) {
  ints r;
  memcpy(&r, p, sizeof r);
  return r;
}
inline void store_bytes(uint8_t* p, ints a) { memcpy(p, &a, sizeof a); }
inline ints quad(const int8_t* x) {
  int32_t word;
  memcpy(&word, x, 4);
  EACH(word);
}
inline ints both(ints a, ints mask) { EACH(a.lane[i] & mask.lane[i]); }
inline ints either(ints a, ints b) { EACH(a.lane[i] | b.lane[i]); }
inline ints bytes(int value) { EACH((int32_t)((uint32_t)(value & 255) * 0x01010101u)); }
template <int N>
inline ints shift(ints a) {
  if constexpr (N < 0) {
    EACH((int32_t)((uint32_t)a.lane[i] << -N));
  } else {
    EACH((int32_t)((uint32_t)a.lane[i] >> N));
  }
}
inline ints flip(ints a) { EACH((int32_t)((uint32_t)a.lane[i] ^ 0x80808080u)); }
inline ints plus(ints a, ints b) { EACH(a.lane[i] + b.lane[i]); }
inline vec floats(ints a) { LANES((float)a.lane[i]); }
inline vec load_f16(const uint8_t* p) { return load((const f16*)p); }
inline vec load_u8(const uint8_t* p) { LANES((float)p[i]); }
inline void narrow(int8_t* p, vec a) {
  for (int i = 0; i < W; ++i) p[i] = (int8_t)a[i];
}
inline ints dot(ints sum, ints w, ints x) {
  uint8_t a[4 * W];
  int8_t b[4 * W];
  memcpy(a, &w, sizeof a);
  memcpy(b, &x, sizeof b);
  for (int i = 0; i < W; ++i)
    sum.lane[i] += a[4 * i] * b[4 * i] + a[4 * i + 1] * b[4 * i + 1] + a[4 * i + 2] * b[4 * i + 2] + a[4 * i + 3] * b[4 * i + 3];
  return sum;
}
inline ints dot_signed(ints w, ints x) { return dot(zeros(), flip(w), x); }  // not used: sums are wide here
inline ints centered(ints pairs, int zero) {
  EACH(-zero * ((int16_t)(pairs.lane[i] & 0xffff) + (int16_t)((uint32_t)pairs.lane[i] >> 16)));
}
inline ints load_scale(const int8_t* p) { EACH(p[i]); }
inline ints close(ints sum, ints scale) { EACH(sum.lane[i] * scale.lane[i]); }
inline ints close(ints sum) { return sum; }
inline ints merge(ints a, ints b) { return plus(a, b); }
#undef EACH

#endif

}  // namespace ISA
}  // namespace mistralrs
