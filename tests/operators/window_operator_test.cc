// Windows through the operator's interface, worked out by hand. Times are small; 100 ms windows.
#include <algorithm>

#include "rows.h"

namespace millrace {
namespace {

const Schema kOrders = {{"customer", Type(TypeKind::kString)},
                        {"amount", Type(TypeKind::kInt)},
                        {"at", Type(TypeKind::kTimestamp)},
                        {"big", Type(TypeKind::kBool)}};
const Edge kInput{kOrders, EdgeType::kAppend, {}};

struct Order {
  std::string customer;
  int64_t amount;
  int64_t time_ms;
  int64_t watermark_ms;
};

Batch orders(const std::vector<Order>& list) {
  std::vector<Row> rows;
  std::vector<int64_t> times, watermarks;
  for (const Order& order : list) {
    rows.push_back({order.customer, order.amount, order.time_ms * 1000, order.amount >= 100});
    times.push_back(order.time_ms);
    watermarks.push_back(order.watermark_ms);
  }
  return with_watermarks(make_batch(kOrders, rows, times), watermarks);
}

std::string yaml(const std::string& window, const std::string& more = "") {
  return "aggregate:\n  key_by: customer\n  window: " + window + "\n" + more +
         "  fields: {c: key(customer), from: millis(window.start), to: millis(window.end), sum: sum(amount)}\n";
}

// What was shown since the last call, with event times: "a 0 100 5 @99".
std::string shown(KeyedLane& lane) {
  std::string text;
  for (const Shown& row : lane.out.shown) {
    text += (text.empty() ? "" : " | ") + to_text({row}) + " @" + std::to_string(row.time_ms);
  }
  lane.out.shown.clear();
  return text;
}

constexpr int64_t kNone = kNoTime;

TEST_CASE("tumbling windows fire when the watermark passes their end") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}"), kInput);
  CHECK(plan->output().type == EdgeType::kAppend);
  CHECK(plan->uses_event_time());
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"b", 1, 10, kNone}, {"a", 2, 99, 5}, {"a", 3, 100, 94}, {"a", 4, 0, 95}}));
  CHECK(shown(lane) == "");
  lane.advance(98);
  CHECK(shown(lane) == "");
  lane.advance(99);
  CHECK(shown(lane) == "a 0 100 6 @99 | b 0 100 1 @99");
  lane.advance(99);
  CHECK(shown(lane) == "");
  // The first row that finds the watermark at the end of a window stops the batch; the window fires before it.
  lane.process(orders({{"a", 5, 150, 150}, {"a", 6, 200, 198}, {"a", 7, 201, 199}, {"a", 8, 199, 199}}));
  CHECK(shown(lane) == "a 100 200 8 @199");
  CHECK(lane.instance().counters().late == 1);
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 200 300 13 @299");
  CHECK(lane.instance().counters().absorbed == 7);
  CHECK(lane.instance().counters().fired == 4);
}

TEST_CASE("rows that fire carry a watermark before their event time") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}"), kInput);
  KeyedLane lane(*plan, kOrders);
  lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 110, 5}}));
  lane.advance(kEndOfTime);
  std::vector<int64_t> watermarks;
  for (const Batch& batch : lane.out.batches) {
    REQUIRE(batch.watermark_ms != nullptr);
    for_each_live(batch, [&](uint32_t row) { watermarks.push_back(batch.watermark_ms[row]); });
  }
  CHECK(watermarks == std::vector<int64_t>{98, 198});
}

TEST_CASE("before 1970, offsets") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms, offset: 130ms}}"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders(
      {{"a", 1, -70, kNone}, {"a", 2, -71, kNone}, {"a", 3, 29, kNone}, {"a", 4, 30, kNone}, {"a", 5, 0, kNone}}));
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a -170 -70 2 @-71 | a -70 30 9 @29 | a 30 130 4 @129");
}

