// Windows that depend on the rows of their key against naive references: each time, sessions are grouped anew from all
// rows that were accepted, sliding windows and windows of a number of rows are looked for among all of them.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "sanitizer.h"
#include "window_model.h"

namespace millrace {
namespace {

const Schema kSchema = {{"key", Type(TypeKind::kString)}, {"amount", Type(TypeKind::kInt)},
                        {"big", Type(TypeKind::kBool)},   {"gap", Type(TypeKind::kDuration)},
                        {"id", Type(TypeKind::kInt)},     {"at", Type(TypeKind::kTimestamp)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

struct Job {
  std::string window = {};
  int64_t size_ms = 20;  // gap of sessions
  bool dynamic = false;  // gaps by row
  int64_t lateness_ms = 0;
  std::string emit = "close";
  bool retractions = false;
  RecordShape shape = {.records = 1000, .keys = 10};
};

std::string yaml(const Job& job) {
  const std::map<std::string, std::string> modes = {{"close", "close"},
                                                    {"silent", "{late: none}"},
                                                    {"final", "final"},
                                                    {"each", "each"},
                                                    {"update", "update"},
                                                    {"count", "{early: {count: 3}}"},
                                                    {"when", "{early: {when: big}}"},
                                                    {"discard", "{early: {count: 3}, accumulation: discarding}"}};
  const bool counts = job.window.find("count") != std::string::npos;
  return fmt::format("aggregate:\n  key_by: key\n  window: {}\n{}  emit: {}\n  fields: {{key: key(key), {}sum: "
                     "sum(amount), n: count()}}\n",
                     job.window, counts ? "" : fmt::format("  allowed_lateness: {}ms\n", job.lateness_ms),
                     modes.at(job.emit), counts ? "" : "from: window.start, to: window.end, ");
}

int64_t gap_of(const Job& job, const WindowRecord& record) {
  return job.dynamic ? job.size_ms / 2 + record.amount * 3 : job.size_ms;
}

// A window as it was shown.
struct Version {
  int64_t start = 0, end = 0, sum = 0, n = 0, newest = kNoTime;
  int64_t shown_ms = kNoTime;  // the event time of its row
};

Version version_of(int64_t start, int64_t end, const std::vector<WindowRecord>& rows) {
  Version version;
  version.start = start;
  version.end = end;
  for (const WindowRecord& row : rows) {
    version.sum += row.amount;
    version.n++;
    version.newest = std::max(version.newest, row.time_ms);
  }
  return version;
}

// Shows what replaces what.
class KeyReference : public WindowReference {
 public:
  explicit KeyReference(const Job& job) : job_(job) {}

 protected:
  bool is(const char* emit) const { return job_.emit == emit; }
  bool closes() const { return !is("final") && !is("each") && !is("update"); }
  bool shows_late() const { return closes() && !is("silent"); }
  // Whether a row replaces what was shown of the same rows before.
  bool replaces() const {
    if (is("discard") || is("final") || is("silent")) return false;
    return !is("close") || job_.lateness_ms > 0;
  }
  // time: of the rows; kNoTime: the newest that is in them.
  void show(const std::string& key, const Version& now, std::vector<Version>& shown, int64_t time_ms) {
    const bool bounded = job_.window.find("count") == std::string::npos;
    const auto bounds = [&](const Version& v) {
      return bounded ? fmt::format(" {} {}", v.start * 1000, v.end * 1000) : std::string();
    };
    const auto at = [&](int64_t event_ms) { return is("update") ? "" : fmt::format(" @{}", event_ms); };
    const int64_t shown_ms = time_ms == kNoTime ? now.newest : time_ms;
    for (const Version& old : shown) {
      if (job_.retractions) {
        expected.insert(fmt::format("-{}{} {} {}{}", key, bounds(old), old.sum, old.n, at(old.shown_ms)));
      } else if (old.start != now.start || old.end != now.end) {
        expected.insert(fmt::format("delete {}{} null null{}", key, bounds(old), at(old.shown_ms)));
      }
    }
    shown.clear();
    if (now.n > 0) expected.insert(fmt::format("{}{} {} {}{}", key, bounds(now), now.sum, now.n, at(shown_ms)));
    if (!replaces()) return;
    shown.push_back(now);
    shown.back().shown_ms = shown_ms;
  }

  const Job job_;
};

class Sessions : public KeyReference {
 public:
  using KeyReference::KeyReference;

  void add(const WindowRecord& record) override {
    advance(record.watermark_ms);
    Key& key = keys_[record.key];
    const std::vector<Session> sessions = grouped(key, record);
    const auto at = std::find_if(sessions.begin(), sessions.end(), [&](const Session& s) { return s.holds(record); });
    bool over = at->end + job_.lateness_ms <= record.watermark_ms;
    if (at->rows.size() == 1) {
      // It belongs to none that is open: to one that is closed?
      for (const Session& closed : key.closed) {
        over = over || (record.time_ms <= closed.end && closed.start <= record.time_ms + gap_of(job_, record));
      }
    }
    if (over) {
      late++;
      return;
    }
    const auto index = at - sessions.begin();
    key.open = sessions;
    key.gap = std::max(key.gap, gap_of(job_, record));
    Session& session = key.open[static_cast<size_t>(index)];
    session.since++;
    session.changed = true;
    session.fresh.push_back(record);
    session.fired = session.end <= record.watermark_ms;
    const bool counted = (is("count") || is("discard")) && session.since >= 3;
    const bool wanted = is("when") && record.amount >= 8;
    if (is("each")) show(record.key, session, record.time_ms);
    if (!session.fired && (counted || wanted)) show(record.key, session, kNoTime);
    if (session.fired && shows_late()) show(record.key, session, session.end - 1);
  }

  void advance(int64_t watermark_ms) override {
    for (auto& [name, key] : keys_) {
      for (Session& session : key.open) {
        const bool closed = session.end + job_.lateness_ms <= watermark_ms;
        if (!session.fired && session.end <= watermark_ms) {
          session.fired = true;
          if (closes()) show(name, session, session.end - 1);
        }
        if (closed && is("final")) show(name, session, session.end - 1);
        if (closed && is("update") && session.changed) show(name, session, kNoTime);
        if (closed) key.closed.push_back(session);
      }
      std::erase_if(key.open, [&](const Session& s) { return s.end + job_.lateness_ms <= watermark_ms; });
      std::erase_if(key.closed, [&](const Session& s) { return s.end + job_.lateness_ms + key.gap <= watermark_ms; });
      if (key.open.empty() && key.closed.empty()) key.gap = 0;
    }
  }

  void end_epoch() override {
    for (auto& [name, key] : keys_) {
      for (Session& session : key.open) {
        if (is("update") && session.changed) show(name, session, kNoTime);
      }
    }
  }

 private:
  struct Session {
    std::vector<WindowRecord> rows, fresh;  // all, and those since it was shown
    int64_t start = 0, end = 0;
    size_t since = 0;
    bool fired = false, changed = false;
    std::vector<Version> shown;
    bool holds(const WindowRecord& record) const {
      return std::any_of(rows.begin(), rows.end(), [&](const WindowRecord& row) { return row.id == record.id; });
    }
  };
  struct Key {
    std::vector<Session> open, closed;
    int64_t gap = 0;  // the largest so far
  };

  // All rows of open sessions and this one, by time, in groups of which each row begins before the others end.
  std::vector<Session> grouped(const Key& key, const WindowRecord& record) const {
    std::vector<WindowRecord> rows = {record};
    for (const Session& session : key.open) rows.insert(rows.end(), session.rows.begin(), session.rows.end());
    std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.time_ms < b.time_ms; });
    std::vector<Session> sessions;
    for (const WindowRecord& row : rows) {
      const int64_t gap_ms = gap_of(job_, row);
      if (sessions.empty() || row.time_ms > sessions.back().end) {
        sessions.emplace_back();
        sessions.back().start = row.time_ms;
      }
      Session& session = sessions.back();
      session.rows.push_back(row);
      session.end = session.rows.size() == 1 ? row.time_ms + gap_ms : std::max(session.end, row.time_ms + gap_ms);
    }
    for (const Session& old : key.open) {
      for (Session& session : sessions) {
        if (!session.holds(old.rows[0])) continue;
        session.since += old.since;
        session.fired = old.fired;
        session.changed = session.changed || old.changed;
        session.fresh.insert(session.fresh.end(), old.fresh.begin(), old.fresh.end());
        session.shown.insert(session.shown.end(), old.shown.begin(), old.shown.end());
      }
    }
    return sessions;
  }

  void show(const std::string& key, Session& session, int64_t time_ms) {
    const auto& rows = is("discard") ? session.fresh : session.rows;
    KeyReference::show(key, version_of(session.start, session.end, rows), session.shown, time_ms);
    session.fresh.clear();
    session.since = 0;
    session.changed = false;
  }

  std::map<std::string, Key> keys_;
};

class Sliding : public KeyReference {
 public:
  using KeyReference::KeyReference;

