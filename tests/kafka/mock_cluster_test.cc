// Errors injected with librdkafka's mock cluster. It knows no isolation, so nothing here is about visibility.
#include <doctest/doctest.h>
#include <librdkafka/rdkafka.h>
// Behind rdkafka.h, which it needs.
#include <librdkafka/rdkafka_mock.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "kafka/admin.h"
#include "kafka/client.h"
#include "kafka/producer.h"

using namespace millrace;

namespace {

constexpr int16_t kProduce = 0;
constexpr int16_t kOffsetFetch = 9;
constexpr int16_t kInitProducerId = 22;
constexpr int16_t kAddPartitionsToTxn = 24;
constexpr int16_t kEndTxn = 26;
constexpr int16_t kTxnOffsetCommit = 28;

class MockCluster {
 public:
  MockCluster() {
    char text[256];
    client_ = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    REQUIRE(client_ != nullptr);
    cluster_ = rd_kafka_mock_cluster_new(client_, 1);
    rd_kafka_mock_topic_create(cluster_, "out", 2, 1);
    rd_kafka_mock_topic_create(cluster_, "in", 1, 1);
    config.brokers = rd_kafka_mock_cluster_bootstraps(cluster_);
  }
  ~MockCluster() {
    rd_kafka_mock_cluster_destroy(cluster_);
    rd_kafka_destroy(client_);
  }
  void fail(int16_t api_key, const std::vector<rd_kafka_resp_err_t>& errors) {
    rd_kafka_mock_push_request_errors_array(cluster_, api_key, errors.size(), errors.data());
  }
  void set_down(bool down) {
    down ? rd_kafka_mock_broker_set_down(cluster_, 1) : rd_kafka_mock_broker_set_up(cluster_, 1);
  }
  void set_rtt(int ms) { rd_kafka_mock_broker_set_rtt(cluster_, 1, ms); }
  KafkaConfig config;

 private:
  rd_kafka_t* client_;
  rd_kafka_mock_cluster_t* cluster_;
};

struct Transactions {
  explicit Transactions(MockCluster& cluster, int transaction_timeout_ms = 5000) {
    KafkaProducerOptions options;
    options.transactional_id = "test";
    options.transaction_timeout_ms = transaction_timeout_ms;
    auto made = KafkaProducer::create(cluster.config, options, Logger());
    REQUIRE_MESSAGE(made.is_ok(), made.status().to_string());
    producer = std::move(made).value();
    KafkaConsumerOptions consumer_options;
    consumer_options.group = "group";
    auto consumer_made = KafkaConsumer::create(cluster.config, consumer_options, Logger());
    REQUIRE(consumer_made.is_ok());
    consumer = std::move(consumer_made).value();
  }
  void begin() {
    const Status init = producer->init_transactions(5000);
    REQUIRE_MESSAGE(init.is_ok(), init.to_string());
    auto opened = producer->topic("out");
    REQUIRE_MESSAGE(opened.is_ok(), opened.status().to_string());
    topic = opened.value();
    REQUIRE(producer->begin_transaction().is_ok());
  }
  void produce() {
    KafkaRecordOut record;
    record.key = "k";
    record.value = "v";
    record.timestamp_ms = 1;
    REQUIRE(producer->produce(topic, record) == Produced::kQueued);
  }
  Result<CommitOutcome> commit() {
    return producer->commit_transaction({{{{{"in", 0}, 5}}, consumer->group_metadata()}});
  }
  std::unique_ptr<KafkaProducer> producer;
  std::unique_ptr<KafkaConsumer> consumer;
  KafkaTopic* topic = nullptr;
};

}  // namespace

TEST_CASE("a clean commit is committed") {
  MockCluster cluster;
  Transactions test(cluster);
  test.begin();
  for (int i = 0; i < 3; i++) {
    test.produce();
    const auto outcome = test.commit();
    REQUIRE_MESSAGE(outcome.is_ok(), outcome.status().to_string());
    CHECK(*outcome == CommitOutcome::kCommitted);
    REQUIRE(test.producer->begin_transaction().is_ok());
  }
  std::vector<int64_t> delivered = test.producer->last_delivered(test.topic);
  CHECK(*std::max_element(delivered.begin(), delivered.end()) == 2);
}

TEST_CASE("a connection lost at EndTxn makes the outcome unknown, although librdkafka repeats it with success") {
  MockCluster cluster;
  Transactions test(cluster);
  test.begin();
  test.produce();
  cluster.fail(kEndTxn, {RD_KAFKA_RESP_ERR__TRANSPORT});
  const auto outcome = test.commit();
  REQUIRE_MESSAGE(outcome.is_ok(), outcome.status().to_string());
  CHECK(*outcome == CommitOutcome::kUnknown);
}

TEST_CASE("EndTxn that is answered with a delay of the coordinator still commits") {
  MockCluster cluster;
  Transactions test(cluster);
  test.begin();
  test.produce();
  cluster.fail(kEndTxn, {RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS});
  const auto outcome = test.commit();
  REQUIRE_MESSAGE(outcome.is_ok(), outcome.status().to_string());
  CHECK(*outcome == CommitOutcome::kCommitted);
}

TEST_CASE("a connection lost while offsets are sent is a definite failure: EndTxn was not sent") {
  MockCluster cluster;
  Transactions test(cluster);
  test.begin();
  test.produce();
  cluster.fail(kTxnOffsetCommit, {RD_KAFKA_RESP_ERR__TRANSPORT});
  const auto outcome = test.commit();
  REQUIRE_FALSE(outcome.is_ok());
  CHECK(outcome.status().code() == Code::kTransactionAborted);
  CHECK(outcome.status().retry() == Retry::kBackoff);
}

