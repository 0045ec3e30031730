#include "pipeline/watermark.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

void read_on_future(const ConfigNode& node, WatermarkSpec& spec, Diagnostics& diagnostics) {
  spec.future_at = node.location();
  if (node.is_mapping()) {
    MapReader map(node, diagnostics);
    spec.on_future = WatermarkSpec::OnFuture::kDeadLetter;
    if (auto to = map.required_child("to")) {
      spec.future_at = to->location();
      spec.future_sink = as_string(*to, diagnostics).value_or("");
    }
    map.finish();
    return;
  }
  const std::string text = as_string(node, diagnostics).value_or("clamp");
  if (text == "drop") {
    spec.on_future = WatermarkSpec::OnFuture::kDrop;
  } else if (text != "clamp") {
    diagnostics.error(LintCode::kBadValue, node.location(),
                      "on_future is clamp, drop or {to: SINK}, found \"" + text + "\"",
                      did_you_mean(text, {"clamp", "drop"}));
  }
}

// A duration that must be positive when it is given.
int64_t read_positive(MapReader& map, const char* key, Diagnostics& diagnostics) {
  const int64_t value_ms = map.duration_ms_or(key, 0);
  if (auto node = map.child(key); node && value_ms <= 0)
    diagnostics.error(LintCode::kBadValue, node->location(), std::string(key) + " must be more than 0");
  return value_ms;
}

}  // namespace

WatermarkSpec read_watermark(const ConfigNode& node, Diagnostics& diagnostics) {
  WatermarkSpec spec;
  spec.at = node.key_location();
  if (!node.is_mapping()) {
    diagnostics.error(LintCode::kWrongType, node.location(), "watermark is a map",
                      "watermark: {max_out_of_orderness: 30s}");
    return spec;
  }
  MapReader map(node, diagnostics);
  spec.max_out_of_orderness_ms = map.duration_ms_or("max_out_of_orderness", 0);
  spec.idle_after_ms = read_positive(map, "idle_after", diagnostics);
  spec.max_future_ms = read_positive(map, "max_future", diagnostics);
  spec.max_drift_ms = read_positive(map, "max_drift", diagnostics);
  if (auto on_future = map.child("on_future")) {
    read_on_future(*on_future, spec, diagnostics);
    if (!map.has("max_future"))
      diagnostics.error(LintCode::kMissingKey, on_future->key_location(), "on_future needs max_future",
                        "max_future: 1h");
  }
  if (auto when = map.child("when")) spec.when = *when;
  map.finish();
  return spec;
}

std::string describe(const WatermarkSpec& spec) {
  const auto milliseconds = [](int64_t value) { return std::to_string(value) + " ms"; };
  std::string text = "watermark " + milliseconds(spec.max_out_of_orderness_ms) + " behind";
  if (!spec.when.is_null()) text += ", moved when " + spec.when.text();
  text += spec.idle_after_ms > 0 ? ", idle after " + milliseconds(spec.idle_after_ms) : ", waits for idle partitions";
  if (spec.max_future_ms > 0) {
    const char* words[] = {"moves it no further", "is dropped", "is a dead letter"};
    text += ", what is " + milliseconds(spec.max_future_ms) + " ahead of the clock " +
            words[static_cast<int>(spec.on_future)];
  }
  if (spec.max_drift_ms > 0) text += ", waits when " + milliseconds(spec.max_drift_ms) + " ahead of other sources";
  return text;
}

WatermarkTracker::WatermarkTracker(int64_t max_out_of_orderness_ms, int64_t idle_after_ms, bool sequential)
    : delay_ms_(max_out_of_orderness_ms + 1), idle_after_ms_(idle_after_ms), sequential_(sequential) {}

void WatermarkTracker::resize(size_t count) {
  const size_t slots = sequential_ ? std::min<size_t>(count, 1) : count;
  if (slots <= partitions_.size()) return;
  partitions_.resize(slots);
  find_slowest();
}

