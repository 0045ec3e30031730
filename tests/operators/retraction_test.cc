// Old versions: announced by an aggregate for the operators behind it, and taken back by the next one.
#include "rows.h"

namespace millrace {
namespace {

const Schema kSchema = {{"k", Type(TypeKind::kString)}, {"v", Type(TypeKind::kInt)}};
const Edge kAppend{kSchema, EdgeType::kAppend, {}};
const Edge kRetract{kSchema, EdgeType::kRetract, {0}};

Batch batch_of(const std::vector<std::pair<std::string, int64_t>>& rows) {
  std::vector<Row> cells;
  for (const auto& [key, value] : rows) cells.push_back({key, value});
  return make_batch(kSchema, cells);
}

TEST_CASE("update announces what it showed in the epoch before") {
  const auto plan = planned("aggregate: {key_by: k, fields: {k: key(k), s: sum(v), m: max(v)}}", kAppend, true);
  CHECK(plan->output().type == EdgeType::kRetract);
  KeyedLane lane(*plan, kSchema);
  lane.process(batch_of({{"a", 1}, {"b", 2}, {"a", 3}}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "a 4 3 | b 2 2");
  lane.out.shown.clear();
  lane.process(batch_of({{"a", 10}}));
  lane.process(batch_of({{"a", 20}, {"c", 5}}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "-a 4 3 | a 34 20 | c 5 5");
  lane.restart();
  lane.out.shown.clear();
  lane.process(batch_of({{"b", 1}}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "-b 2 2 | b 3 2");
}

TEST_CASE("each announces the row before") {
  const auto plan = planned("aggregate: {key_by: k, fields: {k: key(k), s: sum(v)}, emit: each}", kAppend, true);
  KeyedLane lane(*plan, kSchema);
  lane.process(batch_of({{"a", 1}, {"b", 2}, {"a", 3}, {"a", 4}}));
  CHECK(to_text(lane.out.shown) == "a 1 | b 2 | -a 1 | a 4 | -a 4 | a 8");
  std::vector<std::pair<std::string, int64_t>> many(3000, {"a", 1});
  lane.process(batch_of(many));
  CHECK(lane.out.largest_batch <= 1024);
  CHECK(lane.out.shown.size() == 6 + 6000);
  CHECK(to_text(lane.out.shown.back().row) == "a 3008");
}

TEST_CASE("pairs split by a filter behind it") {
  const auto plan = planned("aggregate: {key_by: k, fields: {k: key(k), s: sum(v)}}", kAppend, true);
  const auto filter = planned("filter: s > 5", plan->output());
  CHECK(filter->output().type == EdgeType::kRetract);
  KeyedLane lane(*plan, kSchema);
  RecordingCollector filtered(plan->output().schema);
  auto filtering = filter->make();
  ArenaPool arenas;
  OperatorContext context;
  context.arenas = &arenas;
  REQUIRE(filtering->open(context).is_ok());
  for (const int64_t value : {4, 4, -6, 0}) {
    lane.out.batches.clear();
    lane.process(batch_of({{"a", value}}));
    lane.end_epoch();
    for (const Batch& batch : lane.out.batches) REQUIRE(filtering->process(batch, 0, filtered).is_ok());
  }
  CHECK(to_text(filtered.shown) == "a 8 | -a 8");
}

TEST_CASE("an aggregate takes rows back and forgets keys that have none left") {
  const std::string yaml = "aggregate: {key_by: v, fields: {v: key(v), n: count(), a: avg(v), s: sum(v)}}";
  const auto plan = planned(yaml, kRetract);
  KeyedLane lane(*plan, kSchema);
  lane.process(make_batch(kSchema, {{text("a"), integer(1)}, {text("b"), integer(1)}, {text("c"), integer(2)}}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "1 2 1 2 | 2 1 2 2");
  lane.out.shown.clear();
  lane.process(make_batch(
      kSchema, {{text("c"), integer(2)}, {text("c"), integer(1)}, {text("d"), integer(9)}, {text("d"), integer(9)}}, {},
      {Change::kRetract, Change::kInsert, Change::kInsert, Change::kRetract}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "delete 2 null null null | 1 3 1 3");
  lane.out.shown.clear();
  lane.restart();
  lane.process(
      make_batch(kSchema, {{text("e"), integer(2)}, {text("f"), integer(7)}}, {}, {Change::kInsert, Change::kRetract}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "2 1 2 2");
  REQUIRE(lane.out.failed.size() == 1);
  CHECK(lane.out.failed[0] == "takes back a row that was never counted");
}

TEST_CASE("deletes of emit each, and of an aggregate that announces old versions itself") {
  const std::vector<Row> rows = {{text("a"), integer(1)}, {text("a"), integer(1)}, {text("a"), integer(1)}};
  const std::vector<Change> changes = {Change::kInsert, Change::kRetract, Change::kInsert};
  const auto each =
      planned("aggregate: {key_by: k, fields: {k: key(k), n: count(), twice: count() * 2}, emit: each}", kRetract);
  KeyedLane lane(*each, kSchema);
  lane.process(make_batch(kSchema, rows, {}, changes));
  CHECK(to_text(lane.out.shown) == "a 1 2 | delete a null null | a 1 2");
  CHECK(lane.out.failed.empty());

  const auto update = planned("aggregate: {key_by: k, fields: {k: key(k), n: count()}}", kRetract, true);
  KeyedLane pairs(*update, kSchema);
  for (const Change change : changes) {
    pairs.process(make_batch(kSchema, {rows[0]}, {}, {change}));
    pairs.end_epoch();
  }
  CHECK(to_text(pairs.out.shown) == "a 1 | -a 1 | a 1");
}

TEST_CASE("select and extend pass deletes on") {
  const Edge upsert{kSchema, EdgeType::kUpsert, {0}};
  const auto extend = planned("extend: {w: v + 1}", upsert);
  CHECK(extend->output().key_columns == std::vector<int>{0});
  auto instance = extend->make();
  ArenaPool arenas;
  OperatorContext context;
  context.arenas = &arenas;
  REQUIRE(instance->open(context).is_ok());
  RecordingCollector out(extend->output().schema);
  const Batch batch =
      make_batch(kSchema, {{text("a"), integer(1)}, {text("b"), null()}}, {}, {Change::kInsert, Change::kDelete});
  REQUIRE(instance->process(batch, 0, out).is_ok());
  CHECK(to_text(out.shown) == "a 1 2 | delete b null null");
  CHECK(out.failed.empty());
}

}  // namespace
}  // namespace millrace
