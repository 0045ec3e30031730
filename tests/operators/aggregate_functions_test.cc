// collect, count_distinct, approx_distinct, quantile and fold in an operator.
#include <limits>

#include "blocks.h"
#include "operators/expression_fold.h"

namespace millrace {
namespace {

const Schema kSchema = {{"k", Type(TypeKind::kString)},
                        {"i", Type(TypeKind::kInt)},
                        {"s", Type(TypeKind::kString)},
                        {"d", Type(TypeKind::kDouble)},
                        {"flag", Type(TypeKind::kBool)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

Row row(const std::string& key, Cell i, Cell s = null(), Cell d = null(), Cell flag = true) {
  return {key, std::move(i), std::move(s), std::move(d), std::move(flag)};
}

std::string fields(const std::string& list, const std::string& emit = "update") {
  return "aggregate:\n  key_by: k\n  emit: " + emit + "\n  fields:\n    k: key(k)\n" + list;
}

// What the rows of one epoch, then those of another after a restart, show.
std::string shown(const std::string& yaml, const std::vector<Row>& first, const std::vector<Row>& second = {}) {
  const auto plan = planned(yaml, kInput);
  KeyedLane lane(*plan, kSchema);
  lane.process(make_batch(kSchema, first));
  lane.end_epoch();
  lane.restart();
  if (!second.empty()) lane.process(make_batch(kSchema, second));
  lane.end_epoch();
  CHECK(lane.out.failed.empty());
  return to_text(lane.out.shown);
}

TEST_CASE("collect: all values, the last n, those that count; nothing is an empty list") {
  const std::string yaml = fields(
      "    all: collect(i)\n"
      "    two: collect(s, 2)\n"
      "    some: collect(d, flag)\n"
      "    one: collect(flag, 1, flag)\n"
      "    size: size(collect(i))\n");
  CHECK(shown(yaml, {row("a", integer(3), text("x"), 0.5), row("b", null()),
                     row("a", integer(1), text("y"), 1.5, false), row("a", null(), text("z"))},
              {row("a", integer(3), null(), 2.5), row("b", null(), text("only"), null(), false)}) ==
        "a [3 1] [y z] [0.5] [true] 2 | b [] [] [] [true] 0 | "
        "a [3 1 3] [y z] [0.5 2.5] [true] 3 | b [] [only] [] [true] 0");
  CHECK(shown(fields("    all: collect(s)\n    has: '\"x\" in collect(s)'\n", "each"),
              {row("a", null(), text("y")), row("b", null()), row("a", null(), text("x"))}) ==
        "a [y] false | b [] false | a [y x] true");
}

TEST_CASE("collect: what does not fit is a failed row, and leaves no trace") {
  const auto plan = planned(fields("    all: collect(s)\n    n: count()\n"), kInput);
  KeyedLane lane(*plan, kSchema);
  const std::string large(100'000, 'x');
  lane.process(make_batch(kSchema, {row("a", null(), text(large)), row("a", null(), text(large)),
                                    row("a", null(), text(large)), row("a", null(), text("small"))}));
  REQUIRE(lane.out.failed.size() == 1);
  CHECK(lane.out.failed[0] == "more than 10000 values or 256 KiB of them in collect(s)");
  lane.end_epoch();
  REQUIRE(lane.out.shown.size() == 1);
  CHECK(lane.out.shown[0].row[2] == integer(3));
  std::vector<Row> many(1000, row("b", null(), text("")));
  for (int i = 0; i < 10; i++) lane.process(make_batch(kSchema, many));
  CHECK(lane.out.failed.size() == 1);
  lane.process(make_batch(kSchema, {row("b", null(), text("")), row("a", null(), text(""))}));
  CHECK(lane.out.failed.size() == 2);
}

TEST_CASE("collect: the last n never fail for their number") {
  const auto plan = planned(fields("    last: collect(i, 3)\n"), kInput);
  KeyedLane lane(*plan, kSchema);
  std::vector<Row> many;
  for (int64_t i = 0; i < 30'000; i++) many.push_back(row("a", integer(i)));
  lane.process(make_batch(kSchema, many));
  lane.end_epoch();
  CHECK(lane.out.failed.empty());
  CHECK(to_text(lane.out.shown) == "a [29997 29998 29999]");
}

TEST_CASE("count_distinct and approx_distinct of every type") {
  const std::string yaml = fields(
      "    i: count_distinct(i)\n"
      "    s: count_distinct(s)\n"
      "    d: count_distinct(d)\n"
      "    flags: count_distinct(flag)\n"
      "    some: count_distinct(i, flag)\n"
      "    ai: approx_distinct(i)\n"
      "    as: approx_distinct(s)\n"
      "    ad: approx_distinct(d)\n"
      "    aflags: approx_distinct(flag)\n"
      "    asome: approx_distinct(i, flag)\n");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(shown(yaml,
              {row("a", integer(1), text("x"), 0.0), row("a", integer(1), text("y"), -0.0, false),
               row("a", integer(2), text("x"), nan, false), row("b", null())},
              {row("a", integer(1), text(""), -nan), row("a", integer(-1), null(), 1.0)}) ==
        "a 2 2 2 2 1 2 2 2 2 1 | b 0 0 0 1 0 0 0 0 1 0 | a 3 3 3 2 2 3 3 3 2 2");
}

TEST_CASE("count_distinct: where sets cannot leave their blocks, one that is full takes the values that it has") {
  const AccumulatorSet set({make_aggregate("count_distinct", TypeKind::kString)});
  Block block(set);
  std::vector<Cell> cells;
  for (int i = 0; i < 65; i++) cells.push_back(text(std::string(4000, 'x') + std::to_string(i)));
  fold(block, 0, Type(TypeKind::kString), cells);
  const Batch batch = make_batch(kSchema, {row("a", null(), cells[0]), row("a", null(), text(std::string(3000, 'y'))),
                                           row("a", null(), text("short"))});
  void* const states[] = {block.state(), block.state(), block.state()};
  const uint32_t rows[] = {0, 1, 2};
  AggregateRows bound;
  bound.n = 3;
  bound.states = states;
  bound.rows = rows;
  bound.value = batch.columns[2].get();
  bound.offset = set.offset(0);
  const Aggregate& count = *set.aggregates()[0];
  CHECK_FALSE(count.cannot_fail(bound));
  CHECK(count.can_fold(bound, 0));
  CHECK_FALSE(count.can_fold(bound, 1));
  CHECK(count.can_fold(bound, 2));
  Block other(set);
  fold(other, 0, Type(TypeKind::kString), {cells[0], text("other")});
  CHECK(set.merge(block.state(), other.state()));
  CHECK(result(block, 0) == integer(66));
  // To be shown, and not to be kept, more is merged.
  fold(other, 0, Type(TypeKind::kString), {text(std::string(8000, 'z'))});
  CHECK(set.merge(block.state(), other.state()));
  fold(other, 0, Type(TypeKind::kString), {text(std::string(16 << 20, 'z'))});
  CHECK_FALSE(set.merge(block.state(), other.state()));
  CHECK(result(block, 0) == integer(67));
}

TEST_CASE("quantile: whole numbers below 50 are exact, NaN has no rank, rows can be taken back") {
  const std::string yaml = fields(
      "    low: quantile(i, 0)\n"
      "    median: quantile(i, 0.5)\n"
      "    high: quantile(i, 1, flag)\n"
      "    d: quantile(d, 0.5)\n");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<Row> rows = {row("b", null(), null(), nan)};
  for (int64_t i = 0; i <= 40; i++) rows.push_back(row("a", integer(40 - i), null(), null(), i > 5));
  CHECK(shown(yaml, rows) == "b null null null null | a 0 20 34 null");
  const int64_t max = std::numeric_limits<int64_t>::max();
  const int64_t min = std::numeric_limits<int64_t>::min();
  CHECK(shown(fields("    q: quantile(i, 1)\n    p: quantile(i, 0)\n"),
              {row("a", integer(max)), row("a", integer(min))}) == "a 9223372036854775807 -9223372036854775808");

  const Schema small = {{"k", Type(TypeKind::kString)}, {"i", Type(TypeKind::kInt)}};
  const auto plan = planned("aggregate: {key_by: k, fields: {k: key(k), q: 'quantile(i, 0.5)'}}",
                            {small, EdgeType::kRetract, {0}});
  KeyedLane lane(*plan, small);
  lane.process(make_batch(small, {{text("a"), integer(1)}, {text("a"), integer(2)}, {text("a"), integer(2)}}, {},
                          {Change::kInsert, Change::kInsert, Change::kRetract}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "a 1");
}

TEST_CASE("fold: sums, text, a condition, and results in expressions") {
  const std::string yaml = fields(
      "    sum: fold(0, acc + i, a + b, acc, has(i))\n"
      "    words: 'fold(\"\", acc + s, a + b, acc, has(s))'\n"
      "    longest: 'fold(\"\", size(s) > size(acc) ? s : acc, size(b) > size(a) ? b : a, acc, has(s))'\n"
      "    any: fold(false, acc || flag, a || b, !acc)\n"
      "    mean: fold(0.0, acc + d, a + b, acc / double(count(d)), has(d))\n"
      "    twice: fold(0, acc + i, a + b, acc, has(i)) * 2 + fold(0, acc + i, a + b, acc + acc, has(i))\n");
  CHECK(shown(yaml,
              {row("a", integer(3), text("x"), 0.5, false), row("b", integer(10), text("long word"), 1.0),
               row("a", integer(4), text("yy"), 1.5, false), row("a", null(), null(), null(), false)},
              {row("a", integer(-1), text("a text of more than sixteen bytes"), 4.0, true)}) ==
        "a 7 xyy yy true 1 28 | b 10 long word long word false 1 40 | "
        "a 6 xyya text of more than sixteen bytes a text of more than sixteen bytes false 2 24");
}

TEST_CASE("fold: a row that fails is reported, one that gives null is skipped, running values are right") {
  const auto plan = planned(
      fields("    sum: fold(0, acc + i, a + b, acc)\n"
             "    last: 'fold(0, flag ? i : acc, b, acc)'\n"
             "    n: count()\n",
             "each"),
      kInput);
  KeyedLane lane(*plan, kSchema);
  const int64_t max = std::numeric_limits<int64_t>::max();
  lane.process(make_batch(kSchema, {row("a", integer(1)), row("b", integer(5), null(), null(), false),
                                    row("a", integer(max)), row("a", null()), row("a", integer(2)),
                                    row("b", integer(7), null(), null(), true), row("a", integer(3))}));
  CHECK(to_text(lane.out.shown) == "a 1 1 1 | b 5 0 1 | a 3 2 2 | b 12 7 2 | a 6 3 3");
  REQUIRE(lane.out.failed.size() == 2);
  CHECK(lane.out.failed[0] == "integer overflow in _+_ in fold(0, acc + i, a + b, acc)");
  lane.out.shown.clear();
  const auto skipping = planned(fields("    last: fold(0, i, b, acc)\n"), kInput);
  KeyedLane other(*skipping, kSchema);
  other.process(make_batch(kSchema, {row("a", integer(4)), row("a", null()), row("b", null())}));
  other.end_epoch();
  CHECK(to_text(other.out.shown) == "a 4 | b 0");
  CHECK(other.out.failed.empty());
}

TEST_CASE("fold: text that grows without bound fails at 64 KiB") {
  const auto plan = planned(fields("    all: 'fold(\"\", acc + s, a + b, acc)'\n"), kInput);
  KeyedLane lane(*plan, kSchema);
  lane.process(make_batch(kSchema, {row("a", null(), text(std::string(60'000, 'x'))),
                                    row("a", null(), text(std::string(6'000, 'x'))), row("a", null(), text("y"))}));
  REQUIRE(lane.out.failed.size() == 1);
  CHECK(lane.out.failed[0].rfind("an accumulator of more than 64 KiB in fold(", 0) == 0);
  lane.end_epoch();
  CHECK(std::get<std::string>(lane.out.shown[0].row[1]).size() == 60'001);
}

TEST_CASE("fold: parts merge with the expression, and a merge that fails changes nothing") {
  const auto plan = planned(fields("    sum: fold(0, acc + i, a + b, acc)\n"), kInput);
  Schema schema = kSchema;
  Diagnostics diagnostics;
  // The aggregate itself, through a block of its own.
  schema.push_back({"acc", Type(TypeKind::kInt)});
  ExpressionError error;
  std::vector<ExpressionError> errors;
  const auto compile = [&](const std::string& text, const Schema& names) {
    Scope scope;
    scope.schema = &names;
    return compile_expression(parse_expression(text, &error), scope, &errors);
  };
  const auto arena = std::make_shared<Arena>();
  ColumnBuilder init(Type(TypeKind::kInt), arena, 1);
  init.ints[0] = 0;
  FoldProgram program;
  program.init = init.finish(1);
  program.add = compile("acc + i", schema);
  program.accumulator = 5;
  program.merge = compile("a + b", {{"a", Type(TypeKind::kInt)}, {"b", Type(TypeKind::kInt)}});
  const AggregatePtr fold = make_expression_fold(program)->for_lane();
  const AccumulatorSet set({fold});
  Block left(set);
  Block right(set);
  const auto fold_in = [&](Block& block, const std::vector<int64_t>& values) {
    std::vector<Row> rows;
    for (const int64_t value : values) rows.push_back(row("a", integer(value)));
    const Batch batch = make_batch(kSchema, rows);
    std::vector<void*> states(values.size(), block.state());
    std::vector<uint32_t> indexes(values.size());
    for (uint32_t i = 0; i < indexes.size(); i++) indexes[i] = i;
    AggregateRows bound;
    bound.n = values.size();
    bound.states = states.data();
    bound.rows = indexes.data();
    bound.offset = set.offset(0);
    bound.batch = &batch;
    REQUIRE(fold->cannot_fail(bound));
    fold->add(bound);
  };
  const int64_t max = std::numeric_limits<int64_t>::max();
  fold_in(left, {1, 2, 3});
  fold_in(right, {10, 20});
  REQUIRE(set.merge(left.state(), right.state()));
  CHECK(result(left, 0) == integer(36));
  CHECK(result(right, 0) == integer(30));
  fold_in(right, {max - 40});
  CHECK_FALSE(set.merge(left.state(), right.state()));
  CHECK(result(left, 0) == integer(36));
}

}  // namespace
}  // namespace millrace
