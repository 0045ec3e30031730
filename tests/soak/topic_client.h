// TopicClient: raw librdkafka for checking and meddling from outside: loading orders, reading topics as a
// read_committed consumer sees them, committed offsets, deleting. Independent of kafka/. Throws std::runtime_error;
// every wait is bounded. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/soak/orders_world.h"

namespace millrace {

class TopicClient {
 public:
  explicit TopicClient(std::string bootstrap) : bootstrap_(std::move(bootstrap)) {}
  void create_topic(const std::string& topic, int partitions,
                    const std::map<std::string, std::string>& settings = {}) const;
  // Returns when the broker no longer shows it.
  void delete_topic(const std::string& topic) const;
  // The log of the partition begins at this offset from now on.
  void delete_records(const std::string& topic, int32_t partition, int64_t before) const;
  // One record; partition -1: murmur2 of the key.
  void produce(const std::string& topic, const std::string& key, const std::string& value,
               int32_t partition = -1) const;
  // Orders [first, end), keyed by customer, at most per_second (0: no limit), and further ones while more() says so.
  // Returns the number behind the last one.
  uint64_t load(const std::string& topic, const OrdersOptions& options, uint64_t first, uint64_t end,
                uint64_t per_second, const std::function<bool()>& more = {}) const;
  struct Record {
    int32_t partition;
    int64_t offset;
    std::string_view key;
    std::string_view value;
    bool tombstone;
    int64_t timestamp_ms;
    std::vector<std::pair<std::string, std::string>> headers;
  };
  // All records of a topic up to its end, partition by partition order kept.
  void read_all(const std::string& topic, const std::function<void(const Record&)>& visit) const;
  // Sum of end offsets and of a group's committed offsets (missing ones count 0).
  int64_t end_offsets(const std::string& topic) const;
  int64_t committed_offsets(const std::string& group, const std::string& topic) const;
  // Moves a group's offset as an operator would; the group must have no members.
  void commit_offset(const std::string& group, const std::string& topic, int32_t partition, int64_t offset) const;
  int partitions(const std::string& topic) const;

 private:
  std::string bootstrap_;
};

}  // namespace millrace
