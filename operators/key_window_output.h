// KeyWindowOutput: windows of a key on their way to output rows, and what is remembered of the versions that are out
// there: a session that has grown is shown under new bounds, and its old row is deleted. An instance belongs to one
// lane.
#pragma once

#include <string_view>
#include <vector>

#include "operators/aggregate_updates.h"
#include "operators/key_windows.h"

namespace millrace {

class KeyWindowOutput {
 public:
  // What is given outlives the instance.
  KeyWindowOutput(const AggregateProgram& program, const AggregateFold& fold);

  // Between begin and end: rows go to `out`. input: the batch that they answer; nullptr: none does.
  void begin(ArenaPool& arenas, const Batch* input, bool has_watermark, Collector& out, uint64_t& emitted);
  struct At {
    int64_t watermark_ms = kNoTime;
    int64_t event_time_ms = kNoTime;  // kNoTime: the newest row of the block
    uint32_t input_row = kNoRow;      // the row of the input that shows it, if one does
  };
  // Shows a block in place of the versions in `shown`, which it then replaces. The key is read by end().
  Status show(std::string_view key, void* block, const WindowBounds& bounds, std::vector<ShownWindow>& shown,
              const At& at);
  // Reports a window that cannot be shown; what was shown of it stays.
  Status fail(std::string_view key, std::string reason, const WindowBounds& bounds, const At& at);
  Status end();
  bool is_open() const { return out_ != nullptr; }

 private:
  Status take_back(std::string_view key, void* block, const ShownWindow& version, const At& at);
  Status flush();
  Status make_room();  // for what is added for a key at a time
  const AggregateProgram& program_;
  AggregateUpdates updates_;
  const bool remembers_;  // versions may be replaced
  ArenaPool* arenas_ = nullptr;
  const Batch* input_ = nullptr;
  bool has_watermark_ = false;
  Collector* out_ = nullptr;
  uint64_t* emitted_ = nullptr;
  size_t used_ = 0;  // keys of the batch of updates under way
};

}  // namespace millrace
