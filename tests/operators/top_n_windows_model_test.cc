// The best rows of windows against a naive reference that sorts all rows of a window each time; lists merged in any
// order.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "blocks.h"
#include "operators/top_aggregate.h"
#include "window_model.h"

namespace millrace {
namespace {

const Schema kSchema = {{"key", Type(TypeKind::kString)},
                        {"amount", Type(TypeKind::kInt)},
                        {"at", Type(TypeKind::kTimestamp)},
                        {"big", Type(TypeKind::kBool)},
                        {"id", Type(TypeKind::kInt)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

struct Job {
  int64_t size_ms = 100;
  int64_t every_ms = 100;
  int64_t offset_ms = 0;
  int64_t lateness_ms = 0;
  std::string emit = "close";
  uint32_t n = 2;
  bool ties = false;
  bool rank = false;
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
  return fmt::format(
             "top_n:\n  key_by: key\n  window: {{hopping: {{size: {}ms, every: {}ms, offset: {}ms}}}}\n"
             "  allowed_lateness: {}ms\n  emit: {}\n  order_by: amount desc\n  n: {}\n",
             job.size_ms, job.every_ms, job.offset_ms, job.lateness_ms, modes.at(job.emit), job.n) +
         (job.ties ? "  ties: all\n" : "") + (job.rank ? "  rank: rank\n" : "");
}

std::string text_of(const WindowRecord& record) {
  return fmt::format("{} {} {} {} {}", record.key, record.amount, record.time_ms * 1000, record.amount >= 8,
                     record.id);
}

class Reference : public WindowReference {
 public:
  explicit Reference(const Job& job) : job_(job) {}

  void add(const WindowRecord& record) override {
    advance(record.watermark_ms);
    bool taken = false;
    for (int64_t start = record.time_ms - job_.size_ms + 1; start <= record.time_ms; start++) {
      const int64_t end = start + job_.size_ms;
      if ((start - job_.offset_ms) % job_.every_ms != 0) continue;
      if (end - 1 + job_.lateness_ms <= record.watermark_ms) continue;
      taken = true;
      take({end, record.key}, record);
    }
    if (!taken) late++;
  }

  void advance(int64_t watermark_ms) override {
    for (auto& [id, window] : windows_) {
      const int64_t end = id.first;
      if (job_.emit == "update") {
        // What has changed is shown before the window leaves.
        if (window.changed && end - 1 + job_.lateness_ms <= watermark_ms) show(window, 0);
        continue;
      }
      if (window.closed || due(end) > watermark_ms) continue;
      window.closed = true;
      if (job_.emit != "each" && !window.rows.empty()) show(window, end - 1);
    }
  }

  void end_epoch() override {
    for (auto& [id, window] : windows_) {
      if (job_.emit == "update" && window.changed) show(window, 0);
    }
  }

 private:
  using Id = std::pair<int64_t, std::string>;  // end, key
  struct Window {
    std::vector<WindowRecord> rows;
    std::multiset<std::string> shown;
    size_t since = 0;
    bool closed = false;
    bool changed = false;
  };

  int64_t due(int64_t end) const { return end - 1 + (job_.emit == "final" ? job_.lateness_ms : 0); }

  void take(const Id& id, const WindowRecord& record) {
    Window& window = windows_[id];
    window.rows.push_back(record);
    window.since++;
    window.changed = true;
    const bool fired = due(id.first) <= record.watermark_ms;
    window.closed = window.closed || fired;
    const bool counted = (job_.emit == "count" || job_.emit == "discard") && window.since >= 3;
    const bool wanted = job_.emit == "when" && record.amount >= 8;
    const bool quiet = job_.emit == "silent" || job_.emit == "final" || job_.emit == "update";
    if (job_.emit == "each") {
      show(window, id.first - 1);
    } else if (fired ? !quiet : counted || wanted) {
      show(window, id.first - 1);
    }
  }

  // Whether rows replace others.
  bool replaces() const {
    if (job_.emit == "each" || job_.emit == "update" || job_.emit == "count" || job_.emit == "when") return true;
    return job_.emit == "close" && job_.lateness_ms > 0;
  }

  // Windows that share rows are put together of the stretches between two bounds.
  int64_t part_of(int64_t time_ms) const {
    const bool shares = job_.size_ms != job_.every_ms;
    if (!shares || (job_.emit != "close" && job_.emit != "silent" && job_.emit != "final")) return 0;
    const auto is_bound = [&](int64_t at) { return (at - job_.offset_ms) % job_.every_ms == 0; };
    while (!is_bound(time_ms) && !is_bound(time_ms - job_.size_ms)) time_ms--;
    return time_ms;
  }

  std::multiset<std::string> best(std::vector<WindowRecord> rows) const {
    std::stable_sort(rows.begin(), rows.end(), [&](const WindowRecord& a, const WindowRecord& b) {
      if (a.amount != b.amount) return a.amount > b.amount;
      return part_of(a.time_ms) < part_of(b.time_ms);
    });
    std::multiset<std::string> list;
    for (size_t i = 0; i < rows.size(); i++) {
      if (i >= job_.n && (!job_.ties || rows[i].amount < rows[job_.n - 1].amount)) break;
      size_t rank = i + 1;
      while (job_.ties && rank > 1 && rows[rank - 2].amount == rows[i].amount) rank--;
      list.insert(text_of(rows[i]) + (job_.rank ? " " + std::to_string(rank) : ""));
    }
    return list;
  }

  void show(Window& window, int64_t time_ms) {
    const std::string time = job_.emit == "update" ? "" : " @" + std::to_string(time_ms);
    const std::multiset<std::string> list = best(window.rows);
    std::vector<std::string> entered, left;
    std::set_difference(list.begin(), list.end(), window.shown.begin(), window.shown.end(),
                        std::back_inserter(entered));
    std::set_difference(window.shown.begin(), window.shown.end(), list.begin(), list.end(), std::back_inserter(left));
    for (const std::string& row : entered) expected.insert(row + time);
    for (const std::string& row : left) expected.insert("-" + row + time);
    if (replaces()) window.shown = list;
    if (job_.emit == "discard") window.rows.clear();
    window.since = 0;
    window.changed = false;
  }

  const Job job_;
  std::map<Id, Window> windows_;
};

void check(const Job& job, const WindowRun& run, uint64_t seed) {
  CAPTURE(yaml(job));
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const std::vector<WindowRecord> records = random_records(random, {.records = 1000, .keys = 5});
  const auto plan = planned(yaml(job), kInput);
  plan->keep_late_rows();
  const auto row_of = [](const WindowRecord& record) {
    return Row{record.key, record.amount, record.time_ms * 1000, record.amount >= 8, record.id};
  };
  Reference reference(job);
  check_windows({*plan, kSchema, row_of, job.emit != "update", 200}, records, run, random, reference);
}

void check_all(Job job) {
  uint64_t seed = 1;
  for (const std::string emit : {"close", "silent", "final", "each", "count", "when", "discard", "update"}) {
    job.emit = emit;
    for (const int64_t lateness_ms : {int64_t{0}, int64_t{130}}) {
      job.lateness_ms = lateness_ms;
      job.ties = !job.ties;
      for (const WindowRun& run : window_runs_for_each()) {
        // A cut within the epoch shows what it has.
        if (emit == "update" && run.cut_within) continue;
        job.rank = !job.rank;
        job.n = 1 + seed % 4;
        check(job, run, seed++);
      }
    }
  }
}

TEST_CASE("the best rows of tumbling windows are what the rules say") {
  check_all({});
  check_all({.size_ms = 70, .every_ms = 70, .offset_ms = 33, .ties = true, .rank = true});
}

TEST_CASE("the best rows of hopping windows are what the rules say") {
  check_all({.size_ms = 120, .every_ms = 30});
  check_all({.size_ms = 100, .every_ms = 40, .offset_ms = 7, .ties = true, .rank = true});
}

// Rows of a list, by order, with what they are.
using Entries = std::vector<std::pair<std::string, std::string>>;

Entries entries_of(Block& block) {
  std::string bytes;
  AccumulatorWriter writer(bytes);
  block.set.aggregates()[0]->encode(static_cast<char*>(block.state()) + block.set.offset(0), writer);
  std::vector<TopRow> rows;
  REQUIRE(read_top_list(bytes, {1, false}, rows));
  Entries entries;
  // In front of the text stand null bits and its length.
  for (const TopRow& row : rows) entries.emplace_back(row.order, row.row.substr(2));
  return entries;
}

void add_rows(Block& block, const Entries& rows) {
  std::vector<Row> cells;
  for (const auto& [order, row] : rows) cells.push_back({order, row});
  const Batch batch = make_batch({{"order", Type(TypeKind::kBytes)}, {"row", Type(TypeKind::kString)}}, cells);
  const ColumnPtr arrivals = arrival_column(batch.columns[0], {batch.columns[1]});
  const std::vector<void*> states(rows.size(), block.state());
  std::vector<uint32_t> indexes(rows.size());
  for (uint32_t i = 0; i < indexes.size(); i++) indexes[i] = i;
  const Aggregate& list = *block.set.aggregates()[0];
  list.add({rows.size(), states.data(), indexes.data(), arrivals.get(), nullptr, nullptr, block.set.offset(0)});
}

TEST_CASE("lists merged in any grouping are the list of all rows, with ties in any order") {
  std::mt19937 random(5);
  for (int round = 0; round < 300; round++) {
    const TopRule rule{1 + static_cast<uint32_t>(random() % 6), random() % 2 == 0};
    CAPTURE(round);
    const AccumulatorSet set({make_top_aggregate(rule, {Type(TypeKind::kString)})});
    std::vector<std::unique_ptr<Block>> parts;
    Block all(set);
    Entries rows;
    for (size_t p = 0; p < 1 + random() % 7; p++) {
      Entries part;
      for (size_t i = 0; i < random() % 12; i++) {
        part.emplace_back(std::string(1, static_cast<char>('a' + random() % 5)), std::to_string(rows.size() + i));
      }
      rows.insert(rows.end(), part.begin(), part.end());
      parts.push_back(std::make_unique<Block>(set));
      add_rows(*parts.back(), part);
    }
    add_rows(all, rows);
    // With ties what is held does not depend on the order of parts either, only where equal rows stand.
    const bool shuffled = rule.ties && random() % 2 == 0;
    while (parts.size() > 1) {
      const size_t into = random() % (parts.size() - 1);
      size_t from = into + 1;
      if (shuffled) from = into + 1 + random() % (parts.size() - into - 1);
      REQUIRE(set.aggregates()[0]->can_merge(static_cast<char*>(parts[into]->state()) + set.offset(0),
                                             static_cast<char*>(parts[from]->state()) + set.offset(0)));
      REQUIRE(set.merge(parts[into]->state(), parts[from]->state()));
      parts.erase(parts.begin() + static_cast<ptrdiff_t>(from));
    }
    Entries merged = entries_of(*parts[0]), expected = entries_of(all);
    if (shuffled) {
      std::sort(merged.begin(), merged.end());
      std::sort(expected.begin(), expected.end());
    }
    CHECK(merged == expected);
    std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    size_t n = std::min<size_t>(rows.size(), rule.n);
    while (rule.ties && n < rows.size() && n > 0 && rows[n].first == rows[n - 1].first) n++;
    rows.resize(n);
    if (shuffled) std::sort(rows.begin(), rows.end());
    CHECK(merged == rows);
  }
}

}  // namespace
}  // namespace millrace
