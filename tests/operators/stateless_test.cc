// filter, select, extend, drop.
#include "rows.h"

namespace millrace {
namespace {

const Schema kSchema = {
    {"id", Type(TypeKind::kString)}, {"amount", Type(TypeKind::kInt)}, {"ok", Type(TypeKind::kBool)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

struct Run {
  explicit Run(const std::string& yaml, const Batch& batch, const Edge& input = kInput)
      : plan(planned(yaml, input)), out(plan->output().schema), instance(plan->make()) {
    OperatorContext context;
    context.arenas = &arenas;
    REQUIRE(instance->open(context).is_ok());
    REQUIRE(instance->process(batch, 0, out).is_ok());
  }
  ArenaPool arenas;
  std::unique_ptr<OperatorPlan> plan;
  RecordingCollector out;
  std::unique_ptr<Operator> instance;
};

Batch sample() {
  return make_batch(kSchema, {{text("a"), integer(1), true},
                              {text("b"), integer(2), false},
                              {text("c"), null(), null()},
                              {text("d"), integer(4), true}});
}

TEST_CASE("filter keeps rows, fails nulls, shares columns") {
  const Batch batch = sample();
  Run run("filter: ok", batch);
  CHECK(to_text(run.out.shown) == "a 1 true | d 4 true");
  CHECK(run.out.failed == std::vector<std::string>{"the condition is null"});
  CHECK(run.out.failed_times == std::vector<int64_t>{2});
  CHECK(run.out.batches[0].columns[0] == batch.columns[0]);
  CHECK(run.instance->counters().in == 4);
  CHECK(run.instance->counters().filtered == 1);
  CHECK(run.instance->counters().out == 2);
  CHECK(run.plan->preserves_rows());
  CHECK(run.plan->describe() == "filter ok");
  CHECK(run.plan->needed_inputs({true, false, false}) == std::vector<bool>{true, false, true});

  Run all("filter: id != \"x\"", batch);
  CHECK(all.out.batches[0].selection == nullptr);
  Run none("filter: id == \"x\"", batch);
  CHECK(none.out.batches.empty());
  Run failing("filter: amount > 1", batch);
  CHECK(to_text(failing.out.shown) == "b 2 false | d 4 true");
  CHECK(failing.out.failed.size() == 1);
}

TEST_CASE("filter respects the selection it is given") {
  Batch batch = sample();
  batch.selection = std::make_shared<const std::vector<uint32_t>>(std::vector<uint32_t>{1, 3});
  Run run("filter: amount > 0 && ok", batch);
  CHECK(to_text(run.out.shown) == "d 4 true");
  CHECK(run.instance->counters().in == 2);
}

TEST_CASE("select replaces, extend adds, drop removes") {
  const Batch batch = sample();
  Run select("select: {twice: amount * 2, name: id}", batch);
  CHECK(to_text(select.out.shown) == "2 a | 4 b | 8 d");
  CHECK(select.out.failed.size() == 1);
  CHECK(select.out.batches[0].columns[1] == batch.columns[0]);
  CHECK_FALSE(select.plan->preserves_rows());
  CHECK(select.plan->needed_inputs({true, false}) == std::vector<bool>{false, true, false});
  CHECK(select.plan->needed_inputs({true, true}) == std::vector<bool>{true, true, false});

  Run extend("extend: {big: has(amount) && amount > 1, again: id, one: 1}", batch);
  CHECK(to_text(extend.out.shown) ==
        "a 1 true false a 1 | b 2 false true b 1 | c null null false c 1 | d 4 true true d 1");
  CHECK(extend.plan->describe() == "extend big, again, one");

  Run drop("drop: [amount, ok]", batch);
  CHECK(to_text(drop.out.shown) == "a | b | c | d");
  Run drop_one("drop: id", batch);
  CHECK(drop_one.out.shown.size() == 4);
  CHECK(drop_one.plan->needed_inputs({true, false}) == std::vector<bool>{false, true, false});
}

TEST_CASE("key columns follow their columns") {
  const Edge upsert{kSchema, EdgeType::kUpsert, {0}};
  CHECK(planned("select: {x: amount, key: id}", upsert)->output().key_columns == std::vector<int>{1});
  CHECK(planned("select: {x: amount}", upsert)->output().key_columns.empty());
  CHECK(planned("drop: amount", upsert)->output().key_columns == std::vector<int>{0});
  CHECK(planned("drop: id", upsert)->output().key_columns.empty());
  CHECK(planned("select: {x: amount}", upsert)->output().type == EdgeType::kUpsert);
}

TEST_CASE("lint") {
  CHECK(first_error("filter: amount", kInput).rfind("MR1013@1:9", 0) == 0);
  CHECK(first_error("filter: amout > 1", kInput).rfind("MR1007@1:9", 0) == 0);
  CHECK(first_error("select: {}", kInput).rfind("MR1008@1:9", 0) == 0);
  CHECK(first_error("select: amount", kInput).rfind("MR1008@1:9", 0) == 0);
  CHECK(first_error("extend: {n: amount + 1, amount: 2}", kInput) ==
        "MR1020@1:25 column \"amount\" exists already; use select to replace columns");
  CHECK(first_error("drop: [id, amonut]", kInput) ==
        "MR1007@1:12 unknown column \"amonut\" in drop; did you mean \"amount\"?");
  CHECK(first_error("drop: [id, amount, ok]", kInput) == "MR1009@1:7 no column is left; ");
  CHECK(first_error("drop: {a: b}", kInput).rfind("MR1008", 0) == 0);
}

}  // namespace
}  // namespace millrace
