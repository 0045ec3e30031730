#include "state/delta.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "state/key_hash.h"
#include "state/key_sort.h"

namespace millrace {
namespace {

constexpr size_t kMaxEntries = UINT32_MAX - 1;
// Slots hold index + 1; 0 is free. Keeps probes short at a load of at most one half.
constexpr size_t kMinSlots = 8;

}  // namespace

std::string full_key(uint16_t shard, uint16_t operator_id, std::string_view user_key) {
  std::string key;
  key.reserve(kFullKeyPrefix + user_key.size());
  key.push_back(static_cast<char>(shard >> 8));
  key.push_back(static_cast<char>(shard & 0xff));
  key.push_back(static_cast<char>(operator_id >> 8));
  key.push_back(static_cast<char>(operator_id & 0xff));
  key.append(user_key);
  return key;
}

size_t Delta::bytes() const {
  return data_.capacity() + index_.capacity() * sizeof(Entry) + hash_slots_.capacity() * sizeof(uint32_t);
}

std::string_view Delta::key(size_t i) const { return {data_.data() + index_[i].offset, index_[i].key_bytes}; }

Delta::Value Delta::value(size_t i) const {
  const Entry& entry = index_[i];
  if (entry.value_bytes == kTombstone) return {.tombstone = true, .bytes = {}};
  return {.tombstone = false, .bytes = {data_.data() + entry.offset + entry.key_bytes, entry.value_bytes}};
}

bool Delta::find(std::string_view wanted, Value* found) const {
  return find_hashed(wanted, hash_slots_.empty() ? 0 : hash_key(wanted), found);
}

bool Delta::find_hashed(std::string_view wanted, uint64_t hash, Value* found) const {
  if (hash_slots_.empty()) {
    const size_t i = lower_bound(wanted);
    if (i == size() || key(i) != wanted) return false;
    *found = value(i);
    return true;
  }
  const size_t mask = hash_slots_.size() - 1;
  for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    const uint32_t entry = hash_slots_[slot];
    if (entry == 0) return false;
    if (key(entry - 1) != wanted) continue;
    *found = value(entry - 1);
    return true;
  }
}

