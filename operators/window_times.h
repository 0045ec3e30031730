// WindowTimes: when things happen to a window, or to a slice of hopping windows (the stretch between two bounds of
// windows, so that each window is a row of slices). Immutable.
#pragma once

#include "operators/window.h"
#include "operators/window_assigner.h"

namespace millrace {

class WindowTimes {
 public:
  // sliced: `pane` below is a slice, not a window.
  WindowTimes(const WindowSpec& window, const EmitSpec& emit, bool sliced);

  // A row is late for the pane when the watermark that it finds is at or behind this.
  int64_t expiry_ms(const WindowBounds& pane) const {
    if (pane.end_ms >= kGlobalEndMs) return kEndOfTime;
    return last_end(pane) - 1 + lateness_ms_;
  }
  // When a window fires; kEndOfTime for one that never ends.
  int64_t due_of_window_ms(int64_t end_ms) const {
    return end_ms >= kGlobalEndMs ? kEndOfTime : end_ms - 1 + fire_delay_ms_;
  }
  // The last end of a window that has fired when the watermark is this; kNoTime: none.
  int64_t fired_end_ms(int64_t watermark_ms) const;
  // The next time after watermark_ms at which a window with the pane fires; kEndOfTime if none does, or nothing fires.
  int64_t next_due_ms(const WindowBounds& pane, int64_t watermark_ms) const;
  // Whether a window with the pane has fired already when the watermark is this.
  bool has_fired(const WindowBounds& pane, int64_t watermark_ms) const {
    return fires_ && pane.end_ms < kGlobalEndMs && first_end(pane) - 1 + fire_delay_ms_ <= watermark_ms;
  }
  // Something happens when a window ends: it is shown, or what min_interval has held back of it.
  bool fires() const { return fires_; }
  int64_t lateness_ms() const { return lateness_ms_; }

  // The last pane all of whose windows end at or before end_ms.
  int64_t last_pane_end(int64_t end_ms) const {
    return !sliced_ || end_ms == kNoTime || end_ms >= kGlobalEndMs - 1 ? end_ms
                                                                       : last_window_end(end_ms) - size_ms_ + every_ms_;
  }

  // Slices. A window's end that is at or before end_ms, the last such.
  int64_t last_window_end(int64_t end_ms) const { return window_start(end_ms, every_ms_, offset_ms_ + size_ms_); }
  WindowBounds slice_of(int64_t time_ms) const;
  // Ends of the first and the last window with the pane.
  int64_t first_end(const WindowBounds& pane) const {
    return sliced_ ? last_end(pane) - (last_end(pane) - 1 - pane.start_ms) / every_ms_ * every_ms_ : pane.end_ms;
  }
  int64_t last_end(const WindowBounds& pane) const {
    return sliced_ ? window_start(pane.start_ms, every_ms_, offset_ms_) + size_ms_ : pane.end_ms;
  }
  // The window that a late row is reported with: the last one with the pane.
  WindowBounds last_window(const WindowBounds& pane) const {
    return sliced_ ? WindowBounds{last_end(pane) - size_ms_, last_end(pane)} : pane;
  }

 private:
  const bool sliced_;
  const bool fires_;
  const int64_t size_ms_;
  const int64_t every_ms_;
  const int64_t offset_ms_;
  const int64_t lateness_ms_;
  const int64_t fire_delay_ms_;
};

}  // namespace millrace
