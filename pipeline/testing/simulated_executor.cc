#include "pipeline/testing/simulated_executor.h"

#include <algorithm>

namespace millrace {
namespace {
// Polls in a row without any effect after which a source has nothing to give: one that reads, one that finds the end.
constexpr int kIdlePolls = 2;
constexpr uint64_t kStepsPerMs = 16;
}  // namespace

class SimulatedExecutor::SimulatedStrand : public Strand {
 public:
  SimulatedStrand(std::shared_ptr<Queue> queue, SimulatedExecutor& executor)
      : queue_(std::move(queue)), executor_(executor) {}
  ~SimulatedStrand() override { stop(); }
  void post(std::function<void()> work) override {
    if (queue_->stopped) return;
    if (queue_.get() != executor_.running_) executor_.posted_elsewhere_ = true;
    queue_->work.push_back(std::move(work));
  }
  void post_after(int64_t delay_ms, std::function<void()> work) override {
    if (!queue_->stopped) queue_->timers.emplace(executor_.now_ms() + delay_ms, std::move(work));
  }
  void stop() override {
    queue_->stopped = true;
    queue_->work.clear();
    queue_->timers.clear();
  }

 private:
  std::shared_ptr<Queue> queue_;
  SimulatedExecutor& executor_;
};

std::shared_ptr<Strand> SimulatedExecutor::make(const std::string& name) {
  queues_.erase(std::remove_if(queues_.begin(), queues_.end(), [](const auto& queue) { return queue->stopped; }),
                queues_.end());
  queues_.push_back(std::make_shared<Queue>());
  queues_.back()->polls = name == "source";
  return std::make_shared<SimulatedStrand>(queues_.back(), *this);
}

void SimulatedExecutor::fire_first_timer(Queue& queue) {
  queue.work.push_back(std::move(queue.timers.begin()->second));
  queue.timers.erase(queue.timers.begin());
}

void SimulatedExecutor::fire_timers() {
  for (auto& queue : queues_)
    while (!queue->timers.empty() && queue->timers.begin()->first <= now_ms()) fire_first_timer(*queue);
}

int64_t SimulatedExecutor::next_timer_ms() const {
  int64_t due = INT64_MAX;
  for (const auto& queue : queues_)
    if (!queue->timers.empty()) due = std::min(due, queue->timers.begin()->first);
  return due;
}

void SimulatedExecutor::run_first(Queue& queue) {
  const auto work = std::move(queue.work.front());
  queue.work.pop_front();
  running_ = &queue;
  posted_elsewhere_ = false;
  work();
  running_ = nullptr;
}

bool SimulatedExecutor::step() {
  // Time passes also while there is work, so that timers of one strand are not starved by another's polling.
  if (++steps_ % kStepsPerMs == 0) clock_.advance_ms(1);
  fire_timers();
  ready_.clear();
  for (const auto& queue : queues_)
    if (!queue->work.empty()) ready_.push_back(queue);
  if (ready_.empty()) {
    const int64_t due = next_timer_ms();
    if (due == INT64_MAX) return false;
    clock_.advance_ms(std::max<int64_t>(due - now_ms(), 0));
    fire_timers();
    return true;
  }
  const auto queue = ready_[random_() % ready_.size()];
  run_first(*queue);
  return true;
}

bool SimulatedExecutor::step_now() {
  fire_timers();
  ready_.clear();
  for (const auto& queue : queues_) {
    if (queue->polls && queue->idle_polls >= kIdlePolls) continue;
    // A source that waits for slower ones looks again at once: whether it may go on depends on them, not on the time.
    if (queue->polls && queue->work.empty() && !queue->timers.empty()) fire_first_timer(*queue);
    if (!queue->work.empty()) ready_.push_back(queue);
  }
  if (ready_.empty()) return false;
  const auto queue = ready_[random_() % ready_.size()];
  run_first(*queue);
  if (queue->polls && !posted_elsewhere_) {
    queue->idle_polls++;
  } else {
    wake_sources();
  }
  return true;
}

void SimulatedExecutor::wake_sources() {
  for (const auto& queue : queues_) queue->idle_polls = 0;
}

}  // namespace millrace
