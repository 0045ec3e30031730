// WindowBlocks: the state blocks of windows: folding rows into them and showing them. It knows what a block holds
// besides the accumulators (a trigger; how it was last shown), and which rows show their window at once. When windows
// are shown besides that is the operator's business. An instance belongs to one lane.
#pragma once

#include <string>
#include <vector>

#include "operators/aggregate_fold.h"
#include "operators/aggregate_updates.h"
#include "operators/trigger_slot.h"
#include "operators/window_rows.h"
#include "operators/window_table.h"

namespace millrace {

class TimerQueue;

class WindowBlocks {
 public:
  // All outlive the instance; fold was made with own_slots().
  WindowBlocks(const AggregateProgram& program, const WindowTimes& times, AggregateFold& fold);
  void open(const OperatorContext& context, WindowTable* table, TimerQueue* clock_timers);

  // What blocks hold is needed by their program only: a trigger; the version last shown, for retractions that come
  // later than the epoch.
  static std::vector<AggregatePtr> own_slots(const AggregateProgram& program);
  static bool has_trigger(const AggregateProgram& program);
  static bool keeps_shown(const AggregateProgram& program);

  AggregateUpdates& updates() { return updates_; }
  // Precondition: has_trigger.
  TriggerState& trigger(void* state) const {
    return *reinterpret_cast<TriggerState*>(static_cast<char*>(state) + trigger_offset_);
  }

  // Folds the pairs of `rows` into states and emits what they show at once. failed: rows that did not fit (ascending,
  // each once). Counts reported and emitted rows.
  Status fold_rows(const Batch& batch, const WindowRows& rows, void* const* states, RowErrors& failed,
                   OperatorCounters& counters, Collector& out);

  // Adds the rows of a window to updates(): as it is now, in place of how it was last shown if it was shown early.
  void show(const WindowTable::Entry& entry, int64_t watermark_ms);
  // The same of a window that has changed; with min_interval only if that allows it, else a timer will.
  void show_change(const WindowTable::Entry& entry, int64_t watermark_ms);
  // A key that leaves the state at due_ms, the time of its delete.
  void show_gone(const WindowTable::Entry& entry, int64_t due_ms);
  // The block as if no row had come to it yet; when it was shown stays known. Precondition: has_trigger.
  void start_anew(void* state);
  // Whether a timer is to show the window.
  bool is_pending(void* state) const { return has_trigger_ && trigger(state).due_ms != kNoTime; }

 private:
  Status fold_showing(const Batch& batch, const WindowRows& rows, void* const* states, size_t begin, size_t n,
                      RowErrors& failed, OperatorCounters& counters, Collector& out);
  // Pair begin + i is bound row i.
  void add_rows(const Batch& batch, const WindowRows& rows, void* state, size_t begin, size_t i);
  Status fold_one_by_one(const Batch& batch, const WindowRows& rows, void* const* states, size_t begin, size_t n,
                         RowErrors& failed, OperatorCounters& counters, Collector& out);
  void fold_one(const Batch& batch, const WindowRows& rows, void* state, size_t begin, size_t i);
  void count_row(WindowRows::Finds finds, void* state);
  const std::string_view* last_shown(void* state, std::string_view* kept) const;
  void note_shown(void* state);
  void note_gone(void* state);
  KeptBytes& kept_bytes(void* state) const {
    return *reinterpret_cast<KeptBytes*>(static_cast<char*>(state) + shown_offset_);
  }
  int64_t event_time_of(const WindowBounds& window) const;

  const AggregateProgram& program_;
  const WindowTimes& times_;
  const bool has_trigger_;
  const bool keeps_shown_;
  const bool row_by_row_;  // a row may show its window and change what follows
  AggregateFold& fold_;
  AggregateUpdates updates_;
  AggregateOutput output_;  // rows that show their window at once, as running values
  size_t trigger_offset_ = 0;
  size_t shown_offset_ = 0;
  OperatorContext context_;
  WindowTable* table_ = nullptr;
  TimerQueue* clock_timers_ = nullptr;
  std::vector<uint32_t> before_, after_;
  std::vector<void*> started_anew_;
  std::string encoded_;
};

}  // namespace millrace
