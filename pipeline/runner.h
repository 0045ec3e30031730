// PipelineRunner: keeps one pipeline running: starts an incarnation, starts the next one with backoff after an external
// error or an unknown outcome, stops after a user error. The one place that decides about restarts. Methods from any
// thread.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "pipeline/incarnation.h"

namespace millrace {

class PipelineRunner {
 public:
  // plan and executor outlive the runner. `ended` is called once, from the runner's strand, when the pipeline has
  // completed, stopped or failed.
  PipelineRunner(const Plan& plan, Incarnation::Settings settings, std::function<void()> ended);
  ~PipelineRunner();
  PipelineRunner(const PipelineRunner&) = delete;

  void start();
  // Decides the open epoch and ends. Idempotent.
  void stop();
  PipelineStatus status() const;
  uint64_t restarts() const;
  // From the first start to the end, or until now; 0 before the start.
  int64_t ran_ms() const;
  // The error of the last incarnation that failed, if any.
  Status last_error() const;
  bool has_ended() const;

 private:
  void begin();
  void incarnation_ended(IncarnationOutcome outcome);
  void finish(PipelineState state, Status status);
  int64_t next_backoff_ms();
  Status explained(const Status& status) const;

  const Plan& plan_;
  Incarnation::Settings settings_;
  std::function<void()> ended_;
  std::shared_ptr<Strand> strand_;
  mutable std::mutex mutex_;
  std::unique_ptr<Incarnation> incarnation_;
  PipelineStatus status_;  // of the last incarnation, while none runs
  Status last_error_;
  std::optional<PipelineState> final_state_;
  uint64_t restarts_ = 0;
  bool stop_requested_ = false;
  bool waiting_ = false;
  int64_t backoff_ms_ = 0;
  int64_t started_ms_ = 0;        // of the last incarnation
  int64_t first_started_ms_ = 0;  // 0: not yet
  int64_t ended_ms_ = 0;          // 0: not yet
  uint64_t decisions_before_ = 0;  // totals of earlier incarnations
  uint64_t records_before_ = 0;
};

// Recovery settings of a plan: what of its YAML concerns the decision log.
RecoverySettings recovery_settings(const Plan& plan, const std::string& data_dir, bool accept_reset);

}  // namespace millrace
