// TimeProgress: how far time has come for a keyed operator, as part of its state: everything due until then has
// happened, so that a restart judges lateness as before and nothing that has fired fires again. One record per shard,
// since a shard may find itself on another lane, beside others, after a restart. An instance belongs to its lane.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "operators/operator.h"

namespace millrace {

class TimeProgress {
 public:
  // Reads the records of the lane's shards.
  Status open(const OperatorContext& context);
  // The furthest that any shard had come; kNoTime: none.
  int64_t restored_ms() const { return restored_ms_; }
  // How far all of them had come; kNoTime: some had not begun. Behind the end of an input they are apart (ShardTimes).
  int64_t reached_ms() const;

  struct Shard {
    int64_t time_ms = kNoTime;
    std::string resume;  // where an action due next was interrupted; empty: it had not begun
    friend bool operator==(const Shard&, const Shard&) = default;
  };
  // The lane's shards are numbered from 0 in ascending order: number i is shard lane + i * lanes.
  size_t shards() const { return current_.size(); }
  uint16_t shard_id(size_t index) const;
  size_t index_of(uint16_t shard) const { return (shard - lane_) / lanes_; }
  const Shard& shard(size_t index) const { return current_[index]; }
  void set(size_t index, Shard shard) { current_[index] = std::move(shard); }
  void set_all(int64_t time_ms);
  // Adds the records that have changed since the last cut.
  void cut(DeltaBuilder& delta);

 private:
  size_t lane_ = 0;
  size_t lanes_ = 1;
  uint16_t operator_id_ = 0;
  std::vector<Shard> current_;
  std::vector<Shard> written_;
  int64_t restored_ms_ = kNoTime;
};

// ShardTimes: shards that are ahead of their lane. At the end of an input each shard does what it has still to do; when
// the last of that was due, not what other shards of the lane have done, decides what is late for it in a later run. So
// results do not depend on which shards share a lane. Belongs to its lane.
class ShardTimes {
 public:
  // Shards that had come further than progress.reached_ms(), which is where the lane is.
  void restore(const TimeProgress& progress, uint32_t shards);
  // The shard has come this far.
  void note(uint16_t shard, int64_t time_ms);
  // The lane has: what is not ahead of it is forgotten.
  void pass(int64_t lane_ms);
  // How far the shard has come when its lane has come to lane_ms.
  int64_t of(uint16_t shard, int64_t lane_ms) const {
    return ahead_.empty() ? lane_ms : std::max(ahead_[shard], lane_ms);
  }
  bool any() const { return !ahead_.empty(); }

 private:
  std::vector<int64_t> ahead_;  // by shard; empty: none is
  int64_t furthest_ms_ = kNoTime;
  uint32_t shards_ = 0;
};

}  // namespace millrace
