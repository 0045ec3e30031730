#include "operators/window_times.h"

namespace millrace {

WindowTimes::WindowTimes(const WindowSpec& window, const EmitSpec& emit, bool sliced)
    : sliced_(sliced),
      fires_(emit.mode == EmitMode::kClose || emit.mode == EmitMode::kFinal || emit.min_interval_ms > 0),
      size_ms_(window.size_ms),
      every_ms_(window.every_ms),
      offset_ms_(window.offset_ms),
      lateness_ms_(window.allowed_lateness_ms),
      fire_delay_ms_(emit.mode == EmitMode::kClose ? 0 : window.allowed_lateness_ms) {}

int64_t WindowTimes::fired_end_ms(int64_t watermark_ms) const {
  if (watermark_ms < -2 * kMaxWindowTimeMs) return kNoTime;
  if (watermark_ms > 2 * kMaxWindowTimeMs) return kGlobalEndMs - 1;
  return watermark_ms + 1 - fire_delay_ms_;
}

int64_t WindowTimes::next_due_ms(const WindowBounds& pane, int64_t watermark_ms) const {
  if (!fires_ || pane.end_ms >= kGlobalEndMs) return kEndOfTime;
  const int64_t first = first_end(pane) - 1 + fire_delay_ms_;
  if (first > watermark_ms) return first;
  if (!sliced_) return kEndOfTime;
  const int64_t next = first + ((watermark_ms - first) / every_ms_ + 1) * every_ms_;
  return next <= last_end(pane) - 1 + fire_delay_ms_ ? next : kEndOfTime;
}

WindowBounds WindowTimes::slice_of(int64_t time_ms) const {
  const int64_t start = window_start(time_ms, every_ms_, offset_ms_);
  const int64_t cut = start + size_ms_ % every_ms_;  // where a window ends
  return time_ms < cut ? WindowBounds{start, cut} : WindowBounds{cut, start + every_ms_};
}

}  // namespace millrace
