// Delta: the changes of one lane in one epoch (or several, merged) as an immutable sorted run of encoded entries. Built
// on the lane, read by it for keys that fell out of its cache, written to the changelog or epoch log by the decision,
// and in the end merged into one SST. A Delta is read from any thread.
//
// A full key is shard (2 bytes, big-endian) · operator (2 bytes, big-endian) · user key, the key order of the store.
// Shard 0xffff is reserved for records of the pipeline itself (progress).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

inline constexpr uint16_t kReservedShard = 0xffff;
inline constexpr size_t kFullKeyPrefix = 4;

std::string full_key(uint16_t shard, uint16_t operator_id, std::string_view user_key);
inline uint16_t shard_of(std::string_view full) {
  return static_cast<uint16_t>(static_cast<uint8_t>(full[0]) << 8 | static_cast<uint8_t>(full[1]));
}
inline uint16_t operator_of(std::string_view full) {
  return static_cast<uint16_t>(static_cast<uint8_t>(full[2]) << 8 | static_cast<uint8_t>(full[3]));
}

class Delta;
using DeltaPtr = std::shared_ptr<const Delta>;

class Delta {
 public:
  struct Value {
    bool tombstone = false;
    std::string_view bytes;  // valid as long as the Delta
  };
  size_t size() const { return index_.size(); }
  size_t bytes() const;  // memory held
  uint64_t first_epoch() const { return first_epoch_; }
  uint64_t last_epoch() const { return last_epoch_; }
  // Entries in ascending order of full key, each key once.
  std::string_view key(size_t i) const;
  Value value(size_t i) const;
  // True and *value set if the run holds this full key. Constant time (a hash index is built with the run), or a binary
  // search in a run built without one.
  bool find(std::string_view key, Value* value) const;
  // For batches of keys: `hash` is hash_key(key) (state/key_hash.h); prefetch_slot some keys ahead hides the miss.
  bool find_hashed(std::string_view key, uint64_t hash, Value* value) const;
  void prefetch_slot(uint64_t hash) const {
    if (!hash_slots_.empty()) __builtin_prefetch(&hash_slots_[hash & (hash_slots_.size() - 1)]);
  }
  // Index of the first entry whose key is not less; size() if there is none.
  size_t lower_bound(std::string_view key) const;
  // Newest last: later runs win. Tombstones are kept unless drop_tombstones (the run becomes the bottom layer).
  // with_index: false for a run that is only read in order.
  static DeltaPtr merge(const std::vector<DeltaPtr>& oldest_first, bool drop_tombstones, bool with_index = true);

 private:
  friend class DeltaBuilder;
  struct Entry {
    uint64_t offset;  // in data_
    uint32_t key_bytes;
    uint32_t value_bytes;  // kTombstone: deleted
  };
  static constexpr uint32_t kTombstone = UINT32_MAX;
  static void append(Delta& to, const Delta& from, const Entry& entry);
  void build_hash_index();
  std::vector<char> data_;
  std::vector<Entry> index_;
  std::vector<uint32_t> hash_slots_;
  uint64_t first_epoch_ = 0;
  uint64_t last_epoch_ = 0;
};

// Collects entries in any order; the last put of a key wins. One thread.
class DeltaBuilder {
 public:
  explicit DeltaBuilder(uint64_t epoch) : epoch_(epoch) {}
  void put(uint16_t shard, uint16_t operator_id, std::string_view user_key, std::string_view value);
  void put_full(std::string_view full_key, std::string_view value);
  void remove(uint16_t shard, uint16_t operator_id, std::string_view user_key);
  void remove_full(std::string_view full_key);
  size_t size() const { return entries_.size(); }
  size_t bytes() const { return data_.size(); }
  // Sorts; the builder is empty afterwards. Never null; an empty delta has size() 0.
  // with_index: false for a run that is only read in order.
  DeltaPtr finish(bool with_index = true);

 private:
  void add(std::string_view prefix, std::string_view key, std::string_view value);
  uint64_t epoch_;
  std::vector<char> data_;
  std::vector<Delta::Entry> entries_;
};

}  // namespace millrace
