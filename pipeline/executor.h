// Executor: where the tasks of pipelines run. Tasks are strands: work posted to one runs in order, one piece at a time.
// Compute strands (lanes) share one asio::thread_pool; blocking strands (sources, sinks, the decider, coordinators)
// have a thread each. Tests replace it by a seeded single-threaded scheduler.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace millrace {

class Strand {
 public:
  virtual ~Strand() = default;
  // Runs work later, after everything posted before. Any thread. Ignored after stop().
  virtual void post(std::function<void()> work) = 0;
  // The same, not before delay_ms from now. Blocking strands only.
  virtual void post_after(int64_t delay_ms, std::function<void()> work) = 0;
  // Drops what is queued and waits for what is running (unless called from it). Idempotent; any thread.
  virtual void stop() = 0;
};

class Executor {
 public:
  virtual ~Executor() = default;
  virtual std::shared_ptr<Strand> compute() = 0;
  // A strand whose work may block; `name` is the thread's (at most 15 bytes are shown).
  virtual std::shared_ptr<Strand> blocking(const std::string& name) = 0;
  virtual size_t compute_threads() const = 0;
};

// The real one: `threads` compute threads (at least 1).
std::unique_ptr<Executor> make_thread_executor(size_t threads);

// CPUs this process may use: the smaller of affinity and cgroup quota, at least 1.
size_t cpu_quota();

}  // namespace millrace
