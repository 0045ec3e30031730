// MemberSet: the distinct values of an accumulator (count_distinct). Plain memory that may be moved by memcpy; create()
// before use, destroy() at the end. Members stand one behind the other in their encoded form, in the order in which
// they came, so that encoding the set is one copy; up to 16 bytes of them inside, more on the heap. Beyond a few
// members an open-addressing index of their hashes and places is kept beside them. `Value` says what they are
// (operators/value_bytes.h).
#pragma once

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "base/check.h"
#include "operators/value_bytes.h"

namespace millrace {

template <class Value>
class MemberSet {
 public:
  using View = typename Value::View;

  void create() {
    count_ = 0;
    bytes_ = 0;
    capacity_ = 0;
    slots_ = 0;
    std::memset(inside_, 0, kInside);
  }
  void destroy() {
    if (capacity_ == 0) return;
    std::free(heap_.members);
    std::free(heap_.index);
  }
  uint32_t size() const { return count_; }
  // The members, encoded, in the order in which they came.
  std::string_view bytes() const { return {members(), bytes_}; }
  size_t heap_bytes() const { return capacity_ + size_t{slots_} * sizeof(Slot); }

  // What insert() of a new value adds to bytes().
  static size_t bytes_of(View value) {
    char head[Value::kHeadBytes];
    return Value::head(value, head) + Value::tail(value).size();
  }

  // True: it is new. Precondition: bytes() and the value together are shorter than 2 GiB.
  bool insert(View value) {
    char head[Value::kHeadBytes];
    const uint32_t head_bytes = Value::head(value, head);
    const std::string_view tail = Value::tail(value);
    if (slots_ == 0) {
      if (find_by_scan(head, head_bytes, tail)) return false;
      append(head, head_bytes, tail);
      if (++count_ > kScanned) reindex(kFirstSlots);
      return true;
    }
    const auto hash = static_cast<uint32_t>(Value::hash(value));
    uint32_t at = hash & (slots_ - 1);
    for (; heap_.index[at].place != 0; at = (at + 1) & (slots_ - 1)) {
      const Slot slot = heap_.index[at];
      if (slot.hash == hash && stands_at(slot.place - 1, head, head_bytes, tail)) return false;
    }
    heap_.index[at] = {hash, bytes_ + 1};
    append(head, head_bytes, tail);
    if (++count_ > slots_ / 4 * 3) grow_index();
    return true;
  }
  bool contains(View value) const {
    char head[Value::kHeadBytes];
    const uint32_t head_bytes = Value::head(value, head);
    const std::string_view tail = Value::tail(value);
    if (slots_ == 0) return find_by_scan(head, head_bytes, tail);
    const auto hash = static_cast<uint32_t>(Value::hash(value));
    for (uint32_t at = hash & (slots_ - 1); heap_.index[at].place != 0; at = (at + 1) & (slots_ - 1)) {
      const Slot slot = heap_.index[at];
      if (slot.hash == hash && stands_at(slot.place - 1, head, head_bytes, tail)) return true;
    }
    return false;
  }
  // Calls visit(value) for each member, in the order in which they came.
  template <class Visit>
  void for_each(Visit&& visit) const {
    AccumulatorReader in(bytes());
    for (uint32_t i = 0; i < count_; i++) visit(Value::decode(in));
  }
  // The set is empty and has no memory afterwards.
  void clear() {
    destroy();
    create();
  }

  void encode(AccumulatorWriter& out) const {
    out.varint(count_);
    out.string(bytes());
  }
  // Precondition: empty. False: malformed.
  bool decode(AccumulatorReader& in) {
    const uint64_t count = in.varint();
    const std::string_view encoded = in.string();
    if (!in.ok() || count > encoded.size() || encoded.size() >= kMaxBytes) return false;
    reserve(static_cast<uint32_t>(encoded.size()));
    AccumulatorReader values(encoded);
    for (uint64_t i = 0; i < count; i++) {
      const View value = Value::decode(values);
      if (!values.ok() || !insert(value)) return false;
    }
    return values.finished() && bytes_ == encoded.size();
  }

