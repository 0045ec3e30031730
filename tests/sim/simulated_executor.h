// SimulatedExecutor: one thread, a manual clock and a seed instead of threads: at each step one of the strands that
// have work runs one piece of it. The same seed gives the same run.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "pipeline/executor.h"

namespace millrace {

class SimulatedExecutor : public Executor {
 public:
  SimulatedExecutor(uint64_t seed, ManualClock& clock, size_t compute_threads)
      : random_(seed), clock_(clock), threads_(compute_threads) {}

  std::shared_ptr<Strand> compute() override { return make("compute"); }
  std::shared_ptr<Strand> blocking(const std::string& name) override { return make(name); }
  size_t compute_threads() const override { return threads_; }

  // Runs one piece of work, or moves the clock to the next timer. False: nothing will ever happen again.
  bool step();

 private:
  class SimulatedStrand;
  struct Queue {
    std::deque<std::function<void()>> work;
    std::multimap<int64_t, std::function<void()>> timers;  // due, monotonic ms
    bool stopped = false;
  };
  std::shared_ptr<Strand> make(const std::string& name);
  void fire_timers();
  int64_t now_ms() const { return clock_.monotonic_us() / 1000; }
  std::mt19937_64 random_;
  ManualClock& clock_;
  size_t threads_;
  std::vector<std::shared_ptr<Queue>> queues_;
  uint64_t steps_ = 0;
};

}  // namespace millrace
