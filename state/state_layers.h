// StateLayers: what a lane reads behind its cache, newest first: deltas of undecided epochs, deltas of decided epochs
// (merged in the background, bounded in bytes and age), the StateStore. The decided deltas *are* the memtable: written
// as one sorted SST that contains the progress record (docs/ARCHITECTURE.md, "State").
//
// Threads: a LaneState belongs to its lane; add_undecided and multi_get run there. decide(), flush() and close() belong
// to the coordinator. A background thread merges and ingests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "state/delta.h"
#include "state/state_store.h"

namespace millrace {

class StateLayers;

class LaneState {
 public:
  // Found values of a batch of keys; owns or pins what the views point into.
  struct Found {
    std::vector<std::string_view> values;  // data() == nullptr: no such key
    std::vector<std::shared_ptr<const void>> owners;
  };
  // Looks n full keys up through the layers; one MultiGet for those that no delta holds. Any order, duplicates allowed.
  Status multi_get(const std::vector<std::string_view>& full_keys, Found* found);
  // Entries of one operator and shard in key order, newest version of each, without tombstones, until visit returns
  // false.
  Status scan(uint16_t shard, uint16_t operator_id, std::string_view begin_user_key, std::string_view end_user_key,
              const std::function<bool(std::string_view user_key, std::string_view value)>& visit);
  // The delta of an epoch that the lane has passed; readable at once. Epochs ascend.
  void add_undecided(DeltaPtr delta);

 private:
  friend class StateLayers;
  explicit LaneState(StateLayers& layers) : layers_(layers) {}
  using Runs = std::vector<DeltaPtr>;  // oldest first
  std::shared_ptr<const Runs> runs() const;
  // Puts `merged` (may be null) in the place of the first `count` runs from `first` on; runs are only ever appended
  // elsewhere.
  void replace(size_t first, size_t count, DeltaPtr merged);
  StateLayers& layers_;
  mutable std::mutex mutex_;  // guards the pointer only
  std::shared_ptr<const Runs> runs_ = std::make_shared<const Runs>();
};

class StateLayers {
 public:
  struct Options {
    size_t memtable_bytes = 32u << 20;  // decided deltas beyond this are written at once
    int64_t max_age_ms = 2000;          // … and at the latest when the oldest is this old
    bool background = true;             // false: decide() writes in the caller's thread when due (deterministic tests)
    std::function<int64_t()> now_ms;    // monotonic
  };
  StateLayers(StateStore& store, size_t lanes, Options options);
  ~StateLayers();  // stops the background thread; does not flush
  StateLayers(const StateLayers&) = delete;

  LaneState& lane(size_t index) { return *lanes_[index]; }
  StateStore& store() { return store_; }
  // Every delta of epochs <= epoch is decided; `progress` is the record of that epoch. Returns the first background
  // error, if any.
  Status decide(uint64_t epoch, std::string progress);
  // Writes what is decided to the store and waits. Called before a clean close, so that a restart replays nothing.
  Status flush();
  // Called after each ingest with the epoch that the store now holds (mode local drops its log). Background thread.
  void on_ingested(std::function<void(uint64_t epoch)> callback);
  // The first background error. Any thread.
  Status error() const;
  // Bytes of decided deltas not in the store yet; the coordinator delays barriers while they are many. Not of undecided
  // ones: these wait for a barrier themselves.
  size_t pending_bytes() const;
  // Bytes of all deltas in memory, undecided ones too. Any thread.
  size_t held_bytes() const;

 private:
  friend class LaneState;
  struct Work;
  struct Target;  // what an ingest covers
  size_t decided_count(const LaneState::Runs& runs, uint64_t epoch) const;
  size_t decided_bytes(uint64_t epoch) const;
  void merge_tiers(uint64_t epoch);
  bool due(const Target& target) const;
  Status ingest(const Target& target);
  Status step(bool force);
  void run_background();
  StateStore& store_;
  Options options_;
  std::vector<std::unique_ptr<LaneState>> lanes_;
  std::unique_ptr<Work> work_;
};

}  // namespace millrace
