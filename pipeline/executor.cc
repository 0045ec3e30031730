#include "pipeline/executor.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include "base/check.h"

namespace millrace {
namespace {

using SteadyClock = std::chrono::steady_clock;

// A strand of the shared pool. Handlers hold the state by shared_ptr, so a stopped strand may be destroyed while its
// last (empty) handlers are still queued.
class PoolStrand : public Strand {
 public:
  explicit PoolStrand(boost::asio::thread_pool& pool)
      : strand_(boost::asio::make_strand(pool)), state_(std::make_shared<State>()) {}
  ~PoolStrand() override { stop(); }

  void post(std::function<void()> work) override {
    boost::asio::post(strand_, [state = state_, work = std::move(work)] { run(*state, work); });
  }
  void post_after(int64_t, std::function<void()>) override { MR_CHECK(!"compute strands have no timers"); }
  void stop() override {
    std::unique_lock lock(state_->mutex);
    state_->stopped = true;
    if (state_->runner == std::this_thread::get_id()) return;
    state_->idle.wait(lock, [this] { return !state_->running; });
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable idle;
    std::thread::id runner;
    bool running = false;
    bool stopped = false;
  };
  static void run(State& state, const std::function<void()>& work) {
    {
      std::lock_guard lock(state.mutex);
      if (state.stopped) return;
      state.running = true;
      state.runner = std::this_thread::get_id();
    }
    work();
    std::lock_guard lock(state.mutex);
    state.running = false;
    state.runner = {};
    state.idle.notify_all();
  }
  boost::asio::strand<boost::asio::thread_pool::executor_type> strand_;
  std::shared_ptr<State> state_;
};

// A strand with a thread of its own, for work that blocks.
class ThreadStrand : public Strand {
 public:
  explicit ThreadStrand(const std::string& name) : thread_([this] { loop(); }) {
    pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
  }
  ~ThreadStrand() override {
    stop();
    if (thread_.joinable()) thread_.join();
  }

  void post(std::function<void()> work) override {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    queue_.push_back(std::move(work));
    if (waiting_) wake_.notify_one();
  }
  void post_after(int64_t delay_ms, std::function<void()> work) override {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    timers_.emplace(SteadyClock::now() + std::chrono::milliseconds(delay_ms), std::move(work));
    if (waiting_) wake_.notify_one();
  }
  void stop() override {
    std::unique_lock lock(mutex_);
    stopped_ = true;
    wake_.notify_one();
    if (std::this_thread::get_id() == thread_.get_id()) return;
    ended_.wait(lock, [this] { return done_; });
  }

 private:
  // The next piece of work, or an empty function when stopped.
  std::function<void()> next() {
    std::unique_lock lock(mutex_);
    while (!stopped_) {
      if (!timers_.empty() && timers_.begin()->first <= SteadyClock::now()) {
        auto work = std::move(timers_.begin()->second);
        timers_.erase(timers_.begin());
        return work;
      }
      if (!queue_.empty()) {
        auto work = std::move(queue_.front());
        queue_.pop_front();
        return work;
      }
      waiting_ = true;
      if (timers_.empty()) {
        wake_.wait(lock);
      } else {
        const auto due = timers_.begin()->first;
        wake_.wait_until(lock, due);
      }
      waiting_ = false;
    }
    return {};
  }
  void loop() {
    while (auto work = next()) work();
    std::deque<std::function<void()>> queue;
    std::multimap<SteadyClock::time_point, std::function<void()>> timers;
    {
      std::lock_guard lock(mutex_);
      queue.swap(queue_);
      timers.swap(timers_);
    }
    queue.clear();  // destroys what the work holds outside the lock
    timers.clear();
    std::lock_guard lock(mutex_);
    done_ = true;
    ended_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable ended_;
  std::deque<std::function<void()>> queue_;
  std::multimap<SteadyClock::time_point, std::function<void()>> timers_;
  bool waiting_ = false;
  bool stopped_ = false;
  bool done_ = false;
  std::thread thread_;  // last: starts when everything above exists
};

class ThreadExecutor : public Executor {
 public:
  explicit ThreadExecutor(size_t threads) : threads_(threads), pool_(threads) {}
  ~ThreadExecutor() override {
    pool_.stop();
    pool_.join();
  }
  std::shared_ptr<Strand> compute() override { return std::make_shared<PoolStrand>(pool_); }
  std::shared_ptr<Strand> blocking(const std::string& name) override { return std::make_shared<ThreadStrand>(name); }
  size_t compute_threads() const override { return threads_; }

 private:
  size_t threads_;
  boost::asio::thread_pool pool_;
};

// Quota of the cgroup (v2, then v1) in CPUs, rounded up; 0: none.
size_t cgroup_quota() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  int64_t period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0)
    return static_cast<size_t>((std::stoll(quota) + period - 1) / period);
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  int64_t used = 0;
  if (v1_quota >> used && v1_period >> period && used > 0 && period > 0)
    return static_cast<size_t>((used + period - 1) / period);
  return 0;
}

}  // namespace

std::unique_ptr<Executor> make_thread_executor(size_t threads) {
  return std::make_unique<ThreadExecutor>(std::max<size_t>(1, threads));
}

size_t cpu_quota() {
  cpu_set_t set;
  CPU_ZERO(&set);
  size_t cpus = std::max(1u, std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = static_cast<size_t>(std::max(1, CPU_COUNT(&set)));
  const size_t quota = cgroup_quota();
  return quota > 0 ? std::min(cpus, quota) : cpus;
}

}  // namespace millrace
