// The Kafka sink with a producer that has little room.
#include "sinks/kafka_sink.h"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "kafka/producer.h"

using namespace millrace;

namespace {

class SmallProducer : public KafkaProducer {
 public:
  Result<KafkaTopic*> topic(const std::string& name) override {
    if (missing) return Status::user(Code::kTopicMissing, "topic " + name + " does not exist");
    return reinterpret_cast<KafkaTopic*>(this);
  }
  Status create_topic(const std::string& name, int partitions, int timeout_ms) override {
    (void)name, (void)timeout_ms;
    created_partitions = partitions;
    missing = false;
    return Status::ok();
  }
  Produced produce(KafkaTopic*, const KafkaRecordOut& record) override {
    if (room == 0) return Produced::kQueueFull;
    if (record_bytes(record) > limit) return Produced::kTooLarge;
    headers.clear();
    for (uint32_t i = 0; i < record.header_count; i++)
      headers[std::string(record.headers[i].name)] = record.headers[i].value;
    if (record.key == too_large) return Produced::kTooLarge;
    if (!failure.is_ok()) return Produced::kFailed;
    room--;
    records.push_back(std::string(record.key) + "=" +
                      (record.value.data() == nullptr ? "(none)" : std::string(record.value)));
    return Produced::kQueued;
  }
  size_t record_limit(KafkaTopic*) override { return limit; }
  void poll(int) override {}
  Status flush(int) override {
    flushes++;
    return Status::ok();
  }
  Status error() const override { return failure; }
  std::vector<int64_t> last_delivered(KafkaTopic*) const override { return {}; }
  Status init_transactions(int) override { return Status::ok(); }
  Status begin_transaction() override { return Status::ok(); }
  Result<CommitOutcome> commit_transaction(const std::vector<GroupOffsets>&) override {
    return CommitOutcome::kCommitted;
  }
  void abort_transaction() override {}

  bool missing = false;
  int created_partitions = 0;
  size_t room = 1000;
  std::string too_large = "none";
  size_t limit = 1'000'000;
  size_t flushes = 0;
  std::map<std::string, std::string> headers;  // of the last record
  Status failure;
  std::vector<std::string> records;
};

struct SinkTest {
  explicit SinkTest(const std::string& text = "topic: out\nkey: id\n") {
    register_kafka_sink(registry);
    const auto none = [](const std::string&) { return std::optional<std::string>(); };
    const ConfigNode body = ConfigNode::parse("s.yaml", text, none, diagnostics);
    plan = (*registry.find("kafka"))(body, diagnostics);
    edge.schema = {{"id", Type(TypeKind::kString)}, {"n", Type(TypeKind::kInt)}};
    context.producer = &producer;
    context.refuse = [this](const Batch&, uint32_t row, Code code, const std::string&) {
      refused.emplace_back(row, code);
      return Status::ok();
    };
  }
  void open() {
    REQUIRE(plan != nullptr);
    SinkPlanContext plan_context;
    REQUIRE_MESSAGE(plan->plan(plan_context, edge, diagnostics), diagnostics.render_text());
    sink = plan->make();
    const Status status = sink->open(context, true, std::nullopt);
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
  }
  Batch batch(uint32_t rows) {
    auto arena = std::make_shared<Arena>();
    ColumnBuilder id(edge.schema[0].type, arena, rows), n(edge.schema[1].type, arena, rows);
    auto* times = arena->array<int64_t>(rows);
    for (uint32_t i = 0; i < rows; i++) {
      id.strings[i] = arena->copy("k" + std::to_string(i));
      n.ints[i] = i;
      times[i] = 1000 + i;
    }
    Batch batch;
    batch.rows = rows;
    batch.columns = {id.finish(rows), n.finish(rows)};
    batch.event_time_ms = times;
    batch.owners.push_back(arena);
    return batch;
  }
  SinkRegistry registry;
  Diagnostics diagnostics;
  std::unique_ptr<SinkPlan> plan;
  Edge edge;
  SmallProducer producer;
  SinkContext context;
  std::vector<std::pair<uint32_t, Code>> refused;
  std::unique_ptr<Sink> sink;
};

}  // namespace

TEST_CASE("a full queue: every row is written once, in order, whatever the room") {
  for (const bool selected : {false, true}) {
    SinkTest test;
    test.open();
    Batch batch = test.batch(10);
    if (selected) batch.selection = std::make_shared<std::vector<uint32_t>>(std::vector<uint32_t>{1, 4, 5, 9});
    uint32_t cursor = 0;
    size_t retries = 0;
    for (;; retries++) {
      REQUIRE(retries < 100);
      test.producer.room = retries % 3;
      const auto written = test.sink->write(batch, &cursor);
      REQUIRE(written.is_ok());
      CHECK(cursor == (*written == Written::kOk ? batch.live() : test.producer.records.size()));
      if (*written == Written::kOk) break;
    }
    CHECK(retries > 2);
    REQUIRE(test.producer.records.size() == batch.live());
    CHECK(test.producer.records[0] == (selected ? R"(k1={"id":"k1","n":1})" : R"(k0={"id":"k0","n":0})"));
    CHECK(test.producer.records.back() == R"(k9={"id":"k9","n":9})");
    CHECK(test.refused.empty());
    CHECK(test.sink->bytes_written() > 0);
  }
}

TEST_CASE("a record too large is refused once and the rest is written") {
  SinkTest test;
  test.producer.too_large = "k1";
  test.open();
  const Batch batch = test.batch(3);
  uint32_t cursor = 0;
  test.producer.room = 1;
  CHECK(test.sink->write(batch, &cursor).value() == Written::kRetry);
  test.producer.room = 10;
  CHECK(test.sink->write(batch, &cursor).value() == Written::kOk);
  CHECK(test.refused == decltype(test.refused){{1u, Code::kRecordTooLarge}});
  CHECK(test.producer.records.size() == 2);
}

