#include "plan.h"

#include <cstring>
#include <stdexcept>
#include <string>

#include "pack.h"
#include "pool.h"

namespace mistralrs {

constexpr int64_t PIECE = 16384;  // numbers that a thread adds at a time

namespace {

void check(const int64_t* indices, int64_t count, int64_t size) {
  for (int64_t i = 0; i < count; ++i) {
    if (indices[i] < 0 || indices[i] >= size)
      throw std::out_of_range("index " + std::to_string(indices[i]) + " is out of bounds for " + std::to_string(size) + " rows");
  }
}

void copy_row(Type type, const void* table, int64_t row, int64_t width, float* to) {
  const int64_t first = row * width;
  if (type == Type::f32) {
    memcpy(to, (const float*)table + first, width * sizeof(float));
    return;
  }
  const uint16_t* const from = (const uint16_t*)table + first;
  for (int64_t i = 0; i < width; ++i) {
    const uint32_t bits = (uint32_t)from[i] << 16;
    if (type == Type::f16) to[i] = widen(from[i]);
    else memcpy(to + i, &bits, sizeof(float));
  }
}

}  // namespace

void Plan::embed(Type type, const void* table, int64_t count, int64_t width) {
  calls_.emplace_back([=](Step& s) {
    check(s.tokens, s.rows, count);
    for (int64_t i = 0; i < s.rows; ++i) copy_row(type, table, s.tokens[i], width, s.x + i * width);
  });
}

void Plan::embed_packed(int format, const uint8_t* table, int64_t count, int64_t width) {
  calls_.emplace_back([=](Step& s) {
    check(s.tokens, s.rows, count);
    dequantize(format, table, s.tokens, s.x, s.rows, width);
  });
}

void Plan::select(Place y, int64_t width) {
  calls_.emplace_back([=](Step& s) {
    check(s.outputs, s.wanted, s.rows);
    s.rows = s.wanted;
    for (int64_t i = 0; i < s.rows; ++i) memcpy(s.at(y) + i * width, s.x + s.outputs[i] * width, width * sizeof(float));
  });
}

void Plan::norm(bool centered, Place x, Place y, Norm call) {
  const int64_t heads = call.rows;  // of a token
  calls_.emplace_back([=](Step& s) mutable {
    call.x = s.at(x);
    call.y = s.at(y);
    call.rows = s.rows * heads;
    (centered ? kernels().layer_norm : kernels().rms_norm)(call);
  });
}

void Plan::linear(Place x, Place y, Linear call) {
  calls_.emplace_back([=](Step& s) mutable {
    call.x = s.at(x);
    call.y = s.at(y);
    call.rows = s.rows;
    kernels().linear(call);
  });
}

void Plan::rows(Place x, Place y, int64_t inner) {
  calls_.emplace_back([=](Step& s) { kernels().rows(Rows{s.at(x), s.at<uint8_t>(y), s.rows, inner}); });
}

void Plan::affine(Place x, Place y, Affine call) {
  calls_.emplace_back([=](Step& s) mutable {
    call.x = s.at<uint8_t>(x);
    call.y = s.at(y);
    call.rows = s.rows;
    kernels().affine(call);
  });
}

void Plan::rope(Place x, Place y, size_t angles, Rope call) {
  calls_.emplace_back([=](Step& s) mutable {
    call.x = s.at(x);
    call.y = s.at(y);
    call.rows = s.rows;
    call.cos = s.angles.at(angles).cos;
    call.sin = s.angles.at(angles).sin;
    kernels().rope(call);
  });
}

void Plan::glu(Place gate, Place up, Place y, Glu call) {
  calls_.emplace_back([=](Step& s) mutable {
    call.gate = s.at(gate);
    call.up = s.at(up);
    call.y = s.at(y);
    call.rows = s.rows;
    kernels().glu(call);
  });
}

void Plan::write(Place k, Place v, Write call) {
  const int64_t page = call.batch.page;
  calls_.emplace_back([=](Step& s) mutable {
    call.k = s.at(k);
    call.v = s.at(v);
    call.batch = s.batch;
    call.batch.page = page;
    kernels().write(call);
  });
}

void Plan::attention(Place q, Place y, Attention call) {
  const int64_t page = call.batch.page;
  calls_.emplace_back([=](Step& s) mutable {
    call.q = s.at(q);
    call.out = s.at(y);
    call.batch = s.batch;
    call.batch.page = page;
    kernels().attention(call);
  });
}

void Plan::add(Place x, Place y, int64_t width) {
  calls_.emplace_back([=](Step& s) {
    float* const to = s.at(x);
    const float* const from = s.at(y);
    const int64_t count = s.rows * width;
    auto body = [=](int64_t piece) {
      for (int64_t i = piece * PIECE; i < count && i < (piece + 1) * PIECE; ++i) to[i] += from[i];
    };
    parallel((count + PIECE - 1) / PIECE, 4 * count, body);
  });
}

void Plan::run(Step step) {
  std::lock_guard<std::mutex> turn(turn_);
  if (step.wanted > step.rows) throw std::out_of_range("more outputs than rows");
  step.buffers = memory_.take(bytes_ * step.rows);
  look_up(step);
  for (const auto& call : calls_) call(step);
}

// Gives every kind of angles one row for each row of the step.
void Plan::look_up(Step& step) {
  int64_t size = 0;
  for (const Angles& a : step.angles) size += a.positions ? 2 * step.rows * a.half : 0;
  looked_up_.resize(size);
  float* to = looked_up_.data();
  for (Angles& a : step.angles) {
    if (!a.positions) continue;
    check(step.positions, step.rows, a.positions);
    for (const float** side : {&a.cos, &a.sin}) {
      for (int64_t i = 0; i < step.rows; ++i) memcpy(to + i * a.half, *side + step.positions[i] * a.half, a.half * sizeof(float));
      *side = to;
      to += step.rows * a.half;
    }
  }
}

// Begins at a whole cache line.
uint8_t* Plan::Memory::take(int64_t bytes) {
  if (bytes + 64 > size) {
    data.reset();
    size = bytes + 64;
    data.reset(new uint8_t[size]);
  }
  return (uint8_t*)(((uintptr_t)data.get() + 63) / 64 * 64);
}

}  // namespace mistralrs
