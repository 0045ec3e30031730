// What lint says about `aggregate`, and what the plan says about itself.
#include "rows.h"

namespace millrace {
namespace {

const Schema kOrders = {{"customer", Type(TypeKind::kString)},
                        {"amount", Type(TypeKind::kInt)},
                        {"price", Type(TypeKind::kDouble)},
                        {"status", Type(TypeKind::kString)},
                        {"tags", Type::list(Type(TypeKind::kString))}};
const Edge kInput{kOrders, EdgeType::kAppend, {}};

std::string field_error(const std::string& expression, const std::string& key_by = "customer") {
  return first_error("aggregate:\n  key_by: " + key_by + "\n  fields:\n    x: " + expression + "\n", kInput);
}

TEST_CASE("fields: errors stand at the expression, with a hint") {
  CHECK(field_error("amount") == "MR1013@4:8 amount stands outside an aggregate call; use last(amount)");
  CHECK(field_error("count() + amount") == "MR1013@4:18 amount stands outside an aggregate call; use last(amount)");
  CHECK(field_error("customer") == "MR1013@4:8 customer stands outside an aggregate call; use key(customer)");
  CHECK(field_error("amout") == "MR1007@4:8 unknown field \"amout\" in aggregate.fields.x; did you mean \"amount\"?");
  CHECK(field_error("sum(amout)") ==
        "MR1007@4:12 unknown field \"amout\" in aggregate.fields.x; did you mean \"amount\"?");
  CHECK(field_error("summ(amount)") == "MR1011@4:8 unknown aggregate \"summ\"; did you mean \"sum\"?");
  CHECK(field_error("key(status)") == "MR1013@4:12 status is not in key_by; add it to key_by, or use last(status)");
  CHECK(field_error("key(custmer)") ==
        "MR1007@4:12 unknown field \"custmer\" in aggregate.fields.x; did you mean \"customer\"?");
  CHECK(field_error("window.start") == "MR1013@4:8 window.start needs a window that starts and ends in time; ");
  CHECK(field_error("sum(count())") == "MR1013@4:12 count() inside an aggregate call; aggregates do not nest");
}

TEST_CASE("fields: arity and types") {
  const std::string sum = "sum(int | double | duration[, condition])";
  CHECK(field_error("sum()") == "MR1013@4:8 wrong number of arguments for sum(): 0; " + sum);
  CHECK(field_error("sum(amount, true, true)") == "MR1013@4:8 wrong number of arguments for sum(): 3; " + sum);
  CHECK(field_error("sum(status)") == "MR1013@4:12 sum() does not take string; " + sum);
  CHECK(field_error("sum(amount, price)") == "MR1013@4:20 the condition of sum() is double, not bool; " + sum);
  CHECK(field_error("min(tags)").rfind("MR1013@4:12 min() does not take [string]; min(", 0) == 0);
  CHECK(field_error("count_if()") == "MR1013@4:8 wrong number of arguments for count_if(): 0; count_if(condition)");
  CHECK(field_error("count_if(amount)") ==
        "MR1013@4:17 the condition of count_if() is int, not bool; count_if(condition)");
  CHECK(field_error("sum(amount) / avg(amount)").rfind("MR1013@4:", 0) == 0);
}

TEST_CASE("fields: literal numbers") {
  const std::string quantile = "quantile(int | double | duration, q[, condition]) with a number q from 0 to 1";
  CHECK(field_error("quantile(amount)") == "MR1013@4:8 wrong number of arguments for quantile(): 1; " + quantile);
  CHECK(field_error("quantile(amount, price)") ==
        "MR1013@4:25 argument 2 of quantile() is a literal number; " + quantile);
  CHECK(field_error("quantile(amount, 1.5)") ==
        "MR1013@4:17 the second argument of quantile() is between 0 and 1; " + quantile);
  CHECK(field_error("quantile(amount, 0.5, true, true)") ==
        "MR1013@4:8 wrong number of arguments for quantile(): 4; " + quantile);
  CHECK(field_error("quantile(status, 0.5)") == "MR1013@4:17 quantile() does not take string; " + quantile);
  const std::string whole = "MR1013@4:16 the second argument of collect() is a whole number from 1 to 10000; ";
  CHECK(field_error("collect(amount, 0)").rfind(whole, 0) == 0);
  CHECK(field_error("collect(amount, 2.0)").rfind(whole, 0) == 0);
  CHECK(field_error("collect(amount, 10001)").rfind(whole, 0) == 0);
  CHECK(field_error("collect(tags)").rfind("MR1013@4:16 collect() does not take [string]", 0) == 0);
  CHECK(field_error("collect(amount, 5, amount)").rfind("MR1013@4:27 the condition of collect() is int, not bool", 0) ==
        0);
}

TEST_CASE("fields: fold") {
  const std::string fold = "fold(init, add, merge, result[, condition]), such as fold(0, acc + amount, a + b, acc)";
  CHECK(field_error("fold(0, acc + amount, a + b)") == "MR1013@4:8 wrong number of arguments for fold(): 3; " + fold);
  CHECK(field_error("fold(0, acc + amount, a + b, 7)") == "MR1013@4:37 the result of fold() does not use acc; " + fold);
  CHECK(field_error("fold(0, acc + price, a + b, acc)").rfind("MR1013@4:20", 0) == 0);
  CHECK(field_error("fold(0, price, a + b, acc)") ==
        "MR1013@4:16 the accumulator of fold() begins as int, this is double; " + fold);
  CHECK(field_error("fold(0, acc + amount, a == b, acc)") ==
        "MR1013@4:32 the accumulator of fold() begins as int, this is bool; " + fold);
  CHECK(field_error("fold(amount, acc + amount, a + b, acc)").rfind("MR1007@4:13 unknown field \"amount\"", 0) == 0);
  CHECK(field_error("fold(null, acc, a, acc)") == "MR1013@4:13 an accumulator cannot be null; ");
  CHECK(field_error("fold(0, acc + amout, a + b, acc)") ==
        "MR1007@4:22 unknown field \"amout\" in aggregate.fields.x; did you mean \"amount\"?");
  CHECK(field_error("fold(0, acc + amount, a + amount, acc)").rfind("MR1007@4:34 unknown field \"amount\"", 0) == 0);
  CHECK(field_error("fold(0, acc + amount, a + b, acc / amount)") ==
        "MR1013@4:43 amount stands outside an aggregate call; use last(amount)");
  CHECK(field_error("fold([0], acc + [amount], a + b, acc)") ==
        "MR1013@4:13 an accumulator of fold() cannot be [int]; a number, bool, text, timestamp or duration");
  CHECK(field_error("fold(0, acc + count(), a + b, acc)") ==
        "MR1013@4:22 count() inside an aggregate call; aggregates do not nest");
  CHECK(field_error("fold(0, acc + amount, a + b, acc, amount)") ==
        "MR1013@4:42 the condition of fold() is int, not bool; " + fold);
  CHECK(first_error("aggregate: {fields: {x: 'fold(0, acc + 1, a + b, acc)'}}",
                    {{{"acc", Type(TypeKind::kInt)}}, EdgeType::kAppend, {}}) ==
        "MR1013@1:26 in fold(), acc is the accumulator, and the input has a column of that name; rename the column "
        "with select");
}

TEST_CASE("key_by") {
  CHECK(field_error("count()", "custmer").rfind("MR1007@2:11 unknown field \"custmer\"", 0) == 0);
  CHECK(field_error("count()", "price") ==
        "MR1013@2:11 price is double and cannot be a key; keys are string, int, bool, timestamp or bytes");
  CHECK(field_error("count()", "amount + 1") ==
        "MR1013@2:11 key_by takes columns, not expressions; add the expression as a column with extend");
  CHECK(field_error("count()", "[customer, customer]") == "MR1020@2:22 customer stands twice in key_by; ");
  CHECK(field_error("count()", "{c: customer}") ==
        "MR1008@2:11 key_by is a column or a list of columns; add expressions as columns with extend");
}

TEST_CASE("the map itself") {
  CHECK(first_error("aggregate: {key_by: customer}", kInput).rfind("MR1006", 0) == 0);
  CHECK(first_error("aggregate: {fields: {}}", kInput).rfind("MR1008", 0) == 0);
  CHECK(first_error("aggregate: {fields: {n: count()}, window: {tumbling: {size: 0s}}}", kInput) ==
        "MR1009@1:61 the duration must be longer than 0; ");
  CHECK(first_error("aggregate: {fields: {n: count()}, emit: close}", kInput).rfind("MR1020@1:41", 0) == 0);
  CHECK(first_error("aggregate: {fields: {n: count()}, window: {tumbling: {size: 5m}}, ttl: 1h}", kInput) ==
        "MR1020@1:67 ttl does not go with a window, which ends by itself; use allowed_lateness");
  CHECK(first_error("aggregate: {fields: {n: count()}, emit: updat}", kInput) ==
        "MR1009@1:41 unknown emit mode \"updat\"; did you mean \"update\"?");
  CHECK(first_error("aggregate: {fields: {n: count()}, key: customer}", kInput).rfind("MR1005", 0) == 0);
}

TEST_CASE("an expression that YAML has split is one error") {
  Diagnostics diagnostics;
  plan_operator("aggregate:\n  fields: {paid: sum(amount, status == \"paid\")}\n", kInput, diagnostics);
  REQUIRE(diagnostics.error_count() == 1);
  CHECK(diagnostics.all()[0].code == LintCode::kExpressionUnquoted);
}

TEST_CASE("edges: upsert inputs are refused, retractions only where all aggregates can take back") {
  const std::string yaml = "aggregate: {key_by: customer, fields: {n: count(), m: max(amount)}}";
  CHECK(first_error(yaml, {kOrders, EdgeType::kUpsert, {0}}).rfind("MR1018", 0) == 0);
  CHECK(first_error(yaml, {kOrders, EdgeType::kRetract, {0}}) ==
        "MR1018@1:39 max(amount) cannot take back rows that its input replaces; only count, sum, avg and quantile can");
  planned("aggregate: {key_by: customer, fields: {n: count(), a: avg(amount)}}", {kOrders, EdgeType::kRetract, {0}});
}

TEST_CASE("what the plan says about itself") {
  const auto plan = planned(R"(
aggregate:
  key_by: [customer]
  fields:
    avg: double(sum( amount ))/double(count())
    sum: sum(amount)
    paid: sum(amount, status == "paid")
  emit: {mode: each}
)",
                            kInput);
  CHECK(plan->state_descriptor() ==
        "aggregate/1 key=[customer:string] aggs=[count(),sum(amount:int),sum(amount:int, status == \"paid\")]");
  CHECK(plan->needed_inputs({true, false, false}) == std::vector<bool>{true, true, false, true, false});
  CHECK(plan->describe() == "aggregate sum(amount), count(), sum(amount, status == \"paid\") by customer, emit each");
  CHECK(plan->output().type == EdgeType::kUpsert);
  CHECK(plan->output().key_columns.empty());
  CHECK(plan->output().schema[0].type == Type(TypeKind::kDouble));
  CHECK(plan->output().schema[1].type == Type(TypeKind::kInt));