void WatermarkTracker::restore(size_t partition, const PartitionProgress& known) {
  Partition& to = partitions_[slot(partition)];
  to.max_event_time_ms = std::max(to.max_event_time_ms, known.max_event_time_ms);
  watermark_ms_ = std::max(watermark_ms_, known.watermark_ms);
  find_slowest();
}

void WatermarkTracker::save(size_t partition, PartitionProgress& progress) const {
  if (slot(partition) >= partitions_.size()) return;
  const Partition& from = partitions_[slot(partition)];
  progress.max_event_time_ms = from.max_event_time_ms;
  progress.watermark_ms = watermark_ms_;
  progress.idle = from.idle;
}

int64_t WatermarkTracker::watermark_of(const Partition& partition) const {
  // Saturates: a time near the beginning of int64 has no watermark.
  if (partition.max_event_time_ms < INT64_MIN + delay_ms_) return kNoTime;
  return partition.max_event_time_ms - delay_ms_;
}

void WatermarkTracker::wake(size_t slot) {
  partitions_[slot].idle = false;
  find_slowest();
}

// While all are idle the watermark is the largest of theirs: nothing is waited for.
void WatermarkTracker::find_slowest() {
  idle_ = !partitions_.empty() &&
          std::all_of(partitions_.begin(), partitions_.end(), [](const Partition& one) { return one.idle; });
  int64_t bound = idle_ ? kNoTime : kEndOfTime;
  for (size_t i = 0; i < partitions_.size(); i++) {
    if (partitions_[i].idle != idle_) continue;
    const int64_t own = watermark_of(partitions_[i]);
    if (idle_ ? own > bound : own < bound) {
      bound = own;
      slowest_ = i;
    }
  }
  if (!partitions_.empty() && bound != kEndOfTime) watermark_ms_ = std::max(watermark_ms_, bound);
}

void WatermarkTracker::pass_quiet_time(int64_t elapsed_ms) {
  if (idle_after_ms_ == 0) return;
  if (partitions_.empty()) {
    empty_quiet_ms_ += elapsed_ms;
    idle_ = empty_quiet_ms_ >= idle_after_ms_;
    return;
  }
  bool changed = false;
  for (Partition& partition : partitions_) {
    if (partition.idle || std::exchange(partition.delivered, false)) continue;
    partition.quiet_ms += elapsed_ms;
    if (partition.quiet_ms < idle_after_ms_) continue;
    partition.idle = true;
    changed = true;
  }
  if (changed) find_slowest();
}

size_t WatermarkTracker::idle_partitions() const {
  return static_cast<size_t>(
      std::count_if(partitions_.begin(), partitions_.end(), [](const Partition& one) { return one.idle; }));
}

int64_t aligned_watermark(const std::vector<StreamTime>& inputs) {
  int64_t smallest = kEndOfTime;
  int64_t largest = kNoTime;
  bool all_idle = true;
  bool all_ended = true;
  for (const StreamTime& time : inputs) {
    // Nobody waits for what has ended, nor is the end where time stands while others may come back.
    if (time.watermark_ms == kEndOfTime) continue;
    all_ended = false;
    largest = std::max(largest, time.watermark_ms);
    if (time.idle) continue;
    all_idle = false;
    smallest = std::min(smallest, time.watermark_ms);
  }
  if (all_ended) return kEndOfTime;
  return all_idle ? largest : smallest;
}

int64_t SourceAlignment::ahead_ms(size_t source) const {
  const int64_t own = times_[source].load(std::memory_order_relaxed);
  if (own == kNoTime || own == kEndOfTime) return 0;
  int64_t slowest = kEndOfTime;
  for (size_t i = 0; i < times_.size(); i++) {
    if (i != source) slowest = std::min(slowest, times_[i].load(std::memory_order_relaxed));
  }
  if (slowest == kEndOfTime) return 0;
  if (slowest == kNoTime) return kEndOfTime;
  int64_t ahead;
  return __builtin_sub_overflow(own, slowest, &ahead) ? kEndOfTime : std::max<int64_t>(ahead, 0);
}

}  // namespace millrace
