// What a `process` operator promises one by one: units of steps, timers that move and become overdue, what stands in
// the
// state, and where the watermark of its rows stands. The model test has the combinations.
#include <map>

#include "process_lane.h"

namespace millrace {
namespace {

const Schema kSchema = {{"k", Type(TypeKind::kString)}, {"n", Type(TypeKind::kInt)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};
constexpr char kKeys = 1, kEventTimers = 2, kClockTimers = 3;

TimedRow row(const std::string& key, int64_t n, int64_t time_ms, int64_t watermark_ms) {
  return {Row{text(key), integer(n)}, time_ms, watermark_ms};
}

std::vector<int64_t> times(const RecordingCollector& out) {
  std::vector<int64_t> times;
  for (const Shown& shown : out.shown) times.push_back(shown.time_ms);
  return times;
}

const char* const kTimeout = R"(
process:
  key_by: k
  state: {n: int}
  timers: {timeout: event}
  on_record:
    - set: {n: n}
      set_timer: {timeout: 'event_time + duration("100ms")'}
  on_timer:
    timeout:
      - emit: {k: key(k), n: state.n}
      - clear: all
)";

TEST_CASE("a record is a unit: a late failure takes back what its steps have set, emitted and armed") {
  const auto plan = planned(R"(
process:
  key_by: k
  state: {n: int}
  timers: {timeout: event}
  on_record:
    - set: {n: n}
      set_timer: {timeout: 'event_time + duration("100ms")'}
      emit: {k: k, n: state.n}
    - when: 10 / n > 0
      emit: {k: k, n: -n}
  on_timer:
    timeout:
      - emit: {k: key(k), n: state.n * 1000}
)",
                            kInput);
  ProcessLane lane(*plan, kSchema);
  lane.process({row("a", 1, 0, kNoTime), row("b", 0, 0, kNoTime), row("a", 0, 50, kNoTime), row("a", 20, 60, kNoTime)});
  CHECK(to_text(lane.out.shown) == "a 1 | a -1 | a 20");
  CHECK(lane.out.failed == std::vector<std::string>{"division by zero", "division by zero"});
  lane.advance(kEndOfTime);
  CHECK(to_text(lane.out.shown) == "a 1 | a -1 | a 20 | a 20000");
  CHECK(times(lane.out) == std::vector<int64_t>{0, 0, 60, 160});
  CHECK(lane.instance().counters().in == 4);
  CHECK(lane.instance().counters().absorbed == 2);
  CHECK(lane.instance().counters().out == 4);
  CHECK(lane.instance().counters().fired == 1);
}

TEST_CASE("a timer fires before the first row whose watermark has reached it, wherever batches are cut") {
  const auto plan = planned(kTimeout, kInput);
  const std::vector<TimedRow> rows = {row("a", 1, 0, kNoTime), row("b", 2, 10, 0), row("b", 3, 99, 99),
                                      row("a", 4, 200, 100), row("b", 5, 201, 198), row("c", 6, 500, 199)};
  std::string expected;
  for (size_t cut = 1; cut <= rows.size(); cut++) {
    ProcessLane lane(*plan, kSchema);
    lane.process({rows.begin(), rows.begin() + static_cast<ptrdiff_t>(cut)});
    lane.process({rows.begin() + static_cast<ptrdiff_t>(cut), rows.end()});
    CHECK(to_text(lane.out.shown) == "a 1");
    lane.advance(301);
    CHECK(to_text(lane.out.shown) == "a 1 | a 4 | b 5");
    CHECK(times(lane.out) == std::vector<int64_t>{100, 300, 301});
    for (const Batch& batch : lane.out.batches) {
      for (uint32_t i = 0; i < batch.rows; i++) CHECK(batch.watermark_ms[i] == batch.event_time_ms[i] - 1);
    }
  }
}

TEST_CASE("a timer that moves on takes no room in the queue for every move") {
  const auto plan = planned(kTimeout, kInput);
  ProcessLane lane(*plan, kSchema);
  for (int64_t i = 0; i < 5000; i++) {
    lane.process({row("a", i, i, i - 1)});
    if (i % 10 == 0) lane.end_epoch();
    CHECK(lane.stored(kEventTimers) <= 1);
  }
  CHECK(lane.out.shown.empty());
  lane.restart();
  lane.advance(10'000);
  CHECK(to_text(lane.out.shown) == "a 4990");  // what came behind the last cut is lost
  lane.end_epoch();
  CHECK(lane.stored(kEventTimers) == 0);
  CHECK(lane.stored(kKeys) == 0);
}

TEST_CASE("keys that are as new leave the state") {
  const auto plan = planned(kTimeout, kInput);
  ProcessLane lane(*plan, kSchema);
  std::vector<TimedRow> rows;
  for (int64_t i = 0; i < 3000; i++) rows.push_back(row("key-" + std::to_string(i), i, i / 10, kNoTime));
  lane.process(rows);
  lane.end_epoch();
  CHECK(lane.stored(kKeys) == 3000);
  CHECK(lane.stored(kEventTimers) == 3000);
  lane.advance(249);
  CHECK(lane.out.shown.size() == 1500);
  CHECK(lane.out.largest_batch <= 1024);
  lane.end_epoch();
  CHECK(lane.stored(kKeys) == 1500);
  CHECK(lane.stored(kEventTimers) == 1500);
  lane.restart();
  CHECK(lane.instance().restored_watermark_ms() == 249);
  lane.advance(kEndOfTime);
  CHECK(lane.out.shown.size() == 3000);
  for (size_t i = 0; i + 1 < 3000; i++) CHECK(lane.out.shown[i].time_ms <= lane.out.shown[i + 1].time_ms);
  lane.end_epoch();
  CHECK(lane.stored(kKeys) == 0);
  CHECK(lane.stored(kEventTimers) == 0);
  lane.restart();
  CHECK(lane.instance().restored_watermark_ms() == 249);  // not the end of time
}

TEST_CASE("a due time that has passed is one millisecond behind the watermark") {
  const auto plan = planned(R"(
process:
  key_by: k
  timers: {again: event}
  on_record:
    - set_timer: {again: event_time}
  on_timer:
    again:
      - emit: {k: key(k), at: event_time, watermark: watermark}
      - set_timer: {again: 'event_time - duration("1h")'}
)",
                            kInput);
  ProcessLane lane(*plan, kSchema);
  lane.process({row("a", 0, 10, 1000)});
  lane.advance(1000);
  CHECK(lane.out.shown.empty());
  lane.advance(1003);
  CHECK(times(lane.out) == std::vector<int64_t>{1001, 1002, 1003});
  // The end of the input: what is set fires, and does not set itself again.
  lane.advance(kEndOfTime);
  CHECK(times(lane.out) == std::vector<int64_t>{1001, 1002, 1003, 1004});
}

TEST_CASE("at the end of the input timers may set others, but no circle goes on") {
  const auto plan = planned(R"(
process:
  key_by: k
  timers: {first: event, second: event, third: event}
  on_record:
    - set_timer: {first: 'event_time + duration("1s")'}
  on_timer:
    first:
      - emit: {what: '"first"'}
      - set_timer: {second: 'event_time + duration("1s")'}
    second:
      - emit: {what: '"second"'}
      - set_timer: {third: 'event_time + duration("1s")'}
    third:
      - emit: {what: '"third"'}
      - set_timer: {second: 'event_time + duration("1s")'}
)",
                            kInput);
  ProcessLane lane(*plan, kSchema);
  lane.process({row("a", 0, 0, kNoTime)});
  lane.advance(kEndOfTime);
  // second leads to third and back: it is set by first, which is in no circle, and sets nothing itself.
  CHECK(to_text(lane.out.shown) == "first | second");
  lane.end_epoch();
  CHECK(lane.stored(kEventTimers) == 0);
}

