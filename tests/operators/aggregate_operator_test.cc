#include <limits>

#include "rows.h"

namespace millrace {
namespace {

const Schema kOrders = {{"customer", Type(TypeKind::kString)},
                        {"amount", Type(TypeKind::kInt)},
                        {"status", Type(TypeKind::kString)},
                        {"flag", Type(TypeKind::kBool)}};
const Edge kInput{kOrders, EdgeType::kAppend, {}};
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

Row order(const std::string& customer, Cell amount, const std::string& status = "paid", Cell flag = true) {
  return {customer, std::move(amount), status, std::move(flag)};
}

TEST_CASE("revenue per customer, update") {
  const auto plan = planned(R"(
aggregate:
  key_by: [customer]
  fields: {customer: key(customer), revenue: sum(amount), orders: count(), half: sum(amount) / 2, kind: '"total"'}
)",
                            kInput);
  CHECK(plan->output().type == EdgeType::kUpsert);
  CHECK(plan->output().key_columns == std::vector<int>{0});
  KeyedLane lane(*plan, kOrders);
  lane.process(
      make_batch(kOrders, {order("a", integer(5)), order("b", integer(7)), order("a", integer(6))}, {30, 20, 10}));
  CHECK(lane.out.shown.empty());
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "a 11 2 5 total | b 7 1 3 total");
  CHECK(lane.out.shown[0].time_ms == 30);
  lane.process(make_batch(kOrders, {order("b", null())}, {5}));
  lane.out.shown.clear();
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "b 7 2 3 total");
  CHECK(lane.out.shown[0].time_ms == 20);
  lane.out.shown.clear();
  lane.end_epoch();
  CHECK(lane.out.shown.empty());
  CHECK(lane.instance().counters().in == 4);
  CHECK(lane.instance().counters().absorbed == 4);
  CHECK(lane.instance().counters().out == 3);
}

TEST_CASE("each, with its own event times and watermarks") {
  const auto plan =
      planned("aggregate: {key_by: customer, fields: {c: key(customer), n: count()}, emit: each}", kInput);
  KeyedLane lane(*plan, kOrders);
  Batch batch =
      make_batch(kOrders, {order("a", integer(1)), order("b", integer(1)), order("a", integer(1))}, {3, 9, 1});
  const int64_t watermarks[] = {-5, 2, 8};
  batch.watermark_ms = watermarks;
  batch.selection = std::make_shared<const std::vector<uint32_t>>(std::vector<uint32_t>{0, 2});
  lane.process(batch);
  CHECK(to_text(lane.out.shown) == "a 1 | a 2");
  CHECK(lane.out.shown[1].time_ms == 1);
  REQUIRE(lane.out.batches[0].watermark_ms != nullptr);
  CHECK(lane.out.batches[0].watermark_ms[1] == 8);
}