  void add(const WindowRecord& record) override {
    advance(record.watermark_ms);
    const int64_t time_ms = record.time_ms;
    if (time_ms + job_.size_ms + job_.lateness_ms <= record.watermark_ms) {
      late++;
      return;
    }
    Key& key = keys_[record.key];
    const std::set<int64_t> before = ends(key);
    key.rows.push_back(record);
    for (const int64_t end : ends(key)) {
      // The one that begins behind the row may be new, with rows that came earlier.
      const bool holds = end - job_.size_ms <= time_ms && time_ms <= end;
      if (!holds && before.count(end) > 0) continue;
      Window& window = key.windows[end];
      if (end + job_.lateness_ms <= record.watermark_ms) {
        window.fired = true;  // it is over
        continue;
      }
      window.changed = true;
      const bool passed = end <= record.watermark_ms && !is("final");
      window.fired = window.fired || passed;
      if (is("each")) show(record.key, key, end, time_ms);
      if (passed && shows_late()) show(record.key, key, end, end);
    }
  }

  void advance(int64_t watermark_ms) override {
    for (auto& [name, key] : keys_) {
      for (const int64_t end : ends(key)) {
        const int64_t due_ms = end + (is("final") ? job_.lateness_ms : 0);
        Window& window = key.windows[end];
        if (is("update") && window.changed && end + job_.lateness_ms <= watermark_ms) show(name, key, end, kNoTime);
        if (window.fired || due_ms > watermark_ms) continue;
        window.fired = true;
        if (closes() || is("final")) show(name, key, end, end);
      }
    }
  }

