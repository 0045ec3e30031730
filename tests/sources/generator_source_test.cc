#include "sources/generator_source.h"

#include "expr/expression.h"
#include "sources/file_source.h"
#include "tests/sources/source_fixture.h"

namespace millrace {
namespace {

const Schema kSchema{
    {"id", Type(TypeKind::kString)}, {"amount", Type(TypeKind::kInt)}, {"at", Type::timestamp(TimestampUnit::kMillis)}};

const char kFields[] =
    "fields:\n"
    "  id: '\"c-\" + string(random(0, 100))'\n"
    "  amount: random(1, 1000) + index * 0\n"
    "  at: timestamp(1700000000 + index / 1000)\n";

struct Planned {
  explicit Planned(const std::string& text, const std::string& kind = "generator", const Schema& schema = kSchema,
                   const std::string& format = "json") {
    SourceRegistry registry;
    register_file_source(registry);
    register_generator_source(registry);
    body = ConfigNode::parse("t.yaml", text, environment_variables(), diagnostics);
    plan = (*registry.find(kind))(body, diagnostics);
    planned = plan && plan->plan({"p", "s", format, schema, {}}, diagnostics);
  }
  std::unique_ptr<Source> make(const Clock& clock) const {
    REQUIRE_MESSAGE(planned, diagnostics.render_text());
    SourceContext context;
    context.clock = &clock;
    return plan->make(context);
  }
  // "LINE:COLUMN MRnnnn" of each.
  std::string codes() const {
    std::string all;
    for (const Diagnostic& one : diagnostics.all()) {
      all += fmt::format("{}:{} MR{}\n", one.at.line, one.at.column, static_cast<int>(one.code));
    }
    return all;
  }