TEST_CASE("late rows within the allowed lateness update their window at once, later ones go to the side") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}", "  allowed_lateness: 50ms\n"), kInput);
  plan->keep_late_rows();
  CHECK(plan->output().type == EdgeType::kUpsert);
  CHECK(plan->output().key_columns.empty());  // millis(…) hides the bounds
  REQUIRE(plan->late_output() != nullptr);
  CHECK(plan->late_output()->schema.size() == 7);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 20, 99}, {"b", 3, 30, 148}, {"a", 4, 40, 148}}));
  CHECK(shown(lane) == "a 0 100 1 @99 | a 0 100 3 @99 | b 0 100 3 @99 | a 0 100 7 @99");
  CHECK(lane.out.late.empty());
  lane.end_epoch();
  lane.restart();
  CHECK(lane.instance().restored_watermark_ms() == 148);
  lane.process(orders({{"a", 5, 50, 148}, {"a", 6, 60, 149}, {"b", 7, 110, 149}}));
  CHECK(shown(lane) == "a 0 100 12 @99");
  CHECK(to_text(lane.out.late) == "a 6 60000 false 0 100000 149000");
  CHECK(lane.instance().counters().late == 1);
}

TEST_CASE("late: none folds in silently") {
  const auto plan =
      planned(yaml("{tumbling: {size: 100ms}}", "  allowed_lateness: 50ms\n  emit: {late: none}\n"), kInput);
  CHECK(plan->output().type == EdgeType::kAppend);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 20, 99}}));
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 0 100 1 @99");
}

TEST_CASE("final: once, at the end of the lateness") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}", "  allowed_lateness: 50ms\n  emit: final\n"), kInput);
  CHECK(plan->output().type == EdgeType::kAppend);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 20, 99}, {"a", 3, 30, 148}}));
  CHECK(shown(lane) == "");
  lane.process(orders({{"a", 4, 40, 149}}));
  CHECK(shown(lane) == "a 0 100 6 @99");
  CHECK(lane.instance().counters().late == 1);
}

TEST_CASE("update: one row per window and epoch, late rows included") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}", "  allowed_lateness: 50ms\n  emit: update\n"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  CHECK(lane.instance().holds_rows());
  lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 120, 10}, {"a", 3, 20, 20}}));
  lane.end_epoch();
  CHECK(shown(lane) == "a 0 100 4 @20 | a 100 200 2 @120");
  lane.end_epoch();
  lane.process(orders({{"a", 4, 30, 120}, {"a", 5, 31, 149}}));
  lane.advance(250);
  lane.end_epoch();
  CHECK(shown(lane) == "a 0 100 8 @30");
  CHECK(lane.instance().counters().late == 1);
}

TEST_CASE("each: a row per row and window, in order") {
  const auto plan = planned(yaml("{hopping: {size: 100ms, every: 50ms}}", "  emit: each\n"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", 1, 10, kNone}, {"b", 2, 60, kNone}, {"a", 3, 20, 49}}));
  CHECK(shown(lane) == "a -50 50 1 @10 | a 0 100 1 @10 | b 0 100 2 @60 | b 50 150 2 @60 | a 0 100 4 @20");
}

TEST_CASE("windows that were not touched since the last cut fire with the others, in the order of keys") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"d", 1, 10, kNone}, {"a", 2, 10, kNone}, {"c", 3, 10, kNone}, {"a", 1, 210, kNone}}));
  lane.end_epoch();
  lane.restart();
  lane.process(orders({{"c", 4, 20, kNone}, {"b", 5, 10, kNone}}));
  lane.advance(150);
  CHECK(shown(lane) == "a 0 100 2 @99 | b 0 100 5 @99 | c 0 100 7 @99 | d 0 100 1 @99");
  lane.end_epoch();
  lane.restart();
  CHECK(lane.instance().restored_watermark_ms() == 150);
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 200 300 1 @299");
}

