// Sessions, sliding windows and windows of a number of rows through the operator's interface, worked out by hand.
#include <fmt/format.h>

#include <map>

#include "operators/accumulator_bytes.h"
#include "operators/key_windows.h"
#include "rows.h"

namespace millrace {
namespace {

const Schema kOrders = {{"customer", Type(TypeKind::kString)},
                        {"amount", Type(TypeKind::kInt)},
                        {"gap", Type(TypeKind::kDuration)},
                        {"big", Type(TypeKind::kBool)}};
const Edge kInput{kOrders, EdgeType::kAppend, {}};
constexpr int64_t kNone = kNoTime;

struct Order {
  int64_t amount;
  int64_t time_ms;
  int64_t watermark_ms = kNone;  // that it finds
  int64_t gap_ms = 0;
  Cell big = false;
  std::string customer = "a";
};

Batch orders(const std::vector<Order>& list) {
  std::vector<Row> rows;
  std::vector<int64_t> times, watermarks;
  for (const Order& order : list) {
    rows.push_back({order.customer, order.amount, order.gap_ms * 1000, order.big});
    times.push_back(order.time_ms);
    watermarks.push_back(order.watermark_ms);
  }
  return with_watermarks(make_batch(kOrders, rows, times), watermarks);
}

std::string yaml(const std::string& window, const std::string& more = "", const std::string& value = "sum(amount)") {
  return "aggregate:\n  key_by: customer\n  window: " + window + "\n" + more +
         "  fields: {from: window.start, to: window.end, value: " + value + "}\n";
}

// What was shown since the last call, bounds in milliseconds, with event times: "0-100: 5 @99".
std::string shown(KeyedLane& lane) {
  std::string text;
  for (const Shown& one : lane.out.shown) {
    const auto ms = [&](size_t column) { return std::get<int64_t>(one.row[column]) / 1000; };
    text += text.empty() ? "" : " | ";
    text += one.change == Change::kInsert ? "" : one.change == Change::kDelete ? "delete " : "-";
    text += fmt::format("{}-{}: {} @{}", ms(0), ms(1), to_text(Row{one.row[2]}), one.time_ms);
  }
  lane.out.shown.clear();
  return text;
}

TEST_CASE("a session that grows takes its old version back with the event time of that") {
  const auto plan =
      planned(yaml("{session: {gap: 10ms}}", "  allowed_lateness: 300ms\n"), kInput, /*retractions=*/true);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{1, 40}}));
  lane.advance(52);
  CHECK(shown(lane) == "40-50: 1 @49");
  lane.end_epoch();
  lane.restart();
  lane.process(orders({{2, 49, 52}}));
  lane.advance(60);
  CHECK(shown(lane) == "-40-50: 1 @49 | 40-59: 3 @58");
  // Within one batch, and under the same bounds.
  lane.process(orders({{4, 58, 60}, {8, 58, 70}}));
  CHECK(shown(lane) == "-40-59: 3 @58 | 40-68: 7 @67 | -40-68: 7 @67 | 40-68: 15 @67");
}

TEST_CASE("updates of a session are taken back as they were") {
  const auto sessions = planned(yaml("{session: {gap: 10ms}}", "  emit: update\n"), kInput, /*retractions=*/true);
  KeyedLane lane(*sessions, kOrders, {.shards = 1});
  lane.process(orders({{1, 40}, {2, 38}}));
  lane.end_epoch();
  CHECK(shown(lane) == "38-50: 3 @40");
  lane.process(orders({{4, 45}}));
  lane.end_epoch();
  CHECK(shown(lane) == "-38-50: 3 @40 | 38-55: 7 @45");
}

