// Mode changelog on a real broker: what only a broker can show (isolation, fencing, compaction settings, stable
// offsets). MILLRACE_TEST_BROKER=host:port uses a broker that runs already; every test has topics of its own.
#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "recovery/changelog_topics.h"
#include "recovery/decision_log.h"
#include "tests/integration/broker.h"
#include "tests/recovery/recovery_fixture.h"

namespace millrace {
namespace {

using Table = std::map<std::string, std::string>;

// Host and port, or "" when there is no broker to be had (the tests then skip).
std::string bootstrap() {
  if (const char* given = std::getenv("MILLRACE_TEST_BROKER")) return given;
  static std::string why_not;
  static const std::unique_ptr<KafkaBroker> broker = KafkaBroker::start({}, &why_not);
  if (!broker) MESSAGE("skipped: " << why_not);
  return broker ? broker->bootstrap() : "";
}

std::string unique_name() {
  static int count = 0;
  auto now = std::chrono::system_clock::now().time_since_epoch();
  auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  return "t" + std::to_string(getpid()) + "-" + std::to_string(ms) + "-" + std::to_string(count++);
}

struct Pipeline {
  TemporaryDirectory directory;
  RecoverySettings settings = recovery_settings(RecoveryMode::kChangelog, directory.path());
  SystemClock clock;
  std::unique_ptr<KafkaAdmin> admin;
  std::unique_ptr<DecisionLog> log;
  Recovered now;

