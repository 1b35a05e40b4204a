#include "pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace mistralrs {
namespace {

constexpr auto kSpin = std::chrono::microseconds(60);

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  __asm__ volatile("yield");
#endif
}

// True as soon as `ready()` holds, false after kSpin.
template <class Ready>
bool spin(Ready ready) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

class Pool {
 public:
  explicit Pool(int count) {
    for (int i = 1; i < count; ++i) workers_.emplace_back([this] { work(); });
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(sleep_);
      quit_.store(true);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  void run(int64_t tasks, Task task, void* context) {
    std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    // A second engine calling at the same time works alone instead of waiting.
    if (tasks <= 1 || workers_.empty() || !turn.owns_lock() || tasks > kMost) {
      for (int64_t i = 0; i < tasks; ++i) task(context, i);
      return;
    }
    task_.store(task, std::memory_order_relaxed);
    context_.store(context, std::memory_order_relaxed);
    tasks_.store(tasks, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    const uint64_t job = (left_.load(std::memory_order_relaxed) >> 32) + 1;
    left_.store(job << 32 | static_cast<uint64_t>(tasks));  // publishes it
    if (sleepers_.load() > 0) {
      std::lock_guard<std::mutex> lock(sleep_);
      wake_.notify_all();
    }
    help();
    auto finished = [&] { return done_.load() == tasks; };
    if (spin(finished)) return;
    std::unique_lock<std::mutex> lock(sleep_);
    waiting_.store(true);
    finish_.wait(lock, finished);
    waiting_.store(false);
  }

  int count() const { return static_cast<int>(workers_.size()) + 1; }

 private:
  static constexpr int64_t kMost = 0x7fffffff;

  // left_ numbers the jobs in its high half and counts unclaimed tasks in its low half. A claim succeeds only while the job
  // that was read is still the current one, so a late worker never runs a task with another job's arguments.
  static uint64_t unclaimed(uint64_t left) { return left & 0xffffffffu; }

  bool pending() const { return unclaimed(left_.load()) > 0; }

  void help() {
    for (;;) {
      uint64_t seen = left_.load();
      if (unclaimed(seen) == 0) return;
      const int64_t tasks = tasks_.load(std::memory_order_relaxed);
      const Task task = task_.load(std::memory_order_relaxed);
      void* const context = context_.load(std::memory_order_relaxed);
      if (!left_.compare_exchange_weak(seen, seen - 1)) continue;
      task(context, tasks - static_cast<int64_t>(unclaimed(seen)));
      if (done_.fetch_add(1) + 1 == tasks && waiting_.load()) {
        std::lock_guard<std::mutex> lock(sleep_);
        finish_.notify_one();
      }
    }
  }

  void work() {
    while (!quit_.load()) {
      if (spin([this] { return pending() || quit_.load(std::memory_order_relaxed); })) {
        help();
        continue;
      }
      std::unique_lock<std::mutex> lock(sleep_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, [this] { return pending() || quit_.load(); });
      sleepers_.fetch_sub(1);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex turn_;   // one job at a time
  std::mutex sleep_;  // guards both condition variables
  std::condition_variable wake_, finish_;
  alignas(64) std::atomic<uint64_t> left_{0};
  alignas(64) std::atomic<int64_t> done_{0};
  alignas(64) std::atomic<int64_t> tasks_{0};
  std::atomic<Task> task_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> waiting_{false}, quit_{false};
};

struct Shared {
  std::mutex guard;
  std::shared_ptr<Pool> pool;
  int count = 1;

  std::shared_ptr<Pool> get() {
    std::lock_guard<std::mutex> lock(guard);
    if (!pool) pool = std::make_shared<Pool>(count);
    return pool;
  }
};

// On the heap and never freed: sleeping workers may outlive the statics of a process that exits.
Shared* shared = new Shared;

// A forked child has no workers and maybe a locked mutex: it starts over.
void forked() {
  const int count = shared->count;
  shared = new Shared;
  shared->count = count;
}

#if !defined(_WIN32)
const int registered = pthread_atfork(nullptr, nullptr, forked);
#endif

}  // namespace

int threads() { return shared->count; }

void set_threads(int count) {
  std::shared_ptr<Pool> old;  // declared first: its workers are joined after the lock is released
  std::lock_guard<std::mutex> lock(shared->guard);
  shared->count = count < 1 ? 1 : count;
  old.swap(shared->pool);
}

void run(int64_t tasks, Task task, void* context) {
  if (tasks > 1 && shared->count > 1) return shared->get()->run(tasks, task, context);
  for (int64_t i = 0; i < tasks; ++i) task(context, i);
}

}  // namespace mistralrs
