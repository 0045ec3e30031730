#include "tests/sim/simulated_executor.h"

#include <algorithm>

namespace millrace {

class SimulatedExecutor::SimulatedStrand : public Strand {
 public:
  SimulatedStrand(std::shared_ptr<Queue> queue, SimulatedExecutor& executor)
      : queue_(std::move(queue)), executor_(executor) {}
  ~SimulatedStrand() override { stop(); }
  void post(std::function<void()> work) override {
    if (!queue_->stopped) queue_->work.push_back(std::move(work));
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

std::shared_ptr<Strand> SimulatedExecutor::make(const std::string&) {
  queues_.erase(std::remove_if(queues_.begin(), queues_.end(), [](const auto& queue) { return queue->stopped; }),
                queues_.end());
  queues_.push_back(std::make_shared<Queue>());
  return std::make_shared<SimulatedStrand>(queues_.back(), *this);
}

void SimulatedExecutor::fire_timers() {
  for (auto& queue : queues_) {
    while (!queue->timers.empty() && queue->timers.begin()->first <= now_ms()) {
      queue->work.push_back(std::move(queue->timers.begin()->second));
      queue->timers.erase(queue->timers.begin());
    }
  }
}

bool SimulatedExecutor::step() {
  // Time passes also while there is work, so that timers of one strand are not starved by another's polling.
  if (++steps_ % 16 == 0) clock_.advance_ms(1);
  fire_timers();
  std::vector<std::shared_ptr<Queue>> ready;
  for (const auto& queue : queues_)
    if (!queue->work.empty()) ready.push_back(queue);
  if (ready.empty()) {
    int64_t due = INT64_MAX;
    for (const auto& queue : queues_)
      if (!queue->timers.empty()) due = std::min(due, queue->timers.begin()->first);
    if (due == INT64_MAX) return false;
    clock_.advance_ms(std::max<int64_t>(due - now_ms(), 0));
    fire_timers();
    return true;
  }
  const auto queue = ready[random_() % ready.size()];
  const auto work = std::move(queue->work.front());
  queue->work.pop_front();
  work();
  return true;
}

}  // namespace millrace
