// TopicClient: raw librdkafka for checking from outside: loading orders, reading topics as a read_committed consumer sees them, committed offsets. Independent of kafka/. Throws
// std::runtime_error; every wait is bounded.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/soak/orders_world.h"

namespace millrace {

class TopicClient {
 public:
  explicit TopicClient(std::string bootstrap) : bootstrap_(std::move(bootstrap)) {}
  void create_topic(const std::string& topic, int partitions) const;
  // Orders [first, end), keyed by customer, at most per_second (0: no limit).
  void load(const std::string& topic, const OrdersOptions& options, uint64_t first, uint64_t end, uint64_t per_second) const;
  struct Record {
    int32_t partition;
    int64_t offset;
    std::string_view key;
    std::string_view value;
    bool tombstone;
    int64_t timestamp_ms;
  };
  // All records of a topic up to its end, partition by partition order kept.
  void read_all(const std::string& topic, const std::function<void(const Record&)>& visit) const;
  // Sum of end offsets and of a group's committed offsets (missing ones count 0).
  int64_t end_offsets(const std::string& topic) const;
  int64_t committed_offsets(const std::string& group, const std::string& topic) const;
  int partitions(const std::string& topic) const;

 private:
  std::string bootstrap_;
};

}  // namespace millrace