  const auto reordered = planned(
      "aggregate: {key_by: customer, fields: {paid: 'sum(amount, (status == \"paid\"))', n: count(), s: sum(amount)}}",
      kInput);
  CHECK(reordered->state_descriptor() == plan->state_descriptor());
}

TEST_CASE("state that another aggregate could not go on with has another descriptor") {
  const auto descriptor = [](const std::string& field, const std::string& more) {
    const auto plan = planned("aggregate: {key_by: customer, fields: {c: " + field + "}, " + more + "}", kInput);
    const std::string text = plan->state_descriptor();
    return text.substr(text.find(']', text.find("aggs=")) + 1);
  };
  const std::string distinct = "count_distinct(amount)";
  const std::string window = "window: {tumbling: {size: 1s}}, emit: ";
  // Sets that have left their blocks.
  CHECK(descriptor(distinct, window + "close") == " window=tumbling(1000,0)");
  CHECK(descriptor(distinct, window + "{accumulation: discarding}") == " window=tumbling(1000,0) sets=inside");
  CHECK(descriptor(distinct, window + "{early: {every: 1s}, accumulation: discarding}") ==
        " window=tumbling(1000,0) trigger sets=inside");
  CHECK(descriptor("count()", window + "{accumulation: discarding}") == " window=tumbling(1000,0)");
  CHECK(descriptor(distinct, "window: {session: {gap: 1s}}, emit: {accumulation: discarding}") == " window=session()");
  // Keys without a timer of their ttl.
  CHECK(descriptor("count()", "emit: update") == "");
  CHECK(descriptor("count()", "ttl: 1h") == " window=none");
  CHECK(descriptor("count()", "emit: {min_interval: 1s}") == " window=none trigger");
  CHECK(descriptor("count()", "emit: {min_interval: 1s}, ttl: 1h") == " window=none trigger ttl");
}

}  // namespace
}  // namespace millrace
