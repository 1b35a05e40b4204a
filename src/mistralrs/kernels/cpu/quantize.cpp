// Q4_0 to Q8_0 follow ggml's arithmetic step by step, bit for bit. The K-quants search: for every group some trial codes,
// the best scale and min for each (least squares), then the integer scales and mins with the least squared error.
// Compiled once, with the portable vectors, so that every machine writes the same files.
#define ISA quantizers
#define ISA_portable 1
#include "quantize.h"

#include <cmath>

#include "blocks.h"
#include "pool.h"
#include "simd.h"

namespace mistralrs {
using namespace quantizers;
namespace {

float widened(uint16_t half) { return widen(f16{half}); }

// Codes of a block of 32 by ggml's rules: trunc(x * inverse + offset) from `from`, at most `most`.
void truncate(const float* x, float from, float inverse, float offset, int most, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) {
    const float scaled = (x[i] - from) * inverse;
    const int code = (int)(scaled + offset);
    codes[i] = (uint8_t)(code < most ? code : most);
  }
}

void centered(const float* x, int zero, Block& b) {  // Q4_0, Q5_0: the number of largest size becomes code 0
  float top = x[0];
  for (int i = 1; i < 32; ++i) top = std::fabs(x[i]) > std::fabs(top) ? x[i] : top;
  const float d = top / (float)-zero;
  b.d = narrow(d);
  truncate(x, 0, d == 0 ? 0 : 1 / d, (float)zero + 0.5f, 2 * zero - 1, b.codes);
}

void between(const float* x, int most, Block& b) {  // Q4_1, Q5_1: the smallest becomes 0, the largest `most`
  float low = x[0], high = x[0];
  for (int i = 1; i < 32; ++i) low = x[i] < low ? x[i] : low, high = x[i] > high ? x[i] : high;
  const float d = (high - low) / (float)most;
  b.d = narrow(d), b.dmin = narrow(low) ^ 0x8000;
  truncate(x, low, d == 0 ? 0 : 1 / d, 0.5f, most, b.codes);
}

void eight(const float* x, Block& b) {
  float top = 0;
  for (int i = 0; i < 32; ++i) top = std::fabs(x[i]) > top ? std::fabs(x[i]) : top;
  const float d = top / 127, inverse = d == 0 ? 0 : 1 / d;
  b.d = narrow(d);
  for (int i = 0; i < 32; ++i) {
    const float scaled = x[i] * inverse, size = std::fabs(scaled);
    const int whole = (int)size, rounded = whole + (size - (float)whole >= 0.5f);  // halves away from zero
    b.codes[i] = (uint8_t)(scaled < 0 ? -rounded : rounded);
  }
}

// A group of N numbers and the fits that are tried on it: x ~ scale * code - min, codes from low to high.
template <int N>
struct Group {
  vec x[N / W];
  float low, high;  // limits of a code

  Group(const float* from, int low, int high) : low((float)low), high((float)high) {
    for (int i = 0; i < N / W; ++i) x[i] = load(from + i * W);
  }

  vec code(int i, vec inverse, vec min) const {
    return round(quantizers::min(set(high), quantizers::max(set(low), mul(add(x[i], min), inverse))));
  }

  float error(float scale, float min) const {
    const vec inverse = set(scale == 0 ? 0 : 1 / scale), s = set(scale), m = set(min);
    vec total = set(0);
    for (int i = 0; i < N / W; ++i) {
      const vec off = add(sub(x[i], mul(s, code(i, inverse, m))), m);
      total = add(total, mul(off, off));
    }
    return sum(total);
  }

