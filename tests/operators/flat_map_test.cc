// flat_map, and the new layout of rows that it makes.
#include "operators/gather.h"

#include "rows.h"

namespace millrace {
namespace {

const Type kInt(TypeKind::kInt);
const Type kString(TypeKind::kString);
const Schema kSchema = {{"id", kString}, {"items", Type::list(kInt)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

// Row i has the id "r<i>", `counts[i]` items (-1: null) numbered through, event time 10 * i and watermark i.
Batch lists(const std::vector<int>& counts) {
  const auto arena = std::make_shared<Arena>();
  const auto n = static_cast<uint32_t>(counts.size());
  uint32_t total = 0;
  ColumnBuilder ids(kString, arena, n), items(kSchema[1].type, arena, n);
  auto* times = arena->array<int64_t>(n);
  auto* watermarks = arena->array<int64_t>(n);
  for (uint32_t row = 0; row < n; row++) {
    ids.strings[row] = arena->copy("r" + std::to_string(row));
    times[row] = 10 * row;
    watermarks[row] = row;
    if (counts[row] < 0) {
      items.set_null(row);
      continue;
    }
    items.spans[row] = {total, static_cast<uint32_t>(counts[row])};
    total += static_cast<uint32_t>(counts[row]);
  }
  ColumnBuilder values(kInt, arena, total);
  for (uint32_t i = 0; i < total; i++) values.ints[i] = i;
  items.children = {values.finish(total)};
  Batch batch;
  batch.rows = n;
  batch.columns = {ids.finish(n), items.finish(n)};
  batch.event_time_ms = times;
  batch.watermark_ms = watermarks;
  batch.owners.push_back(arena);
  batch.bytes = 1000;
  return batch;
}

// Keeps batches as they come: their list column has no cells.
class Keeping : public Collector {
 public:
  Status emit(Batch batch) override {
    batches.push_back(std::move(batch));
    return Status::ok();
  }
  Status emit_side(const std::string&, Batch) override { return Status::internal("no side output"); }
  Status fail_rows(const Batch& batch, const RowErrors& errors) override {
    for (const auto& entry : errors.entries) {
      failed.push_back(std::to_string(batch.event_time_ms[entry.row]) + " " + entry.message);
    }
    return Status::ok();
  }
  std::string text() const {
    std::string text;
    for (const Batch& batch : batches) {
      for_each_live(batch, [&](uint32_t row) {
        text += (text.empty() ? "" : " ") + std::string(batch.columns[0]->strings[row]) + ":" +
                std::to_string(batch.columns[2]->ints[row]);
      });
    }
    return text;
  }
  std::vector<Batch> batches;
  std::vector<std::string> failed;
};

struct Run {
  explicit Run(const std::string& yaml, const Batch& batch, const Edge& input = kInput)
      : plan(planned(yaml, input)), instance(plan->make()) {
    OperatorContext context;
    context.arenas = &arenas;
    REQUIRE(instance->open(context).is_ok());
    REQUIRE(instance->process(batch, 0, out).is_ok());
  }
  ArenaPool arenas;
  std::unique_ptr<OperatorPlan> plan;
  Keeping out;
  std::unique_ptr<Operator> instance;
};

TEST_CASE("flat_map makes a row of each element") {
  Run run("flat_map: {each: items, as: item}", lists({2, 0, -1, 1, 3}));
  CHECK(run.out.text() == "r0:0 r0:1 r3:2 r4:3 r4:4 r4:5");
  CHECK(run.instance->counters().in == 5);
  CHECK(run.instance->counters().filtered == 2);
  CHECK(run.instance->counters().out == 6);
  const Batch& batch = run.out.batches.at(0);
  CHECK(batch.rows == 6);
  CHECK(batch.event_time_ms[2] == 30);
  CHECK(batch.watermark_ms[2] == 3);
  CHECK(batch.watermark_ms[3] == 4);
  CHECK(batch.columns[1]->spans[5].count == 3);  // the list itself stays
  CHECK(batch.bytes >= 1000);
  CHECK(run.plan->describe() == "flat_map items as item");
  CHECK(run.plan->needed_inputs({true, false, true}) == std::vector<bool>{true, true});
  CHECK(run.plan->output().type == EdgeType::kAppend);
  CHECK_FALSE(run.plan->preserves_rows());
}

TEST_CASE("flat_map sees live rows only") {
  Batch batch = lists({1, 1, 1, 1});
  batch.selection = std::make_shared<const std::vector<uint32_t>>(std::vector<uint32_t>{1, 3});
  Run run("flat_map: {each: items, as: item}", batch);
  CHECK(run.out.text() == "r1:1 r3:3");
  CHECK(run.instance->counters().in == 2);
  Run none("flat_map: {each: items, as: item}", lists({0, -1}));
  CHECK(none.out.batches.empty());
}

TEST_CASE("flat_map cuts its output and charges each batch its share") {
  Run run("flat_map: {each: items, as: item}", lists({1000, 0, 2000, 47, 1}));
  std::vector<uint32_t> rows;
  size_t bytes = 0;
  int64_t next = 0;
  for (const Batch& batch : run.out.batches) {
    rows.push_back(batch.rows);
    bytes += batch.bytes;
    for (uint32_t row = 0; row < batch.rows; row++) CHECK(batch.columns[2]->ints[row] == next++);
  }
  CHECK(rows == std::vector<uint32_t>{1024, 1024, 1000});
  CHECK(bytes >= 998);
}

TEST_CASE("flat_map fails rows with too many elements") {
  Run run("flat_map: {each: items, as: item}", lists({1, 10'001, 10'000}));
  CHECK(run.out.failed == std::vector<std::string>{"10 a list of 10001 elements; the limit is 10000"});
  CHECK(run.instance->counters().out == 10'001);
  CHECK(run.out.batches.at(0).columns[2]->ints[1] == 10'002);
}

TEST_CASE("flat_map evaluates its list and fails rows on which that fails") {
  Run run("flat_map: {each: '[size(id), size(items)]', as: n}", lists({3, -1, 5}));
  CHECK(run.out.text() == "r0:2 r0:3 r2:2 r2:5");
  CHECK(run.out.failed.size() == 1);
  CHECK(run.out.failed.at(0).starts_with("10 "));
}

TEST_CASE("flat_map keeps what a row means, and where it came from") {
  Batch batch = lists({2, 1});
  const Change changes[] = {Change::kRetract, Change::kInsert};
  const uint32_t partition[] = {0, 1};
  const int64_t offset[] = {70, 71};
  const std::string_view payload[] = {"first", "second"};
  auto rows = std::make_shared<SourceRows>();
  rows->source = 4;
  rows->partition = partition;
  rows->offset = offset;
  rows->payload = payload;
  const uint8_t canonical[] = {1, 1};
  rows->canonical = canonical;
  batch.changes = changes;
  batch.source_rows = rows;
  Run run("flat_map: {each: items, as: item}", batch, {kSchema, EdgeType::kRetract, {0}});
  const Batch& result = run.out.batches.at(0);
  CHECK(result.change(0) == Change::kRetract);
  CHECK(result.change(1) == Change::kRetract);
  CHECK(result.change(2) == Change::kInsert);
  CHECK(result.source_rows->source == 4);
  CHECK(result.source_rows->partition[2] == 1);
  CHECK(result.source_rows->offset[1] == 70);
  CHECK(result.source_rows->payload[2] == "second");
  CHECK(result.source_rows->key == nullptr);
  CHECK(result.source_rows->canonical == nullptr);
  CHECK(run.plan->output().key_columns == std::vector<int>{0, 1, 2});
}

TEST_CASE("gathering nested columns") {
  const auto arena = std::make_shared<Arena>();
  ColumnBuilder a(kInt, arena, 3), pairs(Type::structure({{"a", kInt}}), arena, 3);
  for (int i = 0; i < 3; i++) a.ints[i] = 10 + i;
  a.set_null(1);
  pairs.set_null(2);
  pairs.children = {a.finish(3)};
  const uint32_t rows[] = {2, 0, 1, 0};
  const ColumnPtr gathered = gather_column(pairs.finish(3), rows, 4, arena);
  CHECK(gathered->rows == 4);
  CHECK(gathered->is_null(0));
  CHECK_FALSE(gathered->is_null(1));
  CHECK(gathered->children[0]->ints[1] == 10);
  CHECK(gathered->children[0]->is_null(2));
  CHECK(gathered->children[0]->ints[3] == 10);
}

TEST_CASE("what flat_map refuses") {
  CHECK(first_error("flat_map: {each: id, as: item}", kInput) ==
        "MR1013@1:18 flat_map needs a list, and id is string; split it");
  CHECK(first_error("flat_map: {each: size(items), as: item}", kInput) ==
        "MR1013@1:18 flat_map needs a list, and size(items) is int; ");
  CHECK(first_error("flat_map: {each: items, as: id}", kInput) ==
        "MR1020@1:29 column \"id\" exists already; use another name for the element");
  CHECK(first_error("flat_map: {each: items, as: a.b}", kInput) ==
        "MR1009@1:29 \"a.b\" is not the name of a column; ");
  CHECK(first_error("flat_map: {each: items}", kInput).starts_with("MR1006@"));
  CHECK(first_error("flat_map: {each: items, as: item}", {kSchema, EdgeType::kUpsert, {0}}) ==
        "MR1018@1:1 the input replaces rows, and of a replaced list no element could be taken back; put flat_map in "
        "front of the operator that replaces them");
}

}  // namespace
}  // namespace millrace
