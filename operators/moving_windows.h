// MovingWindows: the current window of every key of a shard, as it moves on from end to end, in memory: a SliceQueue
// per key, in the order of keys. It is a cache: it can be dropped at any time and is filled again from the slices in
// the state. An instance belongs to one lane.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "operators/slice_queue.h"

namespace millrace {

class MovingWindows {
 public:
  struct Key {
    std::string key;
    SliceQueue slices;
  };

  // set outlives the instance.
  explicit MovingWindows(const AccumulatorSet& set) : set_(&set) {}

  // Whether it holds the windows that end at end_ms().
  bool filled() const { return filled_; }
  int64_t end_ms() const { return end_ms_; }
  void drop();
  // All slices of this end, in the order of their keys; any number of calls for one end, ends ascending.
  void push(std::string_view key, int64_t end_ms, const void* block);
  // Moves on to the window (start_ms, end_ms]: drops older slices, and keys without any.
  void move_to(int64_t start_ms, int64_t end_ms);

  // A slice of a key has changed that may have been pushed: its queue is not to be used until it is replaced.
  void invalidate(std::string_view key) { stale_.emplace(key); }
  const std::set<std::string, std::less<>>& stale() const { return stale_; }
  // The queue of the key starts anew, empty.
  SliceQueue& replace(std::string_view key);
  void clear_stale();

  // In the order of keys; call after move_to.
  const std::vector<std::unique_ptr<Key>>& keys() const { return keys_; }
  // The first behind `key`.
  size_t first_behind(std::string_view key) const;
  size_t bytes() const { return bytes_; }

 private:
  std::vector<std::unique_ptr<Key>>::iterator find(std::string_view key);
  void add_new();

  const AccumulatorSet* set_;
  bool filled_ = false;
  int64_t end_ms_ = INT64_MIN;
  std::vector<std::unique_ptr<Key>> keys_;
  std::vector<std::unique_ptr<Key>> new_keys_;  // of the end that is being pushed, in order
  int64_t pushing_ms_ = INT64_MIN;
  size_t pushed_ = 0;  // of keys_, those before the last one pushed
  std::set<std::string, std::less<>> stale_;
  size_t bytes_ = 0;  // as of the last move_to, and what was pushed since
};

}  // namespace millrace
