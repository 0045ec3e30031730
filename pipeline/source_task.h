// SourceTask: polls one source, decodes, stamps event times, applies on_error and runs the stateless operators behind
// the source. Its strand blocks only in Source::poll (a few milliseconds) and in open.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "formats/format.h"
#include "pipeline/fused.h"
#include "pipeline/plan.h"
#include "pipeline/task.h"
#include "sources/source.h"

namespace millrace {

class SourceTask : public Task {
 public:
  struct Settings {
    SourceContext context;
    int poll_timeout_ms = 5;
    SourceLimits limits;
  };
  SourceTask(size_t id, std::shared_ptr<Strand> strand, TaskEvents& events, const Plan& plan, size_t source,
             Settings settings);
  ~SourceTask() override;

  // Wiring, before open: outputs are added and routes set once.
  TaskOutputs& outputs() { return outputs_; }
  void connect(TaskRoutes routes);

  // Any thread; the work happens on the strand.
  void open(std::vector<PartitionProgress> resume);
  void start();
  void inject(Barrier barrier);
  void released(std::vector<SourcePosition> positions);
  void wake();  // a receiver has room again

  // Read by the coordinator and the metrics, any thread.
  uint64_t rows_read() const { return rows_read_.load(std::memory_order_relaxed); }
  int64_t lag_records() const { return lag_records_.load(std::memory_order_relaxed); }
  int64_t behind_ms() const { return behind_ms_.load(std::memory_order_relaxed); }
  bool connected() const { return connected_.load(std::memory_order_relaxed); }

 private:
  void open_now(std::vector<PartitionProgress> resume);
  void turn();
  Status process(SourcePoll& poll);
  void decode(SourcePoll& poll, Batch& batch, RowErrors& errors);
  void add_record_columns(const SourcePoll& poll, Batch& batch);
  Status stamp_event_times(Batch& batch);
  Status drop_bad_rows(Batch& batch, const RowErrors& errors);
  Status fail_decode(const Batch& batch, const RowErrors& errors);
  void note_lag();
  std::vector<PartitionProgress> progress();

  const Plan& plan_;
  const PlannedSource& planned_;
  size_t index_;
  Settings settings_;
  TaskOutputs outputs_;
  ArenaPool arenas_;
  std::unique_ptr<FusedOperators> fused_;
  std::unique_ptr<Source> source_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<Evaluator> event_time_;
  std::vector<int64_t> max_event_time_ms_;  // by partition of the source
  std::vector<DecodeError> decode_errors_;
  NodeCounts counts_;
  bool running_ = false;
  bool scheduled_ = false;
  bool ended_ = false;
  int64_t lag_noted_ms_ = 0;
  std::atomic<uint64_t> rows_read_{0};
  std::atomic<int64_t> lag_records_{-1};
  std::atomic<int64_t> behind_ms_{-1};
  std::atomic<bool> connected_{true};
};

}  // namespace millrace
