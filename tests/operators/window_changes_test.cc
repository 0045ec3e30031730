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

}  // namespace
}  // namespace millrace
