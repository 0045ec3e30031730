// SinkLender: the idempotent producer that Kafka sinks use when their output is not part of the decision
// (at_least_once, and the modes local and none). It is flushed before every decision, so that no decided input can be
// without its output. open, flush and close: the decider's thread; producer() and health(): any thread after open.
#pragma once

#include <memory>

#include "kafka/producer.h"
#include "recovery/decision_log.h"
#include "recovery/modes.h"

namespace millrace {

class SinkLender {
 public:
  // clients.producer must stay callable until open().
  SinkLender(const RecoverySettings& settings, KafkaClients clients)
      : has_cluster_(!settings.kafka.brokers.empty()),
        timeout_ms_(settings.transaction_timeout_ms),
        clients_(std::move(clients)) {}
  // Makes the producer if the pipeline has a Kafka cluster.
  Status open() {
    if (!has_cluster_) return Status::ok();
    KafkaProducerOptions options;
    options.linger_ms = 1;  // what it sends is visible at once, no commit hurries it
    MR_ASSIGN(producer_, clients_.producer(options));
    return Status::ok();
  }
  // Everything that sinks have written is acknowledged, or the error why not.
  Status flush() { return producer_ ? producer_->flush(timeout_ms_) : Status::ok(); }
  Status health() const { return producer_ ? producer_->error() : Status::ok(); }
  KafkaProducer* producer() const { return producer_.get(); }
  void close() { producer_.reset(); }

 private:
  const bool has_cluster_;
  const int timeout_ms_;
  KafkaClients clients_;
  std::unique_ptr<KafkaProducer> producer_;
};

}  // namespace millrace
