// The end of the input, and a later run on the same state: what is late is decided shard by shard.
#include <algorithm>

#include "rows.h"

namespace millrace {
namespace {

const Schema kSchema = {{"k", Type(TypeKind::kString)}, {"v", Type(TypeKind::kInt)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

struct Item {
  std::string key;
  int64_t value;
  int64_t time_ms;
  int64_t watermark_ms = 0;
};

Batch items(const std::vector<Item>& list) {
  std::vector<Row> rows;
  std::vector<int64_t> times, watermarks;
  for (const Item& item : list) {
    rows.push_back({item.key, item.value});
    times.push_back(item.time_ms);
    watermarks.push_back(item.watermark_ms);
  }
  return with_watermarks(make_batch(kSchema, rows, times), watermarks);
}

// What was shown since the last call, sorted.
std::string shown(KeyedLane& lane) {
  std::vector<std::string> rows;
  for (const Shown& row : lane.out.shown) rows.push_back(to_text({row}));
  lane.out.shown.clear();
  std::sort(rows.begin(), rows.end());
  std::string text;
  for (const std::string& row : rows) text += (text.empty() ? "" : " | ") + row;
  return text;
}

std::string yaml(const std::string& window, const std::string& more = "") {
  return "aggregate: {key_by: k, window: " + window + ", fields: {k: key(k), to: millis(window.end), s: sum(v)}" +
         more + "}";
}

void end_run(KeyedLane& lane) {
  lane.advance(kEndOfTime);
  lane.end_epoch();
  lane.restart();
}

// Below, keys a and b are in different shards of one lane.

TEST_CASE("each shard goes by the last of its own windows that have fired") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms}}"), kInput);
  plan->keep_late_rows();
  KeyedLane lane(*plan, kSchema);
  lane.process(items({{"a", 1, 10}, {"b", 2, 310, 20}}));
  end_run(lane);
  CHECK(shown(lane) == "a 100 1 | b 400 2");
  CHECK(lane.instance().restored_watermark_ms() == 20);
  lane.process(items({{"b", 4, 399, 30}, {"a", 8, 350, 30}, {"b", 16, 50, 30}, {"a", 32, 50, 30}, {"b", 64, 400, 30}}));
  CHECK(to_text(lane.out.late) ==
        "b 4 300000 400000 399000 | b 16 0 100000 399000 | a 32 0 100000 99000");
  // It stays so until the watermark has passed them all.
  lane.end_epoch();
  lane.restart();
  CHECK(lane.instance().restored_watermark_ms() == 30);
  lane.out.late.clear();
  lane.process(items({{"b", 1, 390, 40}, {"a", 1, 390, 40}}));
  CHECK(to_text(lane.out.late) == "b 1 300000 400000 399000");
  CHECK(shown(lane) == "");
  // The window of one shard fires before a row that finds its end; in the other one it has.
  lane.process(items({{"b", 1, 380, 398}, {"a", 2, 380, 398}, {"b", 4, 410, 399}}));
  CHECK(shown(lane) == "a 400 11");
  end_run(lane);
  CHECK(shown(lane) == "b 500 68");
}

TEST_CASE("late rows of a later run find the windows that their shard has still open") {
  for (const std::string window : {"{tumbling: {size: 100ms}}", "{hopping: {size: 100ms, every: 100ms}}"}) {
    CAPTURE(window);
    const auto plan = planned(yaml(window, ", allowed_lateness: 50ms"), kInput);
    KeyedLane lane(*plan, kSchema);
    lane.process(items({{"a", 1, 10}, {"b", 2, 10}, {"b", 4, 310, 20}}));
    end_run(lane);
    CHECK(shown(lane) == "a 100 1 | b 100 2 | b 400 4");
    lane.process(items({{"a", 8, 20, 30}, {"b", 16, 20, 30}, {"b", 32, 320, 30}}));
    CHECK(shown(lane) == "a 100 9 | b 400 36");
    CHECK(lane.instance().counters().late == 1);
    lane.advance(149);
    lane.process(items({{"a", 64, 20, 149}}));
    CHECK(lane.instance().counters().late == 2);
  }
}

TEST_CASE("processing time: no row goes into a window of its shard that has fired") {
  const auto plan = planned(yaml("{tumbling: {size: 100ms, time: processing}}"), kInput);
  KeyedLane lane(*plan, kSchema);
  lane.clock.set_wall_ms(1010);
  lane.process(items({{"a", 1, 0}}));
  lane.advance_clock(1310);
  lane.process(items({{"b", 2, 0}}));
  end_run(lane);
  CHECK(shown(lane) == "a 1100 1 | b 1400 2");
  lane.clock.set_wall_ms(1320);
  lane.process(items({{"a", 4, 0}, {"b", 8, 0}}));
  lane.advance_clock(1400);
  CHECK(shown(lane) == "a 1400 4");
  lane.advance_clock(1500);
  CHECK(shown(lane) == "b 1500 8");
}

}  // namespace
}  // namespace millrace
