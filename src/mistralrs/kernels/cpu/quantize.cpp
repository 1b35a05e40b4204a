// Q4_0 to Q8_0 follow ggml's arithmetic step by step, bit for bit; K-quants are searched (search.h).
// Compiled once, with the portable vectors, so that every machine writes the same files.
#define ISA quantizers
#define ISA_portable 1
#include "quantize.h"

#include <cmath>
#include <cstring>

#include "blocks.h"
#include "pool.h"
#include "simd.h"

namespace mistralrs {
using namespace quantizers;
namespace {

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
  vec sizes = set(0);
  for (int i = 0; i < 32; i += W) sizes = max(sizes, max(load(x + i), sub(set(0), load(x + i))));
  const float top = largest(sizes), d = top / 127, inverse = d == 0 ? 0 : 1 / d;
  b.d = narrow(d);
  int codes[32];
  for (int i = 0; i < 32; i += W) {
    const vec scaled = mul(load(x + i), set(inverse)), size = max(scaled, sub(set(0), scaled)), even = round(size);
    const vec away = less(sub(size, even), set(0.5f), even, add(even, set(1)));  // halves away from zero
    float lanes[W];
    store(lanes, less(scaled, set(0), sub(set(0), away), away));
    for (int l = 0; l < W; ++l) codes[i + l] = (int)lanes[l];
  }
  for (int i = 0; i < 32; ++i) b.codes[i] = (uint8_t)codes[i];
}

void quantize_block(int format, const float* x, Block& b) {
  switch (format) {
    case 2: return centered(x, 8, b);
    case 3: return between(x, 15, b);
    case 6: return centered(x, 16, b);
    case 7: return between(x, 31, b);
    case 8: return eight(x, b);
  }
}

// Whether every number is finite.
bool finite(const float* x, int64_t count) {
  vec poison = set(0);
  for (int64_t k = 0; k < count; k += W) poison = add(poison, mul(load(x + k), set(0)));
  return sum(poison) == 0;
}

// `count` blocks, at most SEARCHED, from x: a nan or an infinity makes a whole block nan.
void quantize_blocks(int format, Search search, float* x, int64_t size, int64_t count, Block* blocks) {
  bool whole[SEARCHED];
  for (int64_t i = 0; i < SEARCHED; ++i) {
    clear(blocks[i], (int)size);
    whole[i] = i < count && finite(x + i * size, size);
    if (whole[i] && size == 32) quantize_block(format, x + i * size, blocks[i]);
    if (!whole[i]) memset(x + i * size, 0, size * sizeof(float));
  }
  if (size == 256) search(format, x, blocks);
  for (int64_t i = 0; i < count; ++i) {
    if (whole[i]) continue;
    clear(blocks[i], (int)size);
    blocks[i].d = 0x7e00;
  }
}

}  // namespace

void quantize(int format, Search search, Type type, const void* x, uint8_t* raw, int64_t count) {
  const Fields& f = fields(format);
  const int64_t size = block_values(f), piece = 64, blocks = count / size;
  auto body = [&](int64_t p) {
    float values[256 * SEARCHED];
    Block made[SEARCHED];
    const int64_t end = least(blocks, (p + 1) * piece);
    for (int64_t i = p * piece; i < end; i += SEARCHED) {
      const int64_t here = least(SEARCHED, end - i);
      typed(type, x, [&](auto from) {
        for (int64_t k = 0; k < here * size; k += W) store(values + k, load(from + i * size + k));
      });
      quantize_blocks(format, search, values, size, here, made);
      for (int64_t j = 0; j < here; ++j) write(f, raw + (i + j) * block_size(f), made[j]);
    }
  };
  parallel(ceil_div(blocks, piece), 64 * count, body);
}

}  // namespace mistralrs
