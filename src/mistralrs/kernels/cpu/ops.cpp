// The Python binding: tensors come as addresses, sizes and strides, so that a call costs about a microsecond.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "cpuid.h"
#include "pack.h"
#include "plan.h"
#include "pool.h"
#include "quantize.h"
#include "table.h"

namespace nb = nanobind;

namespace mistralrs {

namespace portable {
extern const Table table;
}
#if HAS_avx2
namespace avx2 {
extern const Table table;
}
#endif
#if HAS_avx512
namespace avx512 {
extern const Table table;
}
#endif
#if HAS_avx512vnni
namespace avx512vnni {
extern const Table table;
}
#endif

namespace {

// The sets this build has and this machine can run, best first.
std::vector<const Table*> usable() {
  std::vector<const Table*> tables;
#if HAS_avx512vnni
  if (has_avx512vnni()) tables.push_back(&avx512vnni::table);
#endif
#if HAS_avx512
  if (has_avx512()) tables.push_back(&avx512::table);
#endif
#if HAS_avx2
  if (has_avx2()) tables.push_back(&avx2::table);
#endif
  tables.push_back(&portable::table);
  return tables;
}

const Table* active = usable().front();

std::vector<std::string> names() {
  std::vector<std::string> names;
  for (const Table* table : usable()) names.emplace_back(table->name);
  return names;
}

void use(const std::string& name) {
  for (const Table* table : usable()) {
    if (name != table->name) continue;
    active = table;
    return;
  }
  throw nb::value_error(("this machine cannot run " + name).c_str());
}

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Address, type, strides of pages, heads and tokens, width.
using Side = std::tuple<uintptr_t, int, int64_t, int64_t, int64_t, int64_t>;

Pages pages(const Side& s) {
  const auto [data, type, page, head, token, width] = s;
  return {at<void>(data), Type(type), page, head, token, width};
}

// Addresses of starts, lengths and page table, sequences, stride of the table, tokens of a page.
using Index = std::tuple<uintptr_t, uintptr_t, uintptr_t, int64_t, int64_t, int64_t>;

Ragged ragged(const Index& i) {
  const auto [starts, lengths, table, sequences, stride, page] = i;
  return {at<int32_t>(starts), at<int32_t>(lengths), at<int32_t>(table), sequences, stride, page};
}

// Address, strides of rows and of heads.
using Heads = std::tuple<uintptr_t, int64_t, int64_t>;

// Addresses of codes, scales and zeros, numbers, type of the scales, bits, group, band, matrices, both strides.
using Codes = std::tuple<uintptr_t, uintptr_t, uintptr_t, int, int, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>;

Coded coded(const Codes& c) {
  const auto [codes, scales, zeros, numbers, scale, bits, group, band, matrices, code_stride, scale_stride] = c;
  Coded a{};
  a.codes = at<uint8_t>(codes), a.scales = at<uint8_t>(scales), a.zeros = at<uint8_t>(zeros);
  a.numbers = Numbers(numbers), a.scale = Scale(scale), a.bits = bits, a.group = group, a.band = band;
  a.matrices = matrices, a.code_stride = code_stride, a.scale_stride = scale_stride;
  return a;
}

// Addresses of starts, slots and fresh, sequences.
using Slots = std::tuple<uintptr_t, uintptr_t, uintptr_t, int64_t>;

// Addresses of tokens, positions and outputs, rows, wanted rows.
using Columns = std::tuple<uintptr_t, uintptr_t, uintptr_t, int64_t, int64_t>;

// Addresses of cos and sin, their width, positions or 0.
using Turns = std::tuple<uintptr_t, uintptr_t, int64_t, int64_t>;

void run_plan(Plan& plan, uintptr_t x, uintptr_t y, Columns columns, Index batch, const std::vector<Turns>& turns) {
  const auto [tokens, positions, outputs, rows, wanted] = columns;
  Step step{at<float>(x), at<float>(y), rows, wanted, at<int64_t>(tokens), at<int64_t>(positions), at<int64_t>(outputs),
            ragged(batch), {}, nullptr};
  for (const auto& [cos, sin, half, positions] : turns) step.angles.push_back({at<float>(cos), at<float>(sin), half, positions});
  nb::gil_scoped_release free;
  plan.run(std::move(step));
}

// The methods name what does not change from step to step; Plan fills in the rest.
void bind_plan(nb::module_& m) {
  nb::class_<Plan>(m, "Plan")
      .def(nb::init<int64_t>())
      .def("embed", [](Plan& p, uintptr_t table, int type, int64_t count, int64_t width) {
        p.embed(Type(type), at<void>(table), count, width);
      })
      .def("embed_packed", [](Plan& p, int format, uintptr_t table, int64_t count, int64_t width) {
        p.embed_packed(format, at<uint8_t>(table), count, width);
      })
      .def("select", &Plan::select)
      .def("norm", [](Plan& p, bool centered, Place x, Place y, uintptr_t weight, uintptr_t bias, int type, int64_t heads,
                      int64_t width, float eps, float offset) {
        p.norm(centered, x, y, Norm{nullptr, nullptr, at<void>(weight), at<void>(bias), Type(type), heads, 1, width, width,
                                    0, eps, offset});
      })
      .def("linear", [](Plan& p, Place x, Place y, uintptr_t w, uintptr_t bias, int type, int bias_type, int64_t cols,
                        int64_t inner) {
        p.linear(x, y, Linear{nullptr, at<void>(w), at<void>(bias), nullptr, Type(type), Type(bias_type), 0, cols, inner});
      })
      .def("rows", &Plan::rows)
      .def("affine", [](Plan& p, int64_t format, Place x, Place y, uintptr_t w, uintptr_t bias, int64_t cols, int64_t inner) {
        p.affine(x, y, Affine{nullptr, at<uint8_t>(w), at<float>(bias), nullptr, nullptr, nullptr, format, 1, 0, cols, inner});
      })
      .def("rope", [](Plan& p, Place x, Place y, size_t angles, int64_t heads, int64_t width, int64_t half, bool interleaved) {
        p.rope(x, y, angles, Rope{nullptr, nullptr, nullptr, nullptr, 0, heads, width, half, heads * width, width, half, interleaved});
      })
      .def("glu", [](Plan& p, Place gate, Place up, Place y, int64_t width, int act) {
        p.glu(gate, up, y, Glu{nullptr, nullptr, nullptr, 0, width, width, width, Act(act)});
      })
      .def("write", [](Plan& p, Place k, Place v, Side keys, Side values, int64_t page, int64_t heads) {
        Ragged batch{};
        batch.page = page;
        const Pages k_pages = pages(keys), v_pages = pages(values);
        p.write(k, v, Write{nullptr, nullptr, k_pages, v_pages, batch, heads, heads * k_pages.width, k_pages.width,
                            heads * v_pages.width, v_pages.width});
      })
      .def("attention", [](Plan& p, Place q, Place y, Side keys, Side values, int64_t page, uintptr_t sinks, int64_t heads,
                           int64_t groups, int64_t window, float scale, float softcap, bool causal) {
        Ragged batch{};
        batch.page = page;
        p.attention(q, y, Attention{nullptr, nullptr, pages(keys), pages(values), batch, at<float>(sinks), heads, groups,
                                    window, scale, softcap, causal});
      })
      .def("add", &Plan::add)
      .def("run", run_plan);
}

}  // namespace

const Table& kernels() { return *active; }

}  // namespace mistralrs

