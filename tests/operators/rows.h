// Rows for operator tests: batches from literal values and back, plans from YAML, and a lane that runs one keyed
// operator over a memory store.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "operators/key_encoder.h"
#include "operators/registration.h"
#include "state/lane_cache.h"

namespace millrace {

// monostate: null. A list is read as the text of its items in brackets.
using Cell = std::variant<std::monostate, int64_t, double, bool, std::string>;
using Row = std::vector<Cell>;

inline Cell null() { return {}; }
inline Cell text(std::string value) { return value; }
inline Cell integer(int64_t value) { return value; }

// A row as it came out: with what it means and its event time.
struct Shown {
  Change change = Change::kInsert;
  int64_t time_ms = 0;
  Row row;
  friend bool operator==(const Shown& a, const Shown& b) {
    return a.change == b.change && a.time_ms == b.time_ms && a.row == b.row;
  }
};

std::string to_text(const Row& row);
std::string to_text(const std::vector<Shown>& rows);

// Row i has event time times[i], or i. `changes` empty: all inserts.
Batch make_batch(const Schema& schema, const std::vector<Row>& rows, const std::vector<int64_t>& times = {},
                 const std::vector<Change>& changes = {});
// The batch with the watermark that each row finds.
Batch with_watermarks(Batch batch, const std::vector<int64_t>& watermarks);
std::vector<Shown> read_batch(const Schema& schema, const Batch& batch);

class RecordingCollector : public Collector {
 public:
  explicit RecordingCollector(Schema schema) : schema_(std::move(schema)) {}
  Status emit(Batch batch) override;
  Status emit_side(const std::string& port, Batch batch) override;
  Status fail_rows(const Batch& batch, const RowErrors& errors) override;
  std::vector<Shown> shown;
  std::vector<std::string> failed;    // messages
  std::vector<int64_t> failed_times;  // event times of the failed rows
  size_t largest_batch = 0;
  std::vector<Batch> batches;
  std::vector<Shown> late;  // of the side output "late"
  Schema late_schema;

 private:
  Schema schema_;
};

// The plan of one operator, `yaml` being "filter: a > 1"; nullptr with diagnostics filled after an error.
std::unique_ptr<OperatorPlan> plan_operator(const std::string& yaml, const Edge& input, Diagnostics& diagnostics,
                                            bool retractions = false);
// The same; fails the test on a diagnostic.
std::unique_ptr<OperatorPlan> planned(const std::string& yaml, const Edge& input, bool retractions = false);
// "MR1007@1:9 message; hint" of the first diagnostic.
std::string first_error(const std::string& yaml, const Edge& input);

// One keyed operator on one lane.
class KeyedLane {
 public:
  struct Options {
    uint32_t shards = 16;
    size_t cache_bytes = 1 << 20;
    size_t flush_rows = 1024;
    bool emit_per_batch = false;
    size_t advance_rows = 1024;  // that one call of advance may emit
    bool cut_within = false;     // cut_within_epoch() at every chance
    size_t rows_per_result = 1;  // that one result of the operator may be
  };
  KeyedLane(const OperatorPlan& plan, const Schema& input, Options options);
  KeyedLane(const OperatorPlan& plan, const Schema& input) : KeyedLane(plan, input, Options()) {}
  // Encodes keys and processes as the runtime does, firing what rows find due; rows without a key are failed as the
  // exchange does.
  void process(const Batch& batch);
  // The watermark, and the clock, have come here.
  void advance(int64_t watermark_ms);
  void advance_clock(int64_t now_ms);
  // Flush, cut, decide: an epoch.
  void end_epoch();
  // Between two steps of an advance: emits and cuts, as a full cache makes the runtime do.
  void cut_within_epoch();
  // A new instance over what has been decided; what was not cut is lost.
  void restart();
  RecordingCollector out;
  ManualClock clock;
  Operator& instance() { return *operator_; }
  StateLayers& layers() { return *layers_; }

 private:
  void flush();

  const OperatorPlan& plan_;
  Options options_;
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<StateLayers> layers_;
  ArenaPool arenas_;
  KeyEncoder encoder_;
  std::unique_ptr<Operator> operator_;
  uint64_t epoch_ = 1;
};

}  // namespace millrace