 private:
  static constexpr uint32_t kInside = 16;
  static constexpr uint32_t kScanned = 8;  // up to so many members no index is kept
  static constexpr uint32_t kFirstSlots = 16;
  static constexpr uint32_t kMaxBytes = 1u << 31;
  struct Slot {
    uint32_t hash;
    uint32_t place;  // where the member stands, plus 1; 0: free
  };

  const char* members() const { return capacity_ > 0 ? heap_.members : inside_; }
  char* members() { return capacity_ > 0 ? heap_.members : inside_; }

  bool stands_at(uint32_t place, const char* head, uint32_t head_bytes, std::string_view tail) const {
    const size_t left = bytes_ - place;
    const char* at = members() + place;
    return left >= head_bytes + tail.size() && std::memcmp(at, head, head_bytes) == 0 &&
           (tail.empty() || std::memcmp(at + head_bytes, tail.data(), tail.size()) == 0);
  }
  bool find_by_scan(const char* head, uint32_t head_bytes, std::string_view tail) const {
    AccumulatorReader in(bytes());
    for (uint32_t i = 0; i < count_; i++) {
      if (stands_at(bytes_ - static_cast<uint32_t>(in.left()), head, head_bytes, tail)) return true;
      Value::decode(in);
    }
    return false;
  }
  void append(const char* head, uint32_t head_bytes, std::string_view tail) {
    MR_CHECK(tail.size() < kMaxBytes - bytes_ - head_bytes);
    const uint32_t needed = bytes_ + head_bytes + static_cast<uint32_t>(tail.size());
    if (needed > (capacity_ > 0 ? capacity_ : kInside)) reserve(std::bit_ceil(needed));
    char* at = members() + bytes_;
    std::memcpy(at, head, head_bytes);
    if (!tail.empty()) std::memcpy(at + head_bytes, tail.data(), tail.size());
    bytes_ = needed;
  }
  void reserve(uint32_t capacity) {
    if (capacity <= (capacity_ > 0 ? capacity_ : kInside)) return;
    auto* memory = static_cast<char*>(std::malloc(capacity));
    if (memory == nullptr) throw std::bad_alloc();
    if (bytes_ > 0) std::memcpy(memory, members(), bytes_);
    if (capacity_ > 0) {
      std::free(heap_.members);
    } else {
      heap_.index = nullptr;
    }
    heap_.members = memory;
    capacity_ = capacity;
  }
  static Slot* new_index(uint32_t slots) {
    auto* index = static_cast<Slot*>(std::calloc(slots, sizeof(Slot)));
    if (index == nullptr) throw std::bad_alloc();
    return index;
  }
  void place(Slot* index, uint32_t slots, Slot slot) const {
    uint32_t at = slot.hash & (slots - 1);
    while (index[at].place != 0) at = (at + 1) & (slots - 1);
    index[at] = slot;
  }
  // The first index of the members that are there.
  void reindex(uint32_t slots) {
    reserve(kInside + 1);  // the index has its place beside members on the heap
    heap_.index = new_index(slots);
    slots_ = slots;
    AccumulatorReader in(bytes());
    for (uint32_t i = 0; i < count_; i++) {
      const auto at = bytes_ - static_cast<uint32_t>(in.left());
      place(heap_.index, slots, {static_cast<uint32_t>(Value::hash(Value::decode(in))), at + 1});
    }
  }
  void grow_index() {
    Slot* larger = new_index(slots_ * 2);
    for (uint32_t i = 0; i < slots_; i++) {
      if (heap_.index[i].place != 0) place(larger, slots_ * 2, heap_.index[i]);
    }
    std::free(heap_.index);
    heap_.index = larger;
    slots_ *= 2;
  }

  uint32_t count_;
  uint32_t bytes_;
  uint32_t capacity_;  // of the members on the heap; 0: they are inside
  uint32_t slots_;     // of the index, a power of two; 0: there is none
  union {
    char inside_[kInside];
    struct {
      char* members;
      Slot* index;
    } heap_;
  };
};

}  // namespace millrace