TEST_CASE("what has fired leaves the state") {
  for (const std::string lateness : {"", "  allowed_lateness: 50ms\n"}) {
    const auto plan = planned(yaml("{tumbling: {size: 100ms}}", lateness), kInput);
    KeyedLane lane(*plan, kOrders, {.shards = 1});
    const auto keys = [&] {
      lane.restart();
      size_t n = 0;
      REQUIRE(lane.layers()
                  .lane(0)
                  .scan(0, 7, "", "", [&](std::string_view, std::string_view) { return ++n > 0; })
                  .is_ok());
      return n;
    };
    lane.process(orders({{"a", 1, 10, kNone}, {"b", 1, 10, kNone}, {"c", 1, 110, kNone}}));
    lane.end_epoch();
    CHECK(keys() == 3);  // no watermark yet
    lane.process(orders({{"b", 1, 10, 80}}));
    lane.advance(149);
    lane.end_epoch();
    CHECK(keys() == 2);  // c, and how far time has come
    lane.process(orders({{"d", 1, 310, 150}}));
    lane.advance(300);
    lane.end_epoch();
    CHECK(keys() == 2);  // d
    // Made and gone within an epoch.
    lane.process(orders({{"e", 1, 410, 300}}));
    lane.advance(kEndOfTime);
    lane.end_epoch();
    CHECK(keys() == (lateness.empty() ? 1 : 2));  // e is kept for its lateness
  }
}

TEST_CASE("the end of the input fires everything; a later run goes on behind it") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 250, 10}}));
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 0 100 1 @99 | a 200 300 2 @299");
  lane.end_epoch();
  lane.restart();
  CHECK(lane.instance().restored_watermark_ms() == 299);
  lane.process(orders({{"a", 3, 299, 299}, {"a", 4, 300, 299}}));
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 300 400 4 @399");
  CHECK(lane.instance().counters().late == 1);
}

TEST_CASE("a record far ahead neither overflows nor fires what is not due") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}", "  allowed_lateness: 1d\n"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  const int64_t far = int64_t{100'000'000'000'000'000};
  lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 315'360'000'000, kNone}}));
  std::vector<Row> rows = {{"b", int64_t{1}, int64_t{0}, false},
                           {"b", int64_t{2}, int64_t{0}, false},
                           {"b", int64_t{3}, int64_t{0}, false},
                           {"b", int64_t{4}, int64_t{0}, false}};
  lane.process(with_watermarks(make_batch(kOrders, rows, {far, -far, kNoTime, INT64_MAX - 1}), {5, 5, 5, 5}));
  CHECK(lane.out.failed.size() == 4);
  CHECK(lane.out.failed[0] == "the event time 100000000000000000 ms is out of range");
  CHECK(lane.out.failed[2] == "the row has no event time");
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 0 100 1 @99 | a 315360000000 315360000100 2 @315360000099");
}

TEST_CASE("custom windows") {
  const auto plan = planned(
      yaml("{custom: {assign: 'amount == 0 ? [] : [[at, at + duration(\"50ms\")], [at, at + duration(\"50ms\")], "
           "[truncated, at + duration(\"50ms\")]]'}}"),
      {{{"customer", Type(TypeKind::kString)},
        {"amount", Type(TypeKind::kInt)},
        {"at", Type(TypeKind::kTimestamp)},
        {"truncated", Type(TypeKind::kTimestamp)}},
       EdgeType::kAppend,
       {}});
  const Schema schema = {{"customer", Type(TypeKind::kString)},
                         {"amount", Type(TypeKind::kInt)},
                         {"at", Type(TypeKind::kTimestamp)},
                         {"truncated", Type(TypeKind::kTimestamp)}};
  KeyedLane lane(*plan, schema, {.shards = 1});
  const auto row = [](int64_t amount, int64_t at_us, Cell truncated) {
    return Row{"a", amount, at_us, std::move(truncated)};
  };
  lane.process(with_watermarks(
      make_batch(schema,
                 {row(1, 10'500, integer(0)), row(2, 10'000, integer(10'000)), row(0, 10'000, integer(0)),
                  row(4, 10'000, integer(60'000)), row(5, 10'000, null()), row(6, -500, integer(-1'000))},
                 {1, 2, 3, 4, 5, 6}),
      std::vector<int64_t>(6, kNone)));
  REQUIRE(lane.out.failed.size() == 2);
  CHECK(lane.out.failed[0] == "assign gives a window that does not end after its start");
  CHECK(lane.out.failed_times == std::vector<int64_t>{4, 5});
  CHECK(lane.instance().counters().filtered == 1);
  lane.end_epoch();
  lane.restart();
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a -1 49 6 @48 | a 0 60 1 @59 | a 10 60 3 @59");
}

