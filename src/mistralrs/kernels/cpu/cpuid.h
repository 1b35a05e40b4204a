// What this processor and this operating system can run.
#pragma once
#if defined(__x86_64__) || defined(_M_X64)
#include <cstdint>
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif

namespace mistralrs {

struct Registers {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

inline Registers cpuid(uint32_t leaf) {
  Registers r;
#if defined(_MSC_VER)
  int out[4];
  __cpuidex(out, (int)leaf, 0);
  r = {(uint32_t)out[0], (uint32_t)out[1], (uint32_t)out[2], (uint32_t)out[3]};
#else
  __get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d);
#endif
  return r;
}

inline uint64_t saved_registers() {  // XCR0: which registers the system keeps across a task switch
  if (!(cpuid(1).c >> 27 & 1)) return 0;
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
#endif
}

inline bool has_avx2() {
  const uint32_t first = cpuid(1).c;
  const bool fma = first >> 12 & 1, f16c = first >> 29 & 1, avx2 = cpuid(7).b >> 5 & 1;
  return fma && f16c && avx2 && (saved_registers() & 0x6) == 0x6;
}

inline bool has_avx512() {
  const uint32_t seventh = cpuid(7).b;
  const uint32_t wanted = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
  return has_avx2() && (seventh & wanted) == wanted && (saved_registers() & 0xe6) == 0xe6;
}

inline bool has_avx512vnni() { return has_avx512() && (cpuid(7).c >> 11 & 1); }

}  // namespace mistralrs
#endif
