// KafkaAdmin: topics and groups. Blocking calls with a timeout; any one thread at a time. Used at start, never per
// record.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "kafka/consumer.h"
#include "kafka/kafka_config.h"

namespace millrace {

struct TopicInfo {
  std::string name;
  std::string topic_id;  // base64 of the uuid; empty when the broker does not say
  int32_t partitions = 0;
};

struct TopicSpec {
  std::string name;
  int32_t partitions = 1;
  int replication = -1;                         // -1: the broker's default
  std::map<std::string, std::string> settings;  // cleanup.policy …
};

struct Watermarks {
  int64_t low = 0;
  int64_t high = 0;  // end for read_uncommitted readers
};

class KafkaAdmin {
 public:
  static Result<std::unique_ptr<KafkaAdmin>> create(const KafkaConfig& config, Logger log);
  virtual ~KafkaAdmin() = default;
  virtual Result<std::string> cluster_id(int timeout_ms) = 0;
  // nullopt: no such topic. Never creates one.
  virtual Result<std::optional<TopicInfo>> describe_topic(const std::string& name, int timeout_ms) = 0;
  virtual Result<std::map<std::string, std::string>> topic_settings(const std::string& name, int timeout_ms) = 0;
  // Succeeds when the topic exists afterwards (also if somebody else was faster).
  virtual Status create_topic(const TopicSpec& spec, int timeout_ms) = 0;
  virtual Result<std::vector<Watermarks>> watermarks(const std::vector<TopicPartition>& partitions, int timeout_ms) = 0;
  // Offsets of the first record at or after the time; the end where there is none.
  virtual Result<std::vector<int64_t>> offsets_for_time(const std::vector<TopicPartition>& partitions, int64_t time_ms,
                                                        int timeout_ms) = 0;
  // Live members of a consumer group (0 for an empty or unknown one).
  virtual Result<int> group_members(const std::string& group, int timeout_ms) = 0;
};

}  // namespace millrace
