// Floats to ggml blocks.
#pragma once
#include <cstdint>

#include "table.h"

namespace mistralrs {

// x [count] in a float type -> blocks; count is a multiple of the block.
void quantize(int format, Type type, const void* x, uint8_t* raw, int64_t count);

}  // namespace mistralrs
