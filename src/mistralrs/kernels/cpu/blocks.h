// One block of a ggml file as numbers, whatever its format.
#pragma once
#include <cstdint>

namespace mistralrs {

// One block of one row, whatever its format.
struct Block {
  uint8_t codes[256];
  int8_t scales[16];
  uint8_t mins[16];
  uint16_t d, dmin;
};

constexpr int SEARCHED = 2;  // super-blocks that the search of a K-quant takes together

struct Fields;
const Fields& fields(int format);
int block_size(const Fields& f);    // bytes
int block_values(const Fields& f);  // numbers
void clear(Block& b, int count);     // of so many numbers
void read(const Fields& f, const uint8_t* raw, Block& b);
void write(const Fields& f, uint8_t* raw, const Block& b);

}  // namespace mistralrs
