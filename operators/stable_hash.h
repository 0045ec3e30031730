// Hashes that stand in stored state (sketches): XXH3 of 64 bits without a seed, of an int's eight bytes, lowest first,
// or of the bytes of a text. They never change.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "state/key_hash.h"

namespace millrace {

inline uint64_t stable_hash(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

inline uint64_t stable_hash(uint64_t value) {
  char bytes[8];
  for (char& byte : bytes) {
    byte = static_cast<char>(value);
    value >>= 8;
  }
  return XXH3_64bits(bytes, sizeof bytes);
}

}  // namespace millrace
