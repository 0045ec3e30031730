// The decision logs behind make_decision_log(), with their seams for tests. Internal to this folder and its tests.
#pragma once

#include <functional>
#include <memory>

#include "kafka/admin.h"
#include "kafka/consumer.h"
#include "kafka/producer.h"
#include "recovery/decision_log.h"

namespace millrace {

// How a decision log gets at Kafka; tests put fakes here. Called from the decider's thread.
struct KafkaClients {
  std::function<Result<std::unique_ptr<KafkaAdmin>>()> admin;
  std::function<Result<std::unique_ptr<KafkaConsumer>>(const KafkaConsumerOptions& options)> consumer;
  std::function<Result<std::unique_ptr<KafkaProducer>>(const KafkaProducerOptions& options)> producer;
};
KafkaClients real_kafka_clients(const KafkaConfig& config, const Logger& log);

std::unique_ptr<DecisionLog> make_none_log(const RecoverySettings& settings, const Clock& clock, Logger log,
                                           KafkaClients clients);
std::unique_ptr<DecisionLog> make_local_log(const RecoverySettings& settings, const Clock& clock, Logger log,
                                            KafkaClients clients);
std::unique_ptr<DecisionLog> make_changelog_log(const RecoverySettings& settings, const Clock& clock, Logger log,
                                                KafkaClients clients);

// Where the pipeline's store lives.
inline std::string state_directory(const RecoverySettings& settings) { return settings.data_directory + "/state"; }
// Opens the store that the settings name: RocksDB in state_directory(), or memory.
Result<std::unique_ptr<StateStore>> open_state(const RecoverySettings& settings);

}  // namespace millrace
