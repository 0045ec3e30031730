// EntrySlabs: the memory of a LaneCache's entries. Chunks of one entry size each, so that freed entries are reused
// without fragmentation; an entry is named by a 32-bit id, so that a slot of the hash table fits into eight bytes.
// Entries too large to share a chunk have one of their own. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/check.h"

namespace millrace {

// In front of every entry; the accumulator follows, then the key.
struct CacheEntry {
  static constexpr uint8_t kLive = 1;
  static constexpr uint8_t kDirty = 2;
  static constexpr uint8_t kReferenced = 4;  // touched since the clock hand passed
  static constexpr uint8_t kRemoved = 8;
  static constexpr uint8_t kExisted = 16;  // in the state before this epoch
  uint32_t key_bytes;                      // of a free entry: unit of the next free one in its chunk
  uint32_t hash;
  uint32_t extra_bytes;  // of the accumulator, as last counted
  uint16_t shard;
  uint8_t flags;
  uint8_t unused;

  void* state() { return reinterpret_cast<char*>(this) + sizeof(CacheEntry); }
  static CacheEntry* of(void* state) {
    return reinterpret_cast<CacheEntry*>(static_cast<char*>(state) - sizeof(CacheEntry));
  }
};
static_assert(sizeof(CacheEntry) == 16);

class EntrySlabs {
 public:
  static constexpr size_t kUnitBytes = 16;
  // chunk_bytes: a power of two, 4 to 64 KiB.
  explicit EntrySlabs(size_t chunk_bytes);
  ~EntrySlabs();
  EntrySlabs(const EntrySlabs&) = delete;
  EntrySlabs& operator=(const EntrySlabs&) = delete;

  // An entry's memory if it can be had without a new chunk; 0 otherwise.
  uint32_t allocate_from_free(size_t entry_bytes);
  // The same with a new chunk. Never 0.
  uint32_t allocate_from_new(size_t entry_bytes);
  // What a new chunk for such an entry would take.
  size_t new_chunk_bytes(size_t entry_bytes) const;
  // Frees the entry; a chunk without entries goes back to the system.
  void free(uint32_t id);

  CacheEntry* entry(uint32_t id) const {
    return reinterpret_cast<CacheEntry*>(chunks_[id >> kUnitBits].memory + size_t{id & kUnitMask} * kUnitBytes);
  }
  size_t bytes() const { return bytes_; }

  // For the clock: chunks are numbered below chunk_limit(), some of which are not in use.
  size_t chunk_limit() const { return chunks_.size(); }
  // Calls f(id, entry) for each live entry of the chunk; f may free it.
  template <class F>
  void for_each_live(size_t chunk, F&& f) {
    const size_t step = chunks_[chunk].entry_units;
    const size_t end = chunks_[chunk].bump;
    for (size_t unit = 0; unit < end && chunks_[chunk].memory != nullptr; unit += step) {
      const uint32_t id = static_cast<uint32_t>(chunk << kUnitBits | unit);
      CacheEntry* at = entry(id);
      if (at->flags & CacheEntry::kLive) f(id, at);
    }
  }

 private:
  static constexpr uint32_t kUnitBits = 12;
  static constexpr uint32_t kUnitMask = (1u << kUnitBits) - 1;
  static constexpr size_t kMaxChunks = size_t{1} << (32 - kUnitBits);
  static constexpr uint32_t kNoUnit = UINT32_MAX;
  static constexpr size_t kClasses = 64;
  static constexpr size_t kOwnChunk = kClasses;
  struct Chunk {
    char* memory = nullptr;  // nullptr: not in use
    size_t bytes = 0;
    uint32_t entry_units = 1;
    uint32_t units = 0;
    uint32_t bump = 0;  // units handed out so far
    uint32_t free_unit = kNoUnit;
    uint32_t live = 0;
    uint32_t size_class = 0;
    bool listed = false;  // in partial_[size_class]
  };
  // Rounded up to a class; kOwnChunk if it is too large for one.
  size_t size_class(size_t entry_bytes) const;
  size_t class_units(size_t size_class) const;
  void release(uint32_t chunk);

  size_t chunk_bytes_;
  std::vector<Chunk> chunks_;  // chunk 0 is never used: id 0 means none
  std::vector<uint32_t> unused_chunks_;
  std::vector<uint32_t> partial_[kClasses];  // chunks with room
  size_t bytes_ = 0;
};

}  // namespace millrace