  explicit Pipeline(const std::string& brokers) {
    settings.pipeline = unique_name();
    settings.kafka.brokers = brokers;
    settings.groups = {{"in", settings.pipeline + "-group", true}};
    auto made = KafkaAdmin::create(settings.kafka, Logger());
    REQUIRE(made.is_ok());
    admin = std::move(made).value();
    TopicSpec spec;
    spec.name = settings.pipeline + ".input";
    REQUIRE(admin->create_topic(spec, 30'000).is_ok());
  }
  std::string topic() const { return changelog_topic(settings.pipeline, "revenue"); }
  Status start() {
    kill();
    log = make_decision_log(settings, clock, Logger());
    Result<Recovered> recovered = log->recover();
    if (!recovered.is_ok()) return recovered.status();
    now = std::move(recovered).value();
    return log->begin(now.progress.epoch + 1);
  }
  void must_start() {
    Status status = start();
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
  }
  void kill() {
    now = Recovered{};
    log.reset();
  }
  void lose_directory() {
    kill();
    std::filesystem::remove_all(settings.data_directory);
  }
  Result<DecisionOutcome> decide(uint64_t epoch, const Changes& changes, int64_t position, bool ingest = false) {
    DeltaPtr delta = make_delta(settings, epoch, now.progress.operators[0].number, changes);
    Decision decision = make_decision(epoch, {delta}, position);
    decision.progress.sources[0].partitions[0].at.name.topic = settings.pipeline + ".input";
    std::string record;
    Result<DecisionOutcome> outcome = log->decide(decision, &record);
    if (ingest) REQUIRE(now.store->ingest(*delta, record).is_ok());
    return outcome;
  }
  void must_decide(uint64_t epoch, const Changes& changes, int64_t position, bool ingest = false) {
    Result<DecisionOutcome> outcome = decide(epoch, changes, position, ingest);
    REQUIRE_MESSAGE(outcome.is_ok(), outcome.status().to_string());
    CHECK(*outcome == DecisionOutcome::kDecided);
  }
  void three_epochs() {
    must_start();
    must_decide(1, {}, 0, true);
    must_decide(2, {{"a", "1"}, {"b", "1"}}, 10, true);
    must_decide(3, {{"a", "2"}, {"b", std::nullopt}, {"c", "3"}}, 20);
  }
  Table held() { return content(*now.store, now.progress.operators[0].number); }
  // A producer that is not the pipeline's.
  std::unique_ptr<KafkaProducer> producer(const std::string& transactional_id, int timeout_ms) {
    KafkaProducerOptions options;
    options.transactional_id = transactional_id;
    options.transaction_timeout_ms = timeout_ms;
    auto made = KafkaProducer::create(settings.kafka, options, Logger());
    REQUIRE(made.is_ok());
    return std::move(made).value();
  }
  int64_t committed() {
    auto consumer = KafkaConsumer::create(settings.kafka, {settings.groups[0].group}, Logger());
    REQUIRE(consumer.is_ok());
    return consumer.value()->committed({{settings.pipeline + ".input", 0}}, 30'000)->at(0);
  }
};

const Table kAfterThree = {{"a", "2"}, {"c", "3"}};

#define NEEDS_BROKER()                \
  const std::string at = bootstrap(); \
  if (at.empty()) return

}  // namespace

TEST_CASE("first start, tail, nothing, everything; topics as documented") {
  NEEDS_BROKER();
  Pipeline p(at);
  p.three_epochs();
  CHECK(p.committed() == 20);
  auto settings = p.admin->topic_settings(p.topic(), 30'000);
  REQUIRE(settings.is_ok());
  CHECK(settings->at("cleanup.policy") == "compact");
  CHECK(settings->at("segment.bytes") == "52428800");
  CHECK(settings->at("delete.retention.ms") == "604800000");
  CHECK(settings->at("max.compaction.lag.ms") == "3600000");
  p.must_start();
  CHECK_FALSE(p.now.first_start);
  CHECK(p.now.restored_from == "tail");
  CHECK(p.now.replayed_records >= 3);
  CHECK(p.now.replayed_records <= 5);
  CHECK(p.now.progress.epoch == 3);
  CHECK(p.held() == kAfterThree);
  p.must_start();
  CHECK(p.now.restored_from == "local");
  CHECK(p.now.replayed_records == 0);
  CHECK(p.held() == kAfterThree);
  p.lose_directory();
  p.must_start();
  CHECK(p.now.restored_from == "full");
  CHECK(p.now.replayed_records == 5);  // three uncompacted versions, two tombstone victims included
  CHECK(p.held() == kAfterThree);
}

TEST_CASE("an undecided epoch of a killed incarnation is never restored") {
  NEEDS_BROKER();
  Pipeline p(at);
  p.three_epochs();
  KafkaProducer* producer = p.log->sink_producer();
  KafkaTopic* topic = *producer->topic(p.topic());
  KafkaRecordOut out;
  out.partition = static_cast<int32_t>(shard_of("a", p.settings.shards)) % 4;
  out.key = "a";
  out.value = "undecided";
  REQUIRE(producer->produce(topic, out) == Produced::kQueued);
  REQUIRE(producer->flush(10'000).is_ok());
  p.lose_directory();  // close() would abort; the record is either aborted or cut off by the next init
  p.must_start();
  CHECK(p.held() == kAfterThree);
}

TEST_CASE("fencing: the newcomer with another directory wins, the older one stops; and back again") {
  NEEDS_BROKER();
  Pipeline p(at);
  p.three_epochs();
  TemporaryDirectory elsewhere;
  RecoverySettings other = p.settings;
  other.data_directory = elsewhere.path() + "/orders";
  {
    auto newer = make_decision_log(other, p.clock, Logger());
    Result<Recovered> recovered = newer->recover();
    REQUIRE_MESSAGE(recovered.is_ok(), recovered.status().to_string());
    CHECK(recovered->restored_from == "full");
    REQUIRE(newer->begin(4).is_ok());
    Status fenced = p.decide(4, {{"a", "zombie"}}, 99).status();
    CHECK(fenced.code() == Code::kFenced);
    CHECK(fenced.retry() == Retry::kNever);
    Decision decision = make_decision(4, {make_delta(other, 4, 1, {{"a", "4"}})}, 40);
    decision.progress.sources[0].partitions[0].at.name.topic = p.settings.pipeline + ".input";
    std::string record;
    REQUIRE(newer->decide(decision, &record).is_ok());
    p.must_start();  // fences the newer one in turn
    decision = make_decision(5, {make_delta(other, 5, 1, {{"a", "zombie"}})}, 99);
    fenced = newer->decide(decision, &record).status();
    CHECK_MESSAGE(fenced.code() == Code::kFenced, fenced.to_string());
  }
  CHECK(p.held() == Table{{"a", "4"}, {"c", "3"}});
  CHECK(p.committed() == 40);
  auto same = make_decision_log(p.settings, p.clock, Logger());
  CHECK(same->recover().status().code() == Code::kStateLocked);
  p.must_decide(5, {{"a", "5"}}, 50);
}

TEST_CASE("moved group offsets") {
  NEEDS_BROKER();
  Pipeline p(at);
  p.three_epochs();
  p.kill();
  auto consumer = KafkaConsumer::create(p.settings.kafka, {p.settings.groups[0].group}, Logger());
  REQUIRE(consumer.value()->commit({{{p.settings.pipeline + ".input", 0}, 7}}, 30'000).is_ok());
  CHECK(p.start().code() == Code::kProgressContradicted);
  p.settings.accept_reset = true;
  p.must_start();
  CHECK(p.now.progress.sources[0].partitions[0].at.position == 7);
  CHECK(p.held() == kAfterThree);
}

TEST_CASE("internal topics with settings that lose state") {
  NEEDS_BROKER();
  Pipeline p(at);
  TopicSpec spec;
  spec.name = p.topic();
  spec.partitions = 4;
  SUBCASE("deleting") { spec.settings = {{"cleanup.policy", "compact,delete"}}; }
  SUBCASE("partitions") {
    spec.partitions = 2;
    spec.settings = {{"cleanup.policy", "compact"}};
  }
  REQUIRE(p.admin->create_topic(spec, 30'000).is_ok());
  Status status = p.start();
  CHECK_MESSAGE(status.code() == Code::kTopicSettings, status.to_string());
}

TEST_CASE("a foreign open transaction in the changelog is waited for") {
  NEEDS_BROKER();
  Pipeline p(at);
  p.three_epochs();
  p.lose_directory();
  std::unique_ptr<KafkaProducer> foreign = p.producer(p.settings.pipeline + "-foreign", 60'000);
  REQUIRE(foreign->init_transactions(30'000).is_ok());
  REQUIRE(foreign->begin_transaction().is_ok());
  KafkaRecordOut out;
  out.partition = 0;
  out.key = "foreign";
  out.value = "x";
  REQUIRE(foreign->produce(*foreign->topic(p.topic()), out) == Produced::kQueued);
  REQUIRE(foreign->flush(10'000).is_ok());
  std::thread ends([&] {
    std::this_thread::sleep_for(std::chrono::seconds(3));
    foreign->abort_transaction();
  });
  auto before = std::chrono::steady_clock::now();
  Status status = p.start();
  ends.join();
  REQUIRE_MESSAGE(status.is_ok(), status.to_string());
  CHECK(std::chrono::steady_clock::now() - before >= std::chrono::milliseconds(2'500));
  CHECK(p.held() == kAfterThree);
}

TEST_CASE("an idle pipeline keeps no transaction open and notices that it was fenced") {
  NEEDS_BROKER();
  Pipeline p(at);
  p.settings.transaction_timeout_ms = 2'000;
  p.three_epochs();
  std::this_thread::sleep_for(std::chrono::seconds(15));  // beyond the timeout and the broker's check for it
  CHECK(p.log->health().is_ok());
  p.must_decide(4, {}, 20);
  std::unique_ptr<KafkaProducer> other = p.producer("millrace." + p.settings.pipeline, 2'000);
  REQUIRE(other->init_transactions(30'000).is_ok());
  Status fenced = p.decide(5, {}, 20).status();
  CHECK_MESSAGE(fenced.code() == Code::kFenced, fenced.to_string());
}

TEST_CASE("at_least_once: state and offsets are still decided together") {
  NEEDS_BROKER();
  Pipeline p(at);
  p.settings.guarantee = Guarantee::kAtLeastOnce;
  p.three_epochs();
  CHECK(p.log->open_epoch() == UINT64_MAX);
  REQUIRE(p.log->sink_producer() != nullptr);
  p.lose_directory();
  p.must_start();
  CHECK(p.held() == kAfterThree);
  CHECK(p.committed() == 20);
}

}  // namespace millrace
