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

}  // namespace

const Fields& fields(int format) {
  for (const Fields& f : FIELDS)
    if (f.format == format) return f;
  return FIELDS[0];
}

int block_size(const Fields& f) { return f.size; }

int block_values(const Fields& f) { return f.count; }

void read(const Fields& f, const uint8_t* raw, Block& b) {
  memset(&b, 0, sizeof b);
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
