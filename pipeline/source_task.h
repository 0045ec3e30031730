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
#include "pipeline/watermark.h"
#include "sources/source.h"

namespace millrace {

class SourceTask : public Task {
 public:
  struct Settings {
    SourceContext context;
    int poll_timeout_ms = 5;
    // Simulations: polls do not wait, the clock is moved between them.
    bool waits_between_polls = false;
    SourceLimits limits;
    SourceAlignment* alignment = nullptr;  // outlives the task
    const std::atomic<bool>* held_back = nullptr;  // true: no more rows for now; outlives the task
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
  // Changes that rows do not show: a partition became idle.
  uint64_t activity() const { return activity_.load(std::memory_order_relaxed); }
  int64_t watermark_ms() const { return shown_watermark_ms_.load(std::memory_order_relaxed); }
  uint64_t idle_partitions() const { return idle_partitions_.load(std::memory_order_relaxed); }

 private:
  void open_now(std::vector<PartitionProgress> resume);
  void turn();
  Status process(SourcePoll& poll);
  void decode(SourcePoll& poll, Batch& batch, RowErrors& errors);
  void add_record_columns(const SourcePoll& poll, Batch& batch);
  Status stamp_event_times(Batch& batch);
  Status evaluate_event_times(Batch& batch, int64_t* times);
  Status refuse_future(Batch& batch);
  Status stamp_watermarks(Batch& batch);
  void apply_marks(const SourcePoll& poll);
  void pass_quiet_time(const SourcePoll& poll, int64_t waited_us);
  void send_time();
  bool must_wait();
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
  std::unique_ptr<Evaluator> watermark_when_;
  WatermarkTracker watermarks_;
  size_t partitions_seen_ = 0;
  StreamTime sent_time_;
  int64_t future_limit_ms_ = kEndOfTime;  // of the batch at hand: wall clock + max_future
  int64_t polled_at_us_ = 0;  // when the last poll ended; 0: the time since then does not count as quiet
  int64_t quiet_us_ = 0;      // less than a millisecond, not passed on yet
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
  std::atomic<uint64_t> activity_{0};
  std::atomic<int64_t> shown_watermark_ms_{kNoTime};
  std::atomic<uint64_t> idle_partitions_{0};
};

}  // namespace millrace
