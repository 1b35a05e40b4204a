// The kernels of packed integer weights; with isa.cpp it makes the set of one instruction set.
#include "affine.h"

namespace mistralrs {
namespace ISA {

void rows(const Rows& a) { quantize_rows(a); }
void affine(const Affine& a) { multiply(a); }

}  // namespace ISA
}  // namespace mistralrs
