// The search for K-quants, once per instruction set.
#include "search.h"

namespace mistralrs {
namespace ISA {

void search(int format, const float* x, Block* blocks) { search_blocks(format, x, blocks); }

}  // namespace ISA
}  // namespace mistralrs
