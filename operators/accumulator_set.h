// AccumulatorSet: the state block of one key: a header and one slot per aggregate, and the codec that the lane's cache
// stores it with. A set is immutable; a block belongs to its lane.
#pragma once

#include <string_view>
#include <vector>

#include "operators/aggregate.h"
#include "state/lane_cache.h"

namespace millrace {

// In front of every block. The largest event time and the number of rows folded in are state; the rest lives for an
// epoch.
struct StateHeader {
  int64_t event_time_ms;
  uint64_t rows_and_changed;
  const std::string_view* previous;  // encoded block before this epoch, while its retraction is owed; else nullptr

  uint64_t rows() const { return rows_and_changed >> 1; }
  bool changed() const { return (rows_and_changed & 1) != 0; }
  void clear_changed() { rows_and_changed &= ~uint64_t{1}; }
  void add_row(int64_t time_ms) {
    rows_and_changed = (rows_and_changed + 2) | 1;
    if (time_ms > event_time_ms) event_time_ms = time_ms;
  }
  // The rows and the event time of another block; what is shown and owed stays that of this one.
  void add_rows_of(const StateHeader& from) {
    rows_and_changed = (rows_and_changed + (from.rows() << 1)) | 1;
    if (from.event_time_ms > event_time_ms) event_time_ms = from.event_time_ms;
  }
  // Precondition: rows() > 0. The event time stays: the largest that was ever folded in.
  void take_row() { rows_and_changed = (rows_and_changed - 2) | 1; }
};

class AccumulatorSet : public AccumulatorCodec {
 public:
  // The order is that of the encoded bytes.
  explicit AccumulatorSet(std::vector<AggregatePtr> aggregates);
  static StateHeader& header(void* state) { return *static_cast<StateHeader*>(state); }
  static const StateHeader& header(const void* state) { return *static_cast<const StateHeader*>(state); }
  const std::vector<AggregatePtr>& aggregates() const { return aggregates_; }
  // Where the slot of aggregate i stands in the block.
  size_t offset(size_t i) const { return offsets_[i]; }
  bool can_retract() const;
  // Folds the block `from` into the block `into`, as if its rows had come after those of `into`. False: a result does
  // not fit (overflow); `into` is unchanged then.
  bool merge(void* into, const void* from) const;

  size_t size() const override { return size_; }
  void create(void* state) const override;
  void destroy(void* state) const override;
  bool trivially_destructible() const override { return trivial_; }
  void encode(const void* state, std::string& out) const override;
  Status decode(std::string_view bytes, void* state) const override;
  size_t extra_bytes(const void* state) const override;

 private:
  std::vector<AggregatePtr> aggregates_;
  std::vector<size_t> offsets_;
  size_t size_ = sizeof(StateHeader);
  bool trivial_ = true;
};

}  // namespace millrace
