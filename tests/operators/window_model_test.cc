// Windows that rows are assigned to against a naive reference.
#include <fmt/format.h>

#include <map>

#include "window_model.h"

namespace millrace {
namespace {

const Schema kSchema = {{"key", Type(TypeKind::kString)},
                        {"amount", Type(TypeKind::kInt)},
                        {"at", Type(TypeKind::kTimestamp)},
                        {"big", Type(TypeKind::kBool)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

struct Job {
  int64_t size_ms = 100;
  int64_t every_ms = 100;
  int64_t offset_ms = 0;
  int64_t lateness_ms = 0;
  std::string emit = "close";  // close, silent, final, each, count, when, discard
  bool custom = false;
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

class Reference : public WindowReference {
 public:
  explicit Reference(const Job& job) : job_(job) {}

  void add(const WindowRecord& record) override {
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

  void advance(int64_t watermark_ms) override {
    if (job_.emit == "each" || job_.emit == "update") return;
    for (auto& [id, window] : windows_) {
      if (window.closed || due(std::get<0>(id)) > watermark_ms) continue;
      window.closed = true;
      if (window.n > 0) show(id, std::get<0>(id) - 1);
    }
  }

  void end_epoch() override {
    if (job_.emit != "update") return;
    for (const Id& id : touched_) {
      expected.insert(text(id, windows_[id]));
    }
    touched_.clear();
  }

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

void check(const Job& job, const WindowRun& run, uint64_t seed) {
  CAPTURE(yaml(job));
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const std::vector<WindowRecord> records = random_records(random, {});
  const auto plan = planned(yaml(job), kInput);
  plan->keep_late_rows();
  const auto row_of = [](const WindowRecord& record) {
    return Row{record.key, record.amount, record.time_ms * 1000, record.amount >= 8};
  };
  Reference reference(job);
  check_windows({*plan, kSchema, row_of, job.emit != "update"}, records, run, random, reference);
}

void check_all(Job job) {
  for (const std::string emit : {"close", "silent", "final", "each", "count", "when", "discard"}) {
    job.emit = emit;
    for (const int64_t lateness_ms : {int64_t{0}, int64_t{130}}) {
      job.lateness_ms = lateness_ms;
      uint64_t seed = 1;
      for (const WindowRun& run : window_runs_for_each()) check(job, run, seed++);
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
      for (const WindowRun& run : window_runs_for_each()) {
        if (!run.cut_within) check(job, run, seed++);
      }
    }
  }
}

}  // namespace
}  // namespace millrace
