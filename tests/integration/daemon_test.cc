// The binary on a broker: exact results, restarts, and a broker that misbehaves.
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/murmur2.h"
#include "kafka/admin.h"
#include "tests/integration/daemon_fixture.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

int64_t big_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return static_cast<int64_t>(value);
}

std::map<std::string, std::string> settings_of(const DaemonBroker& kafka, const std::string& topic) {
  auto admin = KafkaAdmin::create({kafka.broker->bootstrap(), {}}, Logger());
  REQUIRE(admin.is_ok());
  auto settings = (*admin)->topic_settings(topic, 20'000);
  REQUIRE_MESSAGE(settings.is_ok(), settings.status().to_string());
  return *settings;
}

}  // namespace

TEST_CASE("configs/revenue.yaml is exact, readable by Java, and keeps its state as documented") {
  NEED_BROKER();
  TestPipeline world(*kafka, "example");
  const std::string config = world.folder() + "/daemon.yaml";
  { std::ofstream(config) << "data_dir: " << world.data() << "\n"; }
  TestDaemon daemon({"run", "-c", config, "configs/revenue.yaml"},
                    {{"KAFKA_BROKERS", kafka->broker->bootstrap()},
                     {"PIPELINE", world.name()},
                     {"ORDERS", world.in()},
                     {"REVENUE", world.out()},
                     {"COMMIT_INTERVAL", "50ms"}},
                    world.folder() + "/revenue.log");
  world.load(3000);
  REQUIRE_MESSAGE(world.caught_up(), daemon.log());
  // More in pieces, so that customers get several values.
  for (int i = 0; i < 3; i++) {
    world.load(1000);
    REQUIRE_MESSAGE(world.caught_up(), daemon.log());
  }
  CHECK(daemon.stop() == 0);

  Totals wanted;
  add_totals(world.orders(), 0, world.loaded(), wanted);
  std::map<std::string, int64_t> last;
  size_t rows = 0;
  world.topics().read_all(world.out(), [&](const TopicClient::Record& record) {
    rows++;
    REQUIRE(record.value.size() == 8);
    CHECK(record.partition == static_cast<int32_t>(shard_of(record.key, 4)));
    const int64_t revenue = big_endian(record.value);
    const auto [known, is_new] = last.emplace(record.key, revenue);
    // Amounts are not negative: what comes later may not be less.
    CHECK(revenue >= known->second);
    known->second = revenue;
  });
  CHECK(rows > last.size());
  REQUIRE(last.size() == wanted.size());
  for (const auto& [customer, total] : wanted) CHECK(last[customer] == total.revenue);

  const std::string changelog = world.name() + ".revenue.changelog";
  CHECK(world.topics().partitions(changelog) == 4);
  auto settings = settings_of(*kafka, changelog);
  CHECK(settings["cleanup.policy"] == "compact");
  CHECK(settings["segment.bytes"] == "52428800");
  CHECK(settings["delete.retention.ms"] == "604800000");
  CHECK(settings["max.compaction.lag.ms"] == "3600000");
  CHECK(world.topics().partitions(world.name() + ".progress") == 1);
  CHECK(settings_of(*kafka, world.name() + ".progress")["cleanup.policy"] == "compact");
}

