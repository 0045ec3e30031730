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
    bool always_cut = true;       // false (mode none): dirty state is only written out when the cache is full of it
  };
  LaneTask(size_t id, std::shared_ptr<Strand> strand, TaskEvents& events, const Plan& plan, LaneState& state,
           Settings settings);

  Inbox& inbox() { return inbox_; }
  TaskOutputs& outputs() { return outputs_; }
  void connect(TaskRoutes routes);
  void open();
  void wake();  // any thread

 private:
  Status emit(Batch batch) override;
  Status emit_side(const std::string& port, Batch batch) override;
  Status fail_rows(const Batch& batch, const RowErrors& errors) override;

  void schedule();
  void turn();
  // False: parked until wake().
  bool step(bool* idle);
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
  std::optional<Barrier> barrier_;  // being passed
  bool flushing_ = false;           // emitting what is owed, for the barrier or because dirty state fills the cache
  std::vector<DeltaPtr> cuts_;      // of the open epoch
  uint64_t epoch_;                  // open
  bool barrier_wanted_ = false;
  bool failed_ = false;
};

}  // namespace millrace
