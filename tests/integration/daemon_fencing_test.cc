// Two processes for one pipeline, in every way they can meet: one goes on, the other stops with its code, and what
// comes out is exact.
#include <librdkafka/rdkafka.h>

#include "tests/integration/daemon_fixture.h"

namespace millrace {
namespace {

// Longer than the pipeline's transaction timeout of 10 s, and than the broker needs to notice.
constexpr int kLongStopMs = 13'000;

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// A process that is fenced while nothing flows finds out when it commits again, within a minute. It is made early and
// looked at late, so that the minute passes while other tests run.
struct IdleElder {
  TestPipeline world;
  std::unique_ptr<TestDaemon> elder;
  std::unique_ptr<TestDaemon> younger;
  explicit IdleElder(const DaemonBroker& kafka) : world(kafka, "idle") {
    elder = world.start();
    world.load(200);
    if (!world.caught_up()) return;
    younger = world.start({}, "-2");
  }
};

IdleElder& idle_elder(const DaemonBroker& kafka) {
  static IdleElder pair(kafka);
  return pair;
}

// A consumer that has joined a group.
class GroupMember {
 public:
  GroupMember(const std::string& brokers, const std::string& group, const std::string& topic) {
    char error[256];
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", brokers.c_str(), error, sizeof error);
    rd_kafka_conf_set(conf, "group.id", group.c_str(), error, sizeof error);
    rd_kafka_conf_set(conf, "enable.auto.commit", "false", error, sizeof error);
    client_ = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
    REQUIRE(client_ != nullptr);
    rd_kafka_poll_set_consumer(client_);
    rd_kafka_topic_partition_list_t* topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, topic.c_str(), RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(client_, topics);
    rd_kafka_topic_partition_list_destroy(topics);
  }
  ~GroupMember() {
    rd_kafka_consumer_close(client_);
    rd_kafka_destroy(client_);
  }
  GroupMember(const GroupMember&) = delete;
  bool joined() {
    if (rd_kafka_message_t* message = rd_kafka_consumer_poll(client_, 100)) rd_kafka_message_destroy(message);
    rd_kafka_topic_partition_list_t* assigned = nullptr;
    if (rd_kafka_assignment(client_, &assigned) != RD_KAFKA_RESP_ERR_NO_ERROR) return false;
    const bool any = assigned->cnt > 0;
    rd_kafka_topic_partition_list_destroy(assigned);
    return any;
  }

 private:
  rd_kafka_t* client_ = nullptr;
};

}  // namespace

TEST_CASE("the same data_dir is refused while it is in use") {
  NEED_BROKER();
  idle_elder(*kafka);
  TestPipeline world(*kafka, "locked");
  auto first = world.start();
  world.load(500);
  REQUIRE_MESSAGE(world.caught_up(), first->log());
  auto second = world.start();
  CHECK(second->exit_code() == 1);
  CHECK_MESSAGE(second->says("MR4001", 0), second->log());
  // The one that was there first was not disturbed.
  world.load(500);
  REQUIRE_MESSAGE(world.caught_up(), first->log());
  CHECK(first->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("with another data_dir the older process is fenced, while records flow") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.emit = "each";
  TestPipeline world(*kafka, "fenced", options);
  auto older = world.start();
  world.start_writing(8000, 2000);
  REQUIRE(older->says("state restored from"));
  sleep_ms(800);
  auto newer = world.start({}, "-2");
  CHECK(older->exit_code() == 1);
  CHECK_MESSAGE(older->says("MR3006", 0), older->log());
  world.finish_writing();
  REQUIRE_MESSAGE(world.caught_up(), newer->log());
  CHECK(newer->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("an idle older process is fenced when the next record comes") {
  NEED_BROKER();
  TestPipeline world(*kafka, "fenced-idle");
  auto older = world.start();
  world.load(500);
  REQUIRE_MESSAGE(world.caught_up(), older->log());
  auto newer = world.start({}, "-2");
  REQUIRE_MESSAGE(newer->says("state restored from"), newer->log());
  CHECK(newer->restored().from == "full");
  world.load(500);
  CHECK(older->exit_code() == 1);
  CHECK_MESSAGE(older->says("MR3006", 0), older->log());
  REQUIRE_MESSAGE(world.caught_up(), newer->log());
  CHECK(newer->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("stopped for longer than every timeout, then continued") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.emit = "each";
  TestPipeline alone(*kafka, "paused", options);
  TestPipeline replaced(*kafka, "zombie", options);
  auto daemon = alone.start();
  auto zombie = replaced.start();
  alone.start_writing(8000, 2000);
  replaced.start_writing(8000, 2000);
  REQUIRE(daemon->says("state restored from"));
  REQUIRE(zombie->says("state restored from"));
  sleep_ms(1000);
  daemon->signal(SIGSTOP);
  zombie->signal(SIGSTOP);
  auto heir = replaced.start({}, "-2");
  sleep_ms(kLongStopMs);
  alone.finish_writing();
  replaced.finish_writing();
  CHECK_MESSAGE(replaced.caught_up(), heir->log());
  daemon->signal(SIGCONT);
  zombie->signal(SIGCONT);
  // More, so that the zombie has something to commit as well.
  alone.load(500);
  replaced.load(500);

  CHECK(zombie->exit_code() == 1);
  CHECK_MESSAGE(zombie->says("MR3006", 0), zombie->log());
  REQUIRE_MESSAGE(replaced.caught_up(), heir->log());
  CHECK(heir->stop() == 0);
  CHECK(replaced.problems() == "");

  // Nobody took over: its transaction was aborted, which costs it a replay.
  REQUIRE_MESSAGE(alone.caught_up(), daemon->log());
  CHECK_MESSAGE(daemon->stop() == 0, daemon->log());
  CHECK(alone.problems() == "");
}

TEST_CASE("a group with members is refused") {
  NEED_BROKER();
  TestPipeline world(*kafka, "members");
  world.load(100);
  GroupMember member(kafka->broker->bootstrap(), world.name(), world.in());
  REQUIRE(eventually(20'000, [&] { return member.joined(); }));
  auto daemon = world.start();
  CHECK(daemon->exit_code() == 1);
  CHECK_MESSAGE(daemon->says("MR3010", 0), daemon->log());
}

TEST_CASE("an idle older process finds out by itself within a minute") {
  NEED_BROKER();
  IdleElder& pair = idle_elder(*kafka);
  REQUIRE_MESSAGE(pair.younger != nullptr, pair.elder->log());
  CHECK(pair.elder->exit_code(75'000) == 1);
  CHECK_MESSAGE(pair.elder->says("MR3006", 0), pair.elder->log());
  pair.world.load(200);
  REQUIRE_MESSAGE(pair.world.caught_up(), pair.younger->log());
  CHECK(pair.younger->stop() == 0);
  CHECK(pair.world.problems() == "");
}

}  // namespace millrace
