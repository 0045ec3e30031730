// The Kafka clients against a real broker.
#include "base/murmur2.h"
#include "tests/integration/kafka_fixture.h"

#include <chrono>
#include <set>
#include <thread>

using namespace millrace;

namespace millrace {

TestKafka* test_kafka() {
  static const auto kafka = std::make_unique<TestKafka>();
  if (kafka->broker) return kafka.get();
  MESSAGE("skipped: " << kafka->why_not);
  return nullptr;
}

}  // namespace millrace

TEST_CASE("records come back as they went, partitioned as Java does") {
  NEED_KAFKA();
  create_topic(*kafka, "round-trip", 7);
  // murmur2 of org.apache.kafka.common.utils.UtilsTest.
  const std::vector<std::pair<std::string, int32_t>> keys = {
      {"21", -973932308},
      {"foobar", -790332482},
      {"a-little-bit-long-string", -985981536},
      {"a-little-bit-longer-string", -1486304829},
      {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
      {"abc", 479470107}};
  auto producer = make_producer(direct(*kafka), "");
  KafkaTopic* topic = must(producer->topic("round-trip"));
  for (const auto& [key, hash] : keys) put(*producer, topic, key, "v-" + key, -1, 1'700'000'000'000);
  const Header headers[] = {{"name", "value"}, {"empty", ""}};
  KafkaRecordOut bare;
  bare.partition = 6;
  bare.headers = headers;
  bare.header_count = 2;
  bare.timestamp_ms = -5;
  REQUIRE(producer->produce(topic, bare) == Produced::kQueued);  // no key, a tombstone, before 1970
  KafkaRecordOut empty;
  empty.partition = 6;
  empty.key = empty.value = std::string_view("", 0);
  empty.timestamp_ms = kNoTime;
  REQUIRE(producer->produce(topic, empty) == Produced::kQueued);
  REQUIRE_OK(producer->flush(10'000));

  std::vector<Read> special;
  std::set<std::string> seen;
  for (const Read& read : read_topic(*kafka, "round-trip", 7, 0)) {
    if (read.key.empty()) {
      special.push_back(read);
      continue;
    }
    seen.insert(read.key);
    CHECK(read.value == "v-" + read.key);
    CHECK(read.timestamp_ms == 1'700'000'000'000);
    CHECK(read.partition == static_cast<int32_t>(shard_of(read.key, 7)));
    for (const auto& [key, hash] : keys) {
      if (key == read.key) CHECK(read.partition == (hash & 0x7fffffff) % 7);
    }
  }
  CHECK(seen.size() == keys.size());
  REQUIRE(special.size() == 2);
  CHECK(special[0].tombstone);
  CHECK(special[0].timestamp_ms == 1);
  CHECK(special[0].headers == decltype(Read::headers){{"name", "value"}, {"empty", ""}});
  CHECK_FALSE(special[1].tombstone);
  CHECK(special[1].timestamp_ms > 1'600'000'000'000);
}

TEST_CASE("a transaction is invisible until it is committed, with its offsets") {
  NEED_KAFKA();
  create_topic(*kafka, "atomic", 2);
  auto producer = make_producer(direct(*kafka), "atomic");
  auto consumer = make_consumer(*kafka, "atomic-group");
  KafkaTopic* topic = must(producer->topic("atomic"));
  CHECK(producer->last_delivered(topic) == std::vector<int64_t>{-1, -1});
  const std::vector<TopicPartition> input = {{"atomic", 0}, {"atomic", 1}};
  CHECK(must(consumer->committed(input, 10'000)) == std::vector<int64_t>{kOffsetNone, kOffsetNone});

  REQUIRE_OK(producer->begin_transaction());
  put(*producer, topic, "k", "1", 0);
  put(*producer, topic, "k", "2", 0);
  REQUIRE_OK(producer->flush(10'000));
  CHECK(producer->last_delivered(topic) == std::vector<int64_t>{1, -1});
  CHECK(read_topic(*kafka, "atomic", 2, 0).empty());
  CHECK(must(producer->commit_transaction({{{{{"atomic", 1}, 42}}, consumer->group_metadata()}})) ==
        CommitOutcome::kCommitted);
  CHECK(read_topic(*kafka, "atomic", 2, 2).size() == 2);
  CHECK(must(consumer->committed(input, 10'000)) == std::vector<int64_t>{kOffsetNone, 42});

  REQUIRE_OK(producer->begin_transaction());
  put(*producer, topic, "k", "3", 0);
  REQUIRE_OK(producer->flush(10'000));
  producer->abort_transaction();
  CHECK(read_topic(*kafka, "atomic", 2, 2).size() == 2);

  // An empty one is nothing to a broker.
  auto next = make_producer(direct(*kafka), "atomic");
  REQUIRE_OK(next->begin_transaction());
  CHECK(must(next->commit_transaction({})) == CommitOutcome::kCommitted);
  REQUIRE_OK(consumer->commit({{{"atomic", 0}, 7}}, 10'000));
  CHECK(must(consumer->committed(input, 10'000)) == std::vector<int64_t>{7, 42});
}

TEST_CASE("the answer of a commit is cut off: unknown, and decided at the broker") {
  NEED_KAFKA();
  create_topic(*kafka, "cut-answer", 1);
  auto producer = make_producer(proxied(*kafka), "cut-answer");
  KafkaTopic* topic = must(producer->topic("cut-answer"));
  for (int i = 0; i < 3; i++) {  // through the proxy a healthy commit is a known one
    REQUIRE_OK(producer->begin_transaction());
    put(*producer, topic, "k", "healthy", 0);
    CHECK(must(producer->commit_transaction({})) == CommitOutcome::kCommitted);
  }
  REQUIRE_OK(producer->begin_transaction());
  put(*producer, topic, "k", "cut", 0);
  const int cuts = kafka->proxy.cuts();
  kafka->proxy.cut_answer_of(kKafkaEndTxn);
  CHECK(must(producer->commit_transaction({})) == CommitOutcome::kUnknown);
  CHECK(kafka->proxy.cuts() == cuts + 1);
  producer.reset();
  producer = make_producer(proxied(*kafka), "cut-answer");
  CHECK(read_topic(*kafka, "cut-answer", 1, 4).size() == 4);
}

TEST_CASE("the request of a commit is cut off: unknown too") {
  NEED_KAFKA();
  create_topic(*kafka, "cut-request", 1);
  auto producer = make_producer(proxied(*kafka), "cut-request");
  KafkaTopic* topic = must(producer->topic("cut-request"));
  REQUIRE_OK(producer->begin_transaction());
  put(*producer, topic, "k", "cut", 0);
  kafka->proxy.cut_before(kKafkaEndTxn);
  CHECK(must(producer->commit_transaction({})) == CommitOutcome::kUnknown);
}

TEST_CASE("offsets whose connection is cut off: a definite failure") {
  NEED_KAFKA();
  create_topic(*kafka, "cut-offsets", 1);
  auto producer = make_producer(proxied(*kafka), "cut-offsets");
  auto consumer = make_consumer(*kafka, "cut-offsets");
  KafkaTopic* topic = must(producer->topic("cut-offsets"));
  REQUIRE_OK(producer->begin_transaction());
  put(*producer, topic, "k", "v", 0);
  REQUIRE_OK(producer->flush(10'000));
  kafka->proxy.cut_answer_of(kKafkaTxnOffsetCommit);
  const auto outcome = producer->commit_transaction({{{{{"cut-offsets", 0}, 1}}, consumer->group_metadata()}});
  REQUIRE_FALSE(outcome.is_ok());
  CHECK(outcome.status().code() == Code::kTransactionAborted);
  producer.reset();
  make_producer(direct(*kafka), "cut-offsets");
  CHECK(read_topic(*kafka, "cut-offsets", 1, 0).empty());
  CHECK(must(consumer->committed({{"cut-offsets", 0}}, 10'000)) == std::vector<int64_t>{kOffsetNone});
}

TEST_CASE("a produce request that is cut off is repeated without a duplicate") {
  NEED_KAFKA();
  create_topic(*kafka, "cut-produce", 1);
  auto producer = make_producer(proxied(*kafka), "cut-produce");
  KafkaTopic* topic = must(producer->topic("cut-produce"));
  REQUIRE_OK(producer->begin_transaction());
  kafka->proxy.cut_answer_of(kKafkaProduce);
  put(*producer, topic, "k", "v", 0);
  REQUIRE_OK(producer->flush(10'000));
  CHECK(must(producer->commit_transaction({})) == CommitOutcome::kCommitted);
  CHECK(read_topic(*kafka, "cut-produce", 1, 1).size() == 1);
}

TEST_CASE("the newer producer fences the older one, in a transaction and idle") {
  NEED_KAFKA();
  create_topic(*kafka, "fencing", 1);
  for (const bool idle : {false, true}) {
    CAPTURE(idle);
    auto older = make_producer(direct(*kafka), "fencing");
    KafkaTopic* topic = must(older->topic("fencing"));
    REQUIRE_OK(older->begin_transaction());
    if (!idle) {
      put(*older, topic, "k", "older", 0);
      REQUIRE_OK(older->flush(10'000));
    }
    const auto start = std::chrono::steady_clock::now();
    auto newer = make_producer(direct(*kafka), "fencing");
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(1500));
    put(*older, topic, "k", "older", 0);
    const auto outcome = older->commit_transaction({});
    REQUIRE_FALSE(outcome.is_ok());
    CHECK_MESSAGE(outcome.status().code() == Code::kFenced, outcome.status().to_string());
    CHECK(outcome.status().retry() == Retry::kNever);
    topic = must(newer->topic("fencing"));
    REQUIRE_OK(newer->begin_transaction());
    put(*newer, topic, "k", "newer", 0);
    CHECK(must(newer->commit_transaction({})) == CommitOutcome::kCommitted);
  }
  for (const Read& read : read_topic(*kafka, "fencing", 1, 2)) CHECK(read.value == "newer");
}

TEST_CASE("missing topics are reported and never created") {
  NEED_KAFKA();
  auto producer = make_producer(direct(*kafka), "");
  const auto topic = producer->topic("not-there");
  REQUIRE_FALSE(topic.is_ok());
  CHECK(topic.status().code() == Code::kTopicMissing);
  auto admin = must(KafkaAdmin::create(direct(*kafka), Logger()));
  CHECK_FALSE(must(admin->describe_topic("not-there", 5000)).has_value());
  CHECK(admin->watermarks({{"not-there", 0}}, 5000).status().code() == Code::kTopicMissing);
  CHECK(admin->topic_settings("not-there", 5000).status().code() == Code::kTopicMissing);
  CHECK_FALSE(must(admin->describe_topic("not-there", 5000)).has_value());
  // The handle that found nothing works once the topic is there.
  REQUIRE_OK(producer->create_topic("not-there", 3, 10'000));
  KafkaTopic* there = must(producer->topic("not-there"));
  put(*producer, there, "k", "v");
  REQUIRE_OK(producer->flush(10'000));
  const std::vector<int64_t> delivered = producer->last_delivered(there);
  CHECK(delivered.size() == 3);
  CHECK(std::count(delivered.begin(), delivered.end(), 0) == 1);
}

TEST_CASE("admin: topics, settings, ends, times, groups") {
  NEED_KAFKA();
  auto admin = must(KafkaAdmin::create(direct(*kafka), Logger()));
  CHECK(must(admin->cluster_id(5000)).size() == 22);
  TopicSpec spec;
  spec.name = "admin";
  spec.partitions = 3;
  spec.settings = {{"cleanup.policy", "compact"}, {"segment.bytes", "52428800"}};
  REQUIRE_OK(admin->create_topic(spec, 10'000));
  REQUIRE_OK(admin->create_topic(spec, 10'000));  // it is there: fine
  const auto info = must(admin->describe_topic("admin", 5000));
  REQUIRE(info.has_value());
  CHECK(info->partitions == 3);
  CHECK(info->topic_id.size() == 22);
  const auto settings = must(admin->topic_settings("admin", 5000));
  CHECK(settings.at("cleanup.policy") == "compact");
  CHECK(settings.at("segment.bytes") == "52428800");
  spec.name = "impossible";
  spec.settings = {{"cleanup.policy", "nonsense"}};
  const Status impossible = admin->create_topic(spec, 10'000);
  CHECK(impossible.code() == Code::kTopicSettings);
  CHECK(impossible.fault() == Fault::kUser);

  auto producer = make_producer(direct(*kafka), "");
  KafkaTopic* topic = must(producer->topic("admin"));
  for (int i = 0; i < 10; i++) put(*producer, topic, "k", "v", 1, 1'000'000 + i * 1000);
  REQUIRE_OK(producer->flush(10'000));
  const std::vector<TopicPartition> at = {{"admin", 1}, {"admin", 0}};
  const auto marks = must(admin->watermarks(at, 5000));
  CHECK(marks[0].low == 0);
  CHECK(marks[0].high == 10);
  CHECK(marks[1].high == 0);
  CHECK(must(admin->offsets_for_time(at, 1'003'500, 5000)) == std::vector<int64_t>{4, 0});
  CHECK(must(admin->offsets_for_time(at, 9'000'000, 5000)) == std::vector<int64_t>{10, 0});
  CHECK(must(admin->group_members("nobody", 5000)) == 0);
}

TEST_CASE("a record of 10 MB is written and read, also by a consumer with a small queue") {
  NEED_KAFKA();
  auto admin = must(KafkaAdmin::create(direct(*kafka), Logger()));
  TopicSpec spec;
  spec.name = "large";
  spec.settings = {{"max.message.bytes", "20000000"}};
  REQUIRE_OK(admin->create_topic(spec, 10'000));
  auto producer = make_producer(direct(*kafka), "", 20'000'000);
  KafkaTopic* topic = must(producer->topic("large"));
  std::string large(10'000'000, 'x');
  uint32_t random = 1;
  for (char& c : large) c = static_cast<char>('a' + ((random = random * 1664525 + 1013904223) >> 28));
  put(*producer, topic, "before", "small");
  put(*producer, topic, "large", large);
  put(*producer, topic, "after", "small");
  REQUIRE_OK(producer->flush(20'000));
  KafkaConsumerOptions options;
  options.group = "large";
  options.queue_bytes = 1 << 20;
  auto consumer = must(KafkaConsumer::create(direct(*kafka), options, Logger()));
  REQUIRE_OK(consumer->assign({{{"large", 0}, kOffsetBeginning}}));
  std::vector<size_t> sizes;
  KafkaPoll poll;
  for (int i = 0; i < 200 && sizes.size() < 3; i++) {
    REQUIRE_OK(consumer->poll(10, 64 << 10, 100, false, &poll));
    for (const KafkaRecord& record : poll.records) {
      sizes.push_back(record.value.size());
      if (record.value.size() > 100) CHECK(record.value == large);
    }
    if (!poll.records.empty() && poll.records[0].value.size() > 100) CHECK(poll.records.size() == 1);
  }
  CHECK(sizes == std::vector<size_t>{5, large.size(), 5});
  CHECK(consumer->positions() == std::vector<int64_t>{3});
}

TEST_CASE("consumer and producer outlive a restart of the broker") {
  KafkaBrokerOptions options;
  std::string why_not;
  auto broker = KafkaBroker::start(options, &why_not);
  if (!broker) {
    MESSAGE("skipped: " << why_not);
    return;
  }
  KafkaConfig config{broker->bootstrap(), {}};
  auto admin = must(KafkaAdmin::create(config, Logger()));
  TopicSpec spec;
  spec.name = "restart";
  REQUIRE_OK(admin->create_topic(spec, 10'000));
  auto producer = must(KafkaProducer::create(config, KafkaProducerOptions(), Logger()));
  KafkaTopic* topic = must(producer->topic("restart"));
  KafkaConsumerOptions consumer_options;
  consumer_options.group = "restart";
  auto consumer = must(KafkaConsumer::create(config, consumer_options, Logger()));
  REQUIRE_OK(consumer->assign({{{"restart", 0}, 0}}));
  put(*producer, topic, "k", "1");
  REQUIRE_OK(producer->flush(10'000));
  KafkaPoll poll;
  size_t records = 0;
  auto read_until = [&](size_t wanted) {
    for (int i = 0; i < 300 && records < wanted; i++) {
      REQUIRE_OK(consumer->poll(100, 1 << 20, 100, false, &poll));
      records += poll.records.size();
    }
    return records;
  };
  CHECK(read_until(1) == 1);
  CHECK(consumer->connected());
  broker->kill9();
  put(*producer, topic, "k", "2");
  for (int i = 0; i < 10; i++) REQUIRE_OK(consumer->poll(100, 1 << 20, 100, false, &poll));
  CHECK_FALSE(consumer->connected());
  REQUIRE(broker->restart());
  REQUIRE_OK(producer->flush(20'000));
  CHECK(read_until(2) == 2);
  CHECK(consumer->connected());
  // Frozen instead of dead: nothing fails either.
  broker->suspend();
  put(*producer, topic, "k", "3");
  CHECK(producer->flush(300).code() == Code::kKafkaUnavailable);
  broker->resume();
  REQUIRE_OK(producer->flush(20'000));
  CHECK(read_until(3) == 3);
  broker->stop();
  CHECK(broker->pid() == 0);
}
