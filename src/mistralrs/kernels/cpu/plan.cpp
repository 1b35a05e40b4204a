#include "plan.h"

#include "pool.h"

namespace mistralrs {

constexpr int64_t PIECE = 16384;  // numbers that a thread adds at a time

void Plan::norm(bool centered, Place x, Place y, Norm call) {
  const int64_t heads = call.rows;  // of a token
  calls_.emplace_back([=](const Step& s) mutable {
    call.x = s.at(x);
    call.y = s.at(y);
    call.rows = s.rows * heads;
    (centered ? kernels().layer_norm : kernels().rms_norm)(call);
  });
}

void Plan::linear(Place x, Place y, Linear call) {
  calls_.emplace_back([=](const Step& s) mutable {
    call.x = s.at(x);
    call.y = s.at(y);
    call.rows = s.rows;
    kernels().linear(call);
  });
}

void Plan::rows(Place x, Place y, int64_t inner) {
  calls_.emplace_back([=](const Step& s) { kernels().rows(Rows{s.at(x), s.at<uint8_t>(y), s.rows, inner}); });
}

void Plan::affine(Place x, Place y, Affine call) {
  calls_.emplace_back([=](const Step& s) mutable {
    call.x = s.at<uint8_t>(x);
    call.y = s.at(y);
    call.rows = s.rows;
    kernels().affine(call);
  });
}

void Plan::rope(Place x, Place y, size_t angles, Rope call) {
  calls_.emplace_back([=](const Step& s) mutable {
    call.x = s.at(x);
    call.y = s.at(y);
    call.rows = s.rows;
    call.cos = s.angles.at(angles).first;
    call.sin = s.angles.at(angles).second;
    kernels().rope(call);
  });
}

void Plan::glu(Place gate, Place up, Place y, Glu call) {
  calls_.emplace_back([=](const Step& s) mutable {
    call.gate = s.at(gate);
    call.up = s.at(up);
    call.y = s.at(y);
    call.rows = s.rows;
    kernels().glu(call);
  });
}

void Plan::write(Place k, Place v, Write call) {
  const int64_t page = call.batch.page;
  calls_.emplace_back([=](const Step& s) mutable {
    call.k = s.at(k);
    call.v = s.at(v);
    call.batch = s.batch;
    call.batch.page = page;
    kernels().write(call);
  });
}

void Plan::attention(Place q, Place y, Attention call) {
  const int64_t page = call.batch.page;
  calls_.emplace_back([=](const Step& s) mutable {
    call.q = s.at(q);
    call.out = s.at(y);
    call.batch = s.batch;
    call.batch.page = page;
    kernels().attention(call);
  });
}

void Plan::add(Place x, Place y, int64_t width) {
  calls_.emplace_back([=](const Step& s) {
    float* const to = s.at(x);
    const float* const from = s.at(y);
    const int64_t count = s.rows * width;
    auto body = [=](int64_t piece) {
      for (int64_t i = piece * PIECE; i < count && i < (piece + 1) * PIECE; ++i) to[i] += from[i];
    };
    parallel((count + PIECE - 1) / PIECE, 4 * count, body);
  });
}

void Plan::run(float* x, int64_t rows, Ragged batch, const std::vector<std::pair<const float*, const float*>>& angles) {
  std::lock_guard<std::mutex> turn(turn_);
  const Step step{x, rows, batch, angles, memory_.take(bytes_ * rows)};
  for (const auto& call : calls_) call(step);
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