TEST_CASE("processing-time timers fire by the clock, overdue ones in order after a restart") {
  const auto plan = planned(R"(
process:
  key_by: k
  state: {fired: {type: int, initial: 0}}
  timers: {tick: processing}
  on_record:
    - when: timer.tick == null
      set_timer: {tick: 'now + duration("10ms")'}
  on_timer:
    tick:
      - set: {fired: state.fired + 1}
      - emit: {k: key(k), fired: state.fired, now: millis(now)}
      - when: state.fired < 3
        set_timer: {tick: 'event_time + duration("10ms")'}
        else: [{clear: all}]
)",
                            kInput);
  ProcessLane lane(*plan, kSchema);
  CHECK(lane.instance().next_clock_ms() == kEndOfTime);
  lane.clock.set_wall_ms(1000);
  lane.process({row("a", 0, 5, 3)});
  lane.clock.set_wall_ms(1005);
  lane.process({row("b", 0, 5, 4), row("a", 0, 6, 4)});
  CHECK(lane.instance().next_clock_ms() == 1010);
  lane.advance_clock(1009);
  CHECK(lane.out.shown.empty());
  lane.end_epoch();
  CHECK(lane.stored(kClockTimers) == 2);
  lane.restart();
  CHECK(lane.instance().next_clock_ms() == 1010);
  lane.advance_clock(1040);
  CHECK(to_text(lane.out.shown) == "a 1 1040 | b 1 1040 | a 2 1040 | b 2 1040 | a 3 1040 | b 3 1040");
  CHECK(times(lane.out) == std::vector<int64_t>{1010, 1015, 1020, 1025, 1030, 1035});
  for (const Batch& batch : lane.out.batches) CHECK(batch.watermark_ms[0] == 4);
  lane.end_epoch();
  CHECK(lane.stored(kKeys) == 0);
}

