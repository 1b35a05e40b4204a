// The kernels of coded weights of one instruction set; with isa.cpp and affine.cpp it makes the set.
#include "coded.h"

namespace mistralrs {
namespace ISA {

bool coded(const Coded& a) { return multiply(a); }
void decode(const Coded& a) { decode_rows(a); }

}  // namespace ISA
}  // namespace mistralrs