  void end_epoch() override {
    for (auto& [name, key] : keys_) {
      for (auto& [end, window] : key.windows) {
        if (is("update") && window.changed) show(name, key, end, kNoTime);
      }
    }
  }

 private:
  struct Window {
    bool fired = false, changed = false;
    std::vector<Version> shown;
  };
  struct Key {
    std::vector<WindowRecord> rows;
    std::map<int64_t, Window> windows;  // by end
  };

  // One ends at each row, and one begins behind each row, if it holds any.
  std::set<int64_t> ends(const Key& key) const {
    std::set<int64_t> times, ends;
    for (const WindowRecord& row : key.rows) times.insert(row.time_ms);
    for (const int64_t time_ms : times) {
      ends.insert(time_ms);
      const auto next = times.upper_bound(time_ms);
      if (next != times.end() && *next <= time_ms + 1 + job_.size_ms) ends.insert(time_ms + 1 + job_.size_ms);
    }
    return ends;
  }

  void show(const std::string& name, Key& key, int64_t end, int64_t time_ms) {
    std::vector<WindowRecord> rows;
    for (const WindowRecord& row : key.rows) {
      if (end - job_.size_ms <= row.time_ms && row.time_ms <= end) rows.push_back(row);
    }
    Window& window = key.windows[end];
    window.changed = false;
    KeyReference::show(name, version_of(end - job_.size_ms, end, rows), window.shown, time_ms);
  }

  std::map<std::string, Key> keys_;
};

class Counts : public KeyReference {
 public:
  using KeyReference::KeyReference;

  void add(const WindowRecord& record) override {
    Key& key = keys_[record.key];
    key.rows.push_back(record);
    key.changed = true;
    const bool full = static_cast<int64_t>(key.rows.size()) == job_.size_ms;
    if (full || is("each")) show(record.key, key, is("each") ? record.time_ms : kNoTime);
    if (!full) return;
    key.rows.clear();
    key.shown.clear();
  }
  void advance(int64_t) override {}
  void end_epoch() override {
    for (auto& [name, key] : keys_) {
      if (is("update") && key.changed) show(name, key, kNoTime);
    }
  }