TEST_CASE("a global window is shown at the end of each run") {
  const auto plan = planned(
      "aggregate: {key_by: customer, window: {global: {}}, fields: {c: key(customer), sum: sum(amount)}}", kInput);
  CHECK(plan->output().type == EdgeType::kUpsert);
  CHECK(plan->output().key_columns == std::vector<int>{0});
  CHECK(plan->late_output() == nullptr);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", 1, 10, kNone}, {"b", 2, 20, 10}, {"a", 3, 5, 500}}));
  lane.end_epoch();
  lane.advance(1'000'000);
  CHECK(shown(lane) == "");
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 4 @10 | b 2 @20");
  lane.end_epoch();
  lane.restart();
  lane.process(orders({{"a", 1, 30, 500}}));
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 5 @30 | b 2 @20");
}

TEST_CASE("early: by count, by condition, by time") {
  const std::string early = "  emit: {early: {count: 3, when: big, every: 10s}}\n";
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}", early), kInput);
  CHECK(plan->output().type == EdgeType::kUpsert);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.advance_clock(1000);
  lane.process(orders({{"a", 1, 10, kNone},
                       {"a", 1, 11, kNone},
                       {"b", 1, 10, kNone},
                       {"a", 1, 12, kNone},
                       {"a", 1, 13, kNone},
                       {"a", 100, 14, kNone},
                       {"b", 1, 13, kNone}}));
  CHECK(shown(lane) == "a 0 100 3 @99 | a 0 100 104 @99");
  CHECK(lane.instance().next_clock_ms() == 11'000);
  lane.end_epoch();
  lane.restart();
  CHECK(lane.instance().next_clock_ms() <= 11'000);
  lane.advance_clock(10'999);
  CHECK(shown(lane) == "");
  // a has nothing new to show, b has.
  lane.advance_clock(11'000);
  CHECK(shown(lane) == "b 0 100 2 @99");
  CHECK(lane.instance().next_clock_ms() == kEndOfTime);
  lane.process(orders({{"a", 1, 20, 50}}));
  CHECK(lane.instance().next_clock_ms() == 21'000);
  lane.advance(99);
  CHECK(shown(lane) == "a 0 100 105 @99 | b 0 100 2 @99");
  lane.end_epoch();
  lane.advance_clock(30'000);
  CHECK(shown(lane) == "");
}

TEST_CASE("discarding: each row stands for what came since the last") {
  const std::string emit = "  allowed_lateness: 1s\n  emit: {early: {count: 2}, accumulation: discarding}\n";
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}", emit), kInput);
  CHECK(plan->output().type == EdgeType::kAppend);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", 1, 10, kNone}, {"b", 1, 11, kNone}, {"a", 2, 10, kNone}, {"a", 4, 12, kNone}}));
  CHECK(shown(lane) == "a 0 100 3 @99");
  lane.end_epoch();
  lane.restart();
  lane.advance(150);
  CHECK(shown(lane) == "a 0 100 4 @99 | b 0 100 1 @99");
  lane.process(orders({{"a", 8, 10, 150}, {"a", 16, 11, 150}}));
  CHECK(shown(lane) == "a 0 100 8 @99 | a 0 100 16 @99");
  lane.end_epoch();
  lane.restart();
  lane.process(orders({{"a", 32, 10, 150}, {"b", 64, 11, 150}}));
  CHECK(shown(lane) == "a 0 100 32 @99 | b 0 100 64 @99");
}

TEST_CASE("processing time: windows of the clock, also after a restart and with a clock that was set back") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms, time: processing}}"), kInput);
  CHECK(!plan->uses_event_time());
  CHECK(plan->late_output() == nullptr);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.clock.set_wall_ms(1050);
  lane.process(make_batch(kOrders, {{"a", int64_t{1}, int64_t{0}, false}}, {5}));
  CHECK(lane.instance().next_clock_ms() == 1100);
  lane.end_epoch();
  lane.restart();
  CHECK(lane.instance().next_clock_ms() <= 1100);
  lane.clock.set_wall_ms(1160);
  lane.process(make_batch(kOrders, {{"a", int64_t{2}, int64_t{0}, false}}, {5}));
  lane.advance_clock(1320);
  CHECK(shown(lane) == "a 1000 1100 1 @1099 | a 1100 1200 2 @1199");
  // Set back: what comes now is not put into a window that has fired.
  lane.clock.set_wall_ms(1150);
  lane.process(make_batch(kOrders, {{"a", int64_t{4}, int64_t{0}, false}}, {5}));
  CHECK(lane.instance().next_clock_ms() == 1400);
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 1300 1400 4 @1399");
}

TEST_CASE("min_interval: at most one row per key and interval, the last value always") {
  const auto plan = planned(
      "aggregate: {key_by: customer, fields: {c: key(customer), sum: sum(amount)}, emit: {min_interval: 10s}}", kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.clock.set_wall_ms(1000);
  lane.process(orders({{"a", 1, 10, kNone}}));
  lane.end_epoch();
  CHECK(shown(lane) == "a 1 @10");
  lane.clock.set_wall_ms(3000);
  lane.process(orders({{"a", 2, 20, kNone}, {"b", 1, 10, kNone}}));
  lane.end_epoch();
  CHECK(shown(lane) == "b 1 @10");
  lane.process(orders({{"a", 4, 15, kNone}}));
  lane.end_epoch();
  CHECK(shown(lane) == "");
  lane.restart();
  lane.advance_clock(10'999);
  CHECK(shown(lane) == "");
  lane.advance_clock(11'000);
  CHECK(shown(lane) == "a 7 @20");
  lane.end_epoch();
  lane.clock.set_wall_ms(12'000);
  lane.process(orders({{"a", 8, 15, kNone}, {"b", 1, 11, kNone}}));
  lane.end_epoch();
  CHECK(shown(lane) == "");
  // The end of the input does not wait.
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 15 @20 | b 2 @11");
}

TEST_CASE("ttl: a key without rows leaves with a delete") {
  const auto plan =
      planned("aggregate: {key_by: customer, ttl: 100ms, fields: {c: key(customer), sum: sum(amount)}}", kInput);
  CHECK(plan->uses_event_time());
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", 1, 10, kNone}, {"b", 2, 20, 0}, {"a", 4, 60, 50}}));
  lane.end_epoch();
  CHECK(shown(lane) == "a 5 @60 | b 2 @20");
  lane.restart();
  lane.advance(120);
  CHECK(shown(lane) == "");
  lane.advance(121);
  CHECK(shown(lane) == "delete b null @121");
  lane.process(orders({{"a", 8, 70, 160}, {"c", 16, 100, 160}, {"b", 32, 110, 171}}));
  lane.end_epoch();
  CHECK(shown(lane) == "delete a null @171 | b 32 @110 | c 16 @100");
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "");
}

TEST_CASE("a row that does not fit leaves no window behind") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", INT64_MAX, 10, kNone}, {"a", 1, 20, kNone}, {"b", 1, 20, kNone}}));
  REQUIRE(lane.out.failed.size() == 1);
  CHECK(lane.out.failed[0] == "overflow in sum(amount)");
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 0 100 9223372036854775807 @99 | b 0 100 1 @99");
  CHECK(lane.instance().counters().absorbed == 2);
}

TEST_CASE("retractions: old versions of windows that are shown early and late") {
  const std::string text =
      "aggregate: {key_by: customer, window: {tumbling: {size: 100ms}}, allowed_lateness: 50ms, "
      "fields: {c: key(customer), to: millis(window.end), sum: sum(amount)}, emit: ";
  {
    const auto plan = planned(text + "close}", kInput, true);
    CHECK(plan->output().type == EdgeType::kRetract);
    KeyedLane lane(*plan, kOrders, {.shards = 1});
    lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 20, 99}, {"b", 3, 30, 99}, {"a", 4, 40, 99}}));
    CHECK(to_text(lane.out.shown) == "a 100 1 | -a 100 1 | a 100 3 | b 100 3 | -a 100 3 | a 100 7");
  }
  {
    const auto plan = planned(text + "{early: {count: 2}}}", kInput, true);
    KeyedLane lane(*plan, kOrders, {.shards = 1});
    lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 20, kNone}}));
    lane.end_epoch();
    lane.restart();
    lane.process(orders({{"a", 4, 10, kNone}}));
    lane.end_epoch();
    lane.restart();
    lane.process(orders({{"a", 8, 20, kNone}, {"a", 16, 20, kNone}, {"a", 32, 40, 99}}));
    CHECK(to_text(lane.out.shown) == "a 100 3 | -a 100 3 | a 100 15 | -a 100 15 | a 100 31 | -a 100 31 | a 100 63");
  }
}

