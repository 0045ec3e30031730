// AggregateOutput: rows of the virtual columns on their way to output columns: filled by the operator (one batch at a
// time), finished by emit(). An instance belongs to one lane.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "operators/aggregate_program.h"
#include "operators/operator.h"
#include "operators/projection.h"

namespace millrace {

class AggregateOutput {
 public:
  static constexpr uint32_t kMaxRows = 1024;
  // The program outlives the instance.
  explicit AggregateOutput(const AggregateProgram& program);

  // Starts a batch of at most max_rows (up to kMaxRows) rows in a fresh arena.
  void begin(ArenaPtr arena, uint32_t max_rows);
  // Appends a row and returns its index. The key is read by emit(). input_row: physical row of the input it answers,
  // or kNoRow.
  uint32_t add_row(std::string_view key, Change change, int64_t event_time_ms, int64_t watermark_ms,
                   uint32_t input_row = kNoRow);
  // Sets window.start and window.end of a row. Every row needs it if the program shows them.
  void set_window(uint32_t row, const WindowBounds& window) {
    if (starts_) starts_->ints[row] = window.start_ms * 1000;
    if (ends_) ends_->ints[row] = window.end_ms * 1000;
  }
  // The row cannot be shown: it is reported instead. Its values need not be set.
  void fail_row(uint32_t row, std::string message);
  uint32_t rows() const { return rows_; }
  uint64_t reported() const { return reported_; }
  // Values of call i; every row must be set unless it deletes its key.
  ColumnBuilder& column(size_t call) { return *calls_[call]; }
  // Computes the fields and hands the rows on. Rows on which a field fails are reported instead: as rows of `input` if
  // given, else as rows of the output. `emitted` grows by the rows handed on.
  // reported() counts the others, without retractions.
  Status emit(bool has_watermark, const Batch* input, Collector& out, uint64_t& emitted);

 private:
  std::vector<ColumnPtr> virtual_columns();
  Status decode_keys(std::vector<ColumnPtr>& virtuals);
  Status report(const Batch& result, const Batch* input, RowErrors& errors, Collector& out);

  const AggregateProgram& program_;
  Projection fields_;
  ArenaPtr arena_;
  bool shows_start_ = false;
  bool shows_end_ = false;
  std::vector<std::unique_ptr<ColumnBuilder>> calls_;
  std::unique_ptr<ColumnBuilder> starts_, ends_;  // of windows; nullptr: not shown
  uint32_t rows_ = 0;
  uint32_t max_rows_ = 0;
  uint64_t reported_ = 0;  // by the last emit()
  bool only_inserts_ = true;
  std::vector<std::string_view> keys_;
  std::vector<uint32_t> input_rows_;
  RowErrors failed_;
  Change* changes_ = nullptr;  // these three: in the arena
  int64_t* event_times_ = nullptr;
  int64_t* watermarks_ = nullptr;
};

}  // namespace millrace
