// AggregateUpdates: blocks that have changed on their way to output rows: the new version of each, and behind an edge
// that announces them its old version. One row per key and flush, however often the key has changed. An instance
// belongs to one lane.
//
//   updates.remember(states, n);      before rows are folded into these blocks
//   …
//   updates.begin(arena, keys);       at most max_keys()
//   updates.add(key, state, at);      for each block that may have changed
//   updates.emit(…);
//   updates.forget();                 when every block that was remembered has been added
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "operators/aggregate_fold.h"
#include "operators/aggregate_output.h"

namespace millrace {

class AggregateUpdates {
 public:
  // program and fold outlive the instance.
  AggregateUpdates(const AggregateProgram& program, const AggregateFold& fold);
  // Keys of one batch.
  size_t max_keys() const { return AggregateOutput::kMaxRows / rows_per_key_; }
  size_t rows_per_key() const { return rows_per_key_; }

  // Keeps what was shown of blocks that have not changed since.
  void remember(void* const* states, size_t n);
  void begin(ArenaPtr arena, size_t keys);
  // What rows are stamped with.
  struct Stamp {
    int64_t watermark_ms = kNoTime;
    int64_t event_time_ms = kNoTime;       // kNoTime: the largest folded in
    const WindowBounds* window = nullptr;  // of the block
  };
  // Adds the rows of a block if it has changed since it was last shown. The key is read by emit().
  void add(std::string_view key, void* state, const Stamp& stamp);
  // `emitted` grows by the rows handed on.
  Status emit(bool has_watermark, Collector& out, uint64_t& emitted);
  void forget() { previous_arena_.reset(); }

 private:
  void* decode_previous(std::string_view bytes);
  uint32_t add_row(std::string_view key, Change change, int64_t newest_ms, const Stamp& stamp);

  const AggregateProgram& program_;
  const AggregateFold& fold_;
  const size_t rows_per_key_;
  AggregateOutput output_;
  std::vector<void*> states_;
  std::vector<uint32_t> rows_;
  std::vector<uint64_t> previous_blocks_;
  size_t previous_count_ = 0;
  Arena previous_arena_;  // encoded blocks, as they were shown
  std::string encoded_;
};

}  // namespace millrace