TEST_CASE("a restart in the middle of a firing goes on where it was cut") {
  for (const std::string window : {"{tumbling: {size: 100ms}}", "{hopping: {size: 100ms, every: 50ms}}"}) {
    for (const std::string lateness : {"", "  allowed_lateness: 1s\n"}) {
      CAPTURE(window);
      CAPTURE(lateness);
      const auto plan = planned(yaml(window, lateness), kInput);
      KeyedLane lane(*plan, kOrders, {.shards = 3});
      std::vector<Order> list;
      for (int i = 0; i < 20; i++) list.push_back({"key" + std::to_string(i), i, 10 + i * 3, kNone});
      lane.process(orders(list));
      lane.end_epoch();
      lane.restart();
      // Half of them are touched again.
      list.resize(10);
      lane.process(orders(list));
      size_t steps = 0;
      for (bool done = false; !done; steps++) {
        const Result<bool> advanced = lane.instance().advance(160, 2, lane.out);
        REQUIRE(advanced.is_ok());
        done = *advanced;
        lane.end_epoch();
        lane.restart();
      }
      CHECK(steps > 5);
      CHECK(lane.instance().restored_watermark_ms() == 160);
      lane.advance(160);
      std::map<std::string, int> seen;
      for (const Shown& row : lane.out.shown) seen[to_text(row.row)]++;
      for (const auto& [row, times] : seen) CHECK(times == 1);
      CHECK(seen.size() == (window.find("hop") == std::string::npos ? 20 : 14 + 20 + 6));
      CHECK(seen["key3 0 100 6"] == 1);
      CHECK(seen["key13 0 100 13"] == 1);
    }
  }
}

