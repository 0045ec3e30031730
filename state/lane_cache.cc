#include "state/lane_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "state/entry_slabs.h"
#include "state/key_hash.h"

namespace millrace {
namespace {

constexpr size_t kFirstSlots = 256;
constexpr size_t kStripe = 128;       // rows that are hashed, prefetched and probed together
constexpr size_t kPrefetchAhead = 8;  // entries, when the dirty ones are walked
constexpr size_t kMinChunkBytes = 4 * 1024;
constexpr size_t kMaxChunkBytes = 64 * 1024;
constexpr size_t kMaxStateBytes = 64 * 1024;
// How many chunks one lookup or allocation looks through for something to evict before it takes more memory instead.
constexpr size_t kMaxChunksLooked = 64;

using Flags = CacheEntry;

uint32_t hash32(std::string_view key) {
  const uint64_t hash = hash_key(key);
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

}  // namespace

struct LaneCache::Table {
  // A slot of the hash table: linear probing from hash & mask, removal by shifting back, so there are no tombstones.
  struct Slot {
    uint32_t hash;
    uint32_t id;  // 0: free
  };

  Table(LaneState& lane_state, uint16_t operator_number, const AccumulatorCodec& accumulator_codec, size_t bound)
      : lane(lane_state),
        operator_id(operator_number),
        codec(accumulator_codec),
        max_bytes(bound),
        trivial(accumulator_codec.trivially_destructible()),
        state_bytes((accumulator_codec.size() + 7) & ~size_t{7}),
        slabs(std::clamp(std::bit_floor(std::max<size_t>(bound, 1) / 64), kMinChunkBytes, kMaxChunkBytes)),
        slots(kFirstSlots) {
    MR_CHECK(state_bytes <= kMaxStateBytes);
  }
  ~Table();

  std::string_view key_of(CacheEntry* entry) const {
    return {static_cast<char*>(entry->state()) + state_bytes, entry->key_bytes};
  }
  size_t bytes() const {
    return slots.capacity() * sizeof(Slot) + slabs.bytes() + extra_bytes + dirty.capacity() * sizeof(CacheEntry*);
  }
  // Index of the slot of `key`, or of the free slot where it belongs.
  size_t probe(uint32_t hash, std::string_view key) const;
  void touch(CacheEntry* entry, uint8_t* first_touch);
  void count_extra(CacheEntry* entry);
  CacheEntry* insert(uint32_t hash, std::string_view key, uint16_t shard);
  uint32_t allocate(size_t entry_bytes);
  void grow();
  void erase(uint32_t id);
  size_t evict_unreferenced(size_t chunk);
  bool evict_chunk(size_t chunk, bool referenced_too);
  size_t next_chunk();
  void trim(size_t max_looked);
  // Looking for clean entries among nearly only dirty ones would cost more than the memory is worth.
  bool worth_evicting() const { return (count - dirty.size()) * 8 > count; }
  Status stripe(const std::string_view* keys, const uint16_t* shards, size_t n, void** states, uint8_t* first_touch);
  bool is_new(std::string_view key, uint16_t shard, uint32_t hash) const {
    return stored_keys != nullptr && !stored_keys->may_hold(key, shard, hash);
  }
  Status add_missing(const std::string_view* keys, const uint16_t* shards, void** states, uint8_t* first_touch);
  Status read_new();
  void drop_new();

  LaneState& lane;
  const uint16_t operator_id;
  const AccumulatorCodec& codec;
  const size_t max_bytes;
  const bool trivial;
  const size_t state_bytes;
  EntrySlabs slabs;
  std::vector<Slot> slots;  // a power of two
  size_t count = 0;
  size_t extra_bytes = 0;
  size_t dirty_entry_bytes = 0;
  std::vector<CacheEntry*> dirty;           // in the order in which they became dirty
  size_t dirty_before = 0;                  // its size when the lookup began
  size_t removed_new = 0;                   // dirty entries that are removed and did not exist before the epoch
  size_t hand = 0;                          // chunk that the clock looks at next
  const StoredKeys* stored_keys = nullptr;  // of the lookup under way
  Counters counters;

