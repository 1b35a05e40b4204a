// The kernels of one instruction set: CMake compiles this file once per set, with ISA as its name.
#include "attention.h"
#include "cache.h"
#include "conv.h"
#include "gather.h"
#include "glu.h"
#include "linear.h"
#include "norm.h"
#include "recurrence.h"
#include "rope.h"
#include "table.h"

namespace mistralrs {
namespace ISA {

void rows(const Rows&);  // affine.cpp
void affine(const Affine&);
bool coded(const Coded&);  // coded.cpp
void decode(const Coded&);
void search(int format, const float* x, Block* blocks);  // search.cpp

#define TEXT(x) #x
#define NAME(x) TEXT(x)
extern const Table table;
const Table table = {NAME(ISA), rms_norm, layer_norm, linear, rows, affine, rope, glu, write, attention,
                     recurrence, conv, gather, coded, decode, search};

}  // namespace ISA
}  // namespace mistralrs
