// LaneTask: one lane of a keyed stage: a keyed operator with its state, and the stateless operators behind it. Runs on
// the compute pool; its inbox is the only way in.
#pragma once

#include <atomic>
#include <memory>

#include "pipeline/fused.h"
#include "pipeline/inbox.h"
#include "pipeline/plan.h"
#include "pipeline/task.h"
#include "state/state_layers.h"

namespace millrace {

// A lane's watermark is the smallest of its channels that are not idle; with all of them idle, the largest. Before a
// row is folded in, the operator fires what is due at the watermark that the rows before it left (Operator::consume).
class LaneTask : public Task, private Collector {
 public:
  struct Settings {
    size_t op = 0;  // in Plan::operators
    size_t lane = 0;
    uint16_t operator_number = 0;  // in the keys of the store
    size_t cache_bytes = 0;
    size_t channel_bytes = 1 << 20;
    uint64_t first_epoch = 1;
    bool emit_per_batch = false;  // at_least_once: updates leave when their batch is done
    size_t lanes = 1;             // of the operator
    const Clock* clock = nullptr;
    bool always_cut = true;       // false (mode none): dirty state is only written out when the cache is full of it
  };
  LaneTask(size_t id, std::shared_ptr<Strand> strand, TaskEvents& events, const Plan& plan, LaneState& state,
           Settings settings);

  Inbox& inbox() { return inbox_; }
  TaskOutputs& outputs() { return outputs_; }
  void connect(TaskRoutes routes);
  void open();
  void wake();  // any thread
  // When the operator wants to be woken by the wall clock, kEndOfTime: never. Any thread.
  int64_t next_clock_ms() const { return next_clock_ms_.load(std::memory_order_relaxed); }
  // What has fired so far: changes that no row shows. Any thread.
  uint64_t activity() const { return activity_.load(std::memory_order_relaxed); }

 private:
  Status emit(Batch batch) override;
  Status emit_side(const std::string& port, Batch batch) override;
  Status fail_rows(const Batch& batch, const RowErrors& errors) override;
  Status fail_results(const Batch& batch, const RowErrors& errors) override;

  void schedule();
  void turn();
  // False: parked until wake().
  bool step(bool* idle);
  Status work(bool* idle);
  Status take(bool* idle);
  // Sets the stage's watermark of each row: the smallest of the channels, as far as the rows before it have moved them.
  void align_watermarks(size_t channel, Batch& batch);
  Status consume();
  Status advance();
  Status advance_clock();
  void pass_time(size_t channel, const StreamTime& time);
  void send_time();
  int64_t delayed(int64_t watermark_ms) const;
  StreamTime output_time() const { return {delayed(watermark_ms_), idle_}; }
  void want_barrier();
  Status flush_some(bool* done);
  void cut();
  void finish_barrier();

  const Plan& plan_;
  const PlannedOperator& planned_;
  LaneState& state_;
  Settings settings_;
  std::atomic<bool> scheduled_{false};
  Inbox inbox_;
  TaskOutputs outputs_;
  ArenaPool arenas_;
  std::unique_ptr<FusedOperators> fused_;
  std::unique_ptr<Operator> op_;
  NodeCounts failures_;
  // Event time of the stage.
  std::vector<StreamTime> channel_times_;
  int64_t watermark_ms_ = kNoTime;  // never falls
  bool idle_ = false;               // all channels are
  StreamTime sent_time_;            // what the tasks behind have been told
  std::optional<Batch> batch_;  // being consumed, from cursor_ on
  size_t batch_input_ = 0;
  uint32_t cursor_ = 0;
  std::optional<int64_t> advancing_to_ms_;  // timers up to here are being fired
  bool clock_fires_ = false;                // timers of the wall clock are being fired
  std::atomic<int64_t> next_clock_ms_{kEndOfTime};
  std::atomic<uint64_t> activity_{0};

  std::optional<Barrier> barrier_;  // being passed
  bool flushing_ = false;           // emitting what is owed, for the barrier or because dirty state fills the cache
  std::vector<DeltaPtr> cuts_;      // of the open epoch
  uint64_t epoch_;                  // open
  bool barrier_wanted_ = false;
  bool failed_ = false;
};

}  // namespace millrace