  // Scratch of one lookup.
  std::vector<uint32_t> missing;  // rows of the stripe
  uint32_t hashes[kStripe];
  std::vector<CacheEntry*> fresh;  // entries that the lookup has created and not read yet
  std::string full_keys;
  std::vector<std::string_view> full_key_views;
  LaneState::Found found;
};

LaneCache::Table::~Table() {
  if (trivial) return;
  for (const Slot& slot : slots) {
    if (slot.id != 0) codec.destroy(slabs.entry(slot.id)->state());
  }
}

size_t LaneCache::Table::probe(uint32_t hash, std::string_view key) const {
  const size_t mask = slots.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot slot = slots[at];
    if (slot.id == 0) return at;
    if (slot.hash != hash) continue;
    CacheEntry* entry = slabs.entry(slot.id);
    if (entry->key_bytes == key.size() && std::memcmp(key_of(entry).data(), key.data(), key.size()) == 0) return at;
  }
}

void LaneCache::Table::count_extra(CacheEntry* entry) {
  const size_t now = std::min<size_t>(codec.extra_bytes(entry->state()), UINT32_MAX);
  extra_bytes += now - entry->extra_bytes;
  if (entry->flags & Flags::kDirty) dirty_entry_bytes += now - entry->extra_bytes;
  entry->extra_bytes = static_cast<uint32_t>(now);
}

inline void LaneCache::Table::touch(CacheEntry* entry, uint8_t* first_touch) {
  const bool first = (entry->flags & Flags::kDirty) == 0;
  if (first_touch != nullptr) *first_touch = first ? 1 : 0;
  if (first) {
    entry->flags |= Flags::kDirty | Flags::kReferenced;
    dirty.push_back(entry);
    dirty_entry_bytes += sizeof(CacheEntry) + state_bytes + entry->key_bytes + entry->extra_bytes;
  } else if (entry->flags & Flags::kRemoved) {
    entry->flags &= static_cast<uint8_t>(~Flags::kRemoved);
    if ((entry->flags & Flags::kExisted) == 0) removed_new--;
    codec.destroy(entry->state());
    codec.create(entry->state());
  }
  if (!trivial) count_extra(entry);
}

uint32_t LaneCache::Table::allocate(size_t entry_bytes) {
  uint32_t id = slabs.allocate_from_free(entry_bytes);
  if (id != 0) return id;
  const size_t chunk_bytes = slabs.new_chunk_bytes(entry_bytes);
  // Twice around at most: the first time the clock may only find entries that it has to pass over once.
  const size_t max_looked = worth_evicting() ? std::min(kMaxChunksLooked, 2 * slabs.chunk_limit()) : 0;
  for (size_t looked = 0; bytes() + chunk_bytes > max_bytes && looked < max_looked; looked++) {
    evict_unreferenced(next_chunk());
    id = slabs.allocate_from_free(entry_bytes);
    if (id != 0) return id;
  }
  return slabs.allocate_from_new(entry_bytes);
}

CacheEntry* LaneCache::Table::insert(uint32_t hash, std::string_view key, uint16_t shard) {
  if ((count + 1) * 4 > slots.size() * 3) grow();
  const uint32_t id = allocate(sizeof(CacheEntry) + state_bytes + key.size());
  CacheEntry* entry = slabs.entry(id);
  entry->key_bytes = static_cast<uint32_t>(key.size());
  entry->hash = hash;
  entry->extra_bytes = 0;
  entry->shard = shard;
  entry->unused = 0;
  codec.create(entry->state());
  if (!key.empty()) std::memcpy(static_cast<char*>(entry->state()) + state_bytes, key.data(), key.size());
  const size_t mask = slots.size() - 1;
  size_t at = hash & mask;  // eviction may have moved slots since the probe
  while (slots[at].id != 0) at = (at + 1) & mask;
  slots[at] = {hash, id};
  count++;
  return entry;
}

void LaneCache::Table::grow() {
  std::vector<Slot> larger(slots.size() * 2);
  const size_t mask = larger.size() - 1;
  for (const Slot& slot : slots) {
    if (slot.id == 0) continue;
    size_t at = slot.hash & mask;
    while (larger[at].id != 0) at = (at + 1) & mask;
    larger[at] = slot;
  }
  slots = std::move(larger);
}

// Takes an entry out of the table and frees it. Not for entries in the dirty list.
void LaneCache::Table::erase(uint32_t id) {
  CacheEntry* entry = slabs.entry(id);
  const size_t mask = slots.size() - 1;
  size_t hole = entry->hash & mask;
  while (slots[hole].id != id) hole = (hole + 1) & mask;
  for (size_t at = (hole + 1) & mask; slots[at].id != 0; at = (at + 1) & mask) {
    // A slot may move into the hole unless its home lies behind the hole.
    if (((at - slots[at].hash) & mask) < ((at - hole) & mask)) continue;
    slots[hole] = slots[at];
    hole = at;
  }
  slots[hole] = {0, 0};
  extra_bytes -= entry->extra_bytes;
  if (!trivial) codec.destroy(entry->state());
  slabs.free(id);
  count--;
}

size_t LaneCache::Table::next_chunk() {
  if (++hand >= slabs.chunk_limit()) hand = 0;
  return hand;
}

size_t LaneCache::Table::evict_unreferenced(size_t chunk) {
  size_t evicted = 0;
  slabs.for_each_live(chunk, [&](uint32_t id, CacheEntry* entry) {
    if (entry->flags & Flags::kDirty) return;
    if (entry->flags & Flags::kReferenced) {
      entry->flags &= static_cast<uint8_t>(~Flags::kReferenced);
      return;
    }
    erase(id);
    evicted++;
  });
  counters.evictions += evicted;
  return evicted;
}

// Evicts a whole chunk, which gives its memory back; false if entries in it have to stay.
bool LaneCache::Table::evict_chunk(size_t chunk, bool referenced_too) {
  size_t live = 0;
  size_t dirty_entries = 0;
  size_t referenced = 0;
  slabs.for_each_live(chunk, [&](uint32_t, CacheEntry* entry) {
    live++;
    if (entry->flags & Flags::kDirty) dirty_entries++;
    if (entry->flags & Flags::kReferenced) referenced++;
    entry->flags &= static_cast<uint8_t>(~Flags::kReferenced);
  });
  if (live == 0 || dirty_entries > 0 || (!referenced_too && referenced * 2 > live)) return false;
  slabs.for_each_live(chunk, [&](uint32_t id, CacheEntry*) { erase(id); });
  counters.evictions += live;
  return true;
}

// Hits first: hash and prefetch the slots of the whole stripe, then the entries, then compare. What is missing is added
// afterwards, when nothing that was found can be evicted any more (it is dirty).
Status LaneCache::Table::stripe(const std::string_view* keys, const uint16_t* shards, size_t n, void** states,
                                uint8_t* first_touch) {
  const size_t mask = slots.size() - 1;
  for (size_t i = 0; i < n; i++) {
    hashes[i] = hash32(keys[i]);
    __builtin_prefetch(&slots[hashes[i] & mask]);
  }
  for (size_t i = 0; i < n; i++) {
    size_t at = hashes[i] & mask;
    while (slots[at].id != 0 && slots[at].hash != hashes[i]) at = (at + 1) & mask;
    if (slots[at].id != 0) __builtin_prefetch(slabs.entry(slots[at].id));
  }
  missing.clear();
  for (size_t i = 0; i < n; i++) {
    const Slot slot = slots[probe(hashes[i], keys[i])];
    if (slot.id == 0) {
      missing.push_back(static_cast<uint32_t>(i));
      continue;
    }
    CacheEntry* entry = slabs.entry(slot.id);
    touch(entry, first_touch == nullptr ? nullptr : first_touch + i);
    states[i] = entry->state();
  }
  counters.hits += n - missing.size();
  if (missing.empty()) return Status::ok();
  return add_missing(keys, shards, states, first_touch);
}

Status LaneCache::Table::add_missing(const std::string_view* keys, const uint16_t* shards, void** states,
                                     uint8_t* first_touch) {
  for (uint32_t i : missing) {
    if (keys[i].size() > kMaxKeyBytes + kMaxPrefixBytes) {
      return Status::user(Code::kRecordTooLarge, "a key of " + std::to_string(keys[i].size()) +
                                                     " bytes; the limit is " + std::to_string(kMaxKeyBytes));
    }
    // A key that the batch has twice is there the second time.
    const uint32_t known = slots[probe(hashes[i], keys[i])].id;
    CacheEntry* entry = nullptr;
    if (known != 0) {
      entry = slabs.entry(known);
      counters.hits++;
    } else {
      entry = insert(hashes[i], keys[i], shards[i]);
      if (!is_new(keys[i], shards[i], hashes[i])) fresh.push_back(entry);
      counters.misses++;
    }
    touch(entry, first_touch == nullptr ? nullptr : first_touch + i);
    states[i] = entry->state();
  }
  return Status::ok();
}

// One read for everything that the lookup has created.
Status LaneCache::Table::read_new() {
  full_keys.clear();
  for (CacheEntry* entry : fresh) {
    const char prefix[kFullKeyPrefix] = {static_cast<char>(entry->shard >> 8), static_cast<char>(entry->shard & 0xff),
                                         static_cast<char>(operator_id >> 8), static_cast<char>(operator_id & 0xff)};
    full_keys.append(prefix, kFullKeyPrefix).append(key_of(entry));
  }
  full_key_views.clear();
  size_t offset = 0;
  for (CacheEntry* entry : fresh) {
    full_key_views.emplace_back(full_keys.data() + offset, kFullKeyPrefix + entry->key_bytes);
    offset += kFullKeyPrefix + entry->key_bytes;
  }
  MR_RETURN_IF_ERROR(lane.multi_get(full_key_views, &found));
  for (size_t i = 0; i < fresh.size(); i++) {
    if (found.values[i].data() == nullptr) continue;
    Status decoded = codec.decode(found.values[i], fresh[i]->state());
    if (!decoded.is_ok()) return decoded;
    fresh[i]->flags |= Flags::kExisted;
    counters.store_reads++;
    if (!trivial) count_extra(fresh[i]);
  }
  found.owners.clear();
  fresh.clear();
  return Status::ok();
}

// After an error: what could not be read must not be taken for new. Since the lookup began, only it has appended to the
// dirty list, and of those that it has touched only the fresh entries can be marked removed.
void LaneCache::Table::drop_new() {
  for (CacheEntry* entry : fresh) entry->flags |= Flags::kRemoved;
  const auto begin = dirty.begin() + static_cast<ptrdiff_t>(dirty_before);
  dirty.erase(std::remove_if(begin, dirty.end(), [](CacheEntry* entry) { return entry->flags & Flags::kRemoved; }),
              dirty.end());
  for (CacheEntry* entry : fresh) {
    dirty_entry_bytes -= sizeof(CacheEntry) + state_bytes + entry->key_bytes + entry->extra_bytes;
    erase(slots[probe(entry->hash, key_of(entry))].id);
  }
  fresh.clear();
  found.owners.clear();
}

// By chunks, since only a whole chunk gives memory back: first those that were hardly used since the hand last passed,
// then any.
void LaneCache::Table::trim(size_t max_looked) {
  for (const bool referenced_too : {false, true}) {
    for (size_t looked = 0; looked < std::min(max_looked, slabs.chunk_limit()); looked++) {
      if (bytes() <= max_bytes) return;
      evict_chunk(next_chunk(), referenced_too);
    }
  }
}

LaneCache::LaneCache(LaneState& lane, uint16_t operator_id, const AccumulatorCodec& codec, size_t max_bytes)
    : table_(std::make_unique<Table>(lane, operator_id, codec, max_bytes)) {}

LaneCache::~LaneCache() = default;

Status LaneCache::lookup(const std::string_view* keys, const uint16_t* shards, size_t n, void** states,
                         uint8_t* first_touch, const StoredKeys* stored) {
  Table& table = *table_;
  table.stored_keys = stored;
  table.dirty_before = table.dirty.size();
  for (size_t begin = 0; begin < n; begin += kStripe) {
    const size_t rows = std::min(kStripe, n - begin);
    const Status status = table.stripe(keys + begin, shards + begin, rows, states + begin,
                                       first_touch == nullptr ? nullptr : first_touch + begin);
    if (!status.is_ok()) {
      table.drop_new();
      return status;
    }
  }
  if (!table.fresh.empty()) {
    const Status status = table.read_new();
    if (!status.is_ok()) {
      table.drop_new();
      return status;
    }
  }
  // Pointers stay valid: what this lookup has touched is dirty, and dirty entries are not evicted.
  if (table.bytes() > table.max_bytes && table.worth_evicting()) table.trim(kMaxChunksLooked);
  return Status::ok();
}

size_t LaneCache::visit_dirty(size_t cursor, size_t limit, const std::function<void(const EntryView&)>& visit) {
  Table& table = *table_;
  const size_t end = std::min(table.dirty.size(), cursor + std::min(limit, table.dirty.size()));
  for (; cursor < end; cursor++) {
    if (cursor + kPrefetchAhead < end) __builtin_prefetch(table.dirty[cursor + kPrefetchAhead]);
    CacheEntry* entry = table.dirty[cursor];
    if (entry->flags & Flags::kRemoved) continue;
    visit({table.key_of(entry), entry->shard, entry->state(), (entry->flags & Flags::kExisted) != 0});
  }
  return cursor;
}

size_t LaneCache::dirty_count() const { return table_->dirty.size(); }
size_t LaneCache::dirty_bytes() const { return table_->dirty_entry_bytes; }

void LaneCache::cut(DeltaBuilder& delta) {
  Table& table = *table_;
  std::string encoded;
  for (size_t i = 0; i < table.dirty.size(); i++) {
    if (i + kPrefetchAhead < table.dirty.size()) __builtin_prefetch(table.dirty[i + kPrefetchAhead]);
    CacheEntry* entry = table.dirty[i];
    const std::string_view key = table.key_of(entry);
    entry->flags &= static_cast<uint8_t>(~Flags::kDirty);
    if (entry->flags & Flags::kRemoved) {
      if (entry->flags & Flags::kExisted) delta.remove(entry->shard, table.operator_id, key);
      table.erase(table.slots[table.probe(entry->hash, key)].id);
      continue;
    }
    if (table.codec.is_unchanged(entry->state())) continue;
    encoded.clear();
    table.codec.encode(entry->state(), encoded);
    delta.put(entry->shard, table.operator_id, key, encoded);
    entry->flags |= Flags::kExisted;
    if (!table.trivial) table.count_extra(entry);
  }
  // The list keeps its room for the next epoch unless this one was out of the ordinary.
  if (table.dirty.capacity() > 4 * table.dirty.size() + kStripe) table.dirty.shrink_to_fit();
  table.dirty.clear();
  table.dirty_entry_bytes = 0;
  table.removed_new = 0;
  trim();
}

void LaneCache::mark_removed(void* state) {
  CacheEntry* entry = CacheEntry::of(state);
  MR_CHECK((entry->flags & (Flags::kLive | Flags::kDirty)) == (Flags::kLive | Flags::kDirty));
  if ((entry->flags & (Flags::kRemoved | Flags::kExisted)) == 0) table_->removed_new++;
  entry->flags |= Flags::kRemoved;
}

void LaneCache::drop_removed() {
  constexpr size_t kWorthIt = 1024;
  Table& table = *table_;
  if (table.removed_new < kWorthIt || table.removed_new * 2 < table.dirty.size()) return;
  std::erase_if(table.dirty, [&](CacheEntry* entry) {
    if ((entry->flags & (Flags::kRemoved | Flags::kExisted)) != Flags::kRemoved) return false;
    table.dirty_entry_bytes -= sizeof(CacheEntry) + table.state_bytes + entry->key_bytes + entry->extra_bytes;
    table.erase(table.slots[table.probe(entry->hash, table.key_of(entry))].id);
    return true;
  });
  table.removed_new = 0;
}

LaneCache::EntryView LaneCache::view(void* state) const {
  CacheEntry* entry = CacheEntry::of(state);
  return {table_->key_of(entry), entry->shard, state, (entry->flags & Flags::kExisted) != 0};
}

uint32_t LaneCache::hash_of(void* state) { return CacheEntry::of(state)->hash; }

bool LaneCache::is_removed(void* state) { return (CacheEntry::of(state)->flags & Flags::kRemoved) != 0; }

void LaneCache::find(const std::string_view* keys, size_t n, void** states) const {
  const Table& table = *table_;
  const size_t mask = table.slots.size() - 1;
  uint32_t hashes[kStripe];
  for (size_t begin = 0; begin < n; begin += kStripe) {
    const size_t count = std::min(kStripe, n - begin);
    for (size_t i = 0; i < count; i++) {
      hashes[i] = hash32(keys[begin + i]);
      __builtin_prefetch(&table.slots[hashes[i] & mask]);
    }
    for (size_t i = 0; i < count; i++) {
      const uint32_t id = table.slots[hashes[i] & mask].id;
      if (id != 0) __builtin_prefetch(table.slabs.entry(id));
    }
    for (size_t i = 0; i < count; i++) {
      const uint32_t id = table.slots[table.probe(hashes[i], keys[begin + i])].id;
      CacheEntry* entry = id == 0 ? nullptr : table.slabs.entry(id);
      states[begin + i] = entry == nullptr || (entry->flags & Flags::kRemoved) != 0 ? nullptr : entry->state();
    }
  }
}

void LaneCache::trim() { table_->trim(SIZE_MAX); }

size_t LaneCache::bytes() const { return table_->bytes(); }
size_t LaneCache::entries() const { return table_->count; }
const LaneCache::Counters& LaneCache::counters() const { return table_->counters; }

}  // namespace millrace
