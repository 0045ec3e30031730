#include "state/entry_slabs.h"

#include <algorithm>
#include <bit>
#include <new>

namespace millrace {
namespace {

// Classes: every 16 bytes up to 256, then eight per doubling; the waste is at most an eighth.
constexpr size_t kFineUnits = 16;
constexpr size_t kStepsPerDoubling = 8;

}  // namespace

EntrySlabs::EntrySlabs(size_t chunk_bytes) : chunk_bytes_(chunk_bytes), chunks_(1) {
  MR_CHECK(std::has_single_bit(chunk_bytes) && chunk_bytes >= 4096 && chunk_bytes <= (kUnitMask + 1) * kUnitBytes);
}

EntrySlabs::~EntrySlabs() {
  for (Chunk& chunk : chunks_) std::free(chunk.memory);
}

size_t EntrySlabs::size_class(size_t entry_bytes) const {
  const size_t units = (entry_bytes + kUnitBytes - 1) / kUnitBytes;
  if (units * kUnitBytes * 8 > chunk_bytes_) return kOwnChunk;
  if (units <= kFineUnits) return units - 1;
  const size_t doubling = static_cast<size_t>(std::bit_width((units - 1) / kFineUnits)) - 1;
  const size_t step_units = (kFineUnits << doubling) / kStepsPerDoubling;
  const size_t step = (units - 1 - (kFineUnits << doubling)) / step_units;
  const size_t index = kFineUnits + doubling * kStepsPerDoubling + step;
  MR_CHECK(index < kClasses);
  return index;
}

size_t EntrySlabs::class_units(size_t size_class) const {
  if (size_class < kFineUnits) return size_class + 1;
  const size_t doubling = (size_class - kFineUnits) / kStepsPerDoubling;
  const size_t step = (size_class - kFineUnits) % kStepsPerDoubling;
  return (kFineUnits << doubling) + (step + 1) * ((kFineUnits << doubling) / kStepsPerDoubling);
}

size_t EntrySlabs::new_chunk_bytes(size_t entry_bytes) const {
  return size_class(entry_bytes) == kOwnChunk ? entry_bytes : chunk_bytes_;
}

uint32_t EntrySlabs::allocate_from_free(size_t entry_bytes) {
  const size_t wanted = size_class(entry_bytes);
  if (wanted == kOwnChunk || partial_[wanted].empty()) return 0;
  const uint32_t number = partial_[wanted].back();
  Chunk& chunk = chunks_[number];
  uint32_t unit = chunk.free_unit;
  const uint32_t id_base = number << kUnitBits;
  if (unit != kNoUnit) {
    chunk.free_unit = entry(id_base | unit)->key_bytes;
  } else {
    unit = chunk.bump;
    chunk.bump += chunk.entry_units;
  }
  chunk.live++;
  if (chunk.free_unit == kNoUnit && chunk.bump + chunk.entry_units > chunk.units) {
    partial_[wanted].pop_back();
    chunk.listed = false;
  }
  entry(id_base | unit)->flags = CacheEntry::kLive;
  return id_base | unit;
}

uint32_t EntrySlabs::allocate_from_new(size_t entry_bytes) {
  uint32_t number = 0;
  if (unused_chunks_.empty()) {
    MR_CHECK(chunks_.size() < kMaxChunks);
    number = static_cast<uint32_t>(chunks_.size());
    chunks_.emplace_back();
  } else {
    number = unused_chunks_.back();
    unused_chunks_.pop_back();
  }
  Chunk& chunk = chunks_[number];
  chunk = Chunk();
  const size_t wanted = size_class(entry_bytes);
  chunk.bytes = new_chunk_bytes(entry_bytes);
  chunk.memory = static_cast<char*>(std::malloc(chunk.bytes));
  if (chunk.memory == nullptr) throw std::bad_alloc();
  bytes_ += chunk.bytes;
  chunk.size_class = static_cast<uint32_t>(wanted);
  if (wanted == kOwnChunk) {
    chunk.bump = chunk.units = chunk.entry_units = 1;
    chunk.live = 1;
    entry(number << kUnitBits)->flags = CacheEntry::kLive;
    return number << kUnitBits;
  }
  chunk.entry_units = static_cast<uint32_t>(class_units(wanted));
  chunk.units = static_cast<uint32_t>(chunk.bytes / kUnitBytes);
  chunk.listed = true;
  partial_[wanted].push_back(number);
  return allocate_from_free(entry_bytes);
}

void EntrySlabs::free(uint32_t id) {
  const uint32_t number = id >> kUnitBits;
  Chunk& chunk = chunks_[number];
  CacheEntry* freed = entry(id);
  MR_CHECK(freed->flags & CacheEntry::kLive);
  freed->flags = 0;
  freed->key_bytes = chunk.free_unit;
  chunk.free_unit = id & kUnitMask;
  if (--chunk.live == 0) {
    release(number);
  } else if (!chunk.listed) {
    chunk.listed = true;
    partial_[chunk.size_class].push_back(number);
  }
}

void EntrySlabs::release(uint32_t number) {
  Chunk& chunk = chunks_[number];
  if (chunk.listed) {
    std::vector<uint32_t>& list = partial_[chunk.size_class];
    const auto at = std::find(list.begin(), list.end(), number);
    *at = list.back();
    list.pop_back();
  }
  bytes_ -= chunk.bytes;
  std::free(chunk.memory);
  chunk = Chunk();
  unused_chunks_.push_back(number);
}

}  // namespace millrace
