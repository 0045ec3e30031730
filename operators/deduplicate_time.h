// DeduplicateTime: what `within` is to both forms of deduplicate. It takes out rows that come so long after their time
// that nobody can say any more what they are duplicates of, and finds keys whose state may be dropped. Of each key that
// has state one timer is kept, wherever it is due: when it fires, the operator looks at the key, and drops its state or
// watches it on. Results do not depend on when that happens: it only gives memory back. Belongs to its lane.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "operators/late_rows.h"
#include "operators/operator.h"
#include "operators/time_progress.h"
#include "operators/timer_queue.h"

namespace millrace {

class DeduplicateTime {
 public:
  // Without a `within` (0) there is nothing to do, and nothing is done.
  DeduplicateTime(const Schema& input, int64_t within_ms, bool keep_late)
      : within_ms_(within_ms), keep_late_(keep_late), late_(input) {}
  Status open(const OperatorContext& context);
  int64_t restored_ms() const { return progress_.restored_ms(); }

  // The batch without its late rows: those whose time + within is not behind the watermark that they find. They are
  // counted, and go to <id>.late if somebody reads that.
  Result<Batch> without_late(const Batch& batch, OperatorCounters& counters, Collector& out);

  // A key without a timer has got state, or a key that was due is not to be dropped yet.
  void watch(int64_t due_ms, uint16_t shard, std::string_view key);
  // The watermark has come here: takes up to kMaxKeys keys that are due. False: none is. None is at kEndOfTime, when
  // the whole state would be taken apart because the input has ended.
  static constexpr uint32_t kMaxKeys = 1024;
  Result<bool> take_due(int64_t watermark_ms);
  // What was taken last; valid until the next take_due().
  uint32_t size() const { return static_cast<uint32_t>(keys_.size()); }
  const std::string_view* keys() const { return keys_.data(); }
  const uint16_t* shards() const { return shards_.data(); }

  void cut(DeltaBuilder& delta);
  size_t uncut_bytes() const { return timers_.uncut_bytes(); }

 private:
  const int64_t within_ms_;
  const bool keep_late_;
  ArenaPool* arenas_ = nullptr;
  LateRows late_;
  TimerQueue timers_;
  TimeProgress progress_;
  int64_t time_ms_ = kNoTime;  // that the watermark has come to, without the end of the input
  std::string text_;           // of the keys
  std::vector<size_t> ends_;   // of each in text_
  std::vector<std::string_view> keys_;
  std::vector<uint16_t> shards_;
};

// time + span, within the bounds of time.
inline int64_t later_by(int64_t time_ms, int64_t span_ms) {
  int64_t sum;
  return __builtin_add_overflow(time_ms, span_ms, &sum) ? (span_ms > 0 ? kEndOfTime : kNoTime) : sum;
}

}  // namespace millrace
