// Kafka source: records of topics. docs/sources/kafka.md is the user's page.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sources/source_plan.h"

namespace millrace {

void register_kafka_source(SourceRegistry& registry);

// Larger records are skipped and counted.
inline constexpr size_t kMaxKafkaRecordBytes = 64u << 20;

struct KafkaSourceOptions {
  enum class Start { kEarliest, kLatest, kTimestamp };
  std::vector<std::string> topics;
  std::string group;
  Start start = Start::kEarliest;  // where neither a resume position nor a committed offset is known
  int64_t start_ms = 0;            // kTimestamp
  bool bounded = false;            // ends at the high watermarks that open() finds; committed offsets are ignored
  bool wait_for_topic = true;      // a missing topic is waited for
  size_t queue_bytes = 32u << 20;
  int open_timeout_ms = 10'000;  // for brokers that do not answer
};

// The registered kind makes it from YAML; its identity of a partition is the topic's id.
std::unique_ptr<Source> make_kafka_source(KafkaSourceOptions options, const SourceContext& context);

}  // namespace millrace
