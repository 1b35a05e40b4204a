// What the binding and every instruction set agree on: the arguments of each kernel and the table of kernels.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mistralrs {

enum class Type : int { f32 = 0, f16 = 1, bf16 = 2 };

struct Norm {  // x [rows, heads, width] -> y dense; weight, bias [width], bias may be null
  const float* x;
  float* y;
  const void* weight;
  const void* bias;
  Type type;  // of weight and bias
  int64_t rows, heads, width, row_stride, head_stride;
  float eps, offset;
};

struct Linear {  // x [rows, inner] times w [cols, inner] transposed -> y [rows, cols]
  const float* x;
  const void* w;
  const void* bias;  // [cols] or null
  float* y;
  Type type, bias_type;
  int64_t rows, cols, inner;
};

struct Rows {  // x [rows, inner] -> y, rows of signed bytes with their scales, as layout.h describes
  const float* x;
  uint8_t* y;
  int64_t rows, inner;
};

struct Affine {  // rows of bytes times packed matrices -> y [rows, cols]
  const uint8_t* x;
  const uint8_t* w;  // [matrices] of tiles, as layout.h describes
  const float* bias;  // [cols] or null
  float* y;
  const int32_t* order;   // null, or the row of x and y that comes first, second, ...
  const int64_t* starts;  // [matrices + 1] with `order`: matrix m takes order[starts[m]] to order[starts[m + 1] - 1]
  int64_t format, matrices, rows, cols, inner;
};

struct Rope {  // x [rows, heads, width] -> y dense; cos, sin [rows, half]
  const float* x;
  float* y;
  const float* cos;
  const float* sin;
  int64_t rows, heads, width, half, row_stride, head_stride, angle_stride;
  bool interleaved;
};

enum class Act : int { silu = 0, gelu = 1, gelu_tanh = 2 };

struct Glu {  // y = act(gate) * up, all [rows, width]
  const float* gate;
  const float* up;
  float* y;
  int64_t rows, width, gate_stride, up_stride;
  Act act;
};

struct Pages {  // one side of a paged cache [pages, heads, page, width]; features are dense
  void* data;
  Type type;
  int64_t page_stride, head_stride, token_stride, width;
};

struct Ragged {  // where the rows of each sequence are, and which pages hold its past
  const int32_t* starts;   // [sequences + 1]
  const int32_t* lengths;  // [sequences]
  const int32_t* table;    // [sequences, table_stride]
  int64_t sequences, table_stride, page;
};

struct Write {  // k, v [rows, heads, width] appended to the cache; v may be null
  const float* k;
  const float* v;
  Pages keys, values;
  Ragged batch;
  int64_t heads, k_stride, k_head, v_stride, v_head;
};

struct Attention {  // q [rows, heads, keys.width] -> out [rows, heads, values.width], both dense
  const float* q;
  float* out;
  Pages keys, values;
  Ragged batch;
  const float* sinks;  // [heads] or null
  int64_t heads, groups;  // query heads, key heads
  int64_t window;         // 0: none
  float scale, softcap;   // softcap 0: none
  bool causal;            // false: a query also sees the keys after it
};

struct Recurrence {  // q, k [rows, groups, keys], v [rows, heads, values] -> out dense; decay, beta [rows, heads]
  const float* q;
  const float* k;
  const float* v;
  const float* decay;
  const float* beta;  // null: the whole value is taken in
  float* out;
  float* states;          // [slots, heads, keys, values], read and written
  const int32_t* starts;  // [sequences + 1]
  const int32_t* slots;   // [sequences]
  const bool* fresh;      // [sequences] whether the state is zero before
  int64_t sequences, heads, groups, keys, values, q_stride, q_head, k_stride, k_head, v_stride, v_head;
};

struct Conv {  // x [rows, channels] -> y dense
  const float* x;
  float* y;
  const void* weight;  // [channels, taps], the newest row last
  const void* bias;    // [channels] or null
  float* tails;        // [slots, taps - 1, channels], read and written
  const int32_t* starts;
  const int32_t* slots;
  const bool* fresh;
  Type type;  // of weight and bias
  int64_t sequences, channels, taps, stride;
  bool silu;
};

struct Gather {  // x [rows, inner] times matrix ids[row] of w [matrices, cols, inner] transposed -> y [rows, cols]
  const float* x;
  const void* w;
  const int64_t* ids;
  float* y;
  float* room;      // [rows * (inner + cols)] to work in
  int64_t* places;  // [rows + 2 * matrices + 1] to work in
  Type type;
  int64_t rows, matrices, cols, inner, stride;  // stride: from one matrix to the next
};

// What a code stands for, by itself and with its group's scale and zero.
enum class Numbers : int {
  shifted = 0,   // an unsigned integer: scale * code + zero
  centered = 1,  // an unsigned integer: (code - zero) * scale
  integers = 2,  // a signed byte: scale * code
  e2m1 = 3,      // four bits, a float
  e4m3 = 4,      // eight bits, a float
};
enum class Scale : int { f32 = 0, f16 = 1, bf16 = 2, e8m0 = 3, e4m3 = 4 };  // the last counts in 448ths

constexpr int64_t scale_bytes(Scale type) { return type == Scale::f32 ? 4 : type < Scale::e8m0 ? 2 : 1; }

struct Coded {  // x [rows, inner] times coded matrices [matrices, cols, inner] transposed -> y [rows, cols]
  const float* x;
  const uint8_t* codes;   // `bits` each, lowest first; a row has whole bytes
  const uint8_t* scales;  // one for `band` outputs times `group` inputs
  const uint8_t* zeros;   // likewise, or null
  const float* bias;      // [cols] or null
  const int64_t* ids;     // [rows], the matrix of each row; null: the first one for all
  float* y;
  float* room;      // with ids: [rows * (inner + cols)] to work in
  int64_t* places;  // with ids: [rows + 2 * matrices + 1] to work in
  Numbers numbers;
  Scale scale;
  int64_t bits, group, band, rows, matrices, cols, inner;
  int64_t code_stride, scale_stride;  // bytes of codes, number of scales: from one matrix to the next
};
struct Block;
using Search = void (*)(int format, const float* x, Block* blocks);  // SEARCHED super-blocks of a K-quant, see blocks.h

struct Table {
  const char* name;
  void (*rms_norm)(const Norm&);
  void (*layer_norm)(const Norm&);
  void (*linear)(const Linear&);
  void (*rows)(const Rows&);
  void (*affine)(const Affine&);
  void (*rope)(const Rope&);
  void (*glu)(const Glu&);
  void (*write)(const Write&);
  void (*attention)(const Attention&);
  void (*recurrence)(const Recurrence&);
  void (*conv)(const Conv&);
  bool (*gather)(const Gather&);
  bool (*coded)(const Coded&);
  void (*decode)(const Coded&);  // rows ids[i], or all rows, of one matrix -> y [rows, inner]
  Search search;
};

}  // namespace mistralrs
