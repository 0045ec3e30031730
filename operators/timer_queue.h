// TimerQueue: the durable timers of one lane of a keyed operator. A timer is a time and a key; there is at most one of
// the same time and key, and it fires once, in order of time, then of key bytes. There is no removal: an operator keeps
// the due time of a key in its own state and passes over timers that fire at another one.
//
// In the state a timer is an entry without a value under the user key tag (1 byte) · time (8 bytes, big-endian, sign
// bit flipped) · key. cut() puts those that were added and removes those that fired since the last cut; what was added
// and fired in between leaves no trace. In memory stand those of the last cut that are due before a horizon, bounded by
// `max_bytes`, and all that were added since; later ones are read back from the state when their time comes.
//
// Belongs to its lane.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "operators/operator.h"

namespace millrace {

// A timer that fires. The key is valid during the call.
struct DueTimer {
  int64_t time_ms;
  uint16_t shard;
  std::string_view key;
};

// Timers in memory, as a heap with the earliest on top, or in any order.
class TimerHeap {
 public:
  struct Entry {
    int64_t time_ms;
    uint64_t first_bytes;  // of the key, comparing as they do
    size_t offset;         // of the key
    uint32_t key_bytes;
    uint16_t shard;
  };
  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  size_t bytes() const { return entries_.size() * sizeof(Entry) + text_.size(); }
  std::string_view key(const Entry& entry) const { return {text_.data() + entry.offset, entry.key_bytes}; }
  const std::vector<Entry>& entries() const { return entries_; }  // the top first, the rest in any order
  void push(int64_t time_ms, uint16_t shard, std::string_view key);
  void append(int64_t time_ms, uint16_t shard, std::string_view key);  // not as a heap
  void pop();
  void drop_appended();  // the last that was appended
  void clear();
  // Drops the later half of the timers. Precondition: at least two. Returns the earliest that was dropped, whose key
  // goes to `key`.
  int64_t drop_later_half(std::string* key);
  // <0, 0, >0: `entry` is before, at or behind (time, key).
  int compare(const Entry& entry, int64_t time_ms, std::string_view key) const;

 private:
  bool later(const Entry& a, const Entry& b) const;
  void compact();
  std::vector<Entry> entries_;
  std::vector<char> text_;
  size_t dead_bytes_ = 0;  // of text_
};

class TimerQueue {
 public:
  struct Options {
    uint8_t tag = 0;                // the table in the operator's state
    size_t max_bytes = 512 * 1024;  // of timers in memory that are in the state too
  };
  // Reads the earliest timers of the instance's shards.
  Status open(const OperatorContext& context, Options options);
  // `shard` is the key's. Allowed while fire() calls back.
  void add(int64_t time_ms, uint16_t shard, std::string_view key);
  // No timer is due before this time; kEndOfTime: there is none. A timer may be due later only while nothing that is
  // due earlier is in memory; fire() then finds out.
  int64_t earliest() const;
  // Calls `fired` for timers with time <= limit_ms, at most max_timers. True: none of them is left. An error of
  // `fired` ends the call and is returned.
  Result<bool> fire(int64_t limit_ms, size_t max_timers, const std::function<Status(const DueTimer&)>& fired);
  // Allowed while fire() calls back: the timer of the call is not to fire now. It stays in the state, and is found
  // again when that is opened the next time.
  void put_off();
  // No reads before the delta is part of the state.
  void cut(DeltaBuilder& delta);
  // Memory that only a cut makes free; the operator asks for one when it is much.
  size_t uncut_bytes() const { return fresh_.bytes() + fired_.bytes() + put_off_.bytes(); }
  size_t bytes() const { return uncut_bytes() + settled_.bytes(); }

 private:
  // Where the timers begin that are in the state only.
  struct Horizon {
    bool none = false;  // every timer is in memory
    int64_t time_ms = kNoTime;
    std::string key;
  };
  TimerHeap* earlier_heap();
  bool is_behind_horizon(const TimerHeap& heap, const TimerHeap::Entry& entry) const;
  Status read_due(int64_t limit_ms);
  Status read_on();
  DueTimer take(TimerHeap& heap);
  bool drop_equal(TimerHeap& heap, const DueTimer& timer);
  std::string_view state_key(int64_t time_ms, std::string_view key);

  LaneState* state_ = nullptr;
  uint16_t operator_id_ = 0;
  size_t lane_ = 0;
  size_t lanes_ = 1;
  uint32_t shards_ = 1;
  Options options_;
  TimerHeap fresh_;    // added since the last cut
  TimerHeap settled_;  // in the state, before the horizon
  TimerHeap fired_;    // in the state, fired since the last cut; in any order
  TimerHeap put_off_;  // not in the state yet; in any order
  Horizon horizon_;
  DueTimer firing_{};
  bool firing_settled_ = false;  // it is in the state
  std::string firing_key_;
  std::string state_key_;
};

}  // namespace millrace
