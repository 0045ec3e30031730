// Windows against a naive reference: random rows, watermarks, batches, cuts within and between epochs, restarts with
// another number of lanes' shards, caches that hold nothing.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "rows.h"

namespace millrace {
namespace {

const Schema kSchema = {{"key", Type(TypeKind::kString)},
                        {"amount", Type(TypeKind::kInt)},
                        {"at", Type(TypeKind::kTimestamp)},
                        {"big", Type(TypeKind::kBool)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

struct Record {
  std::string key;
  int64_t amount;
  int64_t time_ms;
  int64_t watermark_ms;  // that it finds
};

struct Job {
  int64_t size_ms = 100;
  int64_t every_ms = 100;
  int64_t offset_ms = 0;
  int64_t lateness_ms = 0;
  std::string emit = "close";  // close, silent, final, each, count, when, discard
  bool custom = false;
  int64_t span_ms = 3000;
  int64_t delay_ms = 40;
  size_t keys = 12;
};

std::string yaml(const Job& job) {
  std::string text = "aggregate:\n  key_by: key\n";
  if (job.custom) {
    text += fmt::format(
        "  window: {{custom: {{assign: '[[at, at + duration(\"{0}ms\")], [at - duration(\"7ms\"), at + "
        "duration(\"{0}ms\")]]'}}}}\n",
        job.size_ms);
  } else if (job.size_ms == job.every_ms) {
    text += fmt::format("  window: {{tumbling: {{size: {}ms, offset: {}ms}}}}\n", job.size_ms, job.offset_ms);
  } else {
    text += fmt::format("  window: {{hopping: {{size: {}ms, every: {}ms, offset: {}ms}}}}\n", job.size_ms, job.every_ms,
                        job.offset_ms);
  }
  text += fmt::format("  allowed_lateness: {}ms\n", job.lateness_ms);
  const std::map<std::string, std::string> modes = {
      {"close", "close"},
      {"silent", "{late: none}"},
      {"final", "final"},
      {"each", "each"},
      {"update", "update"},
      {"count", "{early: {count: 3}}"},
      {"when", "{early: {when: big}}"},
      {"discard", "{early: {count: 3, when: big}, accumulation: discarding}"},
  };
  text += "  emit: " + modes.at(job.emit) + "\n";
  return text +
         "  fields: {key: key(key), from: millis(window.start), to: millis(window.end), sum: sum(amount), n: "
         "count()}\n";
}

std::vector<Record> random_records(std::mt19937_64& random, size_t n, const Job& job) {
  std::vector<Record> records;
  int64_t largest = kNoTime;
  for (size_t i = 0; i < n; i++) {
    Record record;
    record.key = "k" + std::to_string(random() % job.keys);
    record.amount = static_cast<int64_t>(random() % 10);
    const int64_t now = job.span_ms * static_cast<int64_t>(i) / static_cast<int64_t>(n) - job.span_ms / 3;
    const int64_t behind = random() % 10 == 0 ? 400 : 60;
    record.time_ms = now - static_cast<int64_t>(random() % static_cast<uint64_t>(behind));
    record.watermark_ms = largest == kNoTime ? kNoTime : largest - job.delay_ms - 1;
    largest = std::max(largest, record.time_ms);
    records.push_back(record);
  }
  return records;
}

// The rules, record by record, without any of the operator's means.
class Reference {
 public:
  explicit Reference(const Job& job) : job_(job) {}

  void add(const Record& record) {
    advance(record.watermark_ms);
    bool taken = false;
    for (const auto& [start, end] : windows_of(record.time_ms)) {
      if (end - 1 + job_.lateness_ms <= record.watermark_ms) continue;
      taken = true;
      Window& window = windows_[{end, start, record.key}];
      window.sum += record.amount;
      window.n++;
      window.since++;
      const bool fired = due(end) <= record.watermark_ms;
      window.closed = window.closed || fired;
      const bool big = record.amount >= 8;
      const bool counted = (job_.emit == "count" || job_.emit == "discard") && window.since >= 3;
      const bool wanted = (job_.emit == "when" || job_.emit == "discard") && big;
      if (job_.emit == "each") {
        show({end, start, record.key}, record.time_ms);
      } else if (fired ? job_.emit != "silent" && job_.emit != "final" && job_.emit != "update" : counted || wanted) {
        show({end, start, record.key}, end - 1);
      }
      touched_.insert({end, start, record.key});
    }
    if (!taken) late++;
  }

  void advance(int64_t watermark_ms) {
    if (job_.emit == "each" || job_.emit == "update") return;
    for (auto& [id, window] : windows_) {
      if (window.closed || due(std::get<0>(id)) > watermark_ms) continue;
      window.closed = true;
      if (window.n > 0) show(id, std::get<0>(id) - 1);
    }
  }

  void end_epoch() {
    if (job_.emit != "update") return;
    for (const Id& id : touched_) {
      expected.insert(text(id, windows_[id]));
    }
    touched_.clear();
  }

  std::multiset<std::string> expected;
  size_t late = 0;

 private:
  using Id = std::tuple<int64_t, int64_t, std::string>;  // end, start, key
  struct Window {
    int64_t sum = 0, n = 0, since = 0;
    bool closed = false;
  };

  int64_t due(int64_t end) const { return end - 1 + (job_.emit == "final" ? job_.lateness_ms : 0); }

  std::set<std::pair<int64_t, int64_t>> windows_of(int64_t time_ms) const {
    std::set<std::pair<int64_t, int64_t>> windows;
    if (job_.custom) return {{time_ms, time_ms + job_.size_ms}, {time_ms - 7, time_ms + job_.size_ms}};
    // Try every start near the time.
    for (int64_t start = time_ms - job_.size_ms - job_.every_ms; start <= time_ms; start++) {
      if ((start - job_.offset_ms) % job_.every_ms == 0 && time_ms < start + job_.size_ms) {
        windows.insert({start, start + job_.size_ms});
      }
    }
    return windows;
  }

  static std::string text(const Id& id, const Window& window) {
    return fmt::format("{} {} {} {} {}", std::get<2>(id), std::get<1>(id), std::get<0>(id), window.sum, window.n);
  }

  void show(const Id& id, int64_t time_ms) {
    Window& window = windows_[id];
    expected.insert(text(id, window) + " @" + std::to_string(time_ms));
    window.since = 0;
    if (job_.emit == "discard") window.sum = window.n = 0;
  }

  Job job_;
  std::map<Id, Window> windows_;
  std::set<Id> touched_;
};

struct Run {
  size_t batch = 64;
  size_t epoch = 300;  // records
  bool restart = false;
  size_t cache_bytes = 1 << 20;
  size_t advance_rows = 1024;
  bool cut_within = false;
};

std::vector<Run> all_runs() {
  return {{64, 300, false, 1 << 20, 1024, false}, {1, 100, true, 1 << 20, 1024, false},
          {1000, 5000, false, 1 << 20, 2, false}, {37, 90, true, 1, 3, true},
          {500, 500, true, 1 << 20, 1024, false}, {7, 50, false, 16 << 10, 5, true}};
}

void check(const Job& job, const Run& run, uint64_t seed) {
  CAPTURE(yaml(job));
  CAPTURE(seed);
  CAPTURE(run.batch);
  CAPTURE(run.epoch);
  std::mt19937_64 random(seed);
  const std::vector<Record> records = random_records(random, 1500, job);
  const auto plan = planned(yaml(job), kInput);
  plan->keep_late_rows();
  KeyedLane::Options options;
  options.shards = 3;
  options.cache_bytes = run.cache_bytes;
  options.advance_rows = run.advance_rows;
  options.cut_within = run.cut_within;
  KeyedLane lane(*plan, kSchema, options);
  Reference reference(job);
  size_t late = 0;
  for (size_t begin = 0; begin < records.size();) {
    const size_t epoch_end = std::min(records.size(), (begin / run.epoch + 1) * run.epoch);
    const size_t end = std::min(epoch_end, begin + 1 + random() % run.batch);
    std::vector<Row> rows;
    std::vector<int64_t> times, watermarks;
    for (size_t i = begin; i < end; i++) {
      const Record& record = records[i];
      rows.push_back({record.key, record.amount, record.time_ms * 1000, record.amount >= 8});
      times.push_back(record.time_ms);
      watermarks.push_back(record.watermark_ms);
      reference.add(record);
    }
    lane.process(with_watermarks(make_batch(kSchema, rows, times), watermarks));
    begin = end;
    if (random() % 4 == 0) {
      // A watermark may be told between two batches.
      const int64_t watermark_ms = begin < records.size() ? records[begin].watermark_ms : watermarks.back();
      lane.advance(watermark_ms);
      reference.advance(watermark_ms);
    }
    if (end < epoch_end) continue;
    lane.end_epoch();
    reference.end_epoch();
    if (!run.restart) continue;
    late += lane.instance().counters().late;
    lane.restart();
    CHECK(lane.instance().restored_watermark_ms() >= watermarks.back());
  }
  lane.advance(kEndOfTime);
  reference.advance(kEndOfTime);
  lane.end_epoch();
  reference.end_epoch();
  std::multiset<std::string> actual;
  for (const Shown& row : lane.out.shown) {
    actual.insert(to_text(row.row) + (job.emit == "update" ? "" : " @" + std::to_string(row.time_ms)));
  }
  CHECK(lane.out.failed.empty());
  CHECK(late + lane.instance().counters().late == reference.late);
  CHECK(lane.out.late.size() == reference.late);
  if (actual == reference.expected) return;
  std::vector<std::string> missing, extra;
  std::set_difference(reference.expected.begin(), reference.expected.end(), actual.begin(), actual.end(),
                      std::back_inserter(missing));
  std::set_difference(actual.begin(), actual.end(), reference.expected.begin(), reference.expected.end(),
                      std::back_inserter(extra));
  CAPTURE(missing.size());
  CAPTURE(extra.size());
  if (!missing.empty()) CAPTURE(missing.front());
  FAIL_CHECK("missing " << (missing.empty() ? "" : missing.front()) << ", extra "
                        << (extra.empty() ? "" : extra.front()));
}

void check_all(Job job) {
  for (const std::string emit : {"close", "silent", "final", "each", "count", "when", "discard"}) {
    job.emit = emit;
    for (const int64_t lateness_ms : {int64_t{0}, int64_t{130}}) {
      job.lateness_ms = lateness_ms;
      uint64_t seed = 1;
      for (const Run& run : all_runs()) check(job, run, seed++);
    }
  }
}

TEST_CASE("tumbling windows are what the rules say") { check_all({}); }

TEST_CASE("tumbling windows with an offset are what the rules say") {
  check_all({.size_ms = 70, .every_ms = 70, .offset_ms = 33});
}

TEST_CASE("hopping windows are what the rules say") {
  check_all({.size_ms = 120, .every_ms = 30});
  check_all({.size_ms = 100, .every_ms = 40, .offset_ms = 7});
}

TEST_CASE("custom windows are what the rules say") { check_all({.size_ms = 50, .custom = true}); }

TEST_CASE("windows in update mode are what the rules say") {
  for (const int64_t lateness_ms : {int64_t{0}, int64_t{130}}) {
    for (const int64_t every_ms : {int64_t{100}, int64_t{50}}) {
      Job job;
      job.emit = "update";
      job.every_ms = every_ms;
      job.lateness_ms = lateness_ms;
      uint64_t seed = 1;
      // A cut within the epoch shows what it has.
      for (const Run& run : all_runs()) {
        if (!run.cut_within) check(job, run, seed++);
      }
    }
  }
}

}  // namespace
}  // namespace millrace
