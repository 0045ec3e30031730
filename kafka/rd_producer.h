// RdProducer: KafkaProducer on librdkafka. Producing is in producer.cc, transactions in transaction.cc. Internal to
// kafka/.
//
// Deliveries are watched by librdkafka's acknowledgement interceptor, on its broker threads: an indirect call and a
// store per message. Delivery reports would move every message through another queue to whoever polls, at ten times the
// cost, and last_delivered() would depend on somebody polling.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kafka/client.h"
#include "kafka/producer.h"

namespace millrace {

struct KafkaTopic {
  std::string name;
  Rd<rd_kafka_topic_t> handle;
  // Per partition, of the last acknowledged record; written by broker threads. Empty: not known to exist.
  std::vector<std::atomic<int64_t>> delivered;
};

class RdProducer : public KafkaProducer, private RdClient::Observer {
 public:
  RdProducer(const KafkaConfig& config, const KafkaProducerOptions& options, Logger log)
      : config_(config), options_(options), log_(std::move(log)) {}
  ~RdProducer() override;
  Status open();

  Result<KafkaTopic*> topic(const std::string& name) override;
  Status create_topic(const std::string& name, int partitions, int timeout_ms) override;
  Produced produce(KafkaTopic* topic, const KafkaRecordOut& record) override;
  size_t record_limit(KafkaTopic* topic) override;
  void poll(int timeout_ms) override;
  Status flush(int timeout_ms) override;
  Status error() const override;
  std::vector<int64_t> last_delivered(KafkaTopic* topic) const override;

  Status init_transactions(int timeout_ms) override;
  Status begin_transaction() override;
  Result<CommitOutcome> commit_transaction(const std::vector<GroupOffsets>& groups) override;
  void abort_transaction() override;

 private:
  rd_kafka_t* handle() const { return client_->get(); }
  void acknowledged(const rd_kafka_message_t& message) override;
  void client_error(rd_kafka_resp_err_t error, const std::string& text) override;
  void fail(Status status);
  Status describe(rd_kafka_resp_err_t error, const std::string& what, const std::string& detail) const;
  Status describe(rd_kafka_error_t* error, const std::string& what) const;
  KafkaTopic* find_or_add(const std::string& name);
  Result<int32_t> partition_count(KafkaTopic* topic);
  Status send_offsets(const GroupOffsets& group, const Deadline& deadline);
  Status abort_reason(const Status& flushed);
  Result<CommitOutcome> end_transaction(const Deadline& deadline, uint64_t lost_before);
  bool transaction_timed_out() const;

  KafkaConfig config_;
  KafkaProducerOptions options_;
  Logger log_;
  std::unique_ptr<RdClient> client_;
  std::atomic<int64_t> transaction_began_ms_{0};  // 0: none is open
  mutable std::mutex mutex_;                      // of what follows
  std::vector<std::unique_ptr<KafkaTopic>> topics_;
  Status failure_;
  std::atomic<int> flushing_{0};  // other threads wait: rd_kafka_flush ends only when nothing at all is queued
  std::atomic<bool> failed_{false};
  std::atomic<bool> purged_{false};  // librdkafka gave the transaction up: it will not commit
};

}  // namespace millrace
