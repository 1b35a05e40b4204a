// A small pool of threads: spins for microseconds between the ops of a step, sleeps when idle.
#pragma once
#include <cstdint>

namespace mistralrs {

using Task = void (*)(void* context, int64_t index);

int threads();             // threads that share one call, the caller included
void set_threads(int count);
void run(int64_t tasks, Task task, void* context);  // returns when every index in [0, tasks) is done

constexpr int64_t ALONE = 300000;  // multiply-adds, some 20 microseconds, below which a second thread costs more than it saves

// `body(index)` for every index in [0, tasks), which are `work` multiply-adds together. Static: no instance is shared
// between instruction sets.
template <class Body>
static void parallel(int64_t tasks, int64_t work, Body& body) {
  if (work < ALONE) {
    for (int64_t i = 0; i < tasks; ++i) body(i);
    return;
  }
  run(tasks, [](void* context, int64_t index) { (*static_cast<Body*>(context))(index); }, &body);
}

}  // namespace mistralrs
