// Between ggml blocks and the packed form of layout.h, both ways, and to floats. Compiled once: bound by memory.
#pragma once
#include <cstdint>

namespace mistralrs {

int64_t packed_bytes(int format, int64_t rows, int64_t inner);  // of one matrix, 0 for a format without a packed form
int64_t block_bytes(int format);                                // of 32 or 256 inputs in a file
// raw [rows, inner / block, block_bytes] -> packed, every byte of it written.
void pack(int format, const uint8_t* raw, uint8_t* packed, int64_t rows, int64_t inner);
// The inverse, exact.
void unpack(int format, const uint8_t* packed, uint8_t* raw, int64_t rows, int64_t inner);
// Rows ids[0] ... ids[count - 1] as floats [count, inner]; ids null: the first `count`.
void dequantize(int format, const uint8_t* packed, const int64_t* ids, float* out, int64_t count, int64_t inner);
float widen(uint16_t half);  // a float16, exact

}  // namespace mistralrs
