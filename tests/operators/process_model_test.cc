// `process` against an interpreter that takes one row or timer at a time and knows nothing of batches, lanes or state
// layers: random rows, watermarks and clocks, batches cut anywhere, crashes after any epoch.
#include <map>
#include <optional>
#include <random>
#include <set>

#include "process_lane.h"
#include "sanitizer.h"

namespace millrace {
namespace {

const Schema kSchema = {{"k", Type(TypeKind::kString)}, {"n", Type(TypeKind::kInt)}, {"s", Type(TypeKind::kString)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

struct Event {
  enum class Kind { kRow, kTime, kClock };
  Kind kind = Kind::kRow;
  TimedRow row;
  int64_t time_ms = 0;
};

struct Seen {
  int64_t time_ms;
  int64_t watermark_ms;
  Row row;
  friend bool operator==(const Seen&, const Seen&) = default;
};

std::string show(const std::vector<Seen>& rows) {
  std::string text;
  for (const Seen& seen : rows) text += fmt::format("{}/{} {}\n", seen.time_ms, seen.watermark_ms, to_text(seen.row));
  return text;
}

ConfigNode parsed(const std::string& yaml) {
  Diagnostics diagnostics;
  ConfigNode node = ConfigNode::parse(
      "m.yaml", yaml, [](const std::string&) { return std::nullopt; }, diagnostics);
  REQUIRE(!diagnostics.has_errors());
  return node.at(0);
}

// Everything an expression may name is a column of a one-row batch.
class Interpreter {
 public:
  explicit Interpreter(const std::string& yaml) : body_(parsed(yaml)), schema_(kSchema) {
    if (const auto state = body_.find("state")) {
      for (size_t i = 0; i < state->size(); i++) add_field(state->key_at(i), state->at(i));
    }
    if (const auto timers = body_.find("timers")) {
      for (size_t i = 0; i < timers->size(); i++) {
        timers_[timers->key_at(i)] = timers->at(i).text() == "processing";
        schema_.push_back({"timer." + timers->key_at(i), Type(TypeKind::kTimestamp)});
      }
    }
    for (const char* name : {"event_time", "watermark", "now"}) schema_.push_back({name, Type(TypeKind::kTimestamp)});
    if (const auto ttl = body_.find("ttl")) ttl_ms_ = *parse_duration_ms(ttl->text());
  }

  void run(const Event& event) {
    if (event.kind == Event::Kind::kClock) {
      now_ms_ = event.time_ms;
      return fire(true, event.time_ms);
    }
    const int64_t watermark_ms = event.kind == Event::Kind::kTime ? event.time_ms : event.row.watermark_ms;
    fire(false, watermark_ms);
    if (watermark_ms != kEndOfTime) {
      watermark_ms_ = std::max(watermark_ms_, watermark_ms);
    } else {
      shown_watermark_ms_ = watermark_ms_;  // of the next run
    }
    if (event.kind == Event::Kind::kRow) take(event.row);
  }

  std::vector<Seen> seen;
  std::vector<std::string> failed;

 private:
  struct KeyState {
    std::map<std::string, Cell> fields;
    std::map<std::string, int64_t> due;  // set timers; "" is the ttl
  };
  struct Turn {
    KeyState state;
    std::vector<Seen> emitted;
    std::map<std::string, Cell> names;  // columns besides state and timers
    int64_t time_ms, watermark_ms, event_floor_ms, clock_floor_ms;
    bool sets_fields = false;
  };
  using Timer = std::tuple<int64_t, std::string, std::string>;  // due, key, name

  void add_field(const std::string& name, const ConfigNode& node) {
    static const std::map<std::string, TypeKind> kTypes = {
        {"int", TypeKind::kInt}, {"string", TypeKind::kString}, {"bool", TypeKind::kBool},
        {"double", TypeKind::kDouble}, {"timestamp", TypeKind::kTimestamp}};
    const bool long_form = node.is_mapping();
    const Type type(kTypes.at(long_form ? node.find("type")->text() : node.text()));
    schema_.push_back({"state." + name, type});
    initial_[name] = {};
    if (long_form) initial_[name] = evaluate(*node.find("initial"), Turn());
  }

  Cell evaluate(const ConfigNode& node, const Turn& turn) {
    if (node.is_null()) return {};
    Row row;
    for (const Field& field : schema_) {
      Cell cell;
      if (field.name.rfind("state.", 0) == 0) {
        const auto found = turn.state.fields.find(field.name.substr(6));
        if (found != turn.state.fields.end()) cell = found->second;
      } else if (field.name.rfind("timer.", 0) == 0) {
        const auto found = turn.state.due.find(field.name.substr(6));
        if (found != turn.state.due.end()) cell = found->second * 1000;
      } else if (const auto found = turn.names.find(field.name); found != turn.names.end()) {
        cell = found->second;
      }
      row.push_back(cell);
    }
    Scope scope;
    scope.schema = &schema_;
    scope.call_hook = [](const Ast& call, std::optional<ExpressionError>*) -> std::optional<std::pair<int, Type>> {
      if (call.name != "key") return std::nullopt;
      return std::make_pair(0, Type(TypeKind::kString));
    };
    Diagnostics diagnostics;
    const ExpressionPtr expression = compile_node(node, scope, diagnostics);
    INFO(diagnostics.render_text());
    REQUIRE(expression != nullptr);
    RowErrors errors;
    const Batch batch = make_batch(schema_, {row});
    const ColumnPtr value = make_evaluator(expression)->evaluate(batch, std::make_shared<Arena>(), errors);
    if (!errors.empty()) throw errors.entries.front().message;
    if (expression->type().kind() == TypeKind::kNull) return {};
    Batch result = batch;
    result.columns = {value};
    return read_batch({{"value", expression->type()}}, result).front().row.front();
  }

  void run_steps(const ConfigNode& steps, Turn& turn) {
    for (size_t i = 0; i < steps.size(); i++) {
      const ConfigNode step = steps.at(i);
      if (const auto when = step.find("when")) {
        const Cell met = evaluate(*when, turn);
        if (met.index() == 0) throw "the condition " + when->text() + " is null";
        if (!std::get<bool>(met)) {
          if (const auto otherwise = step.find("else")) run_steps(*otherwise, turn);
          continue;
        }
      }
      for (size_t a = 0; a < step.size(); a++) run_action(step.key_at(a), step.at(a), turn);
    }
  }

  void run_action(const std::string& action, const ConfigNode& node, Turn& turn) {
    if (action == "do") run_steps(node, turn);
    const auto names = [&] {
      std::vector<std::string> list;
      if (node.is_scalar()) list.push_back(node.text());
      for (size_t i = 0; node.is_sequence() && i < node.size(); i++) list.push_back(node.at(i).text());
      return list;
    };
    if (action == "clear_timer") {
      for (const std::string& name : names()) turn.state.due.erase(name);
    } else if (action == "clear") {
      turn.sets_fields = true;
      for (const std::string& name : names()) {
        if (name == "all") turn.state.fields = initial_;
        if (name != "all") turn.state.fields[name] = initial_.at(name);
      }
    } else if (action == "set" || action == "set_timer" || action == "emit") {
      std::vector<std::pair<std::string, Cell>> values;
      for (size_t i = 0; i < node.size(); i++) values.emplace_back(node.key_at(i), evaluate(node.at(i), turn));
      if (action == "set") {
        turn.sets_fields = true;
        for (const auto& [name, value] : values) turn.state.fields[name] = value;
      } else if (action == "set_timer") {
        for (const auto& [name, value] : values) set_timer(name, value, turn);
      } else {
        Seen seen{turn.time_ms, turn.watermark_ms, {}};
        for (const auto& [name, value] : values) seen.row.push_back(value);
        turn.emitted.push_back(std::move(seen));
      }
    }
  }

  void set_timer(const std::string& name, const Cell& value, Turn& turn) {
    turn.state.due.erase(name);
    if (value.index() == 0) return;
    const int64_t us = std::get<int64_t>(value);
    const int64_t ms = us >= 0 ? (us + 999) / 1000 : us / 1000;
    const int64_t floor_ms = timers_.at(name) ? turn.clock_floor_ms : turn.event_floor_ms;
    turn.state.due[name] = floor_ms == kNoTime ? ms : std::max(ms, floor_ms + 1);
  }

  Turn begin(const std::string& key, int64_t time_ms, int64_t watermark_ms) {
    Turn turn;
    const auto found = keys_.find(key);
    turn.state = found == keys_.end() ? KeyState{initial_, {}} : found->second;
    turn.time_ms = time_ms;
    turn.names["event_time"] = time_ms * 1000;
    turn.names["watermark"] = watermark_ms == kNoTime ? Cell() : Cell(watermark_ms * 1000);
    turn.names["now"] = now_ms_ * 1000;
    turn.names["k"] = key;
    return turn;
  }

  void keep(Turn& turn, int64_t time_ms, int64_t floor_ms) {
    int64_t until_ms = time_ms + ttl_ms_;
    if (floor_ms != kNoTime) until_ms = std::max(until_ms, floor_ms + 1);
    auto [due, fresh] = turn.state.due.try_emplace("", until_ms);
    if (!fresh) due->second = std::max(due->second, until_ms);
  }

  void commit(const std::string& key, Turn& turn) {
    for (Seen& row : turn.emitted) seen.push_back(std::move(row));
    bool initial = turn.state.fields == initial_;
    for (const auto& [name, due] : turn.state.due) initial = initial && name.empty();
    if (initial) {
      keys_.erase(key);
    } else {
      keys_[key] = turn.state;
    }
  }

  void take(const TimedRow& row) {
    if (row.change != Change::kInsert) return;
    const std::string key = std::get<std::string>(row.row[0]);
    Turn turn = begin(key, row.time_ms, row.watermark_ms);
    for (size_t c = 0; c < kSchema.size(); c++) turn.names[kSchema[c].name] = row.row[c];
    turn.watermark_ms = row.watermark_ms;
    turn.event_floor_ms = row.watermark_ms;
    turn.clock_floor_ms = kNoTime;
    shown_watermark_ms_ = std::max(shown_watermark_ms_, row.watermark_ms);
    try {
      run_steps(*body_.find("on_record"), turn);
    } catch (const std::string& message) {
      failed.push_back(message);
      return;
    }
    if (ttl_ms_ > 0) keep(turn, row.time_ms, row.watermark_ms);
    commit(key, turn);
  }

  // The first timer that is due; keys are compared as bytes, the ttl of a key comes last.
  std::optional<Timer> next(bool clock, int64_t limit_ms) {
    std::optional<Timer> first;
    for (const auto& [key, state] : keys_) {
      for (const auto& [name, due_ms] : state.due) {
        if ((!name.empty() && timers_.at(name)) != clock || due_ms > limit_ms) continue;
        // The end of the input makes no key old.
        if (name.empty() && limit_ms == kEndOfTime && due_ms > watermark_ms_) continue;
        // In the queue the number of the timer follows the key.
        const Timer timer(due_ms, key + (name.empty() ? std::string("\xff") : std::string(1, number_of(name))), key);
        if (!first || timer < *first) first = timer, first_name_ = name;
      }
    }
    return first;
  }
  char number_of(const std::string& name) const {
    return static_cast<char>(std::distance(timers_.begin(), timers_.find(name)));
  }

  void fire(bool clock, int64_t limit_ms) {
    while (const std::optional<Timer> timer = next(clock, limit_ms)) {
      const std::string key = std::get<2>(*timer);
      const std::string name = first_name_;
      const int64_t due_ms = std::get<0>(*timer);
      Turn turn = begin(key, due_ms, clock ? watermark_ms_ : due_ms);
      turn.state.due.erase(name);
      if (name.empty()) {
        turn.state.fields = initial_;
        commit(key, turn);
        continue;
      }
      shown_watermark_ms_ = std::max(shown_watermark_ms_, clock ? watermark_ms_ : due_ms - 1);
      turn.watermark_ms = shown_watermark_ms_;
      turn.event_floor_ms = clock ? watermark_ms_ : due_ms;
      turn.clock_floor_ms = clock ? due_ms : kNoTime;
      run_steps(*body_.find("on_timer")->find(name), turn);
      if (turn.sets_fields && ttl_ms_ > 0) {
        const int64_t time_ms = clock ? watermark_ms_ : due_ms;
        if (time_ms != kNoTime) keep(turn, time_ms, turn.event_floor_ms);
      }
      commit(key, turn);
    }
  }

  ConfigNode body_;
  Schema schema_;
  std::map<std::string, Cell> initial_;
  std::map<std::string, bool> timers_;  // processing time?
  int64_t ttl_ms_ = 0;
  std::map<std::string, KeyState> keys_;
  int64_t watermark_ms_ = kNoTime, shown_watermark_ms_ = kNoTime, now_ms_ = 0;
  std::string first_name_;
};

std::vector<Event> random_events(std::mt19937& random, size_t n, int keys, int64_t step_ms) {
  const auto below = [&](int64_t limit) { return static_cast<int64_t>(random() % static_cast<uint64_t>(limit)); };
  static const std::vector<std::string> words = {"a", "b", "fail", "a text too long for the inside of a block"};
  std::vector<Event> events;
  int64_t latest_ms = 1000, watermark_ms = kNoTime, now_ms = 5000;
  for (size_t i = 0; i < n; i++) {
    Event event;
    if (const int64_t kind = below(40); kind == 0 && watermark_ms != kNoTime) {
      watermark_ms += below(3 * step_ms + 1);
      event.kind = Event::Kind::kTime;
      event.time_ms = watermark_ms;
      latest_ms = std::max(latest_ms, watermark_ms + 20);
    } else if (kind == 1) {
      now_ms += below(300);
      event.kind = Event::Kind::kClock;
      event.time_ms = now_ms;
    } else {
      latest_ms += below(step_ms);
      const int64_t time_ms = latest_ms - below(30);
      const std::string key = "k" + std::to_string(below(keys) * below(2) + below(keys));
      event.row = {{key, below(6) == 0 ? Cell() : Cell(below(100)), words[static_cast<size_t>(below(4))]},
                   time_ms,
                   watermark_ms,
                   below(25) == 0 ? Change::kDelete : Change::kInsert};
      watermark_ms = std::max(watermark_ms, time_ms - 20);
    }
    events.push_back(std::move(event));
  }
  return events;
}

std::vector<Seen> seen_of(const RecordingCollector& out, const Schema& schema) {
  std::vector<Seen> rows;
  for (const Batch& batch : out.batches) {
    const std::vector<Shown> shown = read_batch(schema, batch);
    for (uint32_t i = 0; i < batch.live(); i++) {
      rows.push_back({shown[i].time_ms, batch.watermark_ms[batch.row(i)], shown[i].row});
    }
  }
  return rows;
}

void run_once(const std::string& yaml, std::mt19937& random, const std::vector<Event>& events,
              const Interpreter& expected) {
  const auto below = [&](int64_t limit) { return static_cast<int64_t>(random() % static_cast<uint64_t>(limit)); };
  const auto plan = planned(yaml, kInput);
  ProcessLane lane(*plan, kSchema, below(2) == 0 ? 1 << 20 : 6 << 10, below(2) == 0 ? 8192 : 5);
  const int64_t batch_rows = below(3) == 0 ? 1 : (below(2) == 0 ? 20 : 600);
  size_t decided = 0, decided_batches = 0, decided_failures = 0;
  int64_t decided_now_ms = 0;
  int crashes = 0;
  for (size_t i = 0; i < events.size();) {
    if (events[i].kind == Event::Kind::kTime) {
      lane.advance(events[i++].time_ms);
    } else if (events[i].kind == Event::Kind::kClock) {
      lane.advance_clock(events[i++].time_ms);
    } else {
      std::vector<TimedRow> rows;
      for (int64_t n = 1 + below(batch_rows); n > 0 && i < events.size() && events[i].kind == Event::Kind::kRow; n--) {
        rows.push_back(events[i++].row);
      }
      lane.process(rows);
    }
    const bool ended = events[i - 1].kind == Event::Kind::kTime && events[i - 1].time_ms == kEndOfTime;
    if (ended || below(6) == 0 || lane.instance().is_full()) {
      lane.end_epoch();
      CHECK(!lane.instance().is_full());
      decided = i;
      decided_batches = lane.out.batches.size();
      decided_failures = lane.out.failed.size();
      decided_now_ms = lane.clock.wall_ms();
      if (ended) lane.restart();
    } else if (below(12) == 0 && crashes < 8) {
      crashes++;
      lane.restart();
      i = decided;
      lane.clock.set_wall_ms(decided_now_ms);
      lane.out.batches.resize(decided_batches);
      lane.out.failed.resize(decided_failures);
    }
  }
  const std::vector<Seen> seen = seen_of(lane.out, plan->output().schema);
  CHECK(lane.out.failed == expected.failed);
  if (seen != expected.seen) {
    const std::string wanted = show(expected.seen), got = show(seen);
    size_t at = 0;
    while (at < wanted.size() && at < got.size() && wanted[at] == got[at]) at++;
    const size_t from = at < 300 ? 0 : at - 300;
    FAIL("expected …" << wanted.substr(from, 600) << "\n--- got …" << got.substr(from, 600));
  }
  const auto ends = [](const Event& event) { return event.time_ms == kEndOfTime; };
  if (std::any_of(events.begin(), events.end(), ends)) return;
  for (size_t i = 1; i < seen.size(); i++) REQUIRE(seen[i].watermark_ms >= seen[i - 1].watermark_ms);
}

// runs: after each but the last the input ends, and the next one goes on with the state.
void run_model(const std::string& yaml, uint32_t seeds, int64_t step_ms, size_t runs = 1) {
  for (uint32_t seed = 0; seed < (kSanitized ? (seeds + 2) / 3 : seeds); seed++) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    std::vector<Event> events = random_events(random, 700, seed % 3 == 0 ? 3 : 40, step_ms);
    for (size_t run = 1; run < runs; run++) {
      const auto at = events.begin() + static_cast<ptrdiff_t>(run * events.size() / runs);
      events.insert(at, Event{.kind = Event::Kind::kTime, .row = {}, .time_ms = kEndOfTime});
    }
    Interpreter expected(yaml);
    for (const Event& event : events) expected.run(event);
    REQUIRE(expected.seen.size() > 20);
    for (int i = 0; i < 3; i++) run_once(yaml, random, events, expected);
  }
}

TEST_CASE("model: counters, guards and failures") {
  run_model(R"(
process:
  key_by: k
  state: {count: {type: int, initial: 0}, last: string, total: int, at: timestamp, flag: {type: bool, initial: true}}
  on_record:
    - set: {count: state.count + 1, last: s, at: event_time}
    - when: has(n)
      do:
        - set: {total: 'has(state.total) ? state.total + n : n', flag: '!state.flag'}
        - emit: {k: k, count: state.count, total: state.total, what: '"number"', at: state.at}
      else:
        - when: state.flag
          emit: {k: key(k), count: state.count, total: state.total, what: s, at: watermark}
    - when: s == "fail"
      emit: {k: k, count: 100 / (n - n % 10), total: null, what: state.last, at: null}
    - when: state.count >= 5
      clear: [count, last]
)",
            12, 10);
}

TEST_CASE("model: event-time timers that move, repeat and clear each other") {
  run_model(R"(
process:
  key_by: k
  state: {fired: {type: int, initial: 0}, seen: int}
  timers: {later: event, soon: event}
  on_record:
    - set_timer: {later: 'event_time + duration("90ms")'}
    - when: has(n) && n % 3 == 0
      set_timer: {soon: 'n % 2 == 0 ? event_time + duration("7500us") : null'}
    - when: s == "b"
      set: {seen: n}
      clear_timer: [soon]
    - when: s == "fail" && !has(n)
      emit: {k: k, what: string(n), fired: 0, at: null}
  on_timer:
    later:
      - set: {fired: state.fired + 1}
      - clear_timer: soon
      - when: state.fired < 4
        set_timer: {later: 'event_time + duration("25ms")'}
        else:
          - clear: all
      - emit: {k: key(k), what: '"later"', fired: state.fired, at: timer.later}
    soon:
      - emit: {k: key(k), what: '"soon"', fired: state.fired, at: timer.later}
      - when: state.seen != null && state.seen > 50
        set_timer: {later: event_time}
)",
            12, 12);
}

TEST_CASE("model: timers that set nothing fire together although they are due at different times") {
  run_model(R"(
process:
  key_by: k
  state: {count: int, names: string}
  timers: {a: event, b: event}
  on_record:
    - set: {count: 'state.count == null ? 1 : state.count + 1', names: s}
      set_timer: {a: 'event_time + duration("60ms")', b: 'event_time + duration("150ms")'}
  on_timer:
    a:
      - emit: {k: key(k), count: state.count, name: state.names, due: event_time, watermark: watermark}
      - when: state.count % 2 == 0
        clear_timer: b
    b:
      - emit: {k: key(k), count: state.count, name: null, due: timer.a, watermark: watermark}
      - clear: all
)",
            12, 40);
}

