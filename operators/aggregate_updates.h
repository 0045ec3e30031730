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

#include "base/status.h"
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
    uint32_t input_row = kNoRow;           // the row of the input that shows it; errors are reported as that
  };
  // Adds the rows of a block if it has changed since it was last shown. The key is read by emit().
  void add(std::string_view key, void* state, const Stamp& stamp);
  // Adds the rows of a block whether it has changed or not, in place of the version `shown`: bytes of encode() (they
  // may be empty if nobody needs old versions), or nullptr: it was never shown. A block without rows, or that is gone,
  // has no new version.
  void replace(std::string_view key, void* state, const std::string_view* shown, bool gone, const Stamp& stamp);
  // Adds a row that cannot be shown: emit() reports it.
  void fail(std::string_view key, std::string reason, const Stamp& stamp);
  // Writes what has been added so far, so that blocks may change before emit().
  void write_added();
  // `emitted` grows by the rows handed on; the result is how many blocks could not be shown because a field failed on
  // them, which is reported: as rows of `input` if given.
  Result<uint64_t> emit(bool has_watermark, const Batch* input, Collector& out, uint64_t& emitted);
  void forget() { previous_arena_.reset(); }
  // A block as its old version has to be kept.
  void encode(const void* state, std::string& out) const { fold_.values().encode(state, out); }

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
