// WindowRows: rows of a batch on their way to windows. It evaluates what assigns and triggers windows once per batch,
// judges each row by the watermark left by the rows before it, and hands out (row, window) pairs in bounded chunks. An
// instance belongs to one lane.
#pragma once

#include <memory>
#include <vector>

#include "operators/aggregate_program.h"
#include "operators/late_rows.h"
#include "operators/operator.h"
#include "operators/time_progress.h"
#include "operators/window_assigner.h"
#include "operators/window_times.h"

namespace millrace {

class WindowRows {
 public:
  static constexpr size_t kMaxPairs = 1024;
  static_assert(kMaxPairs >= size_t{kMaxWindowsPerRow});

  // program and times outlive the instance. sliced: rows go to slices of hopping windows.
  WindowRows(const AggregateProgram& program, const WindowTimes& times, bool sliced);

  // A new batch. Rows that fail are appended to errors (ascending, each once) and never handed out.
  void begin(const Batch& batch, const ArenaPtr& arena, RowErrors& errors);
  // Rows that failed otherwise: not to be handed out.
  void skip(const RowErrors& errors);

  // What time it is for take().
  struct Now {
    int64_t watermark_ms = kNoTime;    // rows find at least this one (in processing time: how far the clock has come)
    int64_t deadline_ms = kEndOfTime;  // the first timer due
    int64_t clock_ms = 0;              // processing time: the time of the rows
    // Shards whose rows find more than the others (in processing time: have a time behind that); nullptr: none.
    const ShardTimes* shards = nullptr;
  };
  // Takes rows from live row *index on, which moves on, until the pairs are as many as fit, or a row finds a watermark
  // at which a timer is due, also of a window that an earlier row has come to. True: that is why.
  bool take(const Batch& batch, const ArenaPtr& arena, uint32_t* index, const Now& now);
  // The pairs of the last take(), in row order.
  size_t size() const { return rows_.size(); }
  const std::vector<uint32_t>& rows() const { return rows_; }
  const std::vector<WindowBounds>& windows() const { return windows_; }
  // Per pair: what the row finds. kEarly: it shows its window (early `when`); kLate: the window has fired, the row
  // shows it again; kSilent: it has fired, and the row does not.
  enum class Finds : uint8_t { kOpen, kEarly, kLate, kSilent };
  const std::vector<Finds>& finds() const { return finds_; }
  // Some pair is kEarly or kLate.
  bool any_shows() const { return any_shows_; }
  // Rows of the last take(): with a pair; late for all their windows; without any window.
  size_t taken_rows() const { return taken_rows_; }
  size_t late_rows() const { return late_count_; }
  size_t windowless_rows() const { return windowless_rows_; }
  // The watermark that the last row taken has found.
  int64_t watermark_ms() const { return watermark_ms_; }
  // Lets go of the batch.
  void release() {
    assigner_.release();
    when_column_ = nullptr;
  }
  // Hands late rows on, if somebody reads them.
  Status emit_late(const Batch& batch, Collector& out) { return late_.emit(batch, out); }

 private:
  // What is known of the pane that rows of the same window ask about again and again.
  struct PaneFacts {
    WindowBounds pane;
    int64_t expiry_ms = kNoTime;
  };
  bool add_pair(uint32_t row, const WindowBounds& pane, int64_t watermark_ms);
  void add_late(const Batch& batch, const ArenaPtr& arena, uint32_t row, const WindowBounds& last,
                int64_t watermark_ms);

  const AggregateProgram& program_;
  const WindowTimes& times_;
  const bool sliced_;
  const bool shows_late_;  // late updates
  WindowAssigner assigner_;
  std::unique_ptr<Evaluator> when_;
  LateRows late_;

  ColumnPtr when_column_;
  std::vector<uint8_t> skip_;  // per physical row; empty: none
  PaneFacts facts_;
  const ShardTimes* shards_ = nullptr;
  int64_t deadline_ms_ = kEndOfTime;
  int64_t watermark_ms_ = kNoTime;

  std::vector<uint32_t> rows_;
  std::vector<WindowBounds> windows_;
  std::vector<Finds> finds_;
  bool any_shows_ = false;
  size_t taken_rows_ = 0;
  size_t late_count_ = 0;
  size_t windowless_rows_ = 0;
};

}  // namespace millrace
