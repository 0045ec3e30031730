// TimeProgress: how far time has come for a keyed operator, as part of its state: everything due until then has
// happened, so that a restart judges lateness as before and nothing that has fired fires again. One record per shard,
// since a shard may find itself on another lane, beside others, after a restart. An instance belongs to its lane.
#pragma once

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

}  // namespace millrace
