// KeyWindowKind: what a kind of window that depends on the rows of its key does with a row and with time: sessions,
// sliding windows, windows of a number of rows. KeyWindowOperator owns keys, timers and output. An instance belongs to
// one lane.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "operators/aggregate_fold.h"
#include "operators/key_window_output.h"
#include "operators/key_windows.h"

namespace millrace {

// The row at hand, on its way into a block.
class KeyWindowRow {
 public:
  KeyWindowRow(AggregateFold& fold, const Batch& batch) : fold_(fold), batch_(batch) {}
  uint32_t row = 0;
  int64_t time_ms = 0;
  int64_t watermark_ms = kNoTime;        // what it is judged by
  int64_t stage_watermark_ms = kNoTime;  // what its results carry: other shards may be behind
  int64_t gap_ms = 0;         // sessions
  bool early_when = false;    // the condition of `early`
  std::string_view key;
  // Folds the row into a block; empty, or why it does not fit (the block is unchanged then).
  std::string fold_into(void* block) {
    block_ = block;
    fold_.bind(batch_, &row, &block_, 1);
    RowErrors errors;
    fold_.for_each_range(errors, [this](size_t begin, size_t end) { fold_.fold(begin, end); });
    return errors.empty() ? std::string() : std::move(errors.entries[0].message);
  }
  KeyWindowOutput::At at(int64_t event_time_ms) const { return {stage_watermark_ms, event_time_ms, row}; }

 private:
  AggregateFold& fold_;
  const Batch& batch_;
  void* block_ = nullptr;
};

class KeyWindowKind {
 public:
  virtual ~KeyWindowKind() = default;
  struct Taken {
    bool late = false;        // no window took it
    WindowBounds late_for;    // late: the last window it would have belonged to
    std::string refusal;      // not empty: it does not fit; nothing has changed
    uint64_t fired = 0;       // windows that it filled
  };
  // Folds a row in and shows what it makes due at once.
  virtual Result<Taken> add(KeyWindows& windows, KeyWindowRow& row) = 0;
  // When something is due next, by the watermark; kEndOfTime: nothing is.
  virtual int64_t next_due_ms(const KeyWindows& windows) const {
    (void)windows;
    return kEndOfTime;
  }
  // Does what is due at `now_ms`, at most what next_due_ms said. Returns how many windows fired.
  virtual Result<uint64_t> fire(KeyWindows& windows, std::string_view key, int64_t now_ms) {
    (void)windows;
    (void)key;
    (void)now_ms;
    return uint64_t{0};
  }
  // When there is nothing left of the key that has to be remembered; kEndOfTime: not yet known.
  virtual int64_t forget_ms(const KeyWindows& windows) const {
    (void)windows;
    return kEndOfTime;
  }
  // Drops what need not be remembered any more at `now_ms`.
  virtual void forget(KeyWindows& windows, int64_t now_ms) const {
    (void)windows;
    (void)now_ms;
  }
  // Shows the windows that have changed since they were last shown.
  virtual Status show_changed(KeyWindows& windows, std::string_view key, int64_t watermark_ms) = 0;
};

// What the kinds share; outlives them.
struct KeyWindowParts {
  const AggregateProgram& program;
  const AccumulatorSet& set;
  const KeyWindowsCodec& codec;
  KeyWindowOutput& output;
};
std::unique_ptr<KeyWindowKind> make_session_windows(const KeyWindowParts& parts);
std::unique_ptr<KeyWindowKind> make_sliding_windows(const KeyWindowParts& parts);
std::unique_ptr<KeyWindowKind> make_count_windows(const KeyWindowParts& parts);

}  // namespace millrace
