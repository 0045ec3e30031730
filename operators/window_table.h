// WindowTable: the accumulators of a keyed operator by window and key. Window ends come first in the keys of the state,
// so that firing is a walk along one end, and expiry along the lowest ones. An instance belongs to its lane.
//
// What an epoch has touched is in the lane's cache (and stays there until the cut); a list per shard and end says
// where. What it has not touched is read from the state when its end comes. Memory beyond the cache: the lists, what
// one call of fire() returns, and the keys to be removed by the next cut.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "operators/accumulator_set.h"
#include "operators/operator.h"
#include "operators/state_tables.h"
#include "operators/stored_windows.h"
#include "operators/window.h"
#include "state/lane_cache.h"

namespace millrace {

class WindowTable {
 public:
  // with_start: several windows of a key may end at the same time; the start stands in the key, too.
  explicit WindowTable(bool with_start) : with_start_(with_start) {}
  ~WindowTable() { release(); }
  WindowTable(const WindowTable&) = delete;
  // set, the layout of blocks, outlives the table.
  Status open(const OperatorContext& context, const AccumulatorSet& set);

  // states[i]: the block of key keys[i] in window windows[i], created empty if new. Pointers are valid until the next
  // cut.
  Status look_up(const std::string_view* keys, const uint16_t* shards, const WindowBounds* windows, size_t n,
                 void** states);
  // The same without creating or changing anything; nullptr where there is none. Blocks are valid until release() or a
  // cut.
  Status peek(const std::string_view* keys, const uint16_t* shards, const WindowBounds* windows, size_t n,
              const void** states);

  struct Entry {
    std::string_view key;  // of the rows
    uint16_t shard = 0;
    WindowBounds window;    // start_ms: only if it stands in the key
    void* state = nullptr;  // a dirty block of the cache, or one read from the state, which is a copy
    bool dirty = false;
    std::string_view full_key;  // in the table
  };
  // Of a dirty block.
  Entry entry(void* state) const;
  // Of a full key: key and window.
  Entry parse(std::string_view full_key) const;
  // Takes the window of a dirty block out of the state. A row that comes to it later, even in the same epoch, finds it
  // new. The block itself is valid until the next look_up or cut.
  void remove(void* state);

  // The walk along the ends, shard by shard. next_end: the lowest end of shard number `index` (TimeProgress) whose
  // windows have not all been visited; kNoEnd: there is none. It may be that of windows that have been removed.
  static constexpr int64_t kNoEnd = INT64_MAX;
  size_t shards() const { return shards_.size(); }
  size_t index_of(uint16_t shard) const { return (shard - lane_) / lanes_; }
  uint16_t shard_id(size_t index) const { return static_cast<uint16_t>(lane_ + index * lanes_); }
  int64_t next_end(size_t index) const { return shards_[index].next_end; }
  // Every window that ends at or before end_ms has been visited, in every shard: rows that come to such windows later
  // are no reason to visit them again. It never falls.
  void pass(int64_t end_ms) { all_passed_ms_ = std::max(all_passed_ms_, end_ms); }
  // Starts the walk of a shard behind `passed_ms`, and in the next end behind the key `resume`.
  Status start_walk(size_t index, int64_t passed_ms, std::string resume);
  // Appends windows of next_end(index), until there are `limit` entries, in the order of their keys. `and_remove`:
  // takes them out of the state; no row can come to them again. *done: those were the last, and next_end moves on.
  // Entries are valid until release() or a cut.
  Status visit(size_t index, size_t limit, bool and_remove, std::vector<Entry>* entries, bool* done);
  // The same for any end, behind the key `after` (of rows), without moving on.
  Status read(size_t index, int64_t end_ms, std::string_view after, size_t limit, std::vector<Entry>* entries,
              bool* done);
  // Moves on to ends behind passed_ms.
  Status skip(size_t index, int64_t passed_ms);
  // Frees what visit, read and peek have read.
  void release();
  // Where the visit of next_end(index) has got to; empty: at its beginning.
  const std::string& resume(size_t index) const { return shards_[index].resume; }

  // Takes windows that end at or before end_ms out of the state, at most about `limit`; no row can come to them again.
  // True: there are no more.
  Result<bool> expire(int64_t end_ms, size_t limit);

