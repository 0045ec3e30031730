#include "operators/deduplicate_time.h"

#include <algorithm>

#include "operators/projection.h"
#include "operators/state_tables.h"

namespace millrace {

Status DeduplicateTime::open(const OperatorContext& context) {
  if (within_ms_ == 0) return Status::ok();
  arenas_ = context.arenas;
  MR_RETURN_IF_ERROR(progress_.open(context));
  time_ms_ = progress_.restored_ms();
  TimerQueue::Options options;
  options.tag = static_cast<uint8_t>(StateTable::kEventTimers);
  return timers_.open(context, options);
}

Result<Batch> DeduplicateTime::without_late(const Batch& batch, OperatorCounters& counters, Collector& out) {
  if (within_ms_ == 0 || batch.watermark_ms == nullptr) return batch;
  const auto is_late = [&](uint32_t row) {
    const int64_t watermark_ms = batch.watermark_ms[row];
    return watermark_ms != kNoTime && later_by(batch.event_time_ms[row], within_ms_) <= watermark_ms;
  };
  uint64_t late = 0;
  for_each_live(batch, [&](uint32_t row) { late += is_late(row) ? 1 : 0; });
  if (late == 0) return batch;
  counters.late += late;
  if (keep_late_) {
    const ArenaPtr arena = arenas_->take();
    for_each_live(batch, [&](uint32_t row) {
      if (!is_late(row)) return;
      const auto bounded = [](int64_t time_ms) { return std::clamp(time_ms, -kMaxWindowTimeMs, kMaxWindowTimeMs); };
      const int64_t time_ms = batch.event_time_ms[row];
      const WindowBounds around{bounded(later_by(time_ms, -within_ms_)), bounded(later_by(time_ms, within_ms_))};
      late_.add(batch, arena, row, around, batch.watermark_ms[row]);
    });
    MR_RETURN_IF_ERROR(late_.emit(batch, out));
  }
  return select_rows(batch, [&](uint32_t row) { return !is_late(row); });
}

void DeduplicateTime::watch(int64_t due_ms, uint16_t shard, std::string_view key) {
  if (within_ms_ > 0) timers_.add(due_ms, shard, key);
}

Result<bool> DeduplicateTime::take_due(int64_t watermark_ms) {
  text_.clear();
  ends_.clear();
  keys_.clear();
  shards_.clear();
  if (within_ms_ == 0 || watermark_ms == kNoTime || watermark_ms == kEndOfTime) return false;
  time_ms_ = std::max(time_ms_, watermark_ms);
  if (timers_.earliest() > watermark_ms) return false;
  const Result<bool> fired = timers_.fire(watermark_ms, kMaxKeys, [this](const DueTimer& timer) {
    text_.append(timer.key);
    ends_.push_back(text_.size());
    shards_.push_back(timer.shard);
    return Status::ok();
  });
  MR_RETURN_IF_ERROR(fired.status());
  size_t begin = 0;
  for (const size_t end : ends_) {
    keys_.emplace_back(text_.data() + begin, end - begin);
    begin = end;
  }
  return !keys_.empty();
}

void DeduplicateTime::cut(DeltaBuilder& delta) {
  if (within_ms_ == 0) return;
  timers_.cut(delta);
  progress_.set_all(time_ms_);
  progress_.cut(delta);
}

}  // namespace millrace