TEST_CASE("an expression that fails on a timer names the timer and has no record behind it") {
  const auto plan = planned(R"(
process:
  key_by: k
  state: {n: int}
  timers: {soon: event}
  on_record:
    - set: {n: n}
      set_timer: {soon: event_time}
  on_timer:
    soon:
      - emit: {k: key(k), n: 10 / state.n}
)",
                            kInput);
  ProcessLane lane(*plan, kSchema);
  lane.process({row("a", 5, 10, kNoTime), row("b", 0, 10, kNoTime)});
  lane.advance(10);
  CHECK(lane.out.failed == std::vector<std::string>{"timer soon: division by zero"});
  CHECK(to_text(lane.out.shown) == "a 2");
}

TEST_CASE("fields are forgotten after their time to live, timers are not") {
  const auto plan = planned(R"(
process:
  key_by: k
  state: {sum: {type: int, initial: 0}}
  ttl: 100ms
  timers: {report: event}
  on_record:
    - set: {sum: state.sum + n}
      set_timer: {report: 'timer.report == null ? event_time + duration("150ms") : timer.report'}
  on_timer:
    report:
      - emit: {k: key(k), sum: state.sum}
)",
                            kInput);
  ProcessLane lane(*plan, kSchema);
  lane.process({row("a", 1, 0, kNoTime), row("b", 1, 0, kNoTime), row("b", 2, 60, kNoTime)});
  lane.advance(99);
  lane.end_epoch();
  lane.restart();
  lane.advance(150);
  CHECK(to_text(lane.out.shown) == "a 0 | b 3");
  lane.advance(160);
  lane.process({row("b", 4, 165, 160)});
  lane.end_epoch();
  lane.advance(kEndOfTime);
  // The end of the input makes no key old; a later run does.
  CHECK(to_text(lane.out.shown) == "a 0 | b 3 | b 4");
  lane.end_epoch();
  CHECK(lane.stored(kKeys) == 1);
  CHECK(lane.stored(kEventTimers) == 1);
  lane.restart();
  lane.process({row("b", 8, 170, 264)});
  lane.end_epoch();
  lane.advance(kEndOfTime);
  CHECK(to_text(lane.out.shown) == "a 0 | b 3 | b 4 | b 12");
  lane.end_epoch();
  lane.restart();
  lane.advance(270);
  lane.end_epoch();
  CHECK(lane.stored(kKeys) == 0);
  CHECK(lane.stored(kEventTimers) == 0);
}