TEST_CASE("hopping windows share their rows") {
  const auto plan = planned(yaml("{hopping: {size: 100ms, every: 40ms}}", "  allowed_lateness: 50ms\n"), kInput);
  CHECK(plan->state_descriptor() ==
        "aggregate/1 key=[customer:string] aggs=[sum(amount:int)] window=hopping(100,40,0) slices");
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 50, 20}, {"b", 4, 45, 40}}));
  CHECK(shown(lane) == "a -80 20 1 @19");
  lane.end_epoch();
  lane.restart();
  // The window until 60 has fired when the late row comes; the later ones count it too.
  lane.process(orders({{"a", 8, 30, 59}, {"a", 16, 31, 108}, {"a", 32, 110, 108}, {"a", 64, 31, 109}}));
  CHECK(shown(lane) ==
        "a -40 60 3 @59 | b -40 60 4 @59 | a -40 60 11 @59 | a 0 100 11 @99 | b 0 100 4 @99 | a -40 60 27 @59 | "
        "a 0 100 27 @99 | a 0 100 91 @99");
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a 40 140 34 @139 | b 40 140 4 @139 | a 80 180 32 @179");
}

TEST_CASE("hopping: old versions of windows that are shown late") {
  const std::string text =
      "aggregate: {key_by: customer, window: {hopping: {size: 100ms, every: 50ms}}, allowed_lateness: 90ms, "
      "fields: {c: key(customer), to: millis(window.end), sum: sum(amount)}}";
  const auto plan = planned(text, kInput, true);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", 1, 10, kNone}, {"a", 2, 20, 99}, {"b", 3, 30, 99}}));
  CHECK(to_text(lane.out.shown) == "a 50 1 | a 100 1 | -a 50 1 | a 50 3 | -a 100 1 | a 100 3 | b 50 3 | b 100 3");
}

