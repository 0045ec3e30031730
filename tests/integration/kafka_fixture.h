// One broker, with a proxy in front, for all tests of a program; each test uses topics of its own.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "kafka/admin.h"
#include "kafka/consumer.h"
#include "kafka/producer.h"
#include "tests/integration/broker.h"
#include "tests/integration/tcp_proxy.h"

namespace millrace {

struct TestKafka {
  TestKafka() {
    KafkaBrokerOptions options;
    options.advertised_proxy_port = proxy.port();
    broker = KafkaBroker::start(options, &why_not);
    if (broker) proxy.forward_to(broker->proxied_port());
  }
  TcpProxy proxy;
  std::unique_ptr<KafkaBroker> broker;  // nullptr: the tests skip
  std::string why_not;
};

// Started on first use; nullptr when there is none to be had.
TestKafka* test_kafka();

#define NEED_KAFKA()                     \
  TestKafka* const kafka = test_kafka(); \
  if (kafka == nullptr) return

#define REQUIRE_OK(expression)                                 \
  do {                                                         \
    const ::millrace::Status required_ = (expression);         \
    REQUIRE_MESSAGE(required_.is_ok(), required_.to_string()); \
  } while (0)

// The value of a Result that must be ok.
template <class T>
T must(Result<T> result) {
  REQUIRE_MESSAGE(result.is_ok(), result.status().to_string());
  return std::move(result).value();
}

inline KafkaConfig direct(const TestKafka& kafka) { return {kafka.broker->bootstrap(), {}}; }
inline KafkaConfig proxied(const TestKafka& kafka) { return {"127.0.0.1:" + std::to_string(kafka.proxy.port()), {}}; }

inline void create_topic(const TestKafka& kafka, const std::string& name, int partitions) {
  auto admin = must(KafkaAdmin::create(direct(kafka), Logger()));
  TopicSpec spec;
  spec.name = name;
  spec.partitions = partitions;
  REQUIRE_OK(admin->create_topic(spec, 10'000));
}

inline std::unique_ptr<KafkaProducer> make_producer(const KafkaConfig& config, const std::string& transactional_id,
                                                    size_t max_message_bytes = 1'000'000) {
  KafkaProducerOptions options;
  options.transactional_id = transactional_id;
  options.max_message_bytes = max_message_bytes;
  auto producer = must(KafkaProducer::create(config, options, Logger()));
  if (!transactional_id.empty()) REQUIRE_OK(producer->init_transactions(20'000));
  return producer;
}

inline std::unique_ptr<KafkaConsumer> make_consumer(const TestKafka& kafka, const std::string& group) {
  KafkaConsumerOptions options;
  options.group = group;
  return must(KafkaConsumer::create(direct(kafka), options, Logger()));
}

inline void put(KafkaProducer& producer, KafkaTopic* topic, const std::string& key, const std::string& value,
                int32_t partition = -1, int64_t timestamp_ms = 1000) {
  KafkaRecordOut record;
  record.partition = partition;
  record.key = key;
  record.value = value;
  record.timestamp_ms = timestamp_ms;
  REQUIRE(producer.produce(topic, record) == Produced::kQueued);
}

struct Read {
  int32_t partition;
  int64_t offset;
  std::string key;
  std::string value;
  bool tombstone;
  int64_t timestamp_ms;
  std::vector<std::pair<std::string, std::string>> headers;
};

// Everything that is committed in the topic, in order per partition. A commit is answered before its markers stand in
// every partition, and until then the partition ends before it: who expects records says how many to wait for.
inline std::vector<Read> read_topic(const TestKafka& kafka, const std::string& topic, int partitions,
                                    size_t at_least) {
  auto consumer = make_consumer(kafka, "reader");
  std::vector<PartitionOffset> assignment;
  for (int i = 0; i < partitions; i++) assignment.push_back({{topic, i}, kOffsetBeginning});
  REQUIRE_OK(consumer->assign(assignment));
  std::vector<Read> found;
  std::vector<bool> ended(static_cast<size_t>(partitions), false);
  size_t open = ended.size();
  KafkaPoll poll;
  for (int polls = 0; open > 0 || found.size() < at_least; polls++) {
    REQUIRE_MESSAGE(polls < 300, topic << ": " << found.size() << " of " << at_least << " records after 30 s");
    REQUIRE_OK(consumer->poll(1000, 1 << 20, 100, true, &poll));
    for (const KafkaRecord& record : poll.records) {
      Read& read = found.emplace_back();
      read = {static_cast<int32_t>(record.partition_index),
              record.offset,
              std::string(record.key),
              std::string(record.value),
              record.value.data() == nullptr,
              record.timestamp_ms,
              {}};
      for (uint32_t i = 0; i < record.header_count; i++) {
        read.headers.emplace_back(record.headers[i].name, record.headers[i].value);
      }
    }
    for (const auto& [index, position] : poll.ends) {
      if (!ended[index]) open--;
      ended[index] = true;
    }
  }
  return found;
}

}  // namespace millrace