  // How many bytes of a full key, behind its table byte, are times.
  size_t time_bytes() const { return prefix_bytes() - 1; }
  // Dirty blocks, in the order in which they became dirty (LaneCache::visit_dirty).
  LaneCache& cache() { return *cache_; }
  const LaneCache& cache() const { return *cache_; }
  // Held until the next cut.
  size_t dirty_bytes() const { return cache_->dirty_bytes() + removed_bytes_; }
  void cut(DeltaBuilder& delta);

 private:
  struct Touched {
    std::vector<void*> states;
    size_t sorted = 0;  // this many, from the first, are in order
    size_t next = 0;    // of these, the next to visit
  };
  // Keys one behind the other.
  struct KeyList {
    std::vector<char> bytes;
    std::vector<uint32_t> sizes;
    void add(std::string_view key) {
      bytes.insert(bytes.end(), key.begin(), key.end());
      sizes.push_back(static_cast<uint32_t>(key.size()));
    }
  };
  struct Shard {
    std::map<int64_t, Touched> touched;  // by end, since the last cut
    int64_t recent_end = kNoEnd;         // a shortcut into `touched`
    Touched* recent = nullptr;
    // The walk: windows with an end <= passed have been visited.
    int64_t passed_ms = kNoTime;
    int64_t next_end = kNoEnd;
    int64_t stored_next = kNoEnd;  // no stored window ends in (passed, stored_next)
    std::string resume;            // within next_end, the last full key visited
    // Expiry.
    int64_t lowest = kNoEnd;  // no stored window ends before this
    std::string expired;      // a stored one that was removed with all before it
    KeyList removed;          // stored ones, to be removed by the cut
  };

  size_t prefix_bytes() const { return 1 + kTimeKeyBytes * (with_start_ ? 2 : 1); }
  void build_keys(const std::string_view* keys, const WindowBounds* windows, size_t n);
  void touch(uint16_t shard, int64_t end_ms, void* state);
  void find_next(Shard& shard) const;
  int64_t passed(const Shard& shard) const { return std::max(shard.passed_ms, all_passed_ms_); }
  void sort(Touched& touched) const;
  Touched* touched_of(Shard& shard, int64_t end_ms);
  // Adds the next of the touched windows unless it has been removed.
  void add_touched(Touched& touched, bool and_remove, std::vector<Entry>* entries);
  Status add_stored(Shard& shard, uint16_t id, std::string_view key, std::string_view value, bool and_remove,
                    std::vector<Entry>* entries);
  // Where a walk along the windows of one end has got to.
  struct Walk {
    int64_t end_ms;
    std::string from;  // in the state
    Touched* touched;  // nullptr: none
    bool and_remove;
    bool full = false;        // the limit was reached before the end of what is stored
    int64_t behind = kNoEnd;  // else: the next end in the state
  };
  Status walk_both(size_t index, size_t limit, Walk& walk, std::vector<Entry>* entries);
  void finish_end(size_t index, bool removed);
  void note_stored();
  void note_removed(Shard& shard, std::string_view key);
  void expire_touched(Shard& shard, int64_t end_ms);
  Result<size_t> expire_stored(size_t index, int64_t end_ms, size_t limit);
  Status first_stored(size_t index, const std::string& from, std::string* key);
  void* take_block();

  const bool with_start_;
  const AccumulatorSet* set_ = nullptr;
  LaneState* state_ = nullptr;
  uint16_t operator_id_ = 0;
  size_t lane_ = 0;
  size_t lanes_ = 1;
  std::unique_ptr<LaneCache> cache_;
  StoredWindows stored_;
  std::vector<Shard> shards_;
  int64_t all_passed_ms_ = kNoTime;
  size_t removed_bytes_ = 0;
  bool keeps_removed_ = false;  // windows that were removed one by one still stand in `touched`

  // Scratch of a look-up.
  std::vector<char> key_bytes_;
  std::vector<std::string_view> keys_;
  std::vector<uint8_t> first_touch_;
  // Scratch of a visit or a peek: blocks read from the state, and their keys.
  std::vector<std::unique_ptr<uint64_t[]>> blocks_;
  size_t blocks_used_ = 0;
  Arena visited_keys_;
  LaneState::Found found_;
};

}  // namespace millrace