 private:
  struct Key {
    std::vector<WindowRecord> rows;
    bool changed = false;
    std::vector<Version> shown;
  };
  void show(const std::string& name, Key& key, int64_t time_ms) {
    KeyReference::show(name, version_of(0, 0, key.rows), key.shown, time_ms);
    key.changed = false;
  }
  std::map<std::string, Key> keys_;
};

Row row_of(const Job& job, const WindowRecord& record) {
  return {record.key, record.amount, record.amount >= 8, gap_of(job, record) * 1000, record.id, record.time_ms * 1000};
}

template <class Reference>
void check(const Job& job, const WindowRun& run, uint64_t seed) {
  CAPTURE(yaml(job));
  CAPTURE(job.retractions);
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const std::vector<WindowRecord> records = random_records(random, job.shape);
  const auto plan = planned(yaml(job), kInput, job.retractions);
  if (plan->has_late_rows()) plan->keep_late_rows();
  Reference reference(job);
  const WindowModel model{*plan, kSchema, [&](const WindowRecord& r) { return row_of(job, r); }, job.emit != "update",
                          1000};
  check_windows(model, records, run, random, reference);
}

template <class Reference>
void check_all(Job job, const std::vector<std::string>& emits, const std::vector<int64_t>& latenesses) {
  uint64_t seed = 1;
  for (const std::string& emit : emits) {
    job.emit = emit;
    for (const int64_t lateness_ms : latenesses) {
      job.lateness_ms = lateness_ms;
      for (const bool retractions : {false, true}) {
        job.retractions = retractions && emit != "final" && emit != "silent" && emit != "discard";
        for (const WindowRun& run : window_runs_for_each()) {
          // A cut within the epoch shows what it has.
          if (emit == "update" && run.cut_within) continue;
          check<Reference>(job, run, seed++);
        }
      }
    }
  }
}

const std::vector<std::string> kSessionEmits = {"close", "silent", "final", "each",
                                                "count", "when",   "discard", "update"};

TEST_CASE("sessions are what the rules say") {
  check_all<Sessions>({.window = "{session: {gap: 20ms}}"}, kSessionEmits, {0, 15, 130});
}

TEST_CASE("sessions with gaps of their rows are what the rules say") {
  check_all<Sessions>({.window = "{session: {gap: gap}}", .dynamic = true}, kSessionEmits, {0, 130});
}

// Rows in order: a session takes them as long as they reach it and fit.
class Greedy : public WindowReference {
 public:
  Greedy(const Job& job, int64_t max_ms) : job_(job), max_ms_(max_ms) {}
  void add(const WindowRecord& record) override { keys_[record.key].push_back(record); }
  void advance(int64_t watermark_ms) override {
    if (watermark_ms < kEndOfTime) return;
    for (const auto& [key, rows] : keys_) {
      std::vector<WindowRecord> session;
      int64_t end = 0;
      for (const WindowRecord& row : rows) {
        if (!session.empty() && (row.time_ms > end || row.time_ms - session[0].time_ms >= max_ms_)) {
          show(key, session, end);
          session.clear();
        }
        if (session.empty()) end = row.time_ms;
        session.push_back(row);
        end = std::min(std::max(end, row.time_ms + gap_of(job_, row)), session[0].time_ms + max_ms_);
      }
      show(key, session, end);
    }
    keys_.clear();
  }

 private:
  void show(const std::string& key, const std::vector<WindowRecord>& rows, int64_t end) {
    const Version now = version_of(rows[0].time_ms, end, rows);
    expected.insert(fmt::format("{} {} {} {} {} @{}", key, now.start * 1000, end * 1000, now.sum, now.n, end - 1));
  }
  const Job job_;
  const int64_t max_ms_;
  std::map<std::string, std::vector<WindowRecord>> keys_;
};

// What no order of arrival may break: every row that was taken is in one session, in its bounds and a gap from another;
// sessions do not overlap and are not too long.
class Bounded : public WindowReference {
 public:
  Bounded(const Job& job, int64_t max_ms) : job_(job), max_ms_(max_ms) {}
  void add(const WindowRecord& record) override { records_[record.id] = record; }
  void advance(int64_t) override {}

  void check(const std::vector<Shown>& shown, const std::vector<Shown>& late_rows) {
    std::map<std::string, std::multimap<int64_t, int64_t>> sessions;  // end by start
    std::set<int64_t> ids;
    for (const Shown& row : shown) {
      const std::string key = std::get<std::string>(row.row[0]);
      const int64_t start = std::get<int64_t>(row.row[1]) / 1000, end = std::get<int64_t>(row.row[2]) / 1000;
      CAPTURE(to_text(row.row));
      sessions[key].emplace(start, end);
      CHECK(end - start <= max_ms_);
      check_rows(start, end, std::get<std::string>(row.row[3]), ids);
    }
    for (const auto& [key, bounds] : sessions) {
      int64_t last_end = -1'000'000;
      for (const auto& [start, end] : bounds) {
        // (A row that joins an open session may reach into one that is closed.)
        const bool any_closed = job_.lateness_ms < 5000;
        CHECK_MESSAGE((any_closed || start >= last_end), "sessions of ", key, " overlap at ", start);
        last_end = end;
      }
    }
    for (const Shown& row : late_rows) CHECK(ids.insert(std::get<int64_t>(row.row[4])).second);
    CHECK(ids.size() == records_.size());
  }

