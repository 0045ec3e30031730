#include "operators/aggregate_output.h"

#include <algorithm>

#include "operators/key_encoder.h"

namespace millrace {

AggregateOutput::AggregateOutput(const AggregateProgram& program)
    : program_(program), fields_(program.fields), calls_(program.calls.size()) {
  for (const VirtualColumn& column : program.virtuals) {
    shows_start_ = shows_start_ || column.bound == VirtualColumn::Bound::kStart;
    shows_end_ = shows_end_ || column.bound == VirtualColumn::Bound::kEnd;
  }
  keys_.resize(kMaxRows);
  input_rows_.resize(kMaxRows);
}

void AggregateOutput::begin(ArenaPtr arena, uint32_t max_rows) {
  MR_CHECK(max_rows <= kMaxRows);
  arena_ = std::move(arena);
  max_rows_ = max_rows;
  rows_ = 0;
  only_inserts_ = true;
  failed_.clear();
  changes_ = arena_->array<Change>(max_rows);
  event_times_ = arena_->array<int64_t>(max_rows);
  watermarks_ = arena_->array<int64_t>(max_rows);
  for (size_t i = 0; i < calls_.size(); i++) {
    calls_[i] = std::make_unique<ColumnBuilder>(program_.calls[i].aggregate->type(), arena_, max_rows);
  }
  const Type timestamp(TypeKind::kTimestamp);
  if (shows_start_) starts_ = std::make_unique<ColumnBuilder>(timestamp, arena_, max_rows);
  if (shows_end_) ends_ = std::make_unique<ColumnBuilder>(timestamp, arena_, max_rows);
}

uint32_t AggregateOutput::add_row(std::string_view key, Change change, int64_t event_time_ms, int64_t watermark_ms,
                                  uint32_t input_row) {
  MR_CHECK(rows_ < max_rows_);
  keys_[rows_] = key;
  input_rows_[rows_] = input_row;
  changes_[rows_] = change;
  event_times_[rows_] = event_time_ms;
  watermarks_[rows_] = watermark_ms;
  if (change != Change::kInsert) only_inserts_ = false;
  if (change == Change::kDelete) {
    for (auto& column : calls_) column->set_null(rows_);
  }
  return rows_++;
}

void AggregateOutput::fail_row(uint32_t row, std::string message) {
  for (auto& column : calls_) column->set_null(row);
  failed_.entries.push_back({row, std::move(message)});
}

Status AggregateOutput::emit(bool has_watermark, const Batch* input, Collector& out, uint64_t& emitted) {
  Batch rows;
  rows.rows = rows_;
  rows.event_time_ms = event_times_;
  if (has_watermark) rows.watermark_ms = watermarks_;
  if (!only_inserts_) rows.changes = changes_;
  rows.owners.push_back(arena_);
  rows.columns = virtual_columns();
  MR_RETURN_IF_ERROR(decode_keys(rows.columns));
  RowErrors errors = std::move(failed_);
  rows.columns = fields_.evaluate(without_rows(rows, errors), arena_, errors);
  Batch result = without_rows(rows, errors);
  result.bytes = arena_->bytes();
  arena_.reset();
  emitted += result.live();
  reported_ = 0;
  if (!errors.empty()) MR_RETURN_IF_ERROR(report(rows, input, errors, out));
  return result.live() > 0 ? out.emit(std::move(result)) : Status::ok();
}

// Without the keys.
std::vector<ColumnPtr> AggregateOutput::virtual_columns() {
  const ColumnPtr start = starts_ ? starts_->finish(rows_) : nullptr;
  const ColumnPtr end = ends_ ? ends_->finish(rows_) : nullptr;
  std::vector<ColumnPtr> columns;
  for (const VirtualColumn& column : program_.virtuals) {
    if (column.call >= 0) {
      columns.push_back(calls_[static_cast<size_t>(column.call)]->finish(rows_));
    } else if (column.key >= 0) {
      columns.push_back(nullptr);
    } else {
      columns.push_back(column.bound == VirtualColumn::Bound::kStart ? start : end);
    }
  }
  return columns;
}

Status AggregateOutput::decode_keys(std::vector<ColumnPtr>& virtuals) {
  std::vector<std::unique_ptr<ColumnBuilder>> builders(program_.keys.size());
  bool wanted = false;
  for (const VirtualColumn& column : program_.virtuals) {
    if (column.key < 0) continue;
    builders[static_cast<size_t>(column.key)] = std::make_unique<ColumnBuilder>(column.type, arena_, max_rows_);
    wanted = true;
  }
  if (!wanted) return Status::ok();
  std::vector<std::string_view> parts(builders.size());
  for (uint32_t row = 0; row < rows_; row++) {
    bool ok = split_key(keys_[row], parts.size(), parts.data());
    for (size_t i = 0; ok && i < parts.size(); i++) {
      if (builders[i]) ok = decode_key_part(parts[i], *builders[i], row);
    }
    if (!ok) return Status::terminal(Code::kStateCorrupt, "key bytes do not decode");
  }
  for (size_t i = 0; i < program_.virtuals.size(); i++) {
    const int key = program_.virtuals[i].key;
    if (key >= 0) virtuals[i] = builders[static_cast<size_t>(key)]->finish(rows_);
  }
  return Status::ok();
}

// A retraction that fails to evaluate was never emitted: nothing is owed, nothing is reported.
Status AggregateOutput::report(const Batch& result, const Batch* input, RowErrors& errors, Collector& out) {
  auto& entries = errors.entries;
  entries.erase(std::remove_if(entries.begin(), entries.end(),
                               [&](const auto& entry) { return changes_[entry.row] == Change::kRetract; }),
                entries.end());
  reported_ = entries.size();
  if (entries.empty()) return Status::ok();
  if (input == nullptr) return out.fail_results(result, errors);
  RowErrors of_output;  // rows that answer no row of the input
  RowErrors of_input;   // a row of the input that shows several windows fails once
  for (auto& entry : entries) {
    const uint32_t row = input_rows_[entry.row];
    RowErrors& to = row == kNoRow ? of_output : of_input;
    to.entries.push_back({row == kNoRow ? entry.row : row, std::move(entry.message)});
  }
  sort_errors(of_input);
  reported_ = of_input.entries.size() + of_output.entries.size();
  if (!of_output.empty()) MR_RETURN_IF_ERROR(out.fail_rows(result, of_output));
  return of_input.empty() ? Status::ok() : out.fail_rows(*input, of_input);
}

}  // namespace millrace