namespace {

Batch dead_letters(const std::vector<std::pair<std::string, std::string>>& keys_and_values, const std::string& error) {
  const Schema schema = dead_letter_schema();
  auto arena = std::make_shared<Arena>();
  const auto rows = static_cast<uint32_t>(keys_and_values.size());
  Batch batch;
  batch.rows = rows;
  std::vector<ColumnBuilder> columns;
  for (const Field& field : schema) columns.emplace_back(field.type, arena, rows);
  for (uint32_t i = 0; i < rows; i++) {
    columns[0].strings[i] = arena->copy(keys_and_values[i].second);
    columns[1].strings[i] = arena->copy(keys_and_values[i].first);
    columns[2].strings[i] = arena->copy(error);
    columns[3].strings[i] = "paid";
    columns[4].strings[i] = "orders";
    columns[5].ints[i] = 1;
    columns[6].ints[i] = 17;
  }
  for (ColumnBuilder& column : columns) batch.columns.push_back(column.finish(rows));
  batch.owners.push_back(arena);
  return batch;
}

}  // namespace

TEST_CASE("a dead letter over the limit is cut to it, and says so") {
  SinkTest test;
  test.producer.limit = 2000;
  SinkPlanContext plan_context;
  plan_context.dead_letters = plan_context.dead_letters_only = true;
  REQUIRE(test.plan->plan(plan_context, {dead_letter_schema(), EdgeType::kAppend, {}}, test.diagnostics));
  test.sink = test.plan->make();
  REQUIRE(test.sink->open(test.context, true, std::nullopt).is_ok());
  const std::string long_value(5000, 'v');
  uint32_t cursor = 0;

  CHECK(test.sink->write(dead_letters({{"key", "short"}}, "no number"), &cursor).value() == Written::kOk);
  CHECK(test.producer.records.back() == "key=short");
  CHECK(test.producer.headers.count("truncated") == 0);
  CHECK(test.sink->dead_letters_cut() == 0);

  cursor = 0;
  CHECK(test.sink->write(dead_letters({{"key", long_value}}, "no number"), &cursor).value() == Written::kOk);
  CHECK(test.producer.records.back().starts_with("key=vvv"));
  CHECK(test.producer.records.back().size() > 1500);
  CHECK(test.producer.headers["truncated"] == "5000");
  CHECK(test.producer.headers["error"] == "no number");
  CHECK(test.producer.headers["offset"] == "17");
  CHECK(test.sink->dead_letters_cut() == 1);

  cursor = 0;  // a long key and a long reason: something of everything
  const Batch long_everywhere = dead_letters({{std::string(3000, 'k'), long_value}}, std::string(3000, 'e'));
  CHECK(test.sink->write(long_everywhere, &cursor).value() == Written::kOk);
  CHECK(test.producer.records.back().find("kkkk=vvvv") != std::string::npos);
  CHECK(test.producer.headers["error"].starts_with("eeee"));
  CHECK(test.producer.headers["truncated"] == "5000");
  CHECK(test.producer.headers["offset"] == "17");
  CHECK(test.sink->dead_letters_cut() == 2);
  CHECK(test.producer.records.size() == 3);
  CHECK(test.refused.empty());
}

TEST_CASE("dead letters that together are over a topic's limit do not share a batch") {
  SinkTest test;
  test.producer.limit = 2000;
  SinkPlanContext plan_context;
  plan_context.dead_letters = plan_context.dead_letters_only = true;
  REQUIRE(test.plan->plan(plan_context, {dead_letter_schema(), EdgeType::kAppend, {}}, test.diagnostics));
  test.sink = test.plan->make();
  REQUIRE(test.sink->open(test.context, true, std::nullopt).is_ok());
  const std::string value(700, 'v');
  uint32_t cursor = 0;
  const Batch batch = dead_letters({{"a", value}, {"b", value}, {"c", value}, {"d", value}, {"e", value}}, "bad");
  CHECK(test.sink->write(batch, &cursor).value() == Written::kOk);
  CHECK(test.producer.records.size() == 5);
  CHECK(test.producer.flushes == 2);
}

TEST_CASE("a failed producer ends the sink with its reason") {
  SinkTest test;
  test.open();
  test.producer.failure = Status::terminal(Code::kFenced, "fenced");
  const Batch batch = test.batch(1);
  uint32_t cursor = 0;
  CHECK(test.sink->write(batch, &cursor).status().code() == Code::kFenced);
  CHECK(test.sink->flush(1).code() == Code::kFenced);
}

TEST_CASE("a missing topic is created when the sink says so") {
  SinkTest test("topic: out\nkey: id\ncreate: {partitions: 3}\n");
  test.producer.missing = true;
  test.open();
  CHECK(test.producer.created_partitions == 3);
}

TEST_CASE("lint") {
  SinkTest missing_topic("key: id\n");
  CHECK(missing_topic.plan == nullptr);
  CHECK(missing_topic.diagnostics.all()[0].code == LintCode::kMissingKey);
  SinkTest create_nothing("topic: out\ncreate: {}\n");
  CHECK(create_nothing.plan == nullptr);
  SinkTest unknown("topic: out\npartitions: 3\n");
  CHECK(unknown.diagnostics.all()[0].code == LintCode::kUnknownKey);
  SinkTest bad_key("topic: out\nkey: idd\n");
  REQUIRE(bad_key.plan != nullptr);
  CHECK_FALSE(bad_key.plan->plan({}, bad_key.edge, bad_key.diagnostics));
  CHECK(bad_key.diagnostics.all()[0].code == LintCode::kUnknownField);
}
