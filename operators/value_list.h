// ValueList: the values of an accumulator in the order in which they came (collect). Plain memory that may be moved by
// memcpy; create() before use, destroy() at the end. Values stand one behind the other in their encoded form; the
// oldest can be dropped. `Value` says what they are (operators/value_bytes.h).
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
class ValueList {
 public:
  using View = typename Value::View;

  void create() {
    count_ = 0;
    begin_ = 0;
    end_ = 0;
    capacity_ = 0;
    memory_ = nullptr;
  }
  void destroy() { std::free(memory_); }
  uint32_t size() const { return count_; }
  std::string_view bytes() const { return {memory_ + begin_, end_ - begin_}; }
  size_t heap_bytes() const { return capacity_; }
  // What push() will add to bytes().
  static size_t bytes_of(View value) {
    char head[Value::kHeadBytes];
    return Value::head(value, head) + Value::tail(value).size();
  }

  // Precondition: bytes() and the value together are shorter than 1 GiB.
  void push(View value) {
    char head[Value::kHeadBytes];
    const uint32_t head_bytes = Value::head(value, head);
    const std::string_view tail = Value::tail(value);
    MR_CHECK(tail.size() < kMaxBytes - (end_ - begin_));
    const uint32_t more = head_bytes + static_cast<uint32_t>(tail.size());
    if (end_ + more > capacity_) make_room(more);
    std::memcpy(memory_ + end_, head, head_bytes);
    if (!tail.empty()) std::memcpy(memory_ + end_ + head_bytes, tail.data(), tail.size());
    end_ += more;
    count_++;
  }
  // Drops the oldest. Precondition: not empty.
  void pop() {
    begin_ += first_bytes();
    count_--;
  }
  // Of the oldest. Precondition: not empty.
  uint32_t first_bytes() const {
    AccumulatorReader in(bytes());
    Value::decode(in);
    return end_ - begin_ - static_cast<uint32_t>(in.left());
  }
  // Calls visit(value) for each, oldest first.
  template <class Visit>
  void for_each(Visit&& visit) const {
    AccumulatorReader in(bytes());
    for (uint32_t i = 0; i < count_; i++) visit(Value::decode(in));
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
    AccumulatorReader values(encoded);
    for (uint64_t i = 0; i < count; i++) Value::decode(values);
    if (!values.finished()) return false;
    if (encoded.empty()) return true;
    make_room(static_cast<uint32_t>(encoded.size()));
    std::memcpy(memory_, encoded.data(), encoded.size());
    end_ = static_cast<uint32_t>(encoded.size());
    count_ = static_cast<uint32_t>(count);
    return true;
  }

 private:
  static constexpr uint32_t kMaxBytes = 1u << 30;
  static constexpr uint32_t kFirstBytes = 32;

  // Moves the values to the front, into more memory unless half of it is free then.
  void make_room(uint32_t more) {
    const uint32_t held = end_ - begin_;
    if (capacity_ > 0 && held + more <= capacity_ / 2) {
      std::memmove(memory_, memory_ + begin_, held);
    } else {
      const uint32_t capacity = std::bit_ceil(std::max(held + more, kFirstBytes));
      auto* memory = static_cast<char*>(std::malloc(capacity));
      if (memory == nullptr) throw std::bad_alloc();
      if (held > 0) std::memcpy(memory, memory_ + begin_, held);
      std::free(memory_);
      memory_ = memory;
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = held;
  }

  uint32_t count_;
  uint32_t begin_;  // of the oldest
  uint32_t end_;
  uint32_t capacity_;
  char* memory_;  // nullptr: none yet
};

}  // namespace millrace
