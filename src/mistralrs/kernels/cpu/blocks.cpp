#include "blocks.h"

#include <cstring>

namespace mistralrs {
namespace {

// Some bits of all codes of a block: of each `run` bytes the lowest bits come first, then the next ones.
struct Plane {
  int at, bits, run;
};

enum class Scales { none, nibbles, split, six, bytes };

}  // namespace

// Where a ggml block keeps its parts (github.com/ggml-org/ggml, ggml-common.h).
struct Fields {
  int format, size, count;
  Plane low, high;
  Scales kind;
  int scales, d, dmin;  // offsets, -1: none
  bool added;           // the min is added, not subtracted
};

namespace {

constexpr Fields FIELDS[] = {
    {2, 18, 32, {2, 4, 16}, {}, Scales::none, -1, 0, -1, false},
    {3, 20, 32, {4, 4, 16}, {}, Scales::none, -1, 0, 2, true},
    {6, 22, 32, {6, 4, 16}, {2, 1, 1}, Scales::none, -1, 0, -1, false},
    {7, 24, 32, {8, 4, 16}, {4, 1, 1}, Scales::none, -1, 0, 2, true},
    {8, 34, 32, {2, 8, 32}, {}, Scales::none, -1, 0, -1, false},
    {10, 84, 256, {16, 2, 32}, {}, Scales::nibbles, 0, 80, 82, false},
    {11, 110, 256, {32, 2, 32}, {0, 1, 32}, Scales::split, 96, 108, -1, false},
    {12, 144, 256, {16, 4, 32}, {}, Scales::six, 4, 0, 2, false},
    {13, 176, 256, {48, 4, 32}, {16, 1, 32}, Scales::six, 4, 0, 2, false},
    {14, 210, 256, {0, 4, 64}, {128, 2, 32}, Scales::bytes, 192, 208, -1, false},
};

constexpr uint64_t EVERY = 0x0101010101010101;  // times a byte: that byte eight times

uint64_t eight(const uint8_t* p) {
  uint64_t word;
  memcpy(&word, p, 8);
  return word;
}
void put_eight(uint8_t* p, uint64_t word) { memcpy(p, &word, 8); }

// Eight codes at a time; a run is a multiple of them.
template <int Bits, int Run>
void read_plane(const uint8_t* raw, int count, int shift, uint8_t* codes) {
  constexpr uint64_t mask = ((1 << Bits) - 1) * EVERY;
  for (int code = 0; code < count; raw += Run)
    for (int s = 0; s < 8; s += Bits)
      for (int l = 0; l < Run; l += 8, code += 8)
        put_eight(codes + code, eight(codes + code) | (eight(raw + l) >> s & mask) << shift);
}

template <int Bits, int Run>
void write_plane(uint8_t* raw, int count, int shift, const uint8_t* codes) {
  constexpr uint64_t mask = ((1 << Bits) - 1) * EVERY;
  for (int first = 0; first < count; first += 8 / Bits * Run, raw += Run)
    for (int l = 0; l < Run; l += 8) {
      uint64_t word = 0;
      for (int s = 0; s < 8 / Bits; ++s) word |= (eight(codes + first + s * Run + l) >> shift & mask) << s * Bits;
      put_eight(raw + l, word);
    }
}

// `body` with the bits and the run of a plane as types.
template <int Bits, int Run>
struct Runs {
  static constexpr int bits = Bits, run = Run;
};
template <class Body>
void shaped(const Plane& p, Body body) {
  switch (p.bits * 100 + p.run) {
    case 132: return body(Runs<1, 32>());
    case 232: return body(Runs<2, 32>());
    case 416: return body(Runs<4, 16>());
    case 432: return body(Runs<4, 32>());
    case 464: return body(Runs<4, 64>());
    case 832: return body(Runs<8, 32>());
  }
}

void read_codes(const Plane& p, const uint8_t* raw, int count, int shift, uint8_t* codes) {
  if (p.run == 1) {  // 32 single bits
    for (int i = 0; i < count; ++i) codes[i] |= (uint8_t)((raw[p.at + i / 8] >> i % 8 & 1) << shift);
    return;
  }
  shaped(p, [&](auto r) { read_plane<r.bits, r.run>(raw + p.at, count, shift, codes); });
}

void write_codes(const Plane& p, uint8_t* raw, int count, int shift, const uint8_t* codes) {
  if (p.run == 1) {
    for (int i = 0; i < count; ++i) raw[p.at + i / 8] |= (uint8_t)((codes[i] >> shift & 1) << i % 8);
    return;
  }
  shaped(p, [&](auto r) { write_plane<r.bits, r.run>(raw + p.at, count, shift, codes); });
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

}  // namespace

const Fields& fields(int format) {
  for (const Fields& f : FIELDS)
    if (f.format == format) return f;
  return FIELDS[0];
}

int block_size(const Fields& f) { return f.size; }

int block_values(const Fields& f) { return f.count; }

void clear(Block& b, int count) {
  memset(b.codes, 0, count);
  b.d = b.dmin = 0;
  if (count < 256) return;
  memset(b.scales, 0, sizeof b.scales);
  memset(b.mins, 0, sizeof b.mins);
}

void read(const Fields& f, const uint8_t* raw, Block& b) {
  clear(b, f.count);
  read_codes(f.low, raw, f.count, 0, b.codes);
  if (f.high.bits) read_codes(f.high, raw, f.count, f.low.bits, b.codes);
  if (f.scales >= 0) read_scales(f.kind, raw + f.scales, b);
  memcpy(&b.d, raw + f.d, 2);
  if (f.dmin >= 0) memcpy(&b.dmin, raw + f.dmin, 2);
  if (f.added) b.dmin ^= 0x8000;  // files add it
}

void write(const Fields& f, uint8_t* raw, const Block& b) {
  memset(raw, 0, f.size);
  write_codes(f.low, raw, f.count, 0, b.codes);
  if (f.high.bits) write_codes(f.high, raw, f.count, f.low.bits, b.codes);
  if (f.scales >= 0) write_scales(f.kind, raw + f.scales, b);
  const uint16_t dmin = f.added ? b.dmin ^ 0x8000 : b.dmin;
  memcpy(raw + f.d, &b.d, 2);
  if (f.dmin >= 0) memcpy(raw + f.dmin, &dmin, 2);
}

}  // namespace mistralrs
