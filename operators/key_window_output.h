// KeyWindowOutput: windows of a key on their way to output rows, and what is remembered of the versions that are out
// there: a session that has grown is shown under new bounds, and its old row is deleted. A version on which a field
// fails never was out there. An instance belongs to one lane.
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

  // Between begin and end: rows go to `out`. input: the batch that they answer; nullptr: none does. Rows of the input
  // that are reported, since what they show failed, are taken out of counters.absorbed.
  void begin(ArenaPool& arenas, const Batch* input, bool has_watermark, Collector& out, OperatorCounters& counters);
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
  // Before a cut, when it is not open: versions that failed since the last one, of all windows that have changed.
  bool any_failed() const { return !failed_.empty(); }
  void forget_failed(KeyWindows& windows) const;
  void forget_tickets() { failed_.clear(); }
  bool is_open() const { return out_ != nullptr; }

 private:
  class Watch;
  void note_failed(const RowErrors& errors, bool of_input);
  bool has_failed(const ShownWindow& version) const;
  Status take_back(std::string_view key, void* block, const ShownWindow& version, const At& at);
  Status flush();
  Status make_room();  // for what is added for a key at a time
  const AggregateProgram& program_;
  AggregateUpdates updates_;
  const bool remembers_;  // versions may be replaced
  const bool watches_;    // versions may fail that would be deleted later
  ArenaPool* arenas_ = nullptr;
  const Batch* input_ = nullptr;
  bool has_watermark_ = false;
  Collector* out_ = nullptr;
  OperatorCounters* counters_ = nullptr;
  size_t used_ = 0;  // keys of the batch of updates under way
  // Versions of that batch, if watched. Each has a ticket, 1 and up.
  struct Pending {
    uint32_t output_row;
    uint32_t input_row;
  };
  std::vector<Pending> pending_;
  uint32_t rows_ = 0;
  uint64_t last_ticket_ = 0;      // of a version that was emitted, or failed
  std::vector<uint64_t> failed_;  // tickets, ascending
};

}  // namespace millrace