TEST_CASE("windows of a key that an older version has stored") {
  const AccumulatorSet set({});
  const KeyWindowsCodec codec(set);
  std::string block;
  void* const empty = codec.new_block();
  set.encode(empty, block);
  codec.delete_block(empty);
  std::string bytes;
  AccumulatorWriter writer(bytes);
  writer.byte(1);
  for (const int64_t time_ms : {50, 60}) writer.zigzag(time_ms);   // timers
  writer.varint(1);                                                // windows
  for (const int64_t part : {40, 10, 45, 5}) writer.zigzag(part);  // bounds, newest row, gap
  writer.varint(2);                                                // rows since
  writer.byte(1);                                                  // fired
  writer.varint(1);                                                // versions
  for (const int64_t bound : {40, 8}) writer.zigzag(bound);
  writer.string("values");
  writer.string(block);
  alignas(8) char state[64];
  REQUIRE(codec.size() <= sizeof state);
  codec.create(state);
  REQUIRE(codec.decode(bytes, state).is_ok());
  const auto check = [&] {
    const KeyWindows& windows = KeyWindowsCodec::of(state);
    CHECK(windows.timer_ms == 50);
    CHECK(windows.clock_timer_ms == 60);
    REQUIRE(windows.windows.size() == 1);
    const KeyWindow& window = windows.windows[0];
    CHECK(window.bounds == WindowBounds{40, 50});
    CHECK(window.fired);
    REQUIRE(window.shown.size() == 1);
    CHECK(window.shown[0].bounds == WindowBounds{40, 48});
    CHECK(window.shown[0].values == "values");
  };
  check();
  CHECK(KeyWindowsCodec::of(state).windows[0].shown[0].event_time_ms == kNoTime);
  for (const int64_t time_ms : {kNoTime, int64_t{47}, int64_t{-3}, INT64_MAX}) {
    KeyWindowsCodec::of(state).windows[0].shown[0].event_time_ms = time_ms;
    bytes.clear();
    codec.encode(state, bytes);
    codec.destroy(state);
    codec.create(state);
    REQUIRE(codec.decode(bytes, state).is_ok());
    check();
    CHECK(KeyWindowsCodec::of(state).windows[0].shown[0].event_time_ms == time_ms);
  }
  codec.destroy(state);
}

TEST_CASE("sessions, discarding: what was shown stays, and a session with nothing new is not shown") {
  const auto plan =
      planned(yaml("{session: {gap: 10ms}}", "  emit: {early: {count: 2}, accumulation: discarding}\n"), kInput);
  CHECK(plan->output().type == EdgeType::kAppend);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{1, 1}, {2, 2}}));
  CHECK(shown(lane) == "1-12: 3 @2");
  lane.end_epoch();
  lane.restart();
  lane.process(orders({{4, 5}, {8, 6}, {16, 7}}));
  CHECK(shown(lane) == "1-16: 12 @6");
  lane.advance(17);
  CHECK(shown(lane) == "1-17: 16 @16");
  lane.process(orders({{1, 101, 90}, {2, 102, 90}}));
  CHECK(shown(lane) == "101-112: 3 @102");
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "");
}

TEST_CASE("a session that joins more versions than a batch holds") {
  for (const bool retractions : {false, true}) {
    CAPTURE(retractions);
    const auto plan = planned(yaml("{session: {gap: gap}}", "  emit: update\n"), kInput, retractions);
    KeyedLane lane(*plan, kOrders, {.shards = 1, .flush_rows = 4096});
    std::vector<Order> list;
    for (int64_t i = 0; i < 3000; i++) list.push_back({1, i * 10, kNone, 5});
    lane.process(orders(list));
    lane.cut_within_epoch();
    CHECK(lane.out.shown.size() == 3000);
    lane.out.shown.clear();
    lane.process(orders({{1, 0, kNone, 100'000}}));
    lane.cut_within_epoch();
    REQUIRE(lane.out.shown.size() == 3001);
    CHECK(lane.out.shown[0].change == (retractions ? Change::kRetract : Change::kDelete));
    lane.out.shown.erase(lane.out.shown.begin(), lane.out.shown.end() - 1);
    CHECK(shown(lane) == "0-100000: 3001 @29990");
  }
}

TEST_CASE("a row whose version cannot be shown has failed, and no delete follows for it") {
  const auto plan = planned(yaml("{session: {gap: 10ms}}", "  emit: each\n", "10 / sum(amount)"), kInput);
  for (const bool cut : {false, true}) {
    CAPTURE(cut);
    KeyedLane lane(*plan, kOrders, {.shards = 1});
    lane.process(orders({{0, 1}}));
    if (cut) lane.end_epoch();
    if (cut) lane.restart();
    const uint64_t absorbed = lane.instance().counters().absorbed;
    lane.process(orders({{1, 2}, {-1, 3}, {5, 4}}));
    CHECK(shown(lane) == "1-12: 10 @2 | delete 1-12: null @2 | 1-14: 2 @4");
    CHECK(lane.out.failed.size() == 2);
    CHECK(absorbed == 0);
    CHECK(lane.instance().counters().absorbed == 2);
  }
}

TEST_CASE("a session whose result failed at the end of the epoch has no version to delete") {
  const auto plan = planned(yaml("{session: {gap: 10ms}}", "  emit: update\n", "10 / sum(amount)"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{0, 1}, {2, 30}}));
  lane.end_epoch();
  CHECK(shown(lane) == "30-40: 5 @30");
  CHECK(lane.out.failed.size() == 1);
  CHECK(lane.instance().counters().absorbed == 2);  // no row is to blame
  lane.process(orders({{1, 2}, {3, 31}}));
  lane.end_epoch();
  CHECK(shown(lane) == "1-12: 10 @2 | delete 30-40: null @30 | 30-41: 2 @31");
}

TEST_CASE("sliding: the window behind a row becomes the own window of a row at its end") {
  const auto plan = planned(yaml("{sliding: {size: 10ms}}", "  emit: update\n"), kInput, /*retractions=*/true);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{1, 100}, {2, 105}}));
  lane.end_epoch();
  CHECK(shown(lane) == "90-100: 1 @100 | 95-105: 3 @105 | 101-111: 2 @105");
  lane.restart();
  lane.process(orders({{4, 111}}));
  lane.end_epoch();
  CHECK(shown(lane) == "-101-111: 2 @105 | 101-111: 6 @111 | 106-116: 4 @111");
}

