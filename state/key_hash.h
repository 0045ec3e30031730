// The hash of keys inside maps of this folder: XXH3, inlined. Not the shard function, and never stored.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>
#include <string_view>

namespace millrace {

inline uint64_t hash_key(std::string_view key) { return XXH3_64bits(key.data(), key.size()); }

}  // namespace millrace
