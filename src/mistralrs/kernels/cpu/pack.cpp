#define ISA packed  // the layouts are compiled once for each instruction set, and here
#include "pack.h"

#include <cstring>

#include "layout.h"
#include "pool.h"

namespace mistralrs {
using namespace packed;
namespace {

// Some bits of all codes of a block: of each `run` bytes the lowest bits come first, then the next ones.
struct Plane {
  int at, bits, run;
};

enum class Scales { none, nibbles, split, six, bytes };

// Where a ggml block keeps its parts (github.com/ggml-org/ggml, ggml-common.h).
struct Fields {
  int format, size;
  Plane low, high;
  Scales kind;
  int scales, d, dmin;  // offsets, -1: none
};

constexpr Fields FIELDS[] = {
    {2, 18, {2, 4, 16}, {}, Scales::none, -1, 0, -1},
    {3, 20, {4, 4, 16}, {}, Scales::none, -1, 0, 2},
    {6, 22, {6, 4, 16}, {2, 1, 1}, Scales::none, -1, 0, -1},
    {7, 24, {8, 4, 16}, {4, 1, 1}, Scales::none, -1, 0, 2},
    {8, 34, {2, 8, 32}, {}, Scales::none, -1, 0, -1},
    {10, 84, {16, 2, 32}, {}, Scales::nibbles, 0, 80, 82},
    {11, 110, {32, 2, 32}, {0, 1, 32}, Scales::split, 96, 108, -1},
    {12, 144, {16, 4, 32}, {}, Scales::six, 4, 0, 2},
    {13, 176, {48, 4, 32}, {16, 1, 32}, Scales::six, 4, 0, 2},
    {14, 210, {0, 4, 64}, {128, 2, 32}, Scales::bytes, 192, 208, -1},
};

const Fields& fields(int format) {
  for (const Fields& f : FIELDS)
    if (f.format == format) return f;
  return FIELDS[0];
}

// One block of one row, whatever its format.
struct Block {
  uint8_t codes[256];
  int8_t scales[16];
  uint8_t mins[16];
  uint16_t d, dmin;
};

// `visit(byte of the field, its shift, code)` for the codes of a plane in order.
template <class Visit>
void walk(const Plane& p, int count, Visit visit) {
  const int per = 8 / p.bits;
  for (int first = 0, code = 0; code < count; first += p.run)
    for (int s = 0; s < per; ++s)
      for (int l = 0; l < p.run; ++l) visit(p.at + first + l, s * p.bits, code++);
}

void read_codes(const Plane& p, const uint8_t* raw, int count, int shift, uint8_t* codes) {
  const int mask = (1 << p.bits) - 1;
  walk(p, count, [=](int at, int from, int code) { codes[code] |= (uint8_t)((raw[at] >> from & mask) << shift); });
}

void write_codes(const Plane& p, uint8_t* raw, int count, int shift, const uint8_t* codes) {
  const int mask = (1 << p.bits) - 1;
  walk(p, count, [=](int at, int from, int code) { raw[at] |= (uint8_t)((codes[code] >> shift & mask) << from); });
}

void read_scales(Scales kind, const uint8_t* s, Block& b) {
  for (int i = 0; i < 16; ++i) {
    if (kind == Scales::nibbles) b.scales[i] = (int8_t)(s[i] & 15), b.mins[i] = s[i] >> 4;
    if (kind == Scales::bytes) memcpy(b.scales + i, s + i, 1);
    if (kind == Scales::split)
      b.scales[i] = (int8_t)(((s[i % 8] >> i / 8 * 4 & 15) | (s[8 + i % 4] >> i / 4 * 2 & 3) << 4) - 32);
    if (kind == Scales::six && i < 4) b.scales[i] = (int8_t)(s[i] & 63), b.mins[i] = s[i + 4] & 63;
    if (kind == Scales::six && i >= 4 && i < 8) {
      b.scales[i] = (int8_t)((s[i + 4] & 15) | s[i - 4] >> 6 << 4);
      b.mins[i] = (uint8_t)(s[i + 4] >> 4 | s[i] >> 6 << 4);
    }
  }
}

void write_scales(Scales kind, uint8_t* s, const Block& b) {
  for (int i = 0; i < 16; ++i) {
    const int scale = kind == Scales::split ? b.scales[i] + 32 : b.scales[i] & 255, min = b.mins[i];
    if (kind == Scales::nibbles) s[i] = (uint8_t)(scale | min << 4);
    if (kind == Scales::bytes) s[i] = (uint8_t)scale;
    if (kind == Scales::split) s[i % 8] |= (uint8_t)((scale & 15) << i / 8 * 4), s[8 + i % 4] |= (uint8_t)(scale >> 4 << i / 4 * 2);
    if (kind == Scales::six && i < 4) s[i] |= (uint8_t)scale, s[i + 4] |= (uint8_t)min;
    if (kind == Scales::six && i >= 4 && i < 8) {
      s[i + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
      s[i - 4] |= (uint8_t)(scale >> 4 << 6), s[i] |= (uint8_t)(min >> 4 << 6);
    }
  }
}

void read(const Fields& f, const Layout& l, const uint8_t* raw, Block& b) {
  memset(&b, 0, sizeof b);
  read_codes(f.low, raw, l.block, 0, b.codes);
  if (f.high.bits) read_codes(f.high, raw, l.block, f.low.bits, b.codes);
  if (f.scales >= 0) read_scales(f.kind, raw + f.scales, b);
  memcpy(&b.d, raw + f.d, 2);
  if (f.dmin >= 0) memcpy(&b.dmin, raw + f.dmin, 2);
  if (l.mins && !l.super()) b.dmin ^= 0x8000;  // files add it
}

void write(const Fields& f, const Layout& l, uint8_t* raw, const Block& b) {
  memset(raw, 0, f.size);
  write_codes(f.low, raw, l.block, 0, b.codes);
  if (f.high.bits) write_codes(f.high, raw, l.block, f.low.bits, b.codes);
  if (f.scales >= 0) write_scales(f.kind, raw + f.scales, b);
  const uint16_t dmin = l.mins && !l.super() ? b.dmin ^ 0x8000 : b.dmin;
  memcpy(raw + f.d, &b.d, 2);
  if (f.dmin >= 0) memcpy(raw + f.dmin, &dmin, 2);
}

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

int64_t block_bytes(int format) { return fields(format).size; }

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
        read(f, l, raw + ((t * TILE + row) * blocks + index) * f.size, b);
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
      write(f, l, raw + (n * blocks + index) * f.size, b);
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
