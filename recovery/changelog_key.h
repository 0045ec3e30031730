// Keys of changelog records. A key is the user key of the state, whose shard follows from it (base/murmur2.h), as in
// Kafka Streams. Where it does not follow, since an operator keeps several tables (operators/state_tables.h: windows,
// timers), the record carries the header `millrace.shard`, and its key is 0, 0, the shard (2 bytes, big-endian), and
// the user key: no user key of such an operator begins with 0, so that both forms may stand in one compacted topic.
// A durable format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

inline constexpr std::string_view kShardHeader = "millrace.shard";
inline constexpr size_t kShardPrefix = 4;

inline std::string key_with_shard(uint16_t shard, std::string_view user_key) {
  std::string key = {0, 0, static_cast<char>(shard >> 8), static_cast<char>(shard & 0xff)};
  return key.append(user_key);
}

// False: `key` is certainly not such a key. (True for other keys too, for example small big-endian integers; the header
// decides.)
inline bool may_have_shard(std::string_view key) { return key.size() >= 2 && key[0] == 0 && key[1] == 0; }

// The parts of such a key; a key that is too short belongs to no shard (UINT32_MAX).
inline void split_shard(std::string_view key, uint32_t* shard, std::string_view* user_key) {
  *shard = UINT32_MAX;
  if (key.size() < kShardPrefix) return;
  *shard = static_cast<uint32_t>(static_cast<uint8_t>(key[2])) << 8 | static_cast<uint8_t>(key[3]);
  *user_key = key.substr(kShardPrefix);
}

}  // namespace millrace
