// SimulatedExecutor: one thread, a manual clock and a seed instead of threads: at each step one of the strands that
// have work runs one piece of it. The same seed gives the same run.
//
// Two ways to drive it: step() lets time pass by itself (whole runs, crashes at random steps); step_now() does only
// what can happen at this moment and leaves the clock alone (tests that say how time passes).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
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
  // The clock outlives the executor and is moved on by it.
  SimulatedExecutor(uint64_t seed, ManualClock& clock, size_t compute_threads)
      : random_(seed), clock_(clock), threads_(compute_threads) {}

  std::shared_ptr<Strand> compute() override { return make("compute"); }
  std::shared_ptr<Strand> blocking(const std::string& name) override { return make(name); }
  size_t compute_threads() const override { return threads_; }

  // Runs one piece of work, or moves the clock to the next timer. False: nothing will ever happen again.
  bool step();

  // Runs one piece of work that is due now. False: there is none, apart from sources that have been polled a few times
  // since anything else happened and would be polled for ever.
  bool step_now();
  // Sources are worth polling again: somebody has given them something.
  void wake_sources();
  // When the next timer is due, in Clock::monotonic_us() / 1000; INT64_MAX: there is none.
  int64_t next_timer_ms() const;

 private:
  class SimulatedStrand;
  struct Queue {
    std::deque<std::function<void()>> work;
    std::multimap<int64_t, std::function<void()>> timers;  // due, monotonic ms
    bool stopped = false;
    bool polls = false;  // a source's: posts itself again for ever
    int idle_polls = 0;  // in a row, since anything else ran
  };
  std::shared_ptr<Strand> make(const std::string& name);
  static void fire_first_timer(Queue& queue);
  void fire_timers();
  void run_first(Queue& queue);
  int64_t now_ms() const { return clock_.monotonic_us() / 1000; }
  std::mt19937_64 random_;
  ManualClock& clock_;
  size_t threads_;
  std::vector<std::shared_ptr<Queue>> queues_;
  std::vector<std::shared_ptr<Queue>> ready_;  // scratch
  const Queue* running_ = nullptr;
  bool posted_elsewhere_ = false;  // by the work that runs, to another strand
  uint64_t steps_ = 0;
};

}  // namespace millrace
