// Memory of one thread that lives across calls.
#pragma once
#include <cstddef>

namespace mistralrs {

// At least `bytes` of this thread, 64-byte aligned; what it held before is lost.
void* scratch(size_t bytes);

}  // namespace mistralrs
