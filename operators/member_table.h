// MemberTable: the values of sets that have outgrown their accumulators (docs/adr/0006-distinct-sets.md), each an entry
// of its own in the state: block, group, value -> a word with one bit per call of the group that has counted the value.
// So neither the memory of a lane nor what an epoch writes grows with the sets. An instance belongs to its lane.
//
//   table.begin();
//   const size_t i = table.add(block, shard, group, value, bits);     for each value of interest
//   table.look_up();
//   if ((table.word(i) & bit) == 0) { count it; table.set(i, bit); }  until the next begin() or cut()
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "operators/aggregate.h"
#include "operators/operator.h"
#include "state/lane_cache.h"

namespace millrace {

class MemberTable {
 public:
  // Calls of a group; the bits of a word.
  static constexpr size_t kMaxCalls = 63;
  // A block's key, its table byte included, and a value.
  static constexpr size_t kMaxValueBytes = 4 * 1024;

  // time_bytes: so many bytes of a block's key behind its table byte are times (the end of a window first) and stand
  // first in the keys of its values, too; 0: blocks have no end.
  explicit MemberTable(size_t time_bytes = 0) : time_bytes_(time_bytes) {}
  // cache_bytes: its share of the lane's cache.
  Status open(const OperatorContext& context, size_t cache_bytes);

  void begin();
  // wanted: the bits that somebody will ask for or set. The views are read by look_up().
  size_t add(std::string_view block, uint16_t shard, uint16_t group, std::string_view value, uint64_t wanted);
  size_t size() const { return shards_.size(); }
  Status look_up();
  uint64_t word(size_t i) const { return *words_[i] & ~kChanged; }
  // Precondition: bit was wanted.
  void set(size_t i, uint64_t bit) { *words_[i] |= bit | kChanged; }
  // For loops elsewhere: the word itself, in which a bit is set together with kChanged.
  uint64_t* word_at(size_t i) const { return words_[i]; }
  static constexpr uint64_t kChanged = kMemberChanged;

  // Takes values of blocks that end at or before end_ms, which no row comes to any more, out of the state: those that
  // were there at the last cut, twice as many at most as have come since, but not fewer than kExpiredPerEpoch. The
  // rest waits for later calls. Once per epoch, before cut(). Precondition: blocks have ends.
  Status expire(int64_t end_ms);
  static constexpr size_t kExpiredPerEpoch = 65'536;

  size_t dirty_bytes() const { return cache_->dirty_bytes(); }
  void cut(DeltaBuilder& delta);

 private:
  struct Member {
    mutable uint64_t word;  // encode(), which is called when the entry is cut, forgets that it has changed
  };
  struct Codec : AccumulatorCodec {
    size_t size() const override { return sizeof(Member); }
    void create(void* state) const override { *static_cast<Member*>(state) = {0}; }
    void destroy(void*) const override {}
    bool trivially_destructible() const override { return true; }
    void encode(const void* state, std::string& out) const override;
    Status decode(std::string_view bytes, void* state) const override;
    bool is_unchanged(const void* state) const override;
  };
  struct Shard {
    uint16_t id;
    std::string lowest;  // no value that may expire has a lower key
  };
  const size_t time_bytes_;
  Codec codec_;
  OperatorContext context_;
  std::unique_ptr<LaneCache> cache_;
  // Expiry.
  std::vector<Shard> shards_of_lane_;
  std::vector<std::pair<uint16_t, std::string>> expired_;  // to be removed by the next cut
  int64_t closed_ms_ = kNoTime;                            // blocks that end until then take no more rows …
  int64_t complete_ms_ = kNoTime;                          // … and their values were all in the state at the last cut
  size_t added_ = 0;                                       // since the last cut
  // Of a look-up.
  std::string key_bytes_;
  std::vector<size_t> key_ends_;
  std::vector<uint16_t> shards_;
  std::vector<uint64_t> wanted_;
  std::vector<uint64_t*> words_;
  uint64_t all_bits_ = ~uint64_t{0};  // the word of values that are known to have all wanted bits; nobody writes it
  std::vector<std::string_view> keys_;
  std::vector<void*> found_;
  std::vector<uint32_t> missing_;
  std::vector<std::string_view> missing_keys_;
  std::vector<uint16_t> missing_shards_;
};

}  // namespace millrace
