// The kernels of one instruction set: CMake compiles this file once per set, with ISA as its name.
#include "linear.h"
#include "norm.h"
#include "table.h"

namespace mistralrs {
namespace ISA {

#define TEXT(x) #x
#define NAME(x) TEXT(x)
extern const Table table;
const Table table = {NAME(ISA), rms_norm, layer_norm, linear};

}  // namespace ISA
}  // namespace mistralrs