TEST_CASE("errors of EndTxn that are no fencing leave the outcome unknown") {
  MockCluster cluster;
  Transactions test(cluster);
  test.begin();
  test.produce();
  cluster.fail(kEndTxn, {RD_KAFKA_RESP_ERR_UNKNOWN});
  const auto outcome = test.commit();
  REQUIRE_MESSAGE(outcome.is_ok(), outcome.status().to_string());
  CHECK(*outcome == CommitOutcome::kUnknown);
}

TEST_CASE("fenced, wherever it is noticed") {
  for (const int16_t request : {kAddPartitionsToTxn, kTxnOffsetCommit, kEndTxn, kProduce}) {
    for (const auto error : {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
                             RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING}) {
      const bool possible = request != kProduce || error != RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
      if (!possible) continue;
      CAPTURE(request);
      const std::string name = rd_kafka_err2name(error);
      CAPTURE(name);
      MockCluster cluster;
      Transactions test(cluster);
      test.begin();
      cluster.fail(request, {error});
      test.produce();
      const auto outcome = test.commit();
      REQUIRE_FALSE(outcome.is_ok());
      CHECK_MESSAGE(outcome.status().code() == Code::kFenced, outcome.status().to_string());
      CHECK(outcome.status().retry() == Retry::kNever);
    }
  }
}

TEST_CASE("a producer that the coordinator fenced because its transaction was too old may start again") {
  MockCluster cluster;
  Transactions test(cluster, 1000);
  test.begin();
  test.produce();
  REQUIRE(test.producer->flush(5000).is_ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  cluster.fail(kTxnOffsetCommit, {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH});
  const auto outcome = test.commit();
  REQUIRE_FALSE(outcome.is_ok());
  CHECK_MESSAGE(outcome.status().code() == Code::kTransactionAborted, outcome.status().to_string());
  CHECK(outcome.status().retry() == Retry::kBackoff);
}

TEST_CASE("offsets that another member of the group owns") {
  MockCluster cluster;
  Transactions test(cluster);
  test.begin();
  test.produce();
  cluster.fail(kTxnOffsetCommit, {RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION});
  const auto outcome = test.commit();
  REQUIRE_FALSE(outcome.is_ok());
  CHECK(outcome.status().code() == Code::kGroupHasMembers);
}

TEST_CASE("a record that the broker finds too large fails the transaction, not silently") {
  MockCluster cluster;
  Transactions test(cluster);
  test.begin();
  cluster.fail(kProduce, {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE});
  test.produce();
  const Status flushed = test.producer->flush(5000);
  CHECK_MESSAGE(flushed.code() == Code::kRecordTooLarge, flushed.to_string());
  CHECK(test.producer->error().code() == Code::kRecordTooLarge);
  const auto outcome = test.commit();
  REQUIRE_FALSE(outcome.is_ok());
  CHECK(outcome.status().code() == Code::kRecordTooLarge);
}

TEST_CASE("a record over our own limit is refused before it is queued") {
  MockCluster cluster;
  Transactions test(cluster);
  test.begin();
  const std::string large(2 << 20, 'x');
  KafkaRecordOut record;
  record.value = large;
  CHECK(test.producer->produce(test.topic, record) == Produced::kTooLarge);
  CHECK(test.producer->error().is_ok());
}

TEST_CASE("the coordinator still aborts the transaction of a predecessor: the wait is short") {
  MockCluster cluster;
  Transactions test(cluster);
  cluster.fail(kInitProducerId, {RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS});
  const auto start = std::chrono::steady_clock::now();
  const Status status = test.producer->init_transactions(5000);
  const auto took = std::chrono::steady_clock::now() - start;
  CHECK_MESSAGE(status.is_ok(), status.to_string());
  CHECK(took < std::chrono::milliseconds(900));  // librdkafka alone: more than 1000
}

TEST_CASE("a transactional id that we may not use") {
  MockCluster cluster;
  Transactions test(cluster);
  cluster.fail(kInitProducerId, {RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED});
  const Status status = test.producer->init_transactions(5000);
  CHECK_MESSAGE(status.code() == Code::kKafkaAuthorization, status.to_string());
}

TEST_CASE("committed offsets wait until they are stable") {
  MockCluster cluster;
  Transactions test(cluster);
  cluster.fail(kOffsetFetch, {RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT});
  REQUIRE(test.consumer->commit({{{"out", 1}, 7}}, 5000).is_ok());
  const auto offsets = test.consumer->committed({{"out", 0}, {"out", 1}}, 5000);
  REQUIRE_MESSAGE(offsets.is_ok(), offsets.status().to_string());
  CHECK(*offsets == std::vector<int64_t>{kOffsetNone, 7});
}

TEST_CASE("no broker: bounded waits, and a consumer that is not connected but not failed") {
  MockCluster cluster;
  Transactions test(cluster);
  cluster.set_down(true);
  const Status status = test.producer->init_transactions(300);
  CHECK(status.code() == Code::kKafkaUnavailable);
  REQUIRE(test.consumer->assign({{{"out", 0}, 0}}).is_ok());
  KafkaPoll poll;
  // When librdkafka notices is its own affair: a request under way fails at once, but an idle connection that was
  // closed shows only when the attempts to open it again have failed, which back off.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (test.consumer->connected() && std::chrono::steady_clock::now() < deadline) {
    CHECK(test.consumer->poll(10, 1000, 100, false, &poll).is_ok());
    CHECK(poll.records.empty());
  }
  CHECK_FALSE(test.consumer->connected());
}
