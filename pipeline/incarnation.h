// Incarnation: one life of a pipeline, from recovery to its end or first error; also its coordinator: it injects
// barriers, collects what the tasks report, lets the decision be made and releases the epoch (docs/ARCHITECTURE.md,
// "Life of an epoch"). There is no way back inside an incarnation: after any error a new one starts from what was
// decided.
//
// Threads: start() and stop() from any thread; everything else on the coordinator's own strand. The outcome is reported
// once, from that strand.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "pipeline/executor.h"
#include "pipeline/lane_task.h"
#include "pipeline/plan.h"
#include "pipeline/sink_task.h"
#include "pipeline/source_task.h"
#include "pipeline/task.h"
#include "recovery/decision_log.h"
#include "state/state_layers.h"

namespace millrace {

enum class PipelineState { kStarting, kRestoring, kRunning, kStopping, kCompleted, kStopped, kFailed, kWaiting };
const char* to_string(PipelineState state);

// Where a source stands in event time.
struct SourceTime {
  std::string source;
  int64_t watermark_ms = kNoTime;
  uint64_t idle_partitions = 0;
};

// What a pipeline looks like from outside; a copy, refreshed with every epoch.
struct PipelineStatus {
  PipelineState state = PipelineState::kStarting;
  uint64_t epoch = 0;  // last decided
  uint64_t decisions = 0;
  uint64_t records_in = 0;   // read by the sources, now
  uint64_t records_out = 0;  // written by the sinks, now
  // Of records_in, what was read behind the last epoch passed and is not in `counts`.
  uint64_t records_behind_epoch = 0;
  int64_t lag_records = -1;
  bool sources_connected = true;
  std::vector<SourceTime> source_times;  // of sources that make watermarks
  Counts counts;  // as of the last epoch passed
  std::string restored_from;
  uint64_t replayed_records = 0;
  int64_t restore_ms = 0;
  int64_t last_decision_wall_ms = 0;
  int64_t last_decision_us = 0;  // how long it took
  StateStore::Numbers state_numbers;
  size_t pending_state_bytes = 0;
};

struct IncarnationOutcome {
  Status status;                 // ok: completed or stopped
  bool completed = false;        // all inputs ended
  bool unknown_outcome = false;  // restart at once
};

class Incarnation : private TaskEvents {
 public:
  struct Settings {
    RecoverySettings recovery;
    const Clock* clock = nullptr;
    Logger log;
    Executor* executor = nullptr;
    bool background_state = true;  // false: deterministic (StateLayers::Options)
    uint32_t max_batch_rows = 1024;
    std::function<std::unique_ptr<DecisionLog>(const RecoverySettings&)> make_log;
  };
  Incarnation(const Plan& plan, Settings settings, std::function<void(IncarnationOutcome)> done);
  ~Incarnation() override;

  void start();
  // Decides the open epoch, then ends (outcome ok, not completed). Before processing has begun it ends at once.
  void stop();
  // Decides the open epoch now, as soon as the one before is done. Ignored before processing has begun.
  void decide_now();
  // For whoever moves the clock by hand, between two pieces of work: when the next timer of an operator is due (wall
  // clock; kEndOfTime: none), and having those that are due looked at before the next tick.
  int64_t next_clock_ms() const;
  void wake_timers();
  PipelineStatus status() const;

 private:
  enum class Phase { kRecovering, kOpening, kFirstDecision, kRunning, kEnded };
  // What the tasks have said about the barrier in flight.
  struct Epoch {
    uint64_t number = 0;
    bool final = false;  // all inputs have ended
    bool last = false;   // a stop was requested
    size_t waiting = 0;
    Decision decision;
    Counts counts;
    bool undecided = false;  // a decision is being made
    size_t committing = 0;   // sinks that have yet to commit
    bool rows_moved = false;
  };

  void opened(size_t task, std::vector<PartitionProgress> positions) override;
  void passed(size_t task, EpochReport report) override;
  void committed(size_t task, uint64_t epoch) override;
  void source_ended(size_t task) override;
  void wants_barrier(size_t task) override;
  void failed(size_t task, Status status) override;

  void recover();
  void build_tasks();
  void build_sources(uint64_t first_epoch);
  void build_lanes(uint64_t first_epoch);
  void build_sinks(uint64_t first_epoch);
  void connect();
  TaskRoutes route(const std::vector<Target>& targets, TaskOutputs& outputs, std::function<void()> on_room);
  void open_tasks();
  void open_sinks();
  void all_opened();
  void decide_first_positions();
  void run();
  void tick();
  bool barrier_due();
  void inject(bool final);
  void passed_now(EpochReport report);
  void decide();
  void decided(DecisionOutcome outcome, int64_t took_us);
  void release();
  void epoch_done();
  void end(IncarnationOutcome outcome);
  void publish();
  void check_health(int64_t now_ms);
  void note_state_numbers();
  uint64_t rows_read() const;
  // Counts what changes state or positions: rows, and what happens without them (timers, idle partitions).
  uint64_t activity() const;
  void wake_due_lanes();
  bool is_ended() const { return phase_ == Phase::kEnded; }

  const Plan& plan_;
  Settings settings_;
  std::function<void(IncarnationOutcome)> done_;
  std::shared_ptr<Strand> strand_;
  std::shared_ptr<Strand> decider_;
  Phase phase_ = Phase::kRecovering;
  std::unique_ptr<DecisionLog> log_;
  Recovered recovered_;
  std::unique_ptr<StateLayers> layers_;
  std::unique_ptr<SourceAlignment> alignment_;
  std::atomic<bool> sources_held_back_{false};
  std::vector<std::unique_ptr<SourceTask>> sources_;
  std::vector<std::unique_ptr<LaneTask>> lanes_;
  std::vector<std::unique_ptr<SinkTask>> sinks_;
  std::map<size_t, std::vector<size_t>> lanes_of_;  // keyed operator -> indexes in lanes_
  size_t tasks_ = 0;
  size_t opening_ = 0;
  std::vector<SourceProgress> positions_;  // by source, as of the last barrier
  Epoch epoch_;
  uint64_t next_epoch_ = 1;
  size_t sources_ended_ = 0;
  bool stop_requested_ = false;
  bool barrier_wanted_ = false;
  uint64_t rows_at_barrier_ = 0;
  uint64_t activity_at_barrier_ = 0;
  int64_t barrier_at_ms_ = 0;
  int64_t decide_started_us_ = 0;
  int64_t health_at_ms_ = 0;
  int64_t numbers_at_ms_ = 0;      // decider's strand
  uint64_t processed_epochs_ = 0;  // decided after the first positions

  mutable std::mutex status_mutex_;
  PipelineStatus status_;
};

}  // namespace millrace