TEST_CASE("lists, structs and texts are kept; a value that grows too long fails its record") {
  const Schema schema = {{"k", Type(TypeKind::kString)}, {"s", Type(TypeKind::kString)}};
  const auto plan = planned(R"(
process:
  key_by: k
  state: {all: [string], longest: {type: string, initial: '"none"'}, bytes: bytes}
  on_record:
    - set: {all: 'state.all == null ? [s] : state.all + [s, s]', longest: 'state.longest + s', bytes: bytes(s)}
    - emit: {n: size(state.all), first: 'state.all[0]', longest: size(state.longest)}
    - when: s == "clear"
      clear: [all, longest]
)",
                            {schema, EdgeType::kAppend, {}});
  ProcessLane lane(*plan, schema);
  const auto take = [&](const std::string& key, const std::string& s) {
    lane.process({TimedRow{Row{text(key), text(s)}, 0, kNoTime}});
  };
  take("a", "x");
  take("a", "yy");
  take("b", std::string(700'000, 'b'));
  lane.end_epoch();
  lane.restart();
  take("a", "z");
  take("b", std::string(300'000, 'b'));
  take("b", std::string(100'000, 'b'));
  take("a", "clear");
  take("a", "w");
  CHECK(to_text(lane.out.shown) == fmt::format("1 x 5 | 3 x 7 | 1 {0} 700004 | 5 x 8 | 3 {0} 800004 | 7 x 13 | 1 w 5",
                                               std::string(700'000, 'b')));
  CHECK(lane.out.failed == std::vector<std::string>{"state.all would be longer than 1 MiB"});
}

TEST_CASE("rows that delete or take back are no records") {
  const auto plan = planned(R"(
process:
  key_by: k
  state: {count: {type: int, initial: 0}}
  on_record:
    - set: {count: state.count + 1}
    - emit: {k: k, n: n, count: state.count}
)",
                            {kSchema, EdgeType::kRetract, {0}});
  ProcessLane lane(*plan, kSchema);
  std::vector<TimedRow> rows = {row("a", 1, 0, 0), row("a", 1, 1, 0), row("a", 2, 1, 0), row("a", 0, 2, 0)};
  rows[1].change = Change::kRetract;
  rows[3].change = Change::kDelete;
  lane.process(rows);
  CHECK(to_text(lane.out.shown) == "a 1 1 | a 2 2");
  CHECK(lane.instance().counters().in == 4);
  CHECK(lane.instance().counters().filtered == 2);
  CHECK(lane.instance().counters().absorbed == 2);
}

TEST_CASE("one key in a whole batch, and every key once, with several outputs per row") {
  const auto plan = planned(R"(
process:
  key_by: k
  state: {count: {type: int, initial: 0}}
  on_record:
    - emit: {k: k, count: state.count}
    - set: {count: state.count + n}
    - emit: {k: k, count: -state.count}
)",
                            kInput);
  for (const int64_t keys : {int64_t{1}, int64_t{7}, int64_t{1000}}) {
    ProcessLane lane(*plan, kSchema);
    std::vector<TimedRow> rows;
    std::map<int64_t, int64_t> counts;
    std::string expected;
    for (int64_t i = 0; i < 1000; i++) {
      rows.push_back(row("k" + std::to_string(i % keys), i, i, kNoTime));
      int64_t& count = counts[i % keys];
      expected += fmt::format("{}k{} {} | ", expected.empty() ? "" : "", i % keys, count);
      count += i;
      expected += fmt::format("k{} {} | ", i % keys, -count);
    }
    lane.process(rows);
    CHECK(to_text(lane.out.shown) + " | " == expected);
    CHECK(lane.out.largest_batch <= 1024);
  }
}

TEST_CASE("the state's descriptor names what cannot change") {
  const auto descriptor = [](const std::string& yaml) { return planned(yaml, kInput)->state_descriptor(); };
  CHECK(descriptor(kTimeout) == "process/1 key=[k:string] state=[n:int] timers=[timeout:event]");
  CHECK(descriptor(R"(
process:
  key_by: [k, n]
  state: {b: [int], a: {type: {x: string}}, c: {type: int, initial: 5}}
  ttl: 1h
  on_record: [{emit: {k: k}}]
)") == "process/1 key=[k:string,n:int] state=[a:{x: string},b:[int],c:int] timers=[] ttl");
}

}  // namespace
}  // namespace millrace