  void range(float& least, float& most) const {
    float lanes[N];
    for (int i = 0; i < N / W; ++i) store(lanes + i * W, x[i]);
    least = most = lanes[0];
    for (int i = 1; i < N; ++i) least = lanes[i] < least ? lanes[i] : least, most = lanes[i] > most ? lanes[i] : most;
  }
};

struct Fit {
  float scale = 0, min = 0;
};

// Sums over a group with trial codes.
struct Sums {
  float q, qq, qx;
};

template <int N>
Sums trial(const Group<N>& g, float inverse, float min) {
  vec q = set(0), qq = set(0), qx = set(0);
  for (int i = 0; i < N / W; ++i) {
    const vec c = g.code(i, set(inverse), set(min));
    q = add(q, c), qq = add(qq, mul(c, c)), qx = add(qx, mul(c, g.x[i]));
  }
  return {sum(q), sum(qq), sum(qx)};
}

// Least squares in scale and min for each trial; a min is never negative.
template <int N>
Fit fit_affine(const Group<N>& g) {
  float low, high;
  g.range(low, high);
  low = low < 0 ? low : 0;
  if (!(high > low)) return {0, -low};
  float total = 0, squares = 0;
  for (int i = 0; i < N / W; ++i) total += sum(g.x[i]), squares += sum(mul(g.x[i], g.x[i]));
  Fit best{(high - low) / g.high, -low};
  float least = g.error(best.scale, best.min);
  for (int step = -10; step <= 10; ++step) {
    const float span = g.high + (g.high > 4 ? 0.1f : 0.06f) * (float)step;
    const Sums s = trial(g, span / (high - low), -low);
    const float det = (float)N * s.qq - s.q * s.q;
    if (!(det > 0)) continue;
    Fit fit{((float)N * s.qx - total * s.q) / det, (s.q * s.qx - total * s.qq) / det};
    if (fit.min < 0) fit = {s.qx / s.qq, 0};
    if (!(fit.scale > 0)) continue;
    const float error = fit.scale * (fit.scale * s.qq - 2 * s.qx - 2 * fit.min * s.q) + fit.min * (2 * total + (float)N * fit.min);
    if (squares + error < least) least = squares + error, best = fit;
  }
  return best;
}

// Least squares in the scale for each trial; it is negative where the longer side of the codes serves positive numbers.
template <int N>
float fit_centered(const Group<N>& g) {
  float low, high;
  g.range(low, high);
  if (!(high > 0 || low < 0)) return 0;
  float best = 0, gain = 0;
  const float ends[] = {low, high};
  for (const float end : ends) {
    if (std::fabs(end) < 0.6f * std::fmax(high, -low)) continue;
    for (int step = -10; step <= 10; ++step) {
      const Sums s = trial(g, (g.low - 0.09f * (float)step) / end, 0);
      if (s.qq > 0 && s.qx * s.qx > gain * s.qq) gain = s.qx * s.qx / s.qq, best = s.qx / s.qq;
    }
  }
  return best;
}

template <int N>
void encode(const float* x, int low, int high, float scale, float min, uint8_t* codes) {
  const Group<N> g(x, low, high);
  const vec inverse = set(scale == 0 ? 0 : 1 / scale);
  for (int i = 0; i < N / W; ++i) {
    float lanes[W];
    store(lanes, g.code(i, inverse, set(min)));
    for (int l = 0; l < W; ++l) codes[i * W + l] = (uint8_t)((int)lanes[l] - low);
  }
}

int near(float value, int low, int high) {
  const int n = (int)std::lrintf(std::fmin(std::fmax(value, (float)low), (float)high));
  return n;
}

// 256 numbers in groups of N; `top` is the largest code, `limit` the largest integer scale.
template <int N>
void affine_block(const float* x, int top, int limit, Block& b) {
  Fit fits[256 / N];
  float scale = 0, min = 0;
  for (int i = 0; i < 256 / N; ++i) {
    fits[i] = fit_affine(Group<N>(x + i * N, 0, top));
    scale = std::fmax(scale, fits[i].scale), min = std::fmax(min, fits[i].min);
  }
  b.d = narrow(scale / (float)limit), b.dmin = narrow(min / (float)limit);
  const float d = widened(b.d), dmin = widened(b.dmin);
  for (int i = 0; i < 256 / N; ++i) {
    const Group<N> g(x + i * N, 0, top);
    const int s = d > 0 ? near(fits[i].scale / d, 0, limit) : 0, m = dmin > 0 ? near(fits[i].min / dmin, 0, limit) : 0;
    float least = INFINITY;
    for (int ds = -1; ds <= 1; ++ds) {
      for (int dm = -1; dm <= 1; ++dm) {
        if (s + ds < 0 || s + ds > limit || m + dm < 0 || m + dm > limit) continue;
        const float error = g.error(d * (float)(s + ds), dmin * (float)(m + dm));
        if (error < least) least = error, b.scales[i] = (int8_t)(s + ds), b.mins[i] = (uint8_t)(m + dm);
      }
    }
    encode<N>(x + i * N, 0, top, d * (float)b.scales[i], dmin * (float)b.mins[i], b.codes + i * N);
  }
}

// 256 numbers in groups of 16 without mins; codes from -zero, integer scales from -limit.
void centered_block(const float* x, int zero, int limit, Block& b) {
  float scales[16], top = 0;
  for (int i = 0; i < 16; ++i) {
    scales[i] = fit_centered(Group<16>(x + i * 16, -zero, zero - 1));
    top = std::fabs(scales[i]) > std::fabs(top) ? scales[i] : top;
  }
  b.d = narrow(top / (float)-limit);
  const float d = widened(b.d);
  for (int i = 0; i < 16; ++i) {
    const Group<16> g(x + i * 16, -zero, zero - 1);
    const int s = d != 0 ? near(scales[i] / d, -limit, limit - 1) : 0;
    float least = INFINITY;
    for (int t = s - 1; t <= s + 1; ++t) {
      if (t < -limit || t >= limit) continue;
      const float error = g.error(d * (float)t, 0);
      if (error < least) least = error, b.scales[i] = (int8_t)t;
    }
    encode<16>(x + i * 16, -zero, zero - 1, d * (float)b.scales[i], 0, b.codes + i * 16);
  }
}

void quantize_block(int format, const float* x, Block& b) {
  switch (format) {
    case 2: return centered(x, 8, b);
    case 3: return between(x, 15, b);
    case 6: return centered(x, 16, b);
    case 7: return between(x, 31, b);
    case 8: return eight(x, b);
    case 10: return affine_block<16>(x, 3, 15, b);
    case 11: return centered_block(x, 4, 32, b);
    case 12: return affine_block<32>(x, 15, 63, b);
    case 13: return affine_block<32>(x, 31, 63, b);
    case 14: return centered_block(x, 32, 128, b);
  }
}

}  // namespace

void quantize(int format, Type type, const void* x, uint8_t* raw, int64_t count) {
  const Fields& f = fields(format);
  const int64_t block = block_values(f), piece = 64, blocks = count / block;
  auto body = [&](int64_t p) {
    float values[256];
    Block b;
    for (int64_t i = p * piece; i < least(blocks, (p + 1) * piece); ++i) {
      typed(type, x, [&](auto from) {
        for (int64_t k = 0; k < block; k += W) store(values + k, load(from + i * block + k));
      });
      float poison = 0;
      for (int64_t k = 0; k < block; ++k) poison += values[k] * 0;
      memset(&b, 0, sizeof b);
      if (poison == 0) {
        quantize_block(format, values, b);
      } else {
        b.d = 0x7e00;  // a nan or an infinity makes the whole block nan
      }
      write(f, raw + i * block_size(f), b);
    }
  };
  parallel(ceil_div(blocks, piece), 64 * count, body);
}

}  // namespace mistralrs
