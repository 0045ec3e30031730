#include "window_model.h"

#include <algorithm>

#include "sanitizer.h"

namespace millrace {
namespace {

void compare(const std::multiset<std::string>& expected, const std::multiset<std::string>& actual) {
  if (actual == expected) return;
  std::vector<std::string> missing, extra;
  std::set_difference(expected.begin(), expected.end(), actual.begin(), actual.end(), std::back_inserter(missing));
  std::set_difference(actual.begin(), actual.end(), expected.begin(), expected.end(), std::back_inserter(extra));
  std::string text = "missing " + std::to_string(missing.size()) + ":";
  for (size_t i = 0; i < std::min<size_t>(missing.size(), 3); i++) text += " [" + missing[i] + "]";
  text += ", extra " + std::to_string(extra.size()) + ":";
  for (size_t i = 0; i < std::min<size_t>(extra.size(), 3); i++) text += " [" + extra[i] + "]";
  FAIL_CHECK(text);
}

}  // namespace

std::vector<WindowRecord> random_records(std::mt19937_64& random, const RecordShape& shape) {
  std::vector<WindowRecord> records;
  int64_t largest = kNoTime;
  for (size_t i = 0; i < shape.records; i++) {
    WindowRecord record;
    record.id = static_cast<int64_t>(i);
    record.key = "k" + std::to_string(random() % shape.keys);
    record.amount = static_cast<int64_t>(random() % 10);
    const int64_t now =
        shape.span_ms * static_cast<int64_t>(i) / static_cast<int64_t>(shape.records) - shape.span_ms / 3;
    const int64_t behind = random() % 10 == 0 ? 400 : 60;
    record.time_ms = now - static_cast<int64_t>(random() % static_cast<uint64_t>(behind));
    record.watermark_ms = largest == kNoTime ? kNoTime : largest - shape.delay_ms - 1;
    largest = std::max(largest, record.time_ms);
    records.push_back(record);
  }
  return records;
}

std::vector<WindowRun> all_window_runs() {
  return {{64, 300, false, 1 << 20, 1024, false}, {1, 100, true, 1 << 20, 1024, false},
          {1000, 5000, false, 1 << 20, 2, false}, {37, 90, true, 1, 3, true},
          {500, 500, true, 1 << 20, 1024, false}, {7, 50, false, 16 << 10, 5, true}};
}

std::vector<WindowRun> window_runs_for_each() {
  const std::vector<WindowRun> all = all_window_runs();
  if (!kSanitized) return all;
  static size_t calls = 0;
  const size_t half = all.size() / 2;
  const size_t first = calls++ % half;
  return {all[first], all[first + half]};
}

WindowOutcome check_windows(const WindowModel& model, const std::vector<WindowRecord>& records,
                            const WindowRun& run, std::mt19937_64& random, WindowReference& reference) {
  CAPTURE(run.batch);
  CAPTURE(run.epoch);
  KeyedLane::Options options;
  options.shards = 3;
  options.cache_bytes = run.cache_bytes;
  options.advance_rows = run.advance_rows;
  options.cut_within = run.cut_within;
  options.rows_per_result = model.rows_per_result;
  KeyedLane lane(model.plan, model.schema, options);
  size_t late = 0;
  for (size_t begin = 0; begin < records.size();) {
    const size_t epoch_end = std::min(records.size(), (begin / run.epoch + 1) * run.epoch);
    const size_t end = std::min(epoch_end, begin + 1 + random() % run.batch);
    std::vector<Row> rows;
    std::vector<int64_t> times, watermarks;
    for (size_t i = begin; i < end; i++) {
      rows.push_back(model.row_of(records[i]));
      times.push_back(records[i].time_ms);
      watermarks.push_back(records[i].watermark_ms);
      reference.add(records[i]);
    }
    lane.process(with_watermarks(make_batch(model.schema, rows, times), watermarks));
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
    if (model.plan.uses_event_time()) CHECK(lane.instance().restored_watermark_ms() >= watermarks.back());
  }
  lane.advance(kEndOfTime);
  reference.advance(kEndOfTime);
  lane.end_epoch();
  reference.end_epoch();
  std::multiset<std::string> actual;
  for (const Shown& row : lane.out.shown) {
    actual.insert(to_text({row}) + (model.with_times ? " @" + std::to_string(row.time_ms) : ""));
  }
  CHECK(lane.out.failed.empty());
  CHECK(late + lane.instance().counters().late == lane.out.late.size());
  if (model.compares) {
    CHECK(lane.out.late.size() == reference.late);
    compare(reference.expected, actual);
  }
  return {std::move(lane.out.shown), std::move(lane.out.late)};
}

}  // namespace millrace
