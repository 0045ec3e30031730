#include "operators/stored_windows.h"

#include <algorithm>

#include "operators/state_tables.h"
#include "state/state_layers.h"

namespace millrace {
namespace {

constexpr size_t kFirstSlots = 64;
// Ends that are looked for in a shard when the state is opened; behind more of them, no end is known.
constexpr size_t kMaxEnds = 64;

uint32_t slot_value(uint32_t hash) { return hash == 0 ? 1 : hash; }

}  // namespace

void HashSet::add(uint32_t hash) {
  if ((count_ + 1) * 2 > slots_.size()) {
    std::vector<uint32_t> smaller(std::max(kFirstSlots, slots_.size() * 2));
    smaller.swap(slots_);
    count_ = 0;
    for (uint32_t value : smaller) {
      if (value != 0) add(value);
    }
  }
  const uint32_t value = slot_value(hash);
  const size_t mask = slots_.size() - 1;
  size_t at = value & mask;
  while (slots_[at] != 0 && slots_[at] != value) at = (at + 1) & mask;
  if (slots_[at] == 0) count_++;
  slots_[at] = value;
}

bool HashSet::holds(uint32_t hash) const {
  if (slots_.empty()) return false;
  const uint32_t value = slot_value(hash);
  const size_t mask = slots_.size() - 1;
  size_t at = value & mask;
  while (slots_[at] != 0 && slots_[at] != value) at = (at + 1) & mask;
  return slots_[at] != 0;
}

Status StoredWindows::open(const OperatorContext& context, size_t shards, size_t max_bytes) {
  lane_ = context.lane;
  lanes_ = context.lanes;
  max_bytes_ = max_bytes;
  bytes_ = 0;
  shards_.clear();
  shards_.resize(shards);
  for (size_t i = 0; i < shards; i++) {
    MR_RETURN_IF_ERROR(find_ends(shards_[i], static_cast<uint16_t>(lane_ + i * lanes_), context));
  }
  return Status::ok();
}

Status StoredWindows::find_ends(Shard& shard, uint16_t id, const OperatorContext& context) {
  std::string from(1, static_cast<char>(StateTable::kWindows));
  for (size_t n = 0;; n++) {
    int64_t end_ms = kNoTime;
    MR_RETURN_IF_ERROR(context.state->scan(id, context.operator_id, from, table_end(StateTable::kWindows),
                                           [&](std::string_view key, std::string_view) {
                                             end_ms = read_time_key(key, 1);
                                             return false;
                                           }));
    if (end_ms == kNoTime) return Status::ok();
    shard.unknown_until_ms = n < kMaxEnds ? end_ms : kEndOfTime;
    if (shard.unknown_until_ms >= kGlobalEndMs) return Status::ok();
    from.resize(1);
    append_time_key(end_ms + 1, from);
  }
}

bool StoredWindows::may_hold(std::string_view key, uint16_t shard_id, uint32_t hash) const {
  const Shard& shard = shards_[(shard_id - lane_) / lanes_];
  const int64_t end_ms = read_time_key(key, 1);
  if (end_ms <= shard.unknown_until_ms) return true;
  const auto found = shard.hashes.find(end_ms);
  return found != shard.hashes.end() && found->second.holds(hash);
}

void StoredWindows::add(size_t index, int64_t end_ms, uint32_t hash) {
  Shard& shard = shards_[index];
  if (end_ms <= shard.unknown_until_ms) return;
  HashSet& hashes = shard.hashes[end_ms];
  bytes_ -= hashes.bytes();
  hashes.add(hash);
  bytes_ += hashes.bytes();
}

void StoredWindows::drop_first(Shard& shard) {
  bytes_ -= shard.hashes.begin()->second.bytes();
  shard.hashes.erase(shard.hashes.begin());
}

void StoredWindows::forget(size_t index, int64_t end_ms) {
  Shard& shard = shards_[index];
  while (!shard.hashes.empty() && shard.hashes.begin()->first <= end_ms) drop_first(shard);
}

void StoredWindows::trim() {
  for (Shard& shard : shards_) {
    if (bytes_ <= max_bytes_) return;
    // The latest end is where most new keys are to come.
    while (bytes_ > max_bytes_ && !shard.hashes.empty()) {
      shard.unknown_until_ms = shard.hashes.begin()->first;
      drop_first(shard);
    }
  }
}

}  // namespace millrace
