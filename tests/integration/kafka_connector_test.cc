// Kafka source and sink against a real broker.
#include <librdkafka/rdkafka.h>

#include <chrono>
#include <map>
#include <thread>

#include "sinks/kafka_sink.h"
#include "sources/kafka_source.h"
#include "tests/integration/kafka_fixture.h"

using namespace millrace;

namespace {

using Start = KafkaSourceOptions::Start;

struct SourceTest {
  explicit SourceTest(const TestKafka& kafka, const std::string& topic) {
    options.topics = {topic};
    options.group = "group-" + topic;
    context.source = "in";
    context.kafka = direct(kafka);
    context.clock = &clock;
  }
  void open(const std::vector<SourcePosition>& resume = {}, const SourceNeeds& needs = {}) {
    source = make_kafka_source(options, context);
    REQUIRE_OK(source->open(resume, needs));
  }
  Status try_open(const std::vector<SourcePosition>& resume = {}) {
    source = make_kafka_source(options, context);
    return source->open(resume, {});
  }
  // Payloads until `wanted` have come or the source has ended; a tombstone is "(none)".
  std::vector<std::string> read(size_t wanted, int timeout_ms = 10'000) {
    std::vector<std::string> payloads;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (payloads.size() < wanted && !ended && std::chrono::steady_clock::now() < give_up) {
      SourcePoll poll;
      poll.arena = std::make_shared<Arena>();
      REQUIRE_OK(source->poll({}, 50, &poll));
      for (uint32_t i = 0; i < poll.count; i++) {
        const std::string_view payload = poll.rows->payload[i];
        payloads.push_back(payload.data() == nullptr ? "(none)" : std::string(payload));
      }
      if (poll.count > 0) last = poll;
      ended = poll.end_of_input;
    }
    return payloads;
  }
  int64_t read_positions_sum() {
    int64_t sum = 0;
    for (const SourcePosition& position : source->positions()) sum += position.position;
    return sum;
  }
  KafkaSourceOptions options;
  SourceContext context;
  SystemClock clock;
  std::unique_ptr<Source> source;
  SourcePoll last;
  bool ended = false;
};

void fill(const TestKafka& kafka, const std::string& topic, int from, int to, int partition = 0) {
  auto producer = make_producer(direct(kafka), "");
  KafkaTopic* handle = must(producer->topic(topic));
  for (int i = from; i < to; i++) {
    put(*producer, handle, "k" + std::to_string(i), "v" + std::to_string(i), partition, 1'000'000 + i * 1000);
  }
  REQUIRE_OK(producer->flush(10'000));
}

void delete_topic(const TestKafka& kafka, const std::string& name) {
  char text[256];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  rd_kafka_conf_set(conf, "bootstrap.servers", kafka.broker->bootstrap().c_str(), text, sizeof text);
  rd_kafka_t* client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
  rd_kafka_queue_t* queue = rd_kafka_queue_new(client);
  rd_kafka_DeleteTopic_t* topic = rd_kafka_DeleteTopic_new(name.c_str());
  rd_kafka_DeleteTopics(client, &topic, 1, nullptr, queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 10'000);
  REQUIRE(event != nullptr);
  CHECK(rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR);
  rd_kafka_event_destroy(event);
  rd_kafka_DeleteTopic_destroy(topic);
  rd_kafka_queue_destroy(queue);
  rd_kafka_destroy(client);
  auto admin = must(KafkaAdmin::create(direct(kafka), Logger()));
  for (int i = 0; i < 200 && must(admin->describe_topic(name, 5000)).has_value(); i++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void delete_records(const TestKafka& kafka, const std::string& name, int64_t before) {
  char text[256];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  rd_kafka_conf_set(conf, "bootstrap.servers", kafka.broker->bootstrap().c_str(), text, sizeof text);
  rd_kafka_t* client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
  rd_kafka_queue_t* queue = rd_kafka_queue_new(client);
  rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(list, name.c_str(), 0)->offset = before;
  rd_kafka_DeleteRecords_t* request = rd_kafka_DeleteRecords_new(list);
  rd_kafka_DeleteRecords(client, &request, 1, nullptr, queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 10'000);
  REQUIRE(event != nullptr);
  CHECK(rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR);
  rd_kafka_event_destroy(event);
  rd_kafka_DeleteRecords_destroy(request);
  rd_kafka_topic_partition_list_destroy(list);
  rd_kafka_queue_destroy(queue);
  rd_kafka_destroy(client);
}

}  // namespace

TEST_CASE("source: rows with their origin, resume, lag") {
  NEED_KAFKA();
  create_topic(*kafka, "source", 2);
  fill(*kafka, "source", 0, 5, 0);
  fill(*kafka, "source", 5, 8, 1);
  SourceTest test(*kafka, "source");
  SourceNeeds needs;
  needs.key = needs.headers = true;
  test.open({}, needs);
  CHECK(test.read(8).size() == 8);
  CHECK(test.source->connected());
  CHECK(test.last.rows->partitions->size() == 2);
  CHECK(test.last.rows->key[0].starts_with("k"));
  CHECK(test.last.rows->timestamp_ms[0] >= 1'000'000);
  CHECK(test.last.rows->headers[0].count == 0);
  const auto positions = test.source->positions();
  REQUIRE(positions.size() == 2);
  CHECK(positions[0].position == 5);
  CHECK(positions[1].position == 3);
  CHECK(positions[0].identity.size() == 22);
  test.read(1, 300);
  CHECK(test.source->lag().records == 0);
  CHECK(test.source->lag().behind_ms == 0);
  test.source->close();

  fill(*kafka, "source", 8, 10, 0);
  test.open({positions[0]});  // the record does not know partition 1: from its beginning
  CHECK(test.read(5).size() == 5);
  CHECK(test.read_positions_sum() == 10);
}

TEST_CASE("source: where to start, and committed offsets before that") {
  NEED_KAFKA();
  create_topic(*kafka, "starts", 1);
  fill(*kafka, "starts", 0, 10);
  SourceTest test(*kafka, "starts");
  test.options.start = Start::kTimestamp;
  test.options.start_ms = 1'006'500;
  test.open();
  CHECK(test.read(3) == std::vector<std::string>{"v7", "v8", "v9"});
  test.options.start = Start::kLatest;
  test.open();
  CHECK(test.source->positions()[0].position == 10);
  test.options.start = Start::kEarliest;
  test.open();
  CHECK(test.read(10).size() == 10);
  test.source->released({{{"starts", 0}, "", 6}});
  test.source->close();
  test.open();
  CHECK(test.read(4) == std::vector<std::string>{"v6", "v7", "v8", "v9"});
}

TEST_CASE("source: bounded by what was there at open") {
  NEED_KAFKA();
  create_topic(*kafka, "bounded", 3);
  auto producer = make_producer(direct(*kafka), "bounded");
  KafkaTopic* topic = must(producer->topic("bounded"));
  REQUIRE_OK(producer->begin_transaction());
  for (int i = 0; i < 4; i++) put(*producer, topic, "k", "v", i % 2);
  CHECK(must(producer->commit_transaction({})) == CommitOutcome::kCommitted);
  SourceTest test(*kafka, "bounded");
  test.options.bounded = true;
  test.open();
  fill(*kafka, "bounded", 0, 3, 0);
  CHECK(test.read(100).size() == 4);
  CHECK(test.ended);
  // Without what came later; with or without the commit marker of each partition, which is written behind the answer.
  CHECK(test.read_positions_sum() >= 4);
  CHECK(test.read_positions_sum() <= 6);
}

TEST_CASE("source: a missing topic is waited for or refused") {
  NEED_KAFKA();
  SourceTest test(*kafka, "late-topic");
  test.options.wait_for_topic = false;
  CHECK(test.try_open().code() == Code::kTopicMissing);
  test.options.wait_for_topic = true;
  test.open();
  CHECK(test.read(1, 200).empty());
  CHECK(test.source->positions().empty());
  CHECK(test.source->connected());
  create_topic(*kafka, "late-topic", 2);
  fill(*kafka, "late-topic", 0, 3);
  CHECK(test.read(3).size() == 3);
  CHECK(test.source->positions().size() == 2);
}

TEST_CASE("source: a recreated topic, more partitions, an expired position stop it with the way out") {
  NEED_KAFKA();
  create_topic(*kafka, "recreated", 1);
  fill(*kafka, "recreated", 0, 5);
  SourceTest test(*kafka, "recreated");
  test.open();
  CHECK(test.read(2).size() >= 2);
  const auto positions = test.source->positions();
  test.source->close();

  delete_records(*kafka, "recreated", 4);
  auto early = positions;
  early[0].position = 1;
  Status status = test.try_open(early);
  CHECK(status.code() == Code::kOffsetOutOfRange);
  CHECK(status.fault() == Fault::kUser);
  CHECK_MESSAGE(
      status.message().find("position 1 does not exist, the log holds offsets 4 to 5: 3 records were deleted") !=
          std::string::npos,
      status.message());
  CHECK(status.message().find("--accept-reset") != std::string::npos);
  early[0].position = 9;
  CHECK(test.try_open(early).code() == Code::kOffsetOutOfRange);

  delete_topic(*kafka, "recreated");
  CHECK(test.try_open(positions).code() == Code::kTopicMissing);
  create_topic(*kafka, "recreated", 1);
  status = test.try_open(positions);
  CHECK(status.code() == Code::kTopicRecreated);
  CHECK(status.message().find(positions[0].identity) != std::string::npos);

  create_topic(*kafka, "grown", 2);
  SourceTest grown(*kafka, "grown");
  grown.open();
  auto known = grown.source->positions();
  known.pop_back();
  grown.context.keyed_state = true;
  CHECK(grown.try_open(known).code() == Code::kPartitionsChanged);
  grown.context.keyed_state = false;
  CHECK(grown.try_open(known).is_ok());
}

TEST_CASE("source: a position that expires while it is being read") {
  NEED_KAFKA();
  create_topic(*kafka, "expiring", 1);
  auto consumer = make_consumer(*kafka, "expiring");
  fill(*kafka, "expiring", 0, 5);
  delete_records(*kafka, "expiring", 3);
  REQUIRE_OK(consumer->assign({{{"expiring", 0}, 1}}));
  KafkaPoll poll;
  Status status;
  for (int i = 0; i < 100 && status.is_ok(); i++) status = consumer->poll(10, 1000, 100, false, &poll);
  CHECK(status.code() == Code::kOffsetOutOfRange);
  CHECK_MESSAGE(status.message() ==
                    "topic expiring partition 0: position 1 does not exist, the log holds offsets 3 to 5"
                    "; 2 records were lost",
                status.message());
}

TEST_CASE("source: no broker is an external error after a bounded time") {
  NEED_KAFKA();
  SourceTest test(*kafka, "nothing");
  test.context.kafka.brokers = "127.0.0.1:" + std::to_string(free_port());
  test.options.open_timeout_ms = 500;
  const auto start = std::chrono::steady_clock::now();
  const Status status = test.try_open();
  CHECK(status.code() == Code::kKafkaUnavailable);
  CHECK(status.retry() == Retry::kBackoff);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(4));
}

TEST_CASE("sink: rows, tombstones and dead letters through a transaction") {
  NEED_KAFKA();
  SinkRegistry registry;
  register_kafka_sink(registry);
  Diagnostics diagnostics;
  const auto none = [](const std::string&) { return std::optional<std::string>(); };
  const ConfigNode body =
      ConfigNode::parse("s.yaml", "topic: sunk\nkey: id\ncreate: {partitions: 2}\n", none, diagnostics);
  auto plan = (*registry.find("kafka"))(body, diagnostics);
  REQUIRE(plan != nullptr);
  Edge edge;
  edge.schema = {{"id", Type(TypeKind::kString)}, {"n", Type(TypeKind::kInt)}};
  edge.type = EdgeType::kUpsert;
  edge.key_columns = {0};
  SinkPlanContext context;
  context.sink = "out";
  context.dead_letters = true;
  REQUIRE_MESSAGE(plan->plan(context, edge, diagnostics), diagnostics.render_text());
  auto producer = make_producer(direct(*kafka), "sunk");
  auto sink = plan->make();
  SinkContext open_context;
  open_context.producer = producer.get();
  REQUIRE_OK(sink->open(open_context, true, std::nullopt));
  REQUIRE_OK(producer->begin_transaction());

  auto arena = std::make_shared<Arena>();
  Batch batch;
  batch.rows = 3;
  ColumnBuilder id(edge.schema[0].type, arena, 3), n(edge.schema[1].type, arena, 3);
  const char* ids[] = {"a", "b", "a"};
  for (uint32_t i = 0; i < 3; i++) {
    id.strings[i] = ids[i];
    n.ints[i] = i;
  }
  batch.columns = {id.finish(3), n.finish(3)};
  const int64_t times[] = {1000, 2000, 3000};
  const Change changes[] = {Change::kInsert, Change::kInsert, Change::kDelete};
  batch.event_time_ms = times;
  batch.changes = changes;
  uint32_t cursor = 0;
  CHECK(must(sink->write(batch, &cursor)) == Written::kOk);
  CHECK(cursor == 3);

  const Schema schema = dead_letter_schema();
  Batch letters;
  letters.rows = 1;
  const char* texts[] = {"{bad", "the key", "does not parse", "in", "orders"};
  for (size_t i = 0; i < schema.size(); i++) {
    ColumnBuilder column(schema[i].type, arena, 1);
    if (i < 5)
      column.strings[0] = texts[i];
    else
      column.ints[0] = static_cast<int64_t>(i);
    letters.columns.push_back(column.finish(1));
  }
  letters.event_time_ms = times;
  cursor = 0;
  CHECK(must(sink->write(letters, &cursor)) == Written::kOk);
  REQUIRE_OK(sink->flush(1));
  CHECK(must(producer->commit_transaction({})) == CommitOutcome::kCommitted);

  std::map<std::string, std::vector<Read>> by_key;
  for (Read& read : read_topic(*kafka, "sunk", 2, 4)) by_key[read.key].push_back(read);
  REQUIRE(by_key["a"].size() == 2);
  CHECK(by_key["a"][0].value == R"({"id":"a","n":0})");
  CHECK(by_key["a"][0].timestamp_ms == 1000);
  CHECK(by_key["a"][1].tombstone);
  REQUIRE(by_key["b"].size() == 1);
  REQUIRE(by_key["the key"].size() == 1);
  CHECK(by_key["the key"][0].value == "{bad");
  CHECK(by_key["the key"][0].headers ==
        decltype(Read::headers){
            {"error", "does not parse"}, {"operator", "in"}, {"topic", "orders"}, {"partition", "5"}, {"offset", "6"}});
}

TEST_CASE("sink: a missing topic names the way out") {
  NEED_KAFKA();
  auto producer = make_producer(direct(*kafka), "");
  auto sink = make_kafka_sink("out", {"no-such-topic", 0}, nullptr, true);
  SinkContext context;
  context.producer = producer.get();
  const Status status = sink->open(context, true, std::nullopt);
  CHECK(status.code() == Code::kTopicMissing);
  CHECK(status.message().find("create: {partitions: N}") != std::string::npos);
}