TEST_CASE("no key: one global row") {
  const auto plan = planned("aggregate: {fields: {n: count(), total: sum(amount)}}", kInput);
  CHECK(plan->output().key_columns.empty());
  CHECK(plan->key()->parts.empty());
  KeyedLane lane(*plan, kOrders);
  lane.end_epoch();
  CHECK(lane.out.shown.empty());
  lane.process(make_batch(kOrders, {order("a", integer(1)), order("b", integer(2))}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "2 3");
}

TEST_CASE("a row that overflows a sum is failed and leaves no trace") {
  const std::string fields =
      "fields: {c: key(customer), n: count(), s: sum(amount), l: last(amount), m: 'max(amount, status == \"paid\")'}";
  const std::vector<Row> rows = {order("a", integer(kMax - 1)), order("b", integer(3)),  order("a", integer(1)),
                                 order("a", integer(1)),        order("a", integer(-7)), order("a", integer(7))};
  for (const size_t batch : {size_t{1}, size_t{2}, size_t{6}}) {
    CAPTURE(batch);
    for (const bool each : {false, true}) {
      const auto plan =
          planned("aggregate: {key_by: customer, " + fields + ", emit: " + (each ? "each" : "update") + "}", kInput);
      KeyedLane lane(*plan, kOrders);
      for (size_t i = 0; i < rows.size(); i += batch) {
        std::vector<int64_t> times;
        for (size_t r = i; r < i + batch; r++) times.push_back(static_cast<int64_t>(r));
        lane.process(make_batch(
            kOrders, {rows.begin() + static_cast<ptrdiff_t>(i), rows.begin() + static_cast<ptrdiff_t>(i + batch)},
            times));
      }
      REQUIRE(lane.out.failed.size() == 1);
      CHECK(lane.out.failed[0] == "overflow in sum(amount)");
      CHECK(lane.out.failed_times[0] == 3);
      CHECK(lane.instance().counters().absorbed == 5);
      const std::string top = std::to_string(kMax);
      if (each) {
        CHECK(to_text(lane.out.shown) == "a 1 " + std::to_string(kMax - 1) + " " + std::to_string(kMax - 1) + " " +
                                             std::to_string(kMax - 1) + " | b 1 3 3 3 | a 2 " + top + " 1 " +
                                             std::to_string(kMax - 1) + " | a 3 " + std::to_string(kMax - 7) + " -7 " +
                                             std::to_string(kMax - 1) + " | a 4 " + top + " 7 " +
                                             std::to_string(kMax - 1));
      }
      lane.out.shown.clear();
      lane.end_epoch();
      if (!each) CHECK(to_text(lane.out.shown) == "a 4 " + top + " 7 " + std::to_string(kMax - 1) + " | b 1 3 3 3");
    }
  }
}

TEST_CASE("a key whose only row of the epoch failed is not shown again") {
  const auto plan = planned("aggregate: {key_by: customer, fields: {c: key(customer), s: sum(amount)}}", kInput);
  KeyedLane lane(*plan, kOrders);
  lane.process(make_batch(kOrders, {order("a", integer(kMax))}));
  lane.end_epoch();
  lane.out.shown.clear();
  lane.process(make_batch(kOrders, {order("a", integer(1))}));
  lane.end_epoch();
  CHECK(lane.out.shown.empty());
  CHECK(lane.out.failed.size() == 1);
}

TEST_CASE("rows that fail to evaluate, null keys and null conditions") {
  const auto plan = planned(
      "aggregate: {key_by: customer, fields: {c: key(customer), s: 'sum(100 / amount)', n: 'count(amount, flag)'}}",
      kInput);
  KeyedLane lane(*plan, kOrders);
  lane.process(make_batch(kOrders, {order("a", integer(10)),
                                    order("a", integer(0)),
                                    order("a", integer(5), "x", null()),
                                    {null(), integer(1), text("x"), true},
                                    order("a", integer(4), "x", false)}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "a 35 1");
  REQUIRE(lane.out.failed.size() == 3);
  CHECK(lane.out.failed[0] == "null key customer");
  CHECK(lane.out.failed_times == std::vector<int64_t>{3, 1, 2});
  CHECK(lane.out.failed[2] == "the condition flag is null");
}

TEST_CASE("an argument is evaluated only where its condition holds") {
  const auto plan = planned(
      "aggregate: {key_by: customer, fields: {c: key(customer), s: 'sum(100 / amount, amount != 0)', n: count()}}",
      kInput);
  KeyedLane lane(*plan, kOrders);
  lane.process(make_batch(kOrders, {order("a", integer(0)), order("a", integer(10))}));
  lane.end_epoch();
  CHECK(lane.out.failed.empty());
  CHECK(to_text(lane.out.shown) == "a 10 2");
}

TEST_CASE("a field that fails is reported, the other keys are shown") {
  const std::string body = "key_by: customer, fields: {c: key(customer), r: 100 / sum(amount)}";
  const std::vector<Row> rows = {order("a", integer(0)), order("b", integer(4))};
  const auto update = planned("aggregate: {" + body + "}", kInput);
  KeyedLane lane(*update, kOrders);
  lane.process(make_batch(kOrders, rows, {3, 4}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "b 25");
  CHECK(lane.out.failed_times == std::vector<int64_t>{3});

  const auto each = planned("aggregate: {" + body + ", emit: each}", kInput);
  KeyedLane running(*each, kOrders);
  running.process(make_batch(kOrders, rows, {3, 4}));
  CHECK(to_text(running.out.shown) == "b 25");
  CHECK(running.out.failed_times == std::vector<int64_t>{3});
  CHECK(running.instance().counters().absorbed == 1);
}

TEST_CASE("keys of several parts come back in their types") {
  const Schema schema = {{"s", Type(TypeKind::kString)},
                         {"i", Type(TypeKind::kInt)},
                         {"b", Type(TypeKind::kBool)},
                         {"t", Type(TypeKind::kTimestamp)}};
  const Edge input{schema, EdgeType::kAppend, {}};
  const auto plan = planned(
      "aggregate: {key_by: [i, s, b, t], fields: {n: count(), t: key(t), s: key(s), b: key(b), i: key(i)}}", input);
  CHECK(plan->output().key_columns == std::vector<int>{4, 2, 3, 1});
  KeyedLane lane(*plan, schema);
  lane.process(make_batch(schema, {{text(""), integer(-1), true, integer(9)},
                                   {text("x"), integer(-1), true, integer(9)},
                                   {text(""), integer(-1), true, integer(9)}}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "2 9  true -1 | 1 9 x true -1");
}

TEST_CASE("flush resumes, in batches of at most 1,024 rows") {
  const auto plan = planned("aggregate: {key_by: customer, fields: {c: key(customer), n: count()}}", kInput);
  KeyedLane::Options options;
  options.flush_rows = 10'000;
  KeyedLane lane(*plan, kOrders, options);
  for (int batch = 0; batch < 5; batch++) {
    std::vector<Row> rows;
    for (int i = 0; i < 1000; i++) rows.push_back(order("key-" + std::to_string(batch * 1000 + i), integer(1)));
    lane.process(make_batch(kOrders, rows));
  }
  lane.end_epoch();
  CHECK(lane.out.shown.size() == 5000);
  CHECK(lane.out.largest_batch == 1024);
}

TEST_CASE("updates may leave with the batch that caused them") {
  const auto plan = planned("aggregate: {key_by: customer, fields: {c: key(customer), s: sum(amount)}}", kInput);
  KeyedLane::Options options;
  options.emit_per_batch = true;
  KeyedLane lane(*plan, kOrders, options);
  lane.process(make_batch(kOrders, {order("a", integer(1)), order("b", integer(2)), order("a", integer(3))}));
  CHECK(to_text(lane.out.shown) == "a 4 | b 2");
  lane.process(make_batch(kOrders, {order("b", integer(5))}));
  CHECK(to_text(lane.out.shown) == "a 4 | b 2 | b 7");
  lane.end_epoch();
  CHECK(lane.out.shown.size() == 3);

  const auto pairs = planned("aggregate: {key_by: customer, fields: {c: key(customer), s: sum(amount)}}", kInput, true);
  KeyedLane retracting(*pairs, kOrders, options);
  std::vector<Row> rows;
  for (int i = 0; i < 1500; i++) rows.push_back(order("key-" + std::to_string(i), integer(i)));
  retracting.process(make_batch(kOrders, rows));
  retracting.process(make_batch(kOrders, rows));
  CHECK(retracting.out.shown.size() == 4500);
  CHECK(to_text(retracting.out.shown[1502].row) == "key-1 1");
  CHECK(retracting.out.shown[1502].change == Change::kRetract);
  CHECK(to_text(retracting.out.shown[1503].row) == "key-1 2");
}

TEST_CASE("dirty state asks for a barrier") {
  const auto plan = planned("aggregate: {key_by: customer, fields: {c: key(customer), n: count()}}", kInput);
  KeyedLane::Options options;
  options.cache_bytes = 16 << 10;
  KeyedLane lane(*plan, kOrders, options);
  CHECK_FALSE(lane.instance().wants_barrier());
  std::vector<Row> rows;
  for (int i = 0; i < 1000; i++) rows.push_back(order("key-" + std::to_string(i), integer(1)));
  lane.process(make_batch(kOrders, rows));
  CHECK(lane.instance().wants_barrier());
  CHECK(lane.instance().is_full());
  lane.end_epoch();
  CHECK_FALSE(lane.instance().wants_barrier());
}

}  // namespace
}  // namespace millrace
