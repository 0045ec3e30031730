// StoredWindows: which keys of the windows of a lane may be in its state. A stream opens windows all the time, and most
// keys of a new window are not there yet: what is known of them saves looking for them in every layer of the state. The
// hashes of what has been written are kept per window end; ends that were there when the state was opened, and the
// earliest ones when memory runs out, are not known. An instance belongs to its lane.
#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "operators/operator.h"
#include "operators/window.h"
#include "state/lane_cache.h"

namespace millrace {

// A set of hashes, by open addressing.
class HashSet {
 public:
  void add(uint32_t hash);
  bool holds(uint32_t hash) const;
  size_t bytes() const { return slots_.capacity() * sizeof(uint32_t); }

 private:
  std::vector<uint32_t> slots_;  // 0: free; a power of two
  size_t count_ = 0;
};

class StoredWindows : public StoredKeys {
 public:
  // Looks which ends are there. Keys are those of a WindowTable. max_bytes: of hashes.
  Status open(const OperatorContext& context, size_t shards, size_t max_bytes);
  bool may_hold(std::string_view key, uint16_t shard, uint32_t hash) const override;

  // False: the state holds no window with this end. index: number of the shard on the lane.
  bool may_hold_any(size_t index, int64_t end_ms) const {
    const Shard& shard = shards_[index];
    return end_ms <= shard.unknown_until_ms || shard.hashes.count(end_ms) > 0;
  }
  // A window with this end is written.
  void add(size_t index, int64_t end_ms, uint32_t hash);
  // No window that ends at or before end_ms can be asked for any more.
  void forget(size_t index, int64_t end_ms);
  // Keeps the bound.
  void trim();

 private:
  struct Shard {
    int64_t unknown_until_ms = kNoTime;  // ends up to this are not known
    std::map<int64_t, HashSet> hashes;   // by end
  };
  Status find_ends(Shard& shard, uint16_t id, const OperatorContext& context);
  void drop_first(Shard& shard);

  size_t lane_ = 0;
  size_t lanes_ = 1;
  size_t max_bytes_ = 0;
  size_t bytes_ = 0;
  std::vector<Shard> shards_;
};

}  // namespace millrace
