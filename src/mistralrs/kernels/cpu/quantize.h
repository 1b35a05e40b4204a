// Floats to ggml blocks.
#pragma once
#include <cstdint>

#include "table.h"

namespace mistralrs {

// x [count] in a float type -> blocks; count is a multiple of the block. `search` finds the K-quants.
void quantize(int format, Search search, Type type, const void* x, uint8_t* raw, int64_t count);

}  // namespace mistralrs
