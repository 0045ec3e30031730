// The hash that Java's Kafka client partitions keys by, and our shard function. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

// org.apache.kafka.common.utils.Utils.murmur2, bit for bit.
uint32_t murmur2(std::string_view bytes);

// The shard, or the partition of Java's default partitioner, of a key. Precondition: shards > 0.
inline uint32_t shard_of(std::string_view key_bytes, uint32_t shards) {
  return (murmur2(key_bytes) & 0x7fffffffu) % shards;
}

}  // namespace millrace