TEST_CASE("sliding: a window that has fired is shown again for a late row at its end") {
  const auto plan =
      planned(yaml("{sliding: {size: 10ms}}", "  allowed_lateness: 50ms\n"), kInput, /*retractions=*/true);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{1, 100}, {2, 105}}));
  lane.advance(111);
  CHECK(shown(lane) == "90-100: 1 @100 | 95-105: 3 @105 | 101-111: 2 @111");
  lane.process(orders({{4, 111, 111}}));
  CHECK(shown(lane) == "-101-111: 2 @111 | 101-111: 6 @111");
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "106-116: 4 @116");
}

TEST_CASE("sliding: a row that is late for its own window does not show it") {
  for (const std::string emit : {"close", "final"}) {
    CAPTURE(emit);
    const auto plan = planned(yaml("{sliding: {size: 10ms}}", "  emit: " + emit + "\n"), kInput);
    KeyedLane lane(*plan, kOrders, {.shards = 1});
    lane.process(orders({{1, 104}, {2, 100, 105}}));
    lane.advance(kEndOfTime);
    // [94, 104] and [90, 100] are over; [101, 111] is open, and holds the first row.
    CHECK(shown(lane) == "94-104: 1 @104 | 101-111: 1 @111");
  }
}

TEST_CASE("sliding: the window behind a row that comes after those in it is shown") {
  const auto run = [](const std::string& more, bool cut) {
    const auto plan = planned(yaml("{sliding: {size: 10ms}}", more), kInput);
    KeyedLane lane(*plan, kOrders, {.shards = 1});
    lane.process(orders({{1, 108}}));
    if (cut) lane.end_epoch();
    lane.process(orders({{2, 105, 90}}));
    lane.end_epoch();
    lane.process(orders({{4, 105, 90}}));
    lane.end_epoch();
    return shown(lane);
  };
  const std::string first = "98-108: 1 @108";
  const std::string then = "95-105: 6 @105 | 98-108: 7 @108";
  const std::string update = "95-105: 2 @105 | 98-108: 3 @108 | 106-116: 1 @108 | " + then;
  CHECK(run("  emit: update\n", true) == first + " | " + update);
  CHECK(run("  emit: update\n", false) == update);
  const std::string each =
      first + " | 95-105: 2 @105 | 98-108: 3 @105 | 106-116: 1 @105 | 95-105: 6 @105 | 98-108: 7 @105";
  CHECK(run("  emit: each\n", true) == each);
  CHECK(run("  emit: each\n", false) == each);
}

TEST_CASE("sliding: late: none is silent about the window behind a late row, too") {
  for (const std::string late : {"none", "update"}) {
    CAPTURE(late);
    const auto plan = planned(
        yaml("{sliding: {size: 10ms}}", "  allowed_lateness: 1s\n  emit: {late: " + late + "}\n"), kInput);
    KeyedLane lane(*plan, kOrders, {.shards = 1});
    lane.process(orders({{1, 108}, {2, 105, 200}}));
    lane.advance(kEndOfTime);
    const std::string again = late == "none" ? "" : " | 95-105: 2 @105 | 98-108: 3 @108 | 106-116: 1 @116";
    CHECK(shown(lane) == "98-108: 1 @108" + again);
  }
}