TEST_CASE("a restart replays the tail, and everything only when the directory is gone") {
  NEED_BROKER();
  TestPipeline world(*kafka, "restart");
  world.orders().customers = 2000;
  auto daemon = world.start();
  world.load(20'000);
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK(daemon->stop() == 0);

  SUBCASE("after SIGTERM nothing is left to replay") {
    daemon = world.start();
    REQUIRE(daemon->says("state restored from"));
    const Restored restored = daemon->restored();
    CHECK(restored.from == "local");
    CHECK(restored.records == 0);
  }
  SUBCASE("after kill -9 what came since the last ingestion") {
    daemon = world.start();
    world.load(100);
    REQUIRE_MESSAGE(world.caught_up(), daemon->log());
    daemon->kill9();
    daemon = world.start();
    REQUIRE(daemon->says("state restored from"));
    const Restored restored = daemon->restored();
    MESSAGE("replayed after kill -9: " << restored.records << " changelog records");
    CHECK((restored.from == "tail" || restored.from == "local"));
    CHECK(restored.records <= 100);
  }
  SUBCASE("with the directory gone everything") {
    fs::remove_all(world.data());
    daemon = world.start();
    REQUIRE(daemon->says("state restored from"));
    const Restored restored = daemon->restored();
    MESSAGE("replayed with the directory gone: " << restored.records << " changelog records");
    CHECK(restored.from == "full");
    CHECK(restored.records >= 2000);
  }
  world.load(2000);
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK(daemon->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("the answer to a commit is cut off: the progress record decides") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.brokers = kafka->proxied();
  TestPipeline world(*kafka, "cut", options);
  auto daemon = world.start();
  world.load(500);
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  world.start_writing(6000, 1500);
  for (int i = 0; i < 3; i++) {
    const int cuts = kafka->proxy.cuts();
    kafka->proxy.cut_answer_of(kKafkaEndTxn);
    REQUIRE(eventually(20'000, [&] { return kafka->proxy.cuts() > cuts; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
  }
  world.finish_writing();
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK(daemon->says("is unknown", 0));
  CHECK(daemon->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("a connection that breaks anywhere costs a replay") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.brokers = kafka->proxied();
  options.emit = "each";
  TestPipeline world(*kafka, "broken", options);
  auto daemon = world.start();
  world.start_writing(6000, 1500);
  for (int i = 0; i < 4; i++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    if (i % 2 == 0) {
      kafka->proxy.cut_all();
    } else {
      kafka->proxy.cut_before(kKafkaTxnOffsetCommit);
    }
  }
  world.finish_writing();
  kafka->proxy.cut_before(-1);
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK(daemon->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("a broker that is not there yet is waited for") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.brokers = kafka->proxied();
  TestPipeline world(*kafka, "late", options);
  world.load(500);
  kafka->proxy.refuse(true);
  auto daemon = world.start();
  const bool waits = daemon->exit_code(3000) == -1;
  kafka->proxy.refuse(false);
  CHECK(waits);
  REQUIRE_MESSAGE(world.caught_up(60'000), daemon->log());
  CHECK(daemon->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("SIGTERM while the broker is away ends the process") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.brokers = kafka->proxied();
  TestPipeline world(*kafka, "away", options);
  kafka->proxy.refuse(true);
  auto daemon = world.start();
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  daemon->signal(SIGTERM);
  const int code = daemon->exit_code(15'000);
  kafka->proxy.refuse(false);
  CHECK_MESSAGE(code == 0, daemon->log());
}

TEST_CASE("a broker that is killed and comes back") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.emit = "each";
  TestPipeline world(*kafka, "bounce", options);
  auto daemon = world.start();
  world.load(1000);
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  world.start_writing(6000, 2000);
  std::this_thread::sleep_for(std::chrono::milliseconds(1000));
  kafka->broker->kill9();
  REQUIRE(kafka->broker->restart());
  world.finish_writing();
  REQUIRE_MESSAGE(world.caught_up(90'000), daemon->log());
  CHECK(daemon->running());
  CHECK(daemon->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("a broker that stands still until its controller takes it for dead") {
  NEED_BROKER();
  TestPipeline world(*kafka, "frozen");
  auto daemon = world.start();
  world.load(500);
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  kafka->broker->suspend();
  std::this_thread::sleep_for(std::chrono::milliseconds(9000));
  kafka->broker->resume();
  world.load(500);
  REQUIRE_MESSAGE(world.caught_up(60'000), daemon->log());
  if (daemon->says("reconnecting", 0)) MESSAGE("a partition was stuck, and a new client read on");
  CHECK(daemon->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("a missing topic is waited for, or refused") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.create_input = false;
  SUBCASE("wait") {
    TestPipeline world(*kafka, "wait", options);
    auto daemon = world.start();
    CHECK(daemon->says("waiting for topic " + world.in()));
    world.topics().create_topic(world.in(), 4);
    world.load(500);
    REQUIRE_MESSAGE(world.caught_up(), daemon->log());
    CHECK(daemon->stop() == 0);
    CHECK(world.problems() == "");
  }
  SUBCASE("fail") {
    options.source = ", on_missing_topic: fail";
    TestPipeline world(*kafka, "missing", options);
    auto daemon = world.start();
    CHECK(daemon->exit_code() == 1);
    CHECK(daemon->says("MR3002", 0));
    CHECK(daemon->says(world.in(), 0));
  }
}

TEST_CASE("SIGTERM decides the open epoch and ends with 0") {
  NEED_BROKER();
  TestPipeline world(*kafka, "term");
  auto daemon = world.start();
  world.start_writing(8000, 4000);
  int lives = 0;
  while (lives < 4) {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    REQUIRE(daemon->stop() == 0);
    daemon = world.start();
    lives++;
    REQUIRE(daemon->says("state restored from"));
    CHECK(daemon->restored().from != "full");
  }
  world.finish_writing();
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK(daemon->stop() == 0);
  CHECK(world.problems() == "");
}

}  // namespace millrace
