#include "recovery/decision_log.h"

#include "base/file.h"
#include "recovery/modes.h"

namespace millrace {

KafkaClients real_kafka_clients(const KafkaConfig& config, const Logger& log) {
  KafkaClients clients;
  clients.admin = [config, log] { return KafkaAdmin::create(config, log); };
  clients.consumer = [config, log](const KafkaConsumerOptions& options) {
    return KafkaConsumer::create(config, options, log);
  };
  clients.producer = [config, log](const KafkaProducerOptions& options) {
    return KafkaProducer::create(config, options, log);
  };
  return clients;
}

Result<std::unique_ptr<StateStore>> open_state(const RecoverySettings& settings) {
  if (!settings.rocksdb) return open_memory_store();
  MR_RETURN_IF_ERROR(make_directories(settings.data_directory));
  StateOptions options = settings.state;
  options.directory = state_directory(settings);
  return open_rocksdb_store(options);
}

std::unique_ptr<DecisionLog> make_decision_log(const RecoverySettings& settings, const Clock& clock, Logger log) {
  KafkaClients clients = real_kafka_clients(settings.kafka, log);
  switch (settings.mode) {
    case RecoveryMode::kNone: return make_none_log(settings, clock, std::move(log), std::move(clients));
    case RecoveryMode::kLocal: return make_local_log(settings, clock, std::move(log), std::move(clients));
    case RecoveryMode::kChangelog: return make_changelog_log(settings, clock, std::move(log), std::move(clients));
  }
  MR_CHECK(false);
  return nullptr;
}

}  // namespace millrace
