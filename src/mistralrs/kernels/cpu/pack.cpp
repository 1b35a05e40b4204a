#define ISA packed  // the layouts are compiled once for each instruction set, and here
#include "pack.h"

#include <cstring>

#include "blocks.h"
#include "layout.h"
#include "pool.h"

namespace mistralrs {
using namespace packed;
namespace {

// The places of block `index` of a tile that belong to one row.
struct Place {
  uint8_t *mins, *scales, *codes;

  Place(const Layout& l, uint8_t* tile, int64_t inner, int64_t index)
      : mins(tile + index * l.part()), scales(tile + l.scales(inner) + index * l.part()),
        codes(tile + l.codes(inner) + index * (l.block / 32) * 64 * l.bits()) {}
};

// `visit(bytes of the row in a plane, quad, lowest bit there, lowest bit in the code, bits)` for both sorts of planes.
template <class Visit>
void planes(const Layout& l, uint8_t* codes, int row, Visit visit) {
  for (int quad = 0; quad < l.block / 4; ++quad) {
    uint8_t* group = codes + quad / 8 * 64 * l.bits() + 4 * row;
    const int k = quad % 8, per = 8 / l.base;
    visit(group + k / per * 64, quad, k % per * l.base, 0, l.base);
    if (!l.extra) continue;
    const int share = 8 / l.extra;
    visit(group + (l.base + k / share) * 64, quad, k % share * l.extra, l.base, l.extra);
  }
}

uint32_t mask(int bits) { return ((1u << bits) - 1) * 0x01010101u; }

void put(const Layout& l, const Place& p, int row, const Block& b) {
  planes(l, p.codes, row, [&](uint8_t* at, int quad, int low, int from, int bits) {
    uint32_t word, old;
    memcpy(&word, b.codes + 4 * quad, 4);
    memcpy(&old, at, 4);
    old |= (word >> from & mask(bits)) << low;
    memcpy(at, &old, 4);
  });
  memcpy(p.scales + 2 * row, &b.d, 2);
  if (l.mins) memcpy(p.mins + 2 * row, &b.dmin, 2);
  for (int g = 0; l.super() && g < l.block / l.group; ++g) {
    memcpy(p.scales + 32 + g * TILE + row, b.scales + g, 1);
    if (l.mins) p.mins[32 + g * TILE + row] = b.mins[g];
  }
}

void get(const Layout& l, const Place& p, int row, Block& b) {
  memset(&b, 0, sizeof b);
  planes(l, p.codes, row, [&](uint8_t* at, int quad, int low, int from, int bits) {
    uint32_t word, old;
    memcpy(&old, at, 4);
    memcpy(&word, b.codes + 4 * quad, 4);
    word |= (old >> low & mask(bits)) << from;
    memcpy(b.codes + 4 * quad, &word, 4);
  });
  memcpy(&b.d, p.scales + 2 * row, 2);
  if (l.mins) memcpy(&b.dmin, p.mins + 2 * row, 2);
  for (int g = 0; l.super() && g < l.block / l.group; ++g) {
    memcpy(b.scales + g, p.scales + 32 + g * TILE + row, 1);
    if (l.mins) b.mins[g] = p.mins[32 + g * TILE + row];
  }
}

float widen(uint16_t half) {
  const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
  float r;
  memcpy(&r, &magnitude, 4);
  r *= 0x1p112f;
  uint32_t bits;
  memcpy(&bits, &r, 4);
  bits |= (magnitude >= 0x0f800000u ? 0x7f800000u : 0u) | (uint32_t)(half & 0x8000) << 16;
  memcpy(&r, &bits, 4);
  return r;
}

// Rounded in the order of ggml: scale * code, then the min.
void to_floats(const Layout& l, const Block& b, float* out) {
  const float d = widen(b.d), dmin = widen(b.dmin);
  for (int g = 0; g < l.block / l.group; ++g) {
    const float scale = l.super() ? d * (float)b.scales[g] : d, min = l.super() ? dmin * (float)b.mins[g] : dmin;
    for (int i = g * l.group; i < (g + 1) * l.group; ++i) {
      const int code = l.zero == 128 ? (int)(int8_t)b.codes[i] : b.codes[i] - l.zero;
      out[i] = l.mins ? scale * (float)code - min : scale * (float)code;
    }
  }
}

}  // namespace

int64_t packed_bytes(int format, int64_t rows, int64_t inner) {
  const Layout* l = find_layout(format);
  return l ? (rows + TILE - 1) / TILE * l->bytes(inner) : 0;
}

int64_t block_bytes(int format) { return block_size(fields(format)); }

void pack(int format, const uint8_t* raw, uint8_t* packed, int64_t rows, int64_t inner) {
  const Layout& l = *find_layout(format);
  const Fields& f = fields(format);
  const int64_t blocks = inner / l.block;
  auto tile = [&](int64_t t) {
    uint8_t* out = packed + t * l.bytes(inner);
    memset(out, 0, l.bytes(inner));
    Block b;
    for (int64_t index = 0; index < blocks; ++index) {
      const Place place(l, out, inner, index);
      for (int row = 0; row < TILE && t * TILE + row < rows; ++row) {
        read(f, raw + ((t * TILE + row) * blocks + index) * block_size(f), b);
        put(l, place, row, b);
      }
    }
  };
  parallel((rows + TILE - 1) / TILE, rows * inner, tile);
}

void unpack(int format, const uint8_t* packed, uint8_t* raw, int64_t rows, int64_t inner) {
  const Layout& l = *find_layout(format);
  const Fields& f = fields(format);
  const int64_t blocks = inner / l.block;
  auto row = [&](int64_t n) {
    Block b;
    for (int64_t index = 0; index < blocks; ++index) {
      get(l, Place(l, const_cast<uint8_t*>(packed) + n / TILE * l.bytes(inner), inner, index), (int)(n % TILE), b);
      write(f, raw + (n * blocks + index) * block_size(f), b);
    }
  };
  parallel(rows, rows * inner, row);
}

void dequantize(int format, const uint8_t* packed, const int64_t* ids, float* out, int64_t count, int64_t inner) {
  const Layout& l = *find_layout(format);
  auto row = [&](int64_t i) {
    const int64_t n = ids ? ids[i] : i;
    Block b;
    for (int64_t index = 0; index < inner / l.block; ++index) {
      get(l, Place(l, const_cast<uint8_t*>(packed) + n / TILE * l.bytes(inner), inner, index), (int)(n % TILE), b);
      to_floats(l, b, out + i * inner + index * l.block);
    }
  };
  parallel(count, 4 * count * inner, row);
}

}  // namespace mistralrs
