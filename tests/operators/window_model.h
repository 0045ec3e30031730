// What models of windows share: random records, each with the watermark that it finds, and runs that give them to a
// lane and to a naive reference: batches cut anywhere, cuts within and between epochs, restarts, caches that hold
// nothing.
#pragma once

#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "rows.h"

namespace millrace {

struct WindowRecord {
  int64_t id = 0;  // by arrival
  std::string key;
  int64_t amount = 0;
  int64_t time_ms = 0;
  int64_t watermark_ms = kNoTime;  // that it finds
};

struct RecordShape {
  size_t records = 1500;
  int64_t span_ms = 3000;
  int64_t delay_ms = 40;  // of the watermark
  size_t keys = 12;
};
std::vector<WindowRecord> random_records(std::mt19937_64& random, const RecordShape& shape);

struct WindowRun {
  size_t batch = 64;
  size_t epoch = 300;  // records
  bool restart = false;
  size_t cache_bytes = 1 << 20;
  size_t advance_rows = 1024;
  bool cut_within = false;
};
// Six that differ in everything.
std::vector<WindowRun> all_window_runs();
// The same, for loops over other things too; where kSanitized, two of the six in turn.
std::vector<WindowRun> window_runs_for_each();

// The rules, record by record, without any of the operator's means.
class WindowReference {
 public:
  virtual ~WindowReference() = default;
  virtual void add(const WindowRecord& record) = 0;
  virtual void advance(int64_t watermark_ms) = 0;
  virtual void end_epoch() {}
  std::multiset<std::string> expected;  // rows: "-" if taken back, the columns, " @" event time
  size_t late = 0;
};

struct WindowModel {
  const OperatorPlan& plan;
  Schema schema;
  std::function<Row(const WindowRecord&)> row_of;
  bool with_times = true;      // event times of rows are compared
  size_t rows_per_result = 1;  // that one result of the operator may be
  bool compares = true;        // what comes out, and how many rows are late, with the reference
};
struct WindowOutcome {
  std::vector<Shown> shown, late;
};
// Runs, and CHECKs. The reference is new.
WindowOutcome check_windows(const WindowModel& model, const std::vector<WindowRecord>& records,
                            const WindowRun& run, std::mt19937_64& random, WindowReference& reference);

}  // namespace millrace
