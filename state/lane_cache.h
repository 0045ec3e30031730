// LaneCache: the decoded accumulators of one keyed operator on one lane, bounded in bytes. An open-addressing hash
// table (XXH3 of the key) over slab entries of header + accumulator + key; clean entries survive epochs and leave by
// CLOCK; misses of a batch are read with one MultiGet; dirty entries are encoded once, when the epoch's delta is cut.
// Belongs to its lane.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/arena.h"
#include "base/status.h"
#include "state/delta.h"
#include "state/state_layers.h"

namespace millrace {

// How the accumulators of an operator live in memory and on disk. `state` is size() bytes, aligned to 8. Memory behind
// it (strings, lists) is reported by extra_bytes so that the bound holds.
class AccumulatorCodec {
 public:
  virtual ~AccumulatorCodec() = default;
  virtual size_t size() const = 0;
  virtual void create(void* state) const = 0;  // the empty accumulator
  virtual void destroy(void* state) const = 0;
  virtual bool trivially_destructible() const = 0;
  virtual void encode(const void* state, std::string& out) const = 0;  // first byte: codec version
  virtual Status decode(std::string_view bytes,
                        void* state) const = 0;  // state was created; kStateCorrupt if malformed
  virtual size_t extra_bytes(const void* state) const {
    (void)state;
    return 0;
  }
  // True: a lookup has touched it, but nothing has changed since the last cut, which need not write it again.
  virtual bool is_unchanged(const void* state) const {
    (void)state;
    return false;
  }
};

// What is known of keys that are not in the cache, so that a new one need not be looked for in the state.
class StoredKeys {
 public:
  virtual ~StoredKeys() = default;
  // False: the state holds no such key. hash: the cache's, of the key.
  virtual bool may_hold(std::string_view key, uint16_t shard, uint32_t hash) const = 0;
};

class LaneCache {
 public:
  // max_bytes: this cache's share. lane and codec must outlive it.
  LaneCache(LaneState& lane, uint16_t operator_id, const AccumulatorCodec& codec, size_t max_bytes);
  ~LaneCache();
  LaneCache(const LaneCache&) = delete;

  // states[i] = accumulator of keys[i] (created empty if new), marked dirty, for i < n. Pointers are valid until the
  // next cut (of an entry marked removed: its contents until the next lookup). first_touch, if given: first_touch[i] =
  // 1 when this is the first touch of the entry since the last cut (per entry once).
  Status lookup(const std::string_view* keys, const uint16_t* shards, size_t n, void** states,
                uint8_t* first_touch = nullptr, const StoredKeys* stored = nullptr);
  // On an error no state is usable and the pipeline restarts: kRecordTooLarge: a key that is too long; what
  // the store says; kStateCorrupt: an accumulator that does not decode.
  static constexpr size_t kMaxKeyBytes = 64 * 1024;  // of rows; operators may put kMaxPrefixBytes in front
  static constexpr size_t kMaxPrefixBytes = 64;
  // Visits dirty entries in the order in which they became dirty, from `cursor` on, at most `limit`; returns the new
  // cursor. The operator emits its updates from this. cursor 0 starts; the end is reached when the result equals
  // dirty_count().
  struct EntryView {
    std::string_view key;  // user key
    uint16_t shard;
    void* state;
    bool existed;  // in the state before this epoch
  };
  size_t visit_dirty(size_t cursor, size_t limit, const std::function<void(const EntryView&)>& visit);
  size_t dirty_count() const;
  size_t dirty_bytes() const;
  // Adds every dirty entry that has changed to the delta and makes all of them clean. Entries marked by mark_removed
  // leave the cache; those that existed before the epoch become tombstones, the others leave no trace.
  void cut(DeltaBuilder& delta);
  // Of a dirty entry: dirty entries are not moved, so a state may be kept until the next cut. A later lookup of the key
  // before the cut finds it new and empty; visit_dirty passes over it.
  void mark_removed(void* state);
  EntryView view(void* state) const;
  static bool is_removed(void* state);
  static uint32_t hash_of(void* state);
  // Frees dirty entries that are marked removed and did not exist before the epoch, if they are at least half of all.
  // Precondition: nobody keeps their states, and no visit is under way.
  void drop_removed();
  // The states of keys that are in the cache and not marked removed, nullptr for the others; nothing becomes dirty, and
  // nothing is read. A clean state equals what is stored.
  void find(const std::string_view* keys, size_t n, void** states) const;
  // Evicts clean entries until the bound holds (also called by lookup). Dirty entries stay: the coordinator cuts before
  // they fill the cache.
  void trim();
  size_t bytes() const;
  size_t entries() const;
  struct Counters {
    uint64_t hits = 0, misses = 0, store_reads = 0, evictions = 0;
  };
  const Counters& counters() const;

 private:
  struct Table;
  std::unique_ptr<Table> table_;
};

}  // namespace millrace