 private:
  void check_rows(int64_t start, int64_t end, const std::string& list, std::set<int64_t>& ids) {
    std::vector<WindowRecord> rows;
    for (size_t at = 1; at < list.size(); at = list.find_first_of(" ]", at) + 1) {
      rows.push_back(records_.at(std::stoll(list.substr(at))));
      CHECK(ids.insert(rows.back().id).second);
    }
    std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.time_ms < b.time_ms; });
    CHECK(rows[0].time_ms == start);
    int64_t reach = start;
    for (const WindowRecord& row : rows) {
      CHECK(row.time_ms < end);
      CHECK(row.time_ms <= reach);
      reach = std::max(reach, row.time_ms + gap_of(job_, row));
    }
    CHECK(end <= reach);
  }

  const Job job_;
  const int64_t max_ms_;
  std::map<int64_t, WindowRecord> records_;
};

TEST_CASE("sessions of bounded duration neither overlap nor lose rows, in whatever order these come") {
  for (uint64_t seed = 1; seed <= (kSanitized ? 18 : 60); seed++) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const int64_t max_ms = 30 + static_cast<int64_t>(random() % 50);
    const Job job = {.dynamic = seed % 2 == 0, .lateness_ms = std::vector<int64_t>{0, 60, 5000}[seed / 2 % 3]};
    const auto plan = planned(
        fmt::format("aggregate: {{key_by: key, window: {{session: {{gap: gap, max_duration: {}ms}}}}, "
                    "allowed_lateness: {}ms, emit: final, fields: {{key: key(key), from: window.start, "
                    "to: window.end, ids: collect(id)}}}}",
                    max_ms, job.lateness_ms),
        kInput);
    plan->keep_late_rows();
    const std::vector<WindowRecord> records = random_records(random, {.records = 1000, .keys = 10});
    Bounded reference(job, max_ms);
    const WindowModel model{*plan, kSchema, [&](const WindowRecord& r) { return row_of(job, r); }, true, 1000, false};
    const std::vector<WindowRun> runs = all_window_runs();
    const WindowOutcome outcome = check_windows(model, records, runs[seed % runs.size()], random, reference);
    reference.check(outcome.shown, outcome.late);
  }
}

TEST_CASE("sessions of bounded duration in order: one is full when it is as long as it may be") {
  for (uint64_t seed = 1; seed <= (kSanitized ? 6 : 20); seed++) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const int64_t max_ms = 30 + static_cast<int64_t>(random() % 50);
    std::vector<WindowRecord> records = random_records(random, {.records = 1000, .keys = 10});
    std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.time_ms < b.time_ms; });
    for (WindowRecord& record : records) record.watermark_ms = record.time_ms - 1;
    Job job = {.dynamic = true};
    const auto plan = planned(fmt::format("aggregate: {{key_by: key, window: {{session: {{gap: gap, max_duration: "
                                          "{}ms}}}}, fields: {{key: key(key), from: window.start, to: window.end, "
                                          "sum: sum(amount), n: count()}}}}",
                                          max_ms),
                              kInput);
    plan->keep_late_rows();
    Greedy reference(job, max_ms);
    const WindowModel model{*plan, kSchema, [&](const WindowRecord& r) { return row_of(job, r); }};
    check_windows(model, records, all_window_runs()[seed % 6], random, reference);
  }
}

TEST_CASE("sliding windows are what the rules say") {
  const Job job = {.window = "{sliding: {size: 20ms}}", .shape = {.records = 300, .span_ms = 1000, .keys = 5}};
  check_all<Sliding>(job, {"close", "silent", "final", "each", "update"}, {0, 15, 130});
}

TEST_CASE("windows of a number of rows are what the rules say") {
  check_all<Counts>({.window = "{count: {size: 7}}", .size_ms = 7}, {"close", "each", "update"}, {0});
}

}  // namespace
}  // namespace millrace
