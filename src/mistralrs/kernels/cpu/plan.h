// A list of kernel calls that one call of Python runs in order, on buffers of its own: the layers of a model without
// the cost of Python between two kernels. It calls the kernels of table.h, so its results are theirs, bit by bit.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "table.h"

namespace mistralrs {

const Table& kernels();  // of the chosen instruction set

// Where the rows of a value are: so many bytes a row behind the start of the buffers, or in the caller's tensors.
using Place = int64_t;
constexpr Place INPUT = -1, OUTPUT = -2;

// cos and sin of one kind of rope, of so many positions [positions, half], or of the rows of a step [rows, half].
struct Angles {
  const float *cos, *sin;
  int64_t half, positions;  // positions 0: of the rows
};

// What differs from one run to the next.
struct Step {
  float* x;        // [rows, ...] read and written
  float* y;        // [wanted, ...] written
  int64_t rows;    // `wanted` from `select` on
  int64_t wanted;  // rows that somebody asks the output of
  const int64_t *tokens, *positions, *outputs;  // [rows], [rows], [wanted]
  Ragged batch;
  std::vector<Angles> angles;
  uint8_t* buffers;

  template <class T = float>
  T* at(Place place) const {
    return place == INPUT ? (T*)x : place == OUTPUT ? (T*)y : (T*)(buffers + place * rows);
  }
};

class Plan {
 public:
  explicit Plan(int64_t bytes) : bytes_(bytes) {}  // of buffers, for a row

  void embed(Type type, const void* table, int64_t count, int64_t width);              // INPUT = rows of a table
  void embed_packed(int format, const uint8_t* table, int64_t count, int64_t width);  // likewise
  void select(Place y, int64_t width);  // y = the wanted rows of INPUT, all that is computed from here on
  // Each struct is a call whose addresses of rows, number of rows and batch are filled in when it runs.
  void norm(bool centered, Place x, Place y, Norm call);
  void linear(Place x, Place y, Linear call);
  void rows(Place x, Place y, int64_t inner);
  void affine(Place x, Place y, Affine call);
  void rope(Place x, Place y, size_t angles, Rope call);
  void glu(Place gate, Place up, Place y, Glu call);
  void write(Place k, Place v, Write call);
  void attention(Place q, Place y, Attention call);
  void add(Place x, Place y, int64_t width);  // x += y

  void run(Step step);  // `buffers` are filled in here

 private:
  void look_up(Step& step);
  struct Memory {
    uint8_t* take(int64_t bytes);
    std::unique_ptr<uint8_t[]> data;
    int64_t size = 0;
  };

  const int64_t bytes_;
  std::vector<std::function<void(Step&)>> calls_;
  std::mutex turn_;  // the buffers serve one run at a time
  Memory memory_;
  std::vector<float> looked_up_;
};

}  // namespace mistralrs
