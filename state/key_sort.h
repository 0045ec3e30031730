// KeySort: orders many short keys by their bytes, as a delta and a run of a bulk load are. A radix sort over items that
// carry sixteen bytes of their key (most significant digit first, as in McIlroy, Bostic and McIlroy, "Engineering Radix
// Sort", 1993), so that nearly no comparison touches a key. Precondition: at most 2^32 - 1 keys. One thread.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace millrace {

// Eight bytes of the key at `from` as an integer that compares like the bytes do; zero-padded.
inline uint64_t ordered_word(const char* key, size_t key_bytes, size_t from) {
  if (key_bytes <= from) return 0;
  uint64_t word = 0;
  std::memcpy(&word, key + from, std::min<size_t>(8, key_bytes - from));
  return __builtin_bswap64(word);
}

// What the sort moves around: sixteen bytes of a key decide nearly every comparison without touching it. Which sixteen
// is the depth of the sort.
struct SortItem {
  uint64_t first;
  uint64_t second;
  uint32_t index;
  uint32_t key_bytes;
};
inline constexpr size_t kSortWordBytes = 16;

// Sorts keys, and equal ones by index. Most significant byte first, over the sixteen bytes in the items; where these
// are all equal, over the next sixteen. Bytes that all items share cost one look. Keys: key(index) is where a key
// begins. Recursion: at most one level per byte of the longest key.
template <class Key>
class KeySort {
 public:
  explicit KeySort(const Key& key) : key_(key) {}

  void load(SortItem* items, size_t n, size_t depth) const {
    for (size_t i = 0; i < n; i++) {
      const char* key = key_(items[i].index);
      items[i].first = ordered_word(key, items[i].key_bytes, depth);
      items[i].second = ordered_word(key, items[i].key_bytes, depth + 8);
    }
  }

  // Precondition: the items' keys agree before `depth`, and their words are those at it. scratch: as long as items.
  void sort(SortItem* items, SortItem* scratch, size_t n, size_t depth) const {
    if (n <= kRadixItems) return sort_few(items, n, depth);
    uint64_t differs[2] = {0, 0};
    uint32_t longest = 0;
    for (size_t i = 0; i < n; i++) {
      differs[0] |= items[i].first ^ items[0].first;
      differs[1] |= items[i].second ^ items[0].second;
      longest = std::max(longest, items[i].key_bytes);
    }
    const uint64_t SortItem::*word = differs[0] != 0 ? &SortItem::first : &SortItem::second;
    const uint64_t difference = differs[0] != 0 ? differs[0] : differs[1];
    if (difference == 0) {
      if (longest <= depth + kSortWordBytes) return sort_few(items, n, depth);
      load(items, n, depth + kSortWordBytes);
      return sort(items, scratch, n, depth + kSortWordBytes);
    }
    const int shift = 56 - std::countl_zero(difference) / 8 * 8;
    size_t ends[256] = {};
    for (size_t i = 0; i < n; i++) ends[items[i].*word >> shift & 0xff]++;
    size_t sum = 0;
    for (size_t& end : ends) end = std::exchange(sum, sum + end);
    for (size_t i = 0; i < n; i++) scratch[ends[items[i].*word >> shift & 0xff]++] = items[i];
    std::copy(scratch, scratch + n, items);
    for (size_t bucket = 0, begin = 0; bucket < 256; begin = ends[bucket++]) {
      if (ends[bucket] - begin > 1) sort(items + begin, scratch + begin, ends[bucket] - begin, depth);
    }
  }

  // <0, 0, >0 as the keys compare, which agree before `from`.
  int compare(const SortItem& a, const SortItem& b, size_t from) const {
    const size_t common = std::min(a.key_bytes, b.key_bytes);
    if (common > from) {
      const int difference = std::memcmp(key_(a.index) + from, key_(b.index) + from, common - from);
      if (difference != 0) return difference;
    }
    return a.key_bytes == b.key_bytes ? 0 : (a.key_bytes < b.key_bytes ? -1 : 1);
  }

 private:
  // Below this many items a comparison sort is faster than another pass.
  static constexpr size_t kRadixItems = 48;

  void sort_few(SortItem* items, size_t n, size_t depth) const {
    std::sort(items, items + n, [&](const SortItem& a, const SortItem& b) {
      if (a.first != b.first) return a.first < b.first;
      if (a.second != b.second) return a.second < b.second;
      const int difference = compare(a, b, depth + kSortWordBytes);
      return difference != 0 ? difference < 0 : a.index < b.index;
    });
  }

  const Key& key_;
};

}  // namespace millrace
