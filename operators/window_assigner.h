// WindowAssigner: which windows a row belongs to: tumbling, hopping, custom and global ones. An instance belongs to one
// lane.
#pragma once

#include <memory>
#include <vector>

#include "base/batch.h"
#include "operators/window.h"

namespace millrace {

class WindowAssigner {
 public:
  // Precondition: the kind is one of the above, or none (one window without bounds). needs_event_time: rows without one
  // fail, unless the window is the one of all time.
  WindowAssigner(const WindowSpec& spec, bool needs_event_time);

  // Once per batch. Rows that have no windows because of an error are appended to errors (ascending, each once): a time
  // outside the range of windows, an `assign` that fails, gives more than kMaxWindowsPerRow windows, or one that does
  // not end after its start.
  void evaluate(const Batch& batch, const ArenaPtr& arena, RowErrors& errors);
  // The windows of a row at this time, by end, then start; none for a custom list that is empty. The time is the row's
  // event time, or in processing time the clock's. Valid until the next call. Precondition: the row has not failed.
  const std::vector<WindowBounds>& assign(uint32_t row, int64_t time_ms);
  // The same for kinds with one window per row.
  bool is_single() const { return single_; }
  const WindowBounds& assign_single(int64_t time_ms) {
    if (time_ms < last_.start_ms || time_ms >= last_.end_ms) move_to(time_ms);
    return last_;
  }
  void release() { assigned_ = nullptr; }

 private:
  void move_to(int64_t time_ms);
  void assign_hopping(int64_t time_ms);
  void assign_custom(uint32_t row);
  void check_times(const Batch& batch, RowErrors& errors) const;
  void check_custom(const Batch& batch, RowErrors& errors) const;
  std::string refusal_of(uint32_t row) const;

  const WindowSpec spec_;
  const bool needs_event_time_;
  const bool single_;
  WindowBounds last_;
  std::vector<WindowBounds> windows_;
  std::unique_ptr<Evaluator> evaluator_;
  ColumnPtr assigned_;
};

// The start of the last window (of windows that begin every `every_ms`, shifted by offset) that begins at or before
// the time; right for times before 1970.
int64_t window_start(int64_t time_ms, int64_t every_ms, int64_t offset_ms);

}  // namespace millrace
