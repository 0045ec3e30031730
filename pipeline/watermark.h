// Watermarks of one source: what `watermark:` says (WatermarkSpec) and where event time stands (WatermarkTracker).
// Semantics are Flink's (DESIGN 5): per partition, the largest event time seen minus max_out_of_orderness minus 1 ms;
// of the source, the smallest of its partitions that are not idle, and it never falls. It advances per record, so
// nothing depends on where batches are cut.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/batch.h"
#include "base/config_node.h"
#include "recovery/progress.h"

namespace millrace {

struct WatermarkSpec {
  // A row whose event time is more than max_future ahead of the wall clock: kClamp moves the watermark to now +
  // max_future at most; the others keep the row out of the pipeline too.
  enum class OnFuture { kClamp, kDrop, kDeadLetter };
  int64_t max_out_of_orderness_ms = 0;
  int64_t idle_after_ms = 0;  // 0: never
  int64_t max_future_ms = 0;  // 0: no limit
  OnFuture on_future = OnFuture::kClamp;
  std::string future_sink;  // kDeadLetter
  Location future_at;
  ConfigNode when;           // null: every row moves the watermark; else those on which it is true
  int64_t max_drift_ms = 0;  // 0: the source does not wait for slower ones
  Location at;
};

// Reads the value of `watermark:`; errors go to diagnostics.
WatermarkSpec read_watermark(const ConfigNode& node, Diagnostics& diagnostics);

// Words for `plan`.
std::string describe(const WatermarkSpec& spec);

// Belongs to its source's thread.
class WatermarkTracker {
 public:
  // sequential: the partitions are read one after the other (files), so they share one event time.
  WatermarkTracker(int64_t max_out_of_orderness_ms, int64_t idle_after_ms, bool sequential);
  // Adds partitions up to `count`; new ones have seen nothing.
  void resize(size_t count);
  // Continues where a progress record stands; after resize. Nothing is idle at first: what came to a partition while
  // the pipeline was down gets the time of idle_after to be read before others move the watermark past it.
  void restore(size_t partition, const PartitionProgress& known);
  // The event time part of a partition's progress.
  void save(size_t partition, PartitionProgress& progress) const;

  // The source's watermark now; kNoTime: none yet.
  int64_t watermark_ms() const { return watermark_ms_; }
  StreamTime time() const { return {watermark_ms_, idle_}; }
  // A row was read. Precondition: partition < count.
  void observe(uint32_t partition, int64_t event_time_ms) {
    Partition& from = partitions_[slot(partition)];
    from.quiet_ms = 0;
    from.delivered = true;
    if (from.idle) wake(slot(partition));
    if (event_time_ms <= from.max_event_time_ms) return;
    from.max_event_time_ms = event_time_ms;
    if (slot(partition) == slowest_) find_slowest();
  }
  // A row was read that does not move the watermark.
  void note_row(uint32_t partition) {
    partitions_[slot(partition)].quiet_ms = 0;
    partitions_[slot(partition)].delivered = true;
    if (partitions_[slot(partition)].idle) wake(slot(partition));
  }
  // Time in which this source waited for rows; time in which the pipeline held it back does not count. Partitions that
  // have delivered since the last call begin to be quiet with the next one. A source without partitions is idle as a
  // whole.
  void pass_quiet_time(int64_t elapsed_ms);
  bool watches_idleness() const { return idle_after_ms_ > 0; }
  size_t idle_partitions() const;

 private:
  struct Partition {
    int64_t max_event_time_ms = kNoTime;
    int64_t quiet_ms = 0;
    bool idle = false;
    bool delivered = false;  // since quiet time was passed last
  };
  size_t slot(size_t partition) const { return sequential_ ? 0 : partition; }
  int64_t watermark_of(const Partition& partition) const;
  void wake(size_t slot);
  void find_slowest();

  int64_t delay_ms_;
  int64_t idle_after_ms_;
  bool sequential_;
  std::vector<Partition> partitions_;
  int64_t empty_quiet_ms_ = 0;  // while there is no partition
  size_t slowest_ = 0;  // partition whose event time the watermark waits for
  bool idle_ = false;   // all partitions are
  int64_t watermark_ms_ = kNoTime;
};

// The watermark of a task with these inputs: the smallest of those that are neither idle nor ended; with all of the
// others idle the largest of theirs; kEndOfTime: all have ended.
int64_t aligned_watermark(const std::vector<StreamTime>& inputs);

// Where the sources of a pipeline stand, for those that wait for slower ones (max_drift). Any thread.
class SourceAlignment {
 public:
  explicit SourceAlignment(size_t sources) : times_(sources) {
    for (std::atomic<int64_t>& time : times_) time.store(kEndOfTime, std::memory_order_relaxed);
  }
  // kEndOfTime: idle, ended or without event time: nobody waits for it.
  void publish(size_t source, int64_t watermark_ms) { times_[source].store(watermark_ms, std::memory_order_relaxed); }
  // How far `source` is ahead of the slowest other one; 0 if it is not.
  int64_t ahead_ms(size_t source) const;

 private:
  std::vector<std::atomic<int64_t>> times_;
};

}  // namespace millrace
