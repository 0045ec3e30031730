// Connection settings of a Kafka cluster and the allow-list of librdkafka properties. Values; any thread. kafka/ is the
// only user of librdkafka: its headers show none of its types, and from_kafka() (client.cc) is the one place that
// converts its errors.
#pragma once

#include <map>
#include <string>

#include "base/config_node.h"
#include "base/log.h"

namespace millrace {

struct KafkaConfig {
  std::string brokers;
  std::map<std::string, std::string> properties;  // allow-listed: security.protocol, sasl.*, ssl.*, client tuning
};

// Reads `kafka: {brokers, properties}` of a pipeline. A property that is not allow-listed is kProperty at its key;
// secrets (sasl.password, ssl.key.password …) never appear in a message.
KafkaConfig read_kafka_config(const ConfigNode& node, Diagnostics& diagnostics);
bool is_allowed_kafka_property(const std::string& name);

}  // namespace millrace
