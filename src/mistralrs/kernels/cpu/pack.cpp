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

constexpr uint32_t mask(int bits) { return (uint32_t)((1ull << bits) - 1) * 0x01010101u; }

uint32_t word_at(const uint8_t* p) {
  uint32_t word;
  memcpy(&word, p, 4);
  return word;
}
void put_word(uint8_t* p, uint32_t word) { memcpy(p, &word, 4); }

// The eight quads of 32 codes of a row -> its words in one sort of planes: Bits bits of a code, from bit From on.
template <int Bits, int From>
void put_planes(const uint8_t* codes, uint8_t* out) {
  constexpr int per = Bits ? 8 / Bits : 1;
  for (int p = 0; p < Bits; ++p) {
    uint32_t word = 0;
    for (int i = 0; i < per; ++i) word |= (word_at(codes + 4 * (p * per + i)) >> From & mask(Bits)) << i * Bits;
    put_word(out + 64 * p, word);
  }
}

template <int Bits, int From>
void get_planes(const uint8_t* in, uint8_t* codes) {
  constexpr int per = Bits ? 8 / Bits : 1;
  for (int q = 0; Bits && q < 8; ++q) {
    const uint32_t word = (word_at(in + q / per * 64) >> q % per * Bits & mask(Bits)) << From;
    put_word(codes + 4 * q, word_at(codes + 4 * q) | word);
  }
}

// All codes of a block of one row; `codes` of the place: of its tile.
template <int Base, int Extra>
struct Codes {
  static void put(const uint8_t* codes, int count, uint8_t* out) {
    for (int i = 0; i < count; i += 32, out += 64 * (Base + Extra)) {
      put_planes<Base, 0>(codes + i, out);
      put_planes<Extra, Base>(codes + i, out + 64 * Base);
    }
  }
  static void get(const uint8_t* in, int count, uint8_t* codes) {
    for (int i = 0; i < count; i += 32, in += 64 * (Base + Extra)) {
      get_planes<Base, 0>(in, codes + i);
      get_planes<Extra, Base>(in + 64 * Base, codes + i);
    }
  }
};

// `body` with the planes of a layout as a type.
template <class Body>
void planes(const Layout& l, Body body) {
  switch (l.base * 10 + l.extra) {
    case 20: return body(Codes<2, 0>());
    case 21: return body(Codes<2, 1>());
    case 40: return body(Codes<4, 0>());
    case 41: return body(Codes<4, 1>());
    case 42: return body(Codes<4, 2>());
    case 80: return body(Codes<8, 0>());
  }
}

void put(const Layout& l, const Place& p, int row, const Block& b) {
  planes(l, [&](auto c) { c.put(b.codes, l.block, p.codes + 4 * row); });
  memcpy(p.scales + 2 * row, &b.d, 2);
  if (l.mins) memcpy(p.mins + 2 * row, &b.dmin, 2);
  for (int g = 0; l.super() && g < l.block / l.group; ++g) {
    memcpy(p.scales + 32 + g * TILE + row, b.scales + g, 1);
    if (l.mins) p.mins[32 + g * TILE + row] = b.mins[g];
  }
}

void get(const Layout& l, const Place& p, int row, Block& b) {
  clear(b, l.block);
  planes(l, [&](auto c) { c.get(p.codes + 4 * row, l.block, b.codes); });
  memcpy(&b.d, p.scales + 2 * row, 2);
  if (l.mins) memcpy(&b.dmin, p.mins + 2 * row, 2);
  for (int g = 0; l.super() && g < l.block / l.group; ++g) {
    memcpy(b.scales + g, p.scales + 32 + g * TILE + row, 1);
    if (l.mins) b.mins[g] = p.mins[32 + g * TILE + row];
  }
}

}  // namespace

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

namespace {

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
    const int64_t used = l.scales(inner) + blocks * l.part();
    memset(out + used, 0, l.codes(inner) - used);
    if (t * TILE + TILE > rows) memset(out, 0, l.bytes(inner));  // rows that nothing fills
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