  Diagnostics diagnostics;
  ConfigNode body;
  std::unique_ptr<SourcePlan> plan;
  bool planned = false;
};

// Rows as text, from `from` on, in polls of `batch`.
std::vector<std::string> generate(const Planned& planned, int64_t from, uint32_t batch) {
  const SystemClock clock;
  auto source = planned.make(clock);
  std::vector<SourcePosition> at;
  if (from > 0) at.push_back({{"generator", 0}, "", from});
  REQUIRE(source->open(at, {}).is_ok());
  std::vector<std::string> rows;
  for (bool end = false; !end;) {
    SourcePoll poll;
    poll.arena = std::make_shared<Arena>();
    const Status status = source->poll({batch, 65536}, 0, &poll);
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
    REQUIRE(poll.columns.size() == (poll.count > 0 ? 3 : 0));
    for (uint32_t i = 0; i < poll.count; i++) {
      rows.push_back(fmt::format("{} {} {} {}", poll.rows->offset[i], poll.columns[0]->strings[i],
                                 poll.columns[1]->ints[i], poll.columns[2]->ints[i]));
    }
    end = poll.end_of_input;
    CHECK(source->positions().at(0).position == from + static_cast<int64_t>(rows.size()));
  }
  return rows;
}

TEST_CASE("generator: rows are a function of seed and index, wherever it starts and batches are cut") {
  const Planned planned(std::string("count: 300\n") + kFields);
  const std::vector<std::string> all = generate(planned, 0, 1024);
  REQUIRE(all.size() == 300);
  CHECK(all == generate(planned, 0, 7));
  for (int64_t from : {1, 2, 150, 299}) {
    CHECK(generate(planned, from, 64) == std::vector<std::string>(all.begin() + from, all.end()));
  }
  CHECK(generate(planned, 300, 64).empty());
  CHECK(generate(Planned(std::string("count: 300\nseed: 1\n") + kFields), 0, 1024) == all);
  CHECK(generate(Planned(std::string("count: 300\nseed: 2\n") + kFields), 0, 1024) != all);
  CHECK(planned.plan->bounded());
  CHECK(planned.plan->makes_columns());
  CHECK_FALSE(Planned(kFields).plan->bounded());
}

TEST_CASE("generator: rate follows the clock without bursts") {
  const Planned planned(std::string("rate: 10000\n") + kFields);
  ManualClock clock;
  auto source = planned.make(clock);
  REQUIRE(source->open({}, {}).is_ok());
  const auto take = [&](uint32_t most = 100'000) {
    SourcePoll poll;
    poll.arena = std::make_shared<Arena>();
    REQUIRE(source->poll({most, 65536}, 0, &poll).is_ok());
    CHECK_FALSE(poll.end_of_input);
    return poll.count;
  };
  CHECK(take() == 0);
  clock.advance_ms(1);
  CHECK(take() == 10);
  CHECK(take() == 0);
  clock.advance_ms(60'000);
  CHECK(take(150) == 150);
  CHECK(take() == 50);  // 20 ms worth, not a minute
  uint32_t total = 0;
  for (int i = 0; i < 1000; i++) {
    clock.advance_ms(1);
    total += take();
  }
  CHECK(total == 10'000);
}

TEST_CASE("generator: slow rates lose nothing to rounding") {
  const Planned planned(std::string("rate: 3\n") + kFields);
  ManualClock clock;
  auto source = planned.make(clock);
  REQUIRE(source->open({}, {}).is_ok());
  uint32_t total = 0;
  for (int i = 0; i < 10'000; i++) {
    clock.advance_ms(1);
    SourcePoll poll;
    poll.arena = std::make_shared<Arena>();
    REQUIRE(source->poll({}, 0, &poll).is_ok());
    CHECK(poll.count <= 1);
    total += poll.count;
  }
  CHECK(total == 30);
}

TEST_CASE("generator: an expression that fails stops it with field and index") {
  const Planned planned("count: 10\nfields:\n  id: '\"x\"'\n  amount: 100 / (5 - index)\n  at: timestamp(0)\n");
  const SystemClock clock;
  auto source = planned.make(clock);
  REQUIRE(source->open({}, {}).is_ok());
  SourcePoll poll;
  poll.arena = std::make_shared<Arena>();
  const Status status = source->poll({}, 0, &poll);
  CHECK(status.code() == Code::kEvaluation);
  CHECK(status.message().find("field amount at index 5") != std::string::npos);
}

TEST_CASE("generator: lint") {
  CHECK(Planned("count: 3\n").codes() == "1:1 MR1006\n");
  CHECK(Planned("fields:\n  id: '\"x\"'\n  amount: index\n").codes().find("MR1006") != std::string::npos);
  CHECK(Planned("fields:\n  id: '\"x\"'\n  amount: index\n  at: index\n").codes() == "4:7 MR1013\n");
  CHECK(Planned("fields:\n  id: '\"x\"'\n  amount: index\n  at: timestamp(0)\n  amout: index\n").codes() ==
        "5:3 MR1007\n");
  CHECK(Planned(std::string("rate: 0\n") + kFields).codes() == "1:7 MR1009\n");
  CHECK(Planned(std::string("rats: 1\n") + kFields).codes() == "1:1 MR1005\n");
  CHECK(Planned("fields: 3\n").codes() == "1:9 MR1008\n");
}

TEST_CASE("file source: lint") {
  CHECK(Planned("in/a.jsonl", "file").planned);
  CHECK(Planned("path: in/*.jsonl\nmax_record: 1MiB\nfollow: false\n", "file").planned);
  CHECK(Planned("{}", "file").codes() == "1:1 MR1006\n");
  CHECK(Planned("path: in/\n", "file").codes() == "1:7 MR1009\n");
  CHECK(Planned("path: a\nmax_record: 65MiB\n", "file").codes() == "2:13 MR1009\n");
  CHECK(Planned("path: a\non_truncate: fail\n", "file").codes() == "2:1 MR1020\n");
  const Planned followed("path: a\nfollow: true\non_truncate: fail\n", "file");
  CHECK(followed.codes().empty());
  CHECK_FALSE(followed.plan->bounded());
  CHECK_FALSE(followed.plan->sequential());
  CHECK(Planned("path: a\nfolow: true\n", "file").codes() == "2:1 MR1005\n");
  CHECK(Planned("path: a\n", "file", {{"value", Type(TypeKind::kInt)}}, "int64").codes() == "1:7 MR1020\n");
}

}  // namespace
}  // namespace millrace
