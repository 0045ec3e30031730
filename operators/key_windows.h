// KeyWindows: the windows of one key, where windows depend on the key's rows (session, sliding, count): a few blocks
// with their bounds, kept together as one entry of the state. KeyWindowsCodec is how the lane's cache keeps them.
// Belongs to its lane.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "operators/accumulator_set.h"
#include "operators/window.h"

namespace millrace {

// A version of a window that is out there.
struct ShownWindow {
  WindowBounds bounds;
  int64_t event_time_ms = kNoTime;  // of its row; kNoTime: not known (state of an older version)
  uint64_t ticket = 0;              // KeyWindowOutput's, until the next cut
  std::string values;               // AggregateUpdates::encode(); empty where nobody needs old versions
};

struct KeyWindow {
  WindowBounds bounds;          // sliding: both are the time of the rows
  int64_t newest_ms = kNoTime;  // session: the newest row
  int64_t gap_ms = 0;           // session: the largest gap of its rows
  uint64_t rows_since = 0;      // since it was last shown (sliding: which of the two windows wait to be shown)
  bool fired = false;           // its end has come (sliding: of the window that ends with these rows)
  bool next_fired = false;      // sliding: the same of the window that begins behind these rows
  bool closed = false;          // session: only bounds and gap are remembered, so that late rows are known for late
  std::vector<ShownWindow> shown;
  void* block = nullptr;  // nullptr when closed
};

struct KeyWindows {
  int64_t timer_ms = kNoTime;        // of the key's timer in event time; kNoTime: none
  int64_t clock_timer_ms = kNoTime;  // of the wall clock
  int64_t forget_ms = kNoTime;       // of its timer among StateTable::kForgetTimers
  int64_t largest_gap_ms = 0;        // session, where it is not known beforehand: of the rows so far
  std::vector<KeyWindow> windows;    // by start
};

class KeyWindowsCodec : public AccumulatorCodec {
 public:
  // set: of the blocks; outlives the codec.
  explicit KeyWindowsCodec(const AccumulatorSet& set) : set_(set) {}
  static KeyWindows& of(void* state) { return *static_cast<KeyWindows*>(state); }

  void* new_block() const;
  void delete_block(void* block) const;
  // A block with the same contents.
  void* copy_block(const void* block) const;

  size_t size() const override { return sizeof(KeyWindows); }
  void create(void* state) const override;
  void destroy(void* state) const override;
  bool trivially_destructible() const override { return false; }
  void encode(const void* state, std::string& out) const override;
  Status decode(std::string_view bytes, void* state) const override;
  size_t extra_bytes(const void* state) const override;

 private:
  void encode_window(const KeyWindow& window, std::string& out) const;
  Status decode_window(AccumulatorReader& reader, uint8_t version, KeyWindow& window) const;
  const AccumulatorSet& set_;
};

}  // namespace millrace