TEST_CASE("sliding: an update that a later watermark closes is shown all the same") {
  const auto plan = planned(yaml("{sliding: {size: 10ms}}", "  allowed_lateness: 50ms\n  emit: update\n"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{1, 100}, {2, 101}}));
  lane.advance(120);
  CHECK(shown(lane) == "");
  lane.end_epoch();
  CHECK(shown(lane) == "90-100: 1 @100 | 91-101: 3 @101 | 101-111: 2 @101");
  lane.process(orders({{4, 100, 120}, {16, 95, 149}, {32, 92, 151}}));
  lane.advance(155);
  lane.end_epoch();
  // 95 comes in time for [90, 100], 92 only for [93, 103], which it makes; [85, 95] is over.
  CHECK(shown(lane) == "90-100: 21 @100 | 91-101: 23 @101 | 93-103: 23 @101 | 96-106: 7 @101");
  // Too late for [91, 101] and [93, 103].
  lane.process(orders({{8, 101, 155}}));
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "96-106: 15 @101 | 101-111: 10 @101");
}

TEST_CASE("what waits for its interval is part of the state") {
  const std::map<std::string, std::string> kinds = {{"{session: {gap: 10ms}}", "1-11: 1 @1"},
                                                    {"{sliding: {size: 10ms}}", "-9-1: 1 @1"}};
  for (const std::string emit : {"{mode: update, min_interval: 5s}", "{early: {every: 5s}}"}) {
    for (const auto& [window, first] : kinds) {
      CAPTURE(window);
      const auto plan = planned(yaml(window, "  emit: " + emit + "\n"), kInput);
      KeyedLane lane(*plan, kOrders, {.shards = 1});
      lane.process(orders({{1, 1}}));
      lane.end_epoch();
      lane.restart();
      lane.advance_clock(10'000);
      CHECK(shown(lane) == first);
      lane.end_epoch();
      lane.restart();
      lane.advance_clock(20'000);
      CHECK(shown(lane) == "");
    }
  }
}

TEST_CASE("windows of a number of rows: what waits for its interval is part of the state") {
  const auto plan = planned(
      "aggregate:\n  key_by: customer\n  window: {count: {size: 3}}\n  emit: {mode: update, min_interval: 5s}\n"
      "  fields: {c: key(customer), sum: sum(amount)}\n",
      kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  const auto text = [&] {
    const std::string all = to_text(lane.out.shown);
    lane.out.shown.clear();
    return all;
  };
  lane.process(orders({{1, 1}, {2, 2}}));
  lane.end_epoch();
  lane.restart();
  lane.advance_clock(10'000);
  CHECK(text() == "a 3");
  lane.process(orders({{4, 3}, {8, 4}}));
  CHECK(text() == "a 7");
  lane.end_epoch();
  lane.restart();
  lane.advance_clock(20'000);
  CHECK(text() == "a 8");
  lane.advance_clock(30'000);
  CHECK(text() == "");
}

TEST_CASE("a closed session is remembered for the largest gap that a row in time may have") {
  const auto plan = planned(yaml("{session: {gap: gap, max_gap: 100ms}}"), kInput);
  plan->keep_late_rows();
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{1, 0, kNone, 50}}));
  lane.advance(120);
  lane.end_epoch();
  lane.restart();
  lane.process(orders({{2, 40, 120, 500}, {4, 51, 120, 100}}));
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "0-50: 1 @49 | 51-151: 4 @150");
  CHECK(lane.instance().counters().late == 1);
}

TEST_CASE("without max_gap a closed session is remembered for the largest gap of the key") {
  const auto plan = planned(yaml("{session: {gap: gap}}"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{1, 0, kNone, 50}, {1, 200, 10, 100}}));
  lane.advance(120);
  lane.process(orders({{2, 40, 120, 100}}));
  CHECK(lane.instance().counters().late == 1);
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "0-50: 1 @49 | 200-300: 1 @299");
}