using namespace mistralrs;
using Free = nb::call_guard<nb::gil_scoped_release>;

NB_MODULE(_cpu, m) {
  nb::set_leak_warnings(false);  // at exit the thread of an engine may still hold a plan
  bind_plan(m);
  m.def("names", names);
  m.def("use", use);
  m.def("active", [] { return std::string(active->name); });
  m.def("threads", threads);
  m.def("set_threads", set_threads);
  m.def("norm", [](bool centered, uintptr_t x, uintptr_t y, uintptr_t weight, uintptr_t bias, int type, int64_t rows,
                   int64_t heads, int64_t width, int64_t row_stride, int64_t head_stride, float eps, float offset) {
    const Norm norm{at<float>(x), at<float>(y), at<void>(weight), at<void>(bias), Type(type), rows,
                    heads, width, row_stride, head_stride, eps, offset};
    (centered ? active->layer_norm : active->rms_norm)(norm);
  }, Free());
  m.def("linear", [](uintptr_t x, uintptr_t w, uintptr_t bias, uintptr_t y, int type, int bias_type, int64_t rows,
                     int64_t cols, int64_t inner) {
    active->linear(Linear{at<float>(x), at<void>(w), at<void>(bias), at<float>(y), Type(type), Type(bias_type), rows, cols, inner});
  }, Free());
  m.def("rows", [](uintptr_t x, uintptr_t y, int64_t rows, int64_t inner) {
    active->rows(Rows{at<float>(x), at<uint8_t>(y), rows, inner});
  }, Free());
  m.def("affine", [](int64_t format, uintptr_t x, uintptr_t w, uintptr_t bias, uintptr_t y, int64_t rows, int64_t cols,
                     int64_t inner, uintptr_t order, uintptr_t starts, int64_t matrices) {
    active->affine(Affine{at<uint8_t>(x), at<uint8_t>(w), at<float>(bias), at<float>(y), at<int32_t>(order),
                          at<int64_t>(starts), format, matrices, rows, cols, inner});
  }, Free());
  m.def("packed_bytes", packed_bytes);
  m.def("block_bytes", block_bytes);
  m.def("quantize", [](int format, int type, uintptr_t x, uintptr_t raw, int64_t count) {
    quantize(format, active->search, Type(type), at<void>(x), at<uint8_t>(raw), count);
  }, Free());
  m.def("pack", [](int format, uintptr_t raw, uintptr_t packed, int64_t rows, int64_t inner) {
    pack(format, at<uint8_t>(raw), at<uint8_t>(packed), rows, inner);
  }, Free());
  m.def("unpack", [](int format, uintptr_t packed, uintptr_t raw, int64_t rows, int64_t inner) {
    unpack(format, at<uint8_t>(packed), at<uint8_t>(raw), rows, inner);
  }, Free());
  m.def("dequantize", [](int format, uintptr_t packed, uintptr_t ids, uintptr_t out, int64_t count, int64_t inner) {
    dequantize(format, at<uint8_t>(packed), at<int64_t>(ids), at<float>(out), count, inner);
  }, Free());
  m.def("rope", [](uintptr_t x, uintptr_t y, uintptr_t cos, uintptr_t sin, int64_t rows, int64_t heads, int64_t width,
                   int64_t half, int64_t row_stride, int64_t head_stride, int64_t angle_stride, bool interleaved) {
    active->rope(Rope{at<float>(x), at<float>(y), at<float>(cos), at<float>(sin), rows, heads, width, half, row_stride,
                      head_stride, angle_stride, interleaved});
  }, Free());
  m.def("glu", [](uintptr_t gate, uintptr_t up, uintptr_t y, int64_t rows, int64_t width, int64_t gate_stride,
                  int64_t up_stride, int act) {
    active->glu(Glu{at<float>(gate), at<float>(up), at<float>(y), rows, width, gate_stride, up_stride, Act(act)});
  }, Free());
  m.def("write", [](uintptr_t k, uintptr_t v, Side keys, Side values, Index batch, int64_t heads, int64_t k_stride,
                    int64_t k_head, int64_t v_stride, int64_t v_head) {
    const Write write{at<float>(k), at<float>(v), pages(keys), pages(values), ragged(batch), heads, k_stride, k_head,
                      v_stride, v_head};
    nb::gil_scoped_release free;
    active->write(write);
  });
  m.def("attention", [](uintptr_t q, uintptr_t out, Side keys, Side values, Index batch, uintptr_t sinks, int64_t heads,
                        int64_t groups, int64_t window, float scale, float softcap, bool causal) {
    const Attention attention{at<float>(q), at<float>(out), pages(keys), pages(values), ragged(batch), at<float>(sinks),
                              heads, groups, window, scale, softcap, causal};
    nb::gil_scoped_release free;
    active->attention(attention);
  });
  m.def("recurrence", [](Heads q, Heads k, Heads v, uintptr_t decay, uintptr_t beta, uintptr_t out, uintptr_t states,
                         Slots batch, int64_t heads, int64_t groups, int64_t keys, int64_t values) {
    const auto [q_at, q_stride, q_head] = q;
    const auto [k_at, k_stride, k_head] = k;
    const auto [v_at, v_stride, v_head] = v;
    const auto [starts, slots, fresh, sequences] = batch;
    const Recurrence recurrence{at<float>(q_at), at<float>(k_at), at<float>(v_at), at<float>(decay), at<float>(beta),
                                at<float>(out), at<float>(states), at<int32_t>(starts), at<int32_t>(slots),
                                at<bool>(fresh), sequences, heads, groups, keys, values, q_stride, q_head, k_stride,
                                k_head, v_stride, v_head};
    nb::gil_scoped_release free;
    active->recurrence(recurrence);
  });
  m.def("conv", [](uintptr_t x, uintptr_t y, uintptr_t weight, uintptr_t bias, uintptr_t tails, Slots batch, int type,
                   int64_t channels, int64_t taps, int64_t stride, bool silu) {
    const auto [starts, slots, fresh, sequences] = batch;
    const Conv conv{at<float>(x), at<float>(y), at<void>(weight), at<void>(bias), at<float>(tails), at<int32_t>(starts),
                    at<int32_t>(slots), at<bool>(fresh), Type(type), sequences, channels, taps, stride, silu};
    nb::gil_scoped_release free;
    active->conv(conv);
  });
  m.def("gather", [](uintptr_t x, uintptr_t w, uintptr_t ids, uintptr_t y, uintptr_t room, uintptr_t places, int type,
                     int64_t rows, int64_t matrices, int64_t cols, int64_t inner, int64_t stride) {
    return active->gather(Gather{at<float>(x), at<void>(w), at<int64_t>(ids), at<float>(y), at<float>(room),
                                 at<int64_t>(places), Type(type), rows, matrices, cols, inner, stride});
  }, Free());
  m.def("coded", [](uintptr_t x, Codes w, uintptr_t bias, uintptr_t ids, uintptr_t y, uintptr_t room, uintptr_t places,
                    int64_t rows, int64_t cols, int64_t inner) {
    Coded a = coded(w);
    a.x = at<float>(x), a.bias = at<float>(bias), a.ids = at<int64_t>(ids), a.y = at<float>(y);
    a.room = at<float>(room), a.places = at<int64_t>(places), a.rows = rows, a.cols = cols, a.inner = inner;
    nb::gil_scoped_release free;
    return active->coded(a);
  });
  m.def("decode", [](Codes w, uintptr_t ids, uintptr_t y, int64_t rows, int64_t inner) {
    Coded a = coded(w);
    a.ids = at<int64_t>(ids), a.y = at<float>(y), a.rows = rows, a.inner = inner;
    nb::gil_scoped_release free;
    active->decode(a);
  });
}
