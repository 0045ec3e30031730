// Windows, and keys with a time to live, whose rows are taken back, and that take back what they have shown.
#include "rows.h"

namespace millrace {
namespace {

const Schema kSchema = {{"k", Type(TypeKind::kString)}, {"v", Type(TypeKind::kInt)}};
const Edge kAppend{kSchema, EdgeType::kAppend, {}};
const Edge kRetract{kSchema, EdgeType::kRetract, {0}};
constexpr int64_t kNone = kNoTime;

struct Item {
  std::string key;
  int64_t value;
  int64_t time_ms;
  int64_t watermark_ms = kNone;
  Change change = Change::kInsert;
};

Batch items(const std::vector<Item>& list) {
  std::vector<Row> rows;
  std::vector<int64_t> times, watermarks;
  std::vector<Change> changes;
  for (const Item& item : list) {
    rows.push_back({item.key, item.value});
    times.push_back(item.time_ms);
    watermarks.push_back(item.watermark_ms);
    changes.push_back(item.change);
  }
  return with_watermarks(make_batch(kSchema, rows, times, changes), watermarks);
}

// What was shown since the last call, with event times: "a 5 @99".
std::string shown(KeyedLane& lane) {
  std::string text;
  for (const Shown& row : lane.out.shown) {
    text += (text.empty() ? "" : " | ") + to_text({row}) + " @" + std::to_string(row.time_ms);
  }
  lane.out.shown.clear();
  return text;
}

// Entries of the operator's state.
size_t stored_keys(KeyedLane& lane) {
  lane.restart();
  size_t n = 0;
  const auto count = [&](std::string_view, std::string_view) { return ++n > 0; };
  REQUIRE(lane.layers().lane(0).scan(0, 7, "", "", count).is_ok());
  return n;
}

TEST_CASE("each: a row is taken back under the event time that it had") {
  const std::string fields = "fields: {k: key(k), n: count()}, emit: each}";
  for (const std::string window : {"", "window: {tumbling: {size: 1s}}, "}) {
    CAPTURE(window);
    const auto plan = planned("aggregate: {key_by: k, " + window + fields, kAppend, true);
    KeyedLane lane(*plan, kSchema, {.shards = 1});
    lane.process(items({{"a", 1, 30}, {"a", 1, 90}, {"b", 1, 10}, {"a", 1, 40}}));
    CHECK(shown(lane) == "a 1 @30 | -a 1 @30 | a 2 @90 | b 1 @10 | -a 2 @90 | a 3 @90");
    lane.end_epoch();
    lane.restart();
    lane.process(items({{"a", 1, 20}, {"b", 1, 70}}));
    CHECK(shown(lane) == "-a 3 @90 | a 4 @90 | -b 1 @10 | b 2 @70");
  }
  // Nobody takes anything back: the row's own.
  const auto plain = planned("aggregate: {key_by: k, " + fields, kAppend);
  KeyedLane lane(*plain, kSchema, {.shards = 1});
  lane.process(items({{"a", 1, 30}, {"a", 1, 10}}));
  CHECK(shown(lane) == "a 1 @30 | a 2 @10");
}

TEST_CASE("ttl: a key that leaves is taken back under the event time that its row had") {
  for (const std::string emit : {"update", "each", "{mode: update, min_interval: 10s}"}) {
    CAPTURE(emit);
    const auto plan = planned("aggregate: {key_by: k, ttl: 100ms, fields: {k: key(k), n: count()}, emit: " + emit + "}",
                              kAppend, true);
    KeyedLane lane(*plan, kSchema, {.shards = 1});
    lane.process(items({{"a", 1, 30}, {"b", 1, 60}}));
    lane.end_epoch();
    CHECK(shown(lane) == "a 1 @30 | b 1 @60");
    lane.restart();
    lane.advance(200);
    CHECK(shown(lane) == "-a 1 @30 | -b 1 @60");
  }
}

TEST_CASE("update: a row that does not fit leaves nothing behind of the version before it") {
  for (const bool emit_per_batch : {false, true}) {
    const auto plan = planned("aggregate: {key_by: k, window: {tumbling: {size: 1s}}, emit: update, "
                              "fields: {k: key(k), n: count(), s: sum(v)}}",
                              kAppend, true);
    KeyedLane lane(*plan, kSchema, {.shards = 1, .emit_per_batch = emit_per_batch});
    const auto epoch = [&](const std::vector<Item>& list) {
      lane.process(items(list));
      lane.end_epoch();
    };
    epoch({{"a", 5, 10}, {"b", 100, 10}});
    epoch({{"a", INT64_MAX, 15}});
    CHECK(lane.out.failed == std::vector<std::string>{"overflow in sum(v)"});
    epoch({{"b", 1, 20}});
    lane.out.shown.clear();
    epoch({{"a", 1, 20}, {"b", 1, 20}});
    CHECK(shown(lane) == "-a 1 5 @10 | a 2 6 @20 | -b 2 101 @20 | b 3 102 @20");
  }
}

TEST_CASE("a window, or a key, that was shown without rows starts anew") {
  const std::string fields = "fields: {v: key(v), n: count()}, emit: ";
  const std::vector<Item> in = {{"a", 7, 10}}, out = {{"a", 7, 20, kNone, Change::kRetract}};
  for (const bool pairs : {false, true}) {
    CAPTURE(pairs);
    const std::string gone = pairs ? "-7 1 @10" : "delete 7 null @10";
    {
      const auto plan =
          planned("aggregate: {key_by: v, " + fields + "{mode: update, min_interval: 1s}}", kRetract, pairs);
      KeyedLane lane(*plan, kSchema, {.shards = 1});
      const auto epoch = [&](const std::vector<Item>& list) {
        lane.process(items(list));
        lane.end_epoch();
        lane.advance_clock(lane.clock.wall_ms() + 2000);
        lane.end_epoch();
        return shown(lane);
      };
      CHECK(epoch(in) == "7 1 @10");
      CHECK(epoch(out) == gone);
      CHECK(stored_keys(lane) == 0);
      CHECK(epoch(in) == "7 1 @10");
      // It comes back before it was shown that it is gone.
      lane.process(items(out));
      lane.end_epoch();
      CHECK(shown(lane) == gone);
      for (const std::vector<Item>& list : {in, out, in}) {
        lane.process(items(list));
        lane.end_epoch();
      }
      CHECK(shown(lane) == "7 1 @10");
      lane.advance_clock(lane.clock.wall_ms() + 2000);
      CHECK(shown(lane) == (pairs ? gone + " | 7 1 @10" : "7 1 @10"));
    }
  }
}

TEST_CASE("windows shown early, without rows, start anew") {
  const std::vector<Item> in = {{"a", 7, 10}}, out = {{"a", 7, 20, kNone, Change::kRetract}};
  const std::vector<Item> late_in = {{"a", 7, 10, 110}}, late_out = {{"a", 7, 20, 110, Change::kRetract}};
  for (const bool pairs : {false, true}) {
    CAPTURE(pairs);
    const std::string gone = pairs ? "-7 1 @99" : "delete 7 null @99";
    const std::string again = pairs ? "-7 1 @99 | 7 1 @99" : "7 1 @99";
    for (const std::string early : {"{every: 1s}", "{count: 1}"}) {
      CAPTURE(early);
      const auto plan = planned("aggregate: {key_by: v, window: {tumbling: {size: 100ms}}, allowed_lateness: 50ms, "
                                "fields: {v: key(v), n: count()}, emit: {early: " + early + "}}",
                                kRetract, pairs);
      KeyedLane lane(*plan, kSchema, {.shards = 1});
      const auto epoch = [&](const std::vector<Item>& list) {
        lane.process(items(list));
        lane.advance_clock(lane.clock.wall_ms() + 2000);
        lane.end_epoch();
        return shown(lane);
      };
      CHECK(epoch(in) == "7 1 @99");
      CHECK(epoch(out) == gone);
      CHECK(stored_keys(lane) == 0);
      CHECK(epoch(in) == "7 1 @99");
      lane.advance(99);
      CHECK(shown(lane) == again);
      CHECK(epoch(late_out) == gone);
      CHECK(stored_keys(lane) == 1);  // how far time has come
      CHECK(epoch(late_in) == "7 1 @99");
      CHECK(epoch(late_in) == (pairs ? "-7 1 @99 | 7 2 @99" : "7 2 @99"));
    }
  }
}

TEST_CASE("discarding: min_interval holds rows back all the same") {
  for (const std::string window : {"{tumbling: {size: 1s}}", "{global: {}}"}) {
    CAPTURE(window);
    const auto plan = planned("aggregate: {key_by: k, window: " + window +
                                  ", fields: {k: key(k), n: count(), s: sum(v)}, "
                                  "emit: {mode: update, min_interval: 10s, accumulation: discarding}}",
                              kAppend);
    KeyedLane lane(*plan, kSchema, {.shards = 1});
    const auto epoch = [&](int64_t value) {
      lane.process(items({{"a", value, 10 + value}}));
      lane.end_epoch();
      lane.restart();
      return shown(lane);
    };
    const auto clock = [&](int64_t now_ms) {
      lane.advance_clock(now_ms);
      lane.end_epoch();
      lane.restart();
      return shown(lane);
    };
    CHECK(epoch(1) == "a 1 1 @11");
    CHECK(epoch(2) == "");
    CHECK(epoch(4) == "");
    CHECK(clock(9'999) == "");
    CHECK(clock(10'000) == "a 2 6 @14");
    CHECK(epoch(8) == "");
    CHECK(clock(20'000) == "a 1 8 @18");
    CHECK(clock(31'000) == "");
    CHECK(epoch(16) == "a 1 16 @26");
    CHECK(epoch(32) == "");
    // The end of the input does not wait.
    lane.advance(kEndOfTime);
    CHECK(shown(lane) == "a 1 32 @42");
  }
}

}  // namespace
}  // namespace millrace