TEST_CASE("model: processing-time timers") {
  run_model(R"(
process:
  key_by: k
  state: {open: {type: int, initial: 0}, ticks: {type: int, initial: 0}}
  timers: {tick: processing, end: event, once: processing}
  on_record:
    - set: {open: state.open + 1}
    - when: timer.tick == null
      set_timer: {tick: 'now + duration("100ms")'}
    - when: s == "a"
      set_timer: {once: now}
  on_timer:
    tick:
      - set: {ticks: state.ticks + 1}
      - emit: {k: key(k), open: state.open, ticks: state.ticks, what: '"tick"', now: now}
      - when: state.ticks < 3
        set_timer: {tick: 'event_time + duration("40ms")', end: watermark}
    once:
      - emit: {k: key(k), open: state.open, ticks: state.ticks, what: '"once"', now: timer.tick}
    end:
      - emit: {k: key(k), open: state.open, ticks: state.ticks, what: '"end"', now: null}
      - clear: all
      - clear_timer: [tick, once]
)",
            12, 12);
}

TEST_CASE("model: fields are forgotten after their time to live") {
  run_model(R"(
process:
  key_by: k
  state: {count: {type: int, initial: 10}, text: string}
  ttl: 80ms
  timers: {check: event}
  on_record:
    - set: {count: state.count + 1}
    - when: s == "b"
      set: {text: s + "!"}
      set_timer: {check: 'event_time + duration("100ms")'}
    - emit: {k: k, count: state.count, text: state.text}
  on_timer:
    check:
      - emit: {k: key(k), count: state.count, text: state.text}
      - when: state.count > 12
        set: {count: 0}
)",
            12, 12, 3);
}

}  // namespace
}  // namespace millrace