size_t Delta::lower_bound(std::string_view wanted) const {
  size_t low = 0;
  for (size_t count = size(); count > 0;) {
    const size_t half = count / 2;
    if (key(low + half) < wanted) {
      low += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return low;
}

void Delta::build_hash_index() {
  hash_slots_.clear();
  if (index_.empty()) return;
  hash_slots_.resize(std::bit_ceil(std::max(kMinSlots, index_.size() * 2)));
  const size_t mask = hash_slots_.size() - 1;
  for (size_t i = 0; i < index_.size(); i++) {
    size_t slot = hash_key(key(i)) & mask;
    while (hash_slots_[slot] != 0) slot = (slot + 1) & mask;
    hash_slots_[slot] = static_cast<uint32_t>(i + 1);
  }
}

namespace {

// Positions in the runs of a merge, ordered as a binary min-heap by (key, newest run first).
struct MergeCursor {
  const Delta* run;
  size_t position;
  size_t age;  // index in oldest_first
  std::string_view key;
};

bool later(const MergeCursor& a, const MergeCursor& b) {
  const int order = a.key.compare(b.key);
  return order != 0 ? order > 0 : a.age < b.age;
}

}  // namespace

void Delta::append(Delta& to, const Delta& from, const Entry& entry) {
  const size_t payload = entry.key_bytes + (entry.value_bytes == kTombstone ? 0 : entry.value_bytes);
  const char* source = from.data_.data() + entry.offset;
  to.index_.push_back({to.data_.size(), entry.key_bytes, entry.value_bytes});
  to.data_.insert(to.data_.end(), source, source + payload);
}

DeltaPtr Delta::merge(const std::vector<DeltaPtr>& oldest_first, bool drop_tombstones, bool with_index) {
  auto merged = std::make_shared<Delta>();
  std::vector<MergeCursor> heap;
  size_t data_bytes = 0;
  size_t entries = 0;
  for (size_t age = 0; age < oldest_first.size(); age++) {
    const Delta& run = *oldest_first[age];
    merged->first_epoch_ = age == 0 ? run.first_epoch_ : std::min(merged->first_epoch_, run.first_epoch_);
    merged->last_epoch_ = std::max(merged->last_epoch_, run.last_epoch_);
    data_bytes += run.data_.size();
    entries += run.size();
    if (run.size() > 0) heap.push_back({&run, 0, age, run.key(0)});
  }
  MR_CHECK(entries <= kMaxEntries);
  merged->data_.reserve(data_bytes);
  merged->index_.reserve(entries);
  std::make_heap(heap.begin(), heap.end(), later);
  std::string_view last_key;
  bool any = false;
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    MergeCursor& cursor = heap.back();
    const Entry& entry = cursor.run->index_[cursor.position];
    const bool superseded = any && cursor.key == last_key;
    last_key = cursor.key;
    any = true;
    if (!superseded && !(drop_tombstones && entry.value_bytes == kTombstone)) append(*merged, *cursor.run, entry);
    if (++cursor.position == cursor.run->size()) {
      heap.pop_back();
    } else {
      cursor.key = cursor.run->key(cursor.position);
      std::push_heap(heap.begin(), heap.end(), later);
    }
  }
  // Runs that overlap leave room that would be held for as long as the merged run lives.
  if (merged->data_.size() < data_bytes - data_bytes / 8) {
    merged->data_.shrink_to_fit();
    merged->index_.shrink_to_fit();
  }
  if (with_index) merged->build_hash_index();
  return merged;
}

void DeltaBuilder::add(std::string_view prefix, std::string_view key, std::string_view value) {
  const size_t key_bytes = prefix.size() + key.size();
  MR_CHECK(key_bytes < UINT32_MAX && value.size() < Delta::kTombstone);
  const size_t offset = data_.size();
  data_.resize(offset + key_bytes + value.size());
  char* to = data_.data() + offset;
  std::memcpy(to, prefix.data(), prefix.size());
  if (!key.empty()) std::memcpy(to + prefix.size(), key.data(), key.size());
  if (!value.empty()) std::memcpy(to + key_bytes, value.data(), value.size());
  entries_.push_back({offset, static_cast<uint32_t>(key_bytes), static_cast<uint32_t>(value.size())});
}

void DeltaBuilder::put(uint16_t shard, uint16_t operator_id, std::string_view user_key, std::string_view value) {
  const char prefix[kFullKeyPrefix] = {static_cast<char>(shard >> 8), static_cast<char>(shard & 0xff),
                                       static_cast<char>(operator_id >> 8), static_cast<char>(operator_id & 0xff)};
  add({prefix, kFullKeyPrefix}, user_key, value);
}

void DeltaBuilder::put_full(std::string_view full_key, std::string_view value) {
  MR_CHECK(full_key.size() >= kFullKeyPrefix);
  add(full_key.substr(0, kFullKeyPrefix), full_key.substr(kFullKeyPrefix), value);
}

void DeltaBuilder::remove(uint16_t shard, uint16_t operator_id, std::string_view user_key) {
  put(shard, operator_id, user_key, {});
  entries_.back().value_bytes = Delta::kTombstone;
}

void DeltaBuilder::remove_full(std::string_view full_key) {
  put_full(full_key, {});
  entries_.back().value_bytes = Delta::kTombstone;
}

DeltaPtr DeltaBuilder::finish(bool with_index) {
  MR_CHECK(entries_.size() <= kMaxEntries);
  const char* data = data_.data();
  std::vector<SortItem> order(entries_.size());
  for (size_t i = 0; i < entries_.size(); i++) order[i] = {0, 0, static_cast<uint32_t>(i), entries_[i].key_bytes};
  const auto key = [&](uint32_t index) { return data + entries_[index].offset; };
  const KeySort keys(key);
  keys.load(order.data(), order.size(), 0);
  {
    std::vector<SortItem> scratch(order.size());
    keys.sort(order.data(), scratch.data(), order.size(), 0);
  }
  auto delta = std::make_shared<Delta>();
  delta->first_epoch_ = epoch_;
  delta->last_epoch_ = epoch_;
  delta->index_.reserve(order.size());
  for (size_t i = 0; i < order.size(); i++) {
    // Equal keys end up side by side, at the same depth.
    const bool superseded = i + 1 < order.size() && order[i].first == order[i + 1].first &&
                            order[i].second == order[i + 1].second && keys.compare(order[i], order[i + 1], 0) == 0;
    if (!superseded) delta->index_.push_back(entries_[order[i].index]);
  }
  delta->data_ = std::move(data_);
  if (with_index) delta->build_hash_index();
  data_ = {};
  entries_ = {};
  return delta;
}

}  // namespace millrace
