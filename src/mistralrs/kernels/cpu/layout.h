// The packed form of integer weights: w = scale * (code - zero) - min, a scale and a min for each group of inputs.
//
// 16 output rows make a tile. A tile is three streams, each in the order of the inputs:
//   mins    per block: [float16 dmin x 16, byte min x 16 per group], or just [float16 min x 16] without scaled scales
//   scales  per block: [float16 d x 16, int8 scale x 16 per group], or just [float16 scale x 16]
//   codes   per 32 inputs: `base` planes of 64 bytes, then `extra` planes of 64 bytes. Byte 4 r + i of a plane belongs to
//           row r and to input i of a quad of 4 inputs; of the 8 quads, 8 / bits share a plane, the first in the lowest bits.
#pragma once
#include <cstdint>

namespace mistralrs {
namespace ISA {

constexpr int64_t TILE = 16;  // output rows of a tile

struct Layout {
  int format;       // number of the ggml type
  int base, extra;  // bits of a code in the two sorts of planes
  int group;        // inputs that share a scale: 16 or 32
  int block;        // inputs that share a float16: 32, or 256 with integer scales for each group
  int zero;         // subtracted from the codes; 128 stands for codes that are signed bytes
  bool mins;        // whether mins are stored

  constexpr bool super() const { return block == 256; }
  constexpr int bits() const { return base + extra; }
  constexpr int64_t part() const { return super() ? 32 + block / group * TILE : 32; }  // bytes of mins or scales per block
  constexpr int64_t scales(int64_t inner) const { return mins ? inner / block * part() : 0; }  // where the scales begin
  constexpr int64_t codes(int64_t inner) const {
    return (scales(inner) + inner / block * part() + 63) / 64 * 64;
  }
  constexpr int64_t bytes(int64_t inner) const { return codes(inner) + inner / 32 * 64 * bits(); }  // of a tile
};

constexpr Layout LAYOUTS[] = {
    {2, 4, 0, 32, 32, 8, false},     // Q4_0
    {3, 4, 0, 32, 32, 0, true},      // Q4_1
    {6, 4, 1, 32, 32, 16, false},    // Q5_0
    {7, 4, 1, 32, 32, 0, true},      // Q5_1
    {8, 8, 0, 32, 32, 128, false},   // Q8_0
    {10, 2, 0, 16, 256, 0, true},    // Q2_K
    {11, 2, 1, 16, 256, 4, false},   // Q3_K
    {12, 4, 0, 32, 256, 0, true},    // Q4_K
    {13, 4, 1, 32, 256, 0, true},    // Q5_K
    {14, 4, 2, 16, 256, 32, false},  // Q6_K
};

constexpr const Layout* find_layout(int format) {
  for (const Layout& layout : LAYOUTS)
    if (layout.format == format) return &layout;
  return nullptr;
}

// Activations as signed bytes. A row: bytes [inner], then for each 32 inputs a float scale, then for each 16 inputs a
// float scale * sum, then for each 16 inputs two int16: the sums of inputs 0 and 1 and of inputs 2 and 3 of its quads.
constexpr int64_t row_bytes(int64_t inner) { return inner + inner / 32 * 4 + inner / 16 * 8; }

}  // namespace ISA
}  // namespace mistralrs
