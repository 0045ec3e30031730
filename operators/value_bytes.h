// The bytes of values inside accumulators that hold many of them (member_set.h, value_list.h), one type per kind of
// value:
//   View                            as it stands in a column; get(const Column&, row)
//   kHeadBytes, head(View, char*)   writes up to so many bytes, returns how many
//   tail(View)                      what follows them
//   decode(AccumulatorReader&)      reads both; no encoded value begins another one
//   hash(View)                      64 well-mixed bits, never stored
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "base/batch.h"
#include "operators/accumulator_bytes.h"
#include "state/key_hash.h"

namespace millrace {

// Writes value as AccumulatorWriter::varint does, at most 10 bytes; returns how many.
inline uint32_t put_varint(uint64_t value, char* out) {
  uint32_t n = 0;
  for (; value >= 0x80; value >>= 7) out[n++] = static_cast<char>(value | 0x80);
  out[n++] = static_cast<char>(value);
  return n;
}

inline uint64_t mixed_bits(uint64_t value) {
  value ^= value >> 32;
  value *= 0x9fb21c651e98df25;
  value ^= value >> 29;
  value *= 0xd6e8feb86659fd93;
  return value ^ value >> 32;
}

struct IntBytes {  // int, timestamp, duration
  using View = int64_t;
  static constexpr uint32_t kHeadBytes = 10;
  static View get(const Column& column, uint32_t row) { return column.ints[row]; }
  static uint32_t head(View value, char* out) {
    return put_varint(static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63), out);
  }
  static std::string_view tail(View) { return {}; }
  static View decode(AccumulatorReader& in) { return in.zigzag(); }
  static uint64_t hash(View value) { return mixed_bits(static_cast<uint64_t>(value)); }
};

struct BoolBytes {
  using View = uint8_t;
  static constexpr uint32_t kHeadBytes = 1;
  static View get(const Column& column, uint32_t row) { return column.bools[row]; }
  static uint32_t head(View value, char* out) {
    out[0] = static_cast<char>(value);
    return 1;
  }
  static std::string_view tail(View) { return {}; }
  static View decode(AccumulatorReader& in) { return in.boolean() ? 1 : 0; }
  static uint64_t hash(View value) { return mixed_bits(value); }
};

struct DoubleBytes {
  using View = double;
  static constexpr uint32_t kHeadBytes = 8;
  static View get(const Column& column, uint32_t row) { return column.doubles[row]; }
  static uint32_t head(View value, char* out) {
    uint64_t bits = std::bit_cast<uint64_t>(value);
    for (uint32_t i = 0; i < 8; i++, bits >>= 8) out[i] = static_cast<char>(bits);
    return 8;
  }
  static std::string_view tail(View) { return {}; }
  static View decode(AccumulatorReader& in) { return in.fixed(); }
  static uint64_t hash(View value) { return mixed_bits(std::bit_cast<uint64_t>(value)); }
};

struct TextBytes {  // string and bytes
  using View = std::string_view;
  static constexpr uint32_t kHeadBytes = 10;
  static View get(const Column& column, uint32_t row) { return column.strings[row]; }
  static uint32_t head(View value, char* out) { return put_varint(value.size(), out); }
  static std::string_view tail(View value) { return value; }
  static View decode(AccumulatorReader& in) { return in.string(); }
  static uint64_t hash(View value) { return hash_key(value); }
};

}  // namespace millrace