TEST_CASE("the end of the input makes no session forgotten; a later run may have newer rows") {
  const auto plan = planned(yaml("{session: {gap: gap, max_gap: 1000ms}}"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  const auto stored = [&] {
    size_t n = 0;
    const auto count = [&](std::string_view, std::string_view) { return ++n > 0; };
    REQUIRE(lane.layers().lane(0).scan(0, 7, std::string(1, '\0'), std::string(1, '\x7f'), count).is_ok());
    return n;
  };
  lane.process(orders({{1, 0, kNone, 50}}));
  lane.advance(kEndOfTime);
  lane.end_epoch();
  CHECK(shown(lane) == "0-50: 1 @49");
  lane.restart();
  CHECK(lane.instance().restored_watermark_ms() == 50);
  lane.process(orders({{2, 49, 50, 100}, {4, 51, 50, 10}}));
  CHECK(lane.instance().counters().late == 1);
  lane.advance(61);
  CHECK(shown(lane) == "51-61: 4 @60");
  lane.end_epoch();
  CHECK(stored() > 1);
  lane.advance(1061);
  lane.end_epoch();
  CHECK(stored() == 1);  // how far time has come
}

TEST_CASE("late: none is silent, whatever `early` is due") {
  for (const std::string window : {"{session: {gap: 10ms}}", "{sliding: {size: 10ms}}"}) {
    CAPTURE(window);
    const auto plan =
        planned(yaml(window, "  allowed_lateness: 1s\n  emit: {early: {every: 5s}, late: none}\n"), kInput);
    KeyedLane lane(*plan, kOrders, {.shards = 1});
    lane.process(orders({{1, 1}}));
    lane.advance(60);
    lane.process(orders({{2, 1, 60}}));
    lane.out.shown.clear();
    lane.advance_clock(10'000);
    CHECK(shown(lane) == "");
  }
}

TEST_CASE("a condition of early that is null is a failed row") {
  const auto plan = planned(yaml("{session: {gap: 10ms}}", "  emit: {early: {when: big}}\n"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{1, 1, kNone, 0, null()}, {2, 2, kNone, 0, true}, {4, 3, kNone, 0, false}}));
  CHECK(shown(lane) == "2-12: 2 @2");
  REQUIRE(lane.out.failed.size() == 1);
  CHECK(lane.out.failed[0] == "the condition of early is null");
  CHECK(lane.instance().counters().absorbed == 2);
}

TEST_CASE("windows of a number of rows need no watermark, not even when the cache is full") {
  const auto plan = planned(
      "aggregate:\n  key_by: customer\n  window: {count: {size: 2}}\n  fields: {c: key(customer), n: count()}\n",
      kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1, .cache_bytes = 1000});
  std::vector<Row> rows;
  for (int64_t i = 0; i < 1000; i++) rows.push_back({"k" + std::to_string(i % 500), i, int64_t{0}, false});
  ArenaPool arenas;
  KeyEncoder encoder(*plan->key(), kOrders, 1);
  RowErrors errors;
  const Batch keyed = encoder.encode(make_batch(kOrders, rows), arenas.take(), errors);
  REQUIRE(keyed.watermark_ms == nullptr);
  CHECK(lane.instance().process(keyed, 0, lane.out).is_ok());
  CHECK(lane.out.shown.size() == 500);
}

TEST_CASE("rows behind the end of time are late, and do not wait for a timer that never comes") {
  const auto plan = planned(yaml("{session: {gap: 10ms}}"), kInput);
  KeyedLane lane(*plan, kOrders, {.shards = 1});
  lane.process(orders({{1, 1, 5}, {2, 30, INT64_MAX}}));
  CHECK(lane.instance().counters().late == 1);
  CHECK(shown(lane) == "1-11: 1 @10");
  lane.end_epoch();
  lane.restart();
  // The time of the state is that of what has happened.
  CHECK(lane.instance().restored_watermark_ms() == 11);
}

TEST_CASE("after the end of the input each shard goes on from what has happened in it") {
  const auto plan = planned(yaml("{session: {gap: 10ms}}"), kInput);
  KeyedLane lane(*plan, kOrders);
  const auto order = [](const std::string& customer, int64_t amount, int64_t time_ms, int64_t watermark_ms) {
    return Order{amount, time_ms, watermark_ms, 0, false, customer};
  };
  lane.process(orders({order("a", 1, 0, kNone), order("b", 2, 1000, kNone)}));
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "0-10: 1 @9 | 1000-1010: 2 @1009");
  lane.end_epoch();
  lane.restart();
  // As if each of them had a lane of its own.
  const int64_t restored_ms = lane.instance().restored_watermark_ms();
  CHECK(restored_ms == kNone);
  lane.process(orders({order("a", 4, 500, restored_ms), order("b", 8, 500, restored_ms)}));
  CHECK(lane.instance().counters().late == 1);
  lane.advance(600);
  CHECK(shown(lane) == "500-510: 4 @509");
  // Rows carry the watermark of the stage, which the shard of b is ahead of.
  lane.process(orders({order("b", 16, 1005, 600), order("b", 32, 1011, 600)}));
  CHECK(lane.instance().counters().late == 2);
  lane.end_epoch();
  lane.restart();
  CHECK(lane.instance().restored_watermark_ms() == 600);
  lane.advance(kEndOfTime);
  CHECK(shown(lane) == "1011-1021: 32 @1020");
}

}  // namespace
}  // namespace millrace
