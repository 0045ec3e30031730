// A value kept in an accumulator (min, max, first, last): nothing yet, or one value of a scalar type. Plain memory that
// may be moved by memcpy; create() before use, destroy() at the end. Text of up to 16 bytes lives inside, longer text
// on the heap, where the memory is reused by the next value that fits.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "base/batch.h"
#include "operators/accumulator_bytes.h"

namespace millrace {

template <class T>
struct HeldScalar {
  static constexpr bool kTrivial = true;
  T value;
  uint64_t has;
  void create() {
    value = T{};
    has = 0;
  }
  void destroy() {}
  T view() const { return value; }
  void set(T next) {
    value = next;
    has = 1;
  }
  bool empty() const { return has == 0; }
  size_t extra_bytes() const { return 0; }
};

struct HeldText {
  static constexpr bool kTrivial = false;
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kInside = 16;
  uint32_t size;
  uint32_t capacity;  // of the heap memory; 0: the text is inside
  union {
    char inside[kInside];
    char* heap;
  };
  void create() {
    size = kNone;
    capacity = 0;
    std::memset(inside, 0, kInside);
  }
  void destroy() {
    if (capacity > 0) std::free(heap);
  }
  bool empty() const { return size == kNone; }
  std::string_view view() const { return {capacity > 0 ? heap : inside, size}; }
  // Precondition: text is not a view of this value, and shorter than 4 GiB (records are).
  void set(std::string_view text) {
    const size_t available = capacity > 0 ? capacity : kInside;
    if (text.size() > available) {
      auto* memory = static_cast<char*>(std::malloc(text.size()));
      if (memory == nullptr) throw std::bad_alloc();
      destroy();
      heap = memory;
      capacity = static_cast<uint32_t>(text.size());
    }
    size = static_cast<uint32_t>(text.size());
    if (size > 0) std::memcpy(capacity > 0 ? heap : inside, text.data(), size);
  }
  size_t extra_bytes() const { return capacity; }
};
static_assert(sizeof(HeldText) % 8 == 0);

// What a scalar type is to an accumulator: where it stands in a column, its order, its bytes.
struct IntCell {  // int, timestamp, duration
  using Held = HeldScalar<int64_t>;
  using View = int64_t;
  static View get(const Column& column, uint32_t row) { return column.ints[row]; }
  static bool less(View a, View b) { return a < b; }
  static void put(ColumnBuilder& out, uint32_t row, View value) { out.ints[row] = value; }
  static void encode(View value, AccumulatorWriter& out) { out.zigzag(value); }
  static View decode(AccumulatorReader& in) { return in.zigzag(); }
};

struct BoolCell {
  using Held = HeldScalar<uint64_t>;
  using View = uint64_t;
  static View get(const Column& column, uint32_t row) { return column.bools[row]; }
  static void put(ColumnBuilder& out, uint32_t row, View value) { out.bools[row] = static_cast<uint8_t>(value); }
  static void encode(View value, AccumulatorWriter& out) { out.byte(static_cast<uint8_t>(value)); }
  static View decode(AccumulatorReader& in) { return in.boolean() ? 1 : 0; }
};

struct DoubleCell {
  using Held = HeldScalar<double>;
  using View = double;
  static View get(const Column& column, uint32_t row) { return column.doubles[row]; }
  // A total order, so that results do not depend on arrival: -0.0 below 0.0, NaN above everything.
  static bool less(View a, View b) {
    if (a < b) return true;
    if (a == b) return std::signbit(a) && !std::signbit(b);
    return !std::isnan(a) && std::isnan(b);
  }
  static void put(ColumnBuilder& out, uint32_t row, View value) { out.doubles[row] = value; }
  static void encode(View value, AccumulatorWriter& out) { out.fixed(value); }
  static View decode(AccumulatorReader& in) { return in.fixed(); }
};

struct TextCell {  // string and bytes; ordered by byte
  using Held = HeldText;
  using View = std::string_view;
  static View get(const Column& column, uint32_t row) { return column.strings[row]; }
  static bool less(View a, View b) { return a < b; }
  static void put(ColumnBuilder& out, uint32_t row, View value) { out.strings[row] = out.arena().copy(value); }
  static void encode(View value, AccumulatorWriter& out) { out.string(value); }
  static View decode(AccumulatorReader& in) { return in.string(); }
};

}  // namespace millrace
