// Records that nobody can use: what happens to each is the policy's decision, and the pipeline lives.
#include <nlohmann/json.hpp>

#include "tests/integration/daemon_fixture.h"

namespace millrace {
namespace {

std::string order(const std::string& customer, const std::string& amount) {
  return R"({"customer_id":")" + customer + R"(","amount":)" + amount +
         R"(,"event_time":1700000000000,"status":"paid"})";
}

std::string nested(const std::string& field, size_t depth) {
  return "{\"" + field + "\":" + std::string(depth, '[') + std::string(depth, ']') +
         R"(,"amount":1,"event_time":1700000000000,"status":"paid"})";
}

// Text that compresses badly, since brokers count what is left of it.
std::string noise(size_t bytes) {
  std::string text;
  for (uint64_t x = 1; text.size() < bytes; x = x * 6364136223846793005u + 1442695040888963407u)
    text += static_cast<char>('A' + (x >> 33) % 57 % 26 + ((x >> 43) % 2) * 32);
  return text;
}

// The last row of a customer, or null.
nlohmann::json last_row(const TestPipeline& world, const std::string& customer) {
  nlohmann::json last;
  world.topics().read_all(world.out(), [&](const TopicClient::Record& record) {
    if (record.key == customer) last = nlohmann::json::parse(record.value);
  });
  return last;
}

struct Letter {
  std::string key, value;
  std::map<std::string, std::string> headers;
};

std::vector<Letter> letters_of(const TestPipeline& world) {
  std::vector<Letter> letters;
  world.topics().read_all(world.name() + "-dead", [&](const TopicClient::Record& record) {
    Letter& letter = letters.emplace_back();
    letter.key = record.key;
    letter.value = record.value;
    for (const auto& [name, value] : record.headers) letter.headers[name] = value;
  });
  return letters;
}

}  // namespace

TEST_CASE("poison under fail stops with its place, again and again, and is passed once it is gone") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.partitions = 1;
  TestPipeline world(*kafka, "poison", options);
  world.load(100);
  {
    auto daemon = world.start();
    REQUIRE_MESSAGE(world.caught_up(), daemon->log());
    REQUIRE(daemon->stop() == 0);
  }
  world.topics().produce(world.in(), "c1", "{\"customer_id\": broken", 0);
  for (int life = 0; life < 2; life++) {
    auto daemon = world.start();
    CHECK(daemon->exit_code() == 1);
    const std::string log = daemon->log();
    CHECK_MESSAGE(log.find("MR2001") != std::string::npos, log);
    CHECK_MESSAGE(log.find(world.in()) != std::string::npos, log);
    CHECK_MESSAGE(log.find("partition 0") != std::string::npos, log);
    CHECK_MESSAGE(log.find("offset 100") != std::string::npos, log);
  }
  // Stepping over it is the user's decision.
  world.load(100);
  world.topics().commit_offset(world.name(), world.in(), 0, 101);
  auto daemon = world.start({"--accept-reset"});
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK(daemon->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("bad records are dropped and counted, the others flow") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.on_error = "drop";
  TestPipeline world(*kafka, "drop", options);
  auto daemon = world.start();
  world.load(200);
  const TopicClient& topics = world.topics();
  topics.produce(world.in(), "k", "not json at all");
  topics.produce(world.in(), "k", "");
  topics.produce(world.in(), "k", R"({"customer_id":"c1","amount":"seven","event_time":1,"status":"paid"})");
  topics.produce(world.in(), "k", order("bad\xff\xfeutf8", "5"));
  topics.produce(world.in(), "k", order("bad\xed\xa0\x80surrogate", "5"));
  topics.produce(world.in(), "k", nested("customer_id", 100'000));
  topics.produce(world.in(), "k", std::string(100'000, '['));
  topics.produce(world.in(), "k", order("after", "7"));
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK(daemon->stop() == 0);
  const std::string log = daemon->log();
  CHECK_MESSAGE(log.find("dropped (decode) 7") != std::string::npos, log);
  CHECK(last_row(world, "after")["revenue"] == 7);
}

TEST_CASE("a deep value that no field reads does no harm") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.on_error = "drop";
  TestPipeline world(*kafka, "deep", options);
  auto daemon = world.start();
  std::string deep = nested("unread", 100'000);
  deep.insert(1, R"("customer_id":"deep",)");
  world.topics().produce(world.in(), "k", deep);
  world.topics().produce(world.in(), "k", order("after", "7"));
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK_MESSAGE(daemon->stop() == 0, daemon->log());
  CHECK(last_row(world, "after")["revenue"] == 7);
}

TEST_CASE("dead letters carry the raw bytes and where they came from") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.partitions = 1;
  options.on_error = "{to: letters}";
  options.more_sinks = "  letters:\n    kafka: {topic: @-dead, create: {partitions: 1}}\n";
  TestPipeline world(*kafka, "letters", options);
  const std::string poison = std::string("{\"customer_id\": \0\xff broken", 25);
  world.load(50);
  world.topics().produce(world.in(), "the key", poison, 0);
  world.topics().produce(world.in(), "c", order("big", "9223372036854775807"), 0);
  world.topics().produce(world.in(), "c", order("big", "1"), 0);
  world.topics().produce(world.in(), "c", order("after", "7"), 0);
  auto daemon = world.start();
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK(daemon->stop() == 0);
  const std::vector<Letter> letters = letters_of(world);
  REQUIRE_MESSAGE(letters.size() == 2, daemon->log());
  CHECK(letters[0].value == poison);
  CHECK(letters[0].key == "the key");
  CHECK(letters[0].headers.at("topic") == world.in());
  CHECK(letters[0].headers.at("partition") == "0");
  CHECK(letters[0].headers.at("offset") == "50");
  CHECK(letters[0].headers.at("error") != "");
  CHECK(letters[0].headers.at("operator") != "");
  CHECK(letters[1].value == order("big", "1"));
  CHECK(letters[1].headers.at("offset") == "52");
  CHECK(letters[1].headers.at("operator") == "revenue");
  CHECK(letters[1].headers.at("error").find("overflow") != std::string::npos);
  // The sum stays what it was before the record that it cannot hold.
  CHECK(last_row(world, "big")["revenue"] == INT64_MAX);
  CHECK(last_row(world, "after")["revenue"] == 7);
}

TEST_CASE("dead letters that are larger than their topic takes are cut, and the pipeline lives") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.partitions = 1;
  options.input_settings = {{"max.message.bytes", "5000000"}};
  options.on_error = "{to: letters}";
  options.more_sinks = "  letters:\n    kafka: {topic: @-dead}\n";
  TestPipeline world(*kafka, "large-letters", options);
  world.topics().create_topic(world.name() + "-dead", 1, {{"max.message.bytes", "50000"}});
  const std::string poison = "{\"customer_id\": " + noise(990'000);
  for (int i = 0; i < 3; i++) world.topics().produce(world.in(), "the key", poison, 0);
  world.topics().produce(world.in(), "c", order("after", "7"), 0);
  auto daemon = world.start();
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK(daemon->stop() == 0);
  const std::vector<Letter> letters = letters_of(world);
  REQUIRE_MESSAGE(letters.size() == 3, daemon->log());
  for (const Letter& letter : letters) {
    CHECK(letter.key == "the key");
    CHECK(letter.value.size() > 40'000);
    CHECK(letter.value == poison.substr(0, letter.value.size()));
    CHECK(letter.headers.at("truncated") == std::to_string(poison.size()));
  }
  CHECK_MESSAGE(daemon->log().find("cut to") != std::string::npos, daemon->log());
  CHECK(last_row(world, "after")["revenue"] == 7);
}

TEST_CASE("an overflow in sum under fail stops the pipeline, under drop it is counted") {
  NEED_BROKER();
  TestPipelineOptions options;
  SUBCASE("fail") {
    TestPipeline world(*kafka, "overflow-fail", options);
    world.topics().produce(world.in(), "c", order("big", "9223372036854775807"));
    world.topics().produce(world.in(), "c", order("big", "1"));
    auto daemon = world.start();
    CHECK(daemon->exit_code() == 1);
    CHECK_MESSAGE(daemon->says("MR2002", 0), daemon->log());
    CHECK_MESSAGE(daemon->says("offset 1", 0), daemon->log());
  }
  SUBCASE("drop") {
    options.on_error = "drop";
    TestPipeline world(*kafka, "overflow-drop", options);
    world.topics().produce(world.in(), "c", order("big", "9223372036854775807"));
    world.topics().produce(world.in(), "c", order("big", "1"));
    world.topics().produce(world.in(), "c", order("big", "-7"));
    auto daemon = world.start();
    REQUIRE_MESSAGE(world.caught_up(), daemon->log());
    CHECK(daemon->stop() == 0);
    CHECK_MESSAGE(daemon->says("dropped (evaluation) 1", 0), daemon->log());
    CHECK(last_row(world, "big")["revenue"] == INT64_MAX - 7);
  }
}

TEST_CASE("a record of 10 MB flows; one that the output topic cannot take is the policy's") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.on_error = "drop";
  options.input_settings = {{"max.message.bytes", "20000000"}};
  SUBCASE("through an aggregate that does not read what is large") {
    TestPipeline world(*kafka, "large", options);
    std::string large = order("large", "7");
    large.insert(1, "\"note\":\"" + std::string(10'000'000, 'x') + "\",");
    world.topics().produce(world.in(), "c", large);
    world.topics().produce(world.in(), "c", order("after", "7"));
    auto daemon = world.start();
    REQUIRE_MESSAGE(world.caught_up(), daemon->log());
    CHECK(daemon->stop() == 0);
    CHECK(last_row(world, "large")["revenue"] == 7);
    CHECK(last_row(world, "after")["revenue"] == 7);
  }
  SUBCASE("to a topic with the usual limit") {
    options.more_sinks = "  copy:\n    input: orders\n    kafka: {topic: @-copy, create: {partitions: 1}}\n";
    SUBCASE("drop") {}
    SUBCASE("fail") { options.on_error = "fail"; }
    SUBCASE("dead letter") {
      options.on_error = "{to: letters}";
      options.more_sinks += "  letters:\n    kafka: {topic: @-dead, create: {partitions: 1}}\n";
    }
    TestPipeline world(*kafka, "too-large", options);
    std::string large = order("large", "7");
    large.insert(large.find("paid"), noise(10'000'000));
    world.topics().produce(world.in(), "c", large);
    world.topics().produce(world.in(), "c", order("after", "7"));
    auto daemon = world.start();
    if (options.on_error == "fail") {
      CHECK(daemon->exit_code() == 1);
      CHECK_MESSAGE(daemon->says("MR2003", 0), daemon->log());
      CHECK_MESSAGE(daemon->says("offset 0; on_error: fail", 0), daemon->log());
      return;
    }
    REQUIRE_MESSAGE(world.caught_up(), daemon->log());
    CHECK(daemon->stop() == 0);
    size_t copies = 0;
    world.topics().read_all(world.name() + "-copy", [&copies](const TopicClient::Record&) { copies++; });
    CHECK(copies == 1);
    CHECK(last_row(world, "after")["revenue"] == 7);
    if (options.on_error == "drop") {
      CHECK_MESSAGE(daemon->says("sink/copy: in 2, out 1, dropped (too large) 1", 0), daemon->log());
    } else {
      const std::vector<Letter> letters = letters_of(world);
      REQUIRE_MESSAGE(letters.size() == 1, daemon->log());
      CHECK(letters[0].value == large.substr(0, letters[0].value.size()));
      CHECK(letters[0].headers.at("truncated") == std::to_string(large.size()));
    }
  }
  SUBCASE("as a key of the state") {
    TestPipeline world(*kafka, "large-key", options);
    world.topics().produce(world.in(), "c", order(std::string(10'000'000, 'x'), "7"));
    world.topics().produce(world.in(), "c", order("after", "7"));
    auto daemon = world.start();
    const bool caught_up = world.caught_up(20'000);
    CHECK_MESSAGE(caught_up, daemon->log());
    if (!caught_up) return;
    CHECK(daemon->stop() == 0);
    CHECK_MESSAGE(daemon->says("dropped (evaluation) 1", 0), daemon->log());
    CHECK(last_row(world, "after")["revenue"] == 7);
  }
}

}  // namespace millrace