TEST_CASE("hopping: a window that does not fit is reported, the others are shown") {
  const auto plan = planned(yaml("{hopping: {size: 100ms, every: 50ms}}"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{"a", INT64_MAX, 10, kNone}, {"a", 1, 60, kNone}, {"b", 1, 60, kNone}}));
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "a -50 50 9223372036854775807 @49 | b 0 100 1 @99 | a 50 150 1 @149 | b 50 150 1 @149");
  REQUIRE(lane.out.failed.size() == 1);
  CHECK(lane.out.failed[0] == "the window does not fit");
  CHECK(lane.out.failed_times[0] == 99);
}

TEST_CASE("hopping in processing time") {
  const auto plan = planned(yaml("{hopping: {size: 100ms, every: 50ms, time: processing}}"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.clock.set_wall_ms(1010);
  lane.process(make_batch(kOrders, {{"a", int64_t{1}, int64_t{0}, false}}, {5}));
  CHECK(lane.instance().next_clock_ms() == 1050);
  lane.end_epoch();
  lane.restart();
  lane.advance_clock(1060);
  CHECK(shown(lane) == "a 950 1050 1 @1049");
  lane.process(make_batch(kOrders, {{"a", int64_t{2}, int64_t{0}, false}}, {5}));
  lane.advance_clock(1300);
  CHECK(shown(lane) == "a 1000 1100 3 @1099 | a 1050 1150 2 @1149");
  CHECK(lane.instance().next_clock_ms() == kEndOfTime);
}

TEST_CASE("what the plan says about windows") {
  const auto plan = planned(
      "aggregate: {key_by: customer, window: {tumbling: {size: 5m}}, allowed_lateness: 1m, "
      "fields: {c: key(customer), from: window.start, to: window.end, sum: sum(amount)}, emit: {early: {every: 30s}}}",
      kInput);
  CHECK(plan->describe() == "aggregate sum(amount) by customer, tumbling 5m, lateness 1m, emit close, early every 30s");
  CHECK(plan->state_descriptor() ==
        "aggregate/1 key=[customer:string] aggs=[sum(amount:int)] window=tumbling(300000,0) trigger");
  CHECK(plan->output().key_columns == std::vector<int>{0, 1, 2});
  CHECK(plan->output().schema[1].type == Type(TypeKind::kTimestamp));
}

}  // namespace
}  // namespace millrace
