// PaneOperator: what windowed aggregates have in common: rows judged by the watermark that they find, panes that
// expire, time that passes and is remembered. A pane is what rows are folded into: a window, or a slice that hopping
// windows share. What happens when windows end, and how rows show their windows, is the subclass's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "operators/aggregate_fold.h"
#include "operators/aggregate_program.h"
#include "operators/operator.h"
#include "operators/time_progress.h"
#include "operators/window_rows.h"
#include "operators/window_table.h"
#include "operators/window_times.h"

namespace millrace {

class PaneOperator : public Operator {
 public:
  Status open(const OperatorContext& context) override;
  Status process(const Batch& batch, size_t input, Collector& out) override;
  Result<uint32_t> consume(const Batch& batch, uint32_t begin, size_t input, Collector& out) override;
  Result<bool> advance(int64_t watermark_ms, size_t max_rows, Collector& out) override;
  int64_t next_clock_ms() const override;
  Result<bool> advance_clock(int64_t now_ms, size_t max_rows, Collector& out) override;
  int64_t restored_watermark_ms() const override;
  int64_t output_delay_ms() const override;
  Result<bool> flush(uint64_t epoch, size_t max_rows, Collector& out) override;
  void cut(DeltaBuilder& delta) override;
  bool wants_barrier() const override { return held_bytes() > context_.cache_bytes / 2; }
  bool is_full() const override { return held_bytes() >= context_.cache_bytes; }

 protected:
  static constexpr int64_t kNoEnd = WindowTable::kNoEnd;

  // sliced: panes are slices. more: slots of the blocks of panes that are the subclass's own.
  PaneOperator(std::shared_ptr<const AggregateProgram> program, bool sliced, const std::vector<AggregatePtr>& more);

  // Folds the pairs of rows_, whose blocks are states_, and emits what they show. Rows that did not fit go to `failed`.
  virtual Status fold_pairs(const Batch& batch, RowErrors& failed, Collector& out) = 0;
  // Called around it, for the same pairs.
  virtual void before_fold() {}
  virtual Status after_fold(Collector& out) {
    (void)out;
    return Status::ok();
  }
  // The end of the next window of a shard that fires; kNoEnd: none is there. Where its firing was interrupted; empty:
  // it has not begun.
  virtual int64_t next_end(size_t shard) const { return table_.next_end(shard); }
  virtual const std::string& resume(size_t shard) const { return table_.resume(shard); }
  // Begins behind what has fired in a shard.
  virtual Status start(size_t shard, int64_t fired_end_ms, const std::string& resume) {
    return table_.start_walk(shard, fired_end_ms, resume);
  }
  // Fires windows that end at end_ms, in shards whose next end that is, at most `limit` rows. due_ms: when it was due.
  virtual Status fire(int64_t end_ms, int64_t due_ms, size_t limit, size_t* fired, Collector& out) = 0;
  // Every window up to this end has fired, in every shard.
  virtual void pass(int64_t fired_end_ms) { table_.pass(times_.last_pane_end(fired_end_ms)); }
  // Timers of the subclass, in event time: when the first is due; and firing those until watermark_ms.
  virtual int64_t next_timer_ms() const { return kEndOfTime; }
  virtual Result<bool> fire_timers(int64_t watermark_ms, size_t limit, Collector& out) {
    (void)watermark_ms;
    (void)limit;
    (void)out;
    return true;
  }
  // A pane without rows has still something to do.
  virtual bool keeps_empty(void* state) const {
    (void)state;
    return false;
  }
  // Panes are never merged, and leave the state only when they expire: sets that grow large may leave them.
  virtual bool sets_may_leave() const { return false; }
  // Memory that only a cut frees.
  virtual size_t held_bytes() const { return table_.dirty_bytes() + fold_.dirty_bytes(); }
  virtual size_t rows_per_key() const { return program_->gives_retractions ? 2 : 1; }

  bool in_processing_time() const { return program_->window.processing_time; }
  // The stage's watermark, for stamps.
  int64_t stage_watermark_ms() const { return in_processing_time() ? watermark_ms_ : time_ms_; }
  // The watermark of rows that fire at this time.
  int64_t stamp_ms(int64_t due_ms) const {
    return due_ms == kEndOfTime || in_processing_time() ? stage_watermark_ms() : due_ms - 1;
  }
  // With the start, where the size tells it.
  WindowTable::Entry with_start(WindowTable::Entry entry) const {
    if (program_->window.size_ms > 0) entry.window.start_ms = entry.window.end_ms - program_->window.size_ms;
    return entry;
  }
  // The lowest of the next ends of all shards.
  int64_t first_end() const;

  const std::shared_ptr<const AggregateProgram> program_;
  const WindowTimes times_;
  AggregateFold fold_;  // into the blocks of panes
  WindowRows rows_;
  WindowTable table_;
  OperatorContext context_;
  std::vector<void*> states_;  // of the pairs of rows_
  bool has_watermark_ = false;
  // How far the time of the windows has come: the watermark, or the clock. Everything due until then has fired, except
  // what an advance under way has still to visit. In some shards more has: at the end of an input.
  int64_t time_ms_ = kNoTime;
  ShardTimes shard_times_;

 private:
  Status begin_batch(const Batch& batch, Collector& out);
  void end_batch();
  Status fold_taken(const Batch& batch, Collector& out);
  void drop_unused();
  Result<bool> advance_time(int64_t time_ms, size_t max_rows, Collector& out);
  void pass_time(int64_t time_ms);
  int64_t next_due_ms() const;
  void remember_time();
  int64_t reached_ms() const;
  void note_end(int64_t end_ms, int64_t due_ms);

  TimeProgress progress_;
  ArenaPtr batch_arena_;  // of a batch that is not consumed yet
  bool in_batch_ = false;
  bool expired_ = false;            // since the last cut
  int64_t watermark_ms_ = kNoTime;  // of the stage, in processing time
  std::vector<std::string_view> keys_;
  std::vector<uint16_t> shards_;
};

}  // namespace millrace
