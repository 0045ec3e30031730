#include "operators/window_rows.h"

#include <algorithm>

#include "operators/projection.h"

namespace millrace {
namespace {

bool shows_late_rows(const AggregateProgram& program) {
  return program.emit.mode == EmitMode::kClose && program.emit.late_updates;
}

}  // namespace

WindowRows::WindowRows(const AggregateProgram& program, const WindowTimes& times, bool sliced)
    : program_(program),
      times_(times),
      sliced_(sliced),
      shows_late_(shows_late_rows(program)),
      assigner_(program.window, program.window.uses_event_time() || program.ttl_ms > 0),
      when_(program.emit.early_when ? make_evaluator(program.emit.early_when) : nullptr),
      late_(program.input) {}

void WindowRows::begin(const Batch& batch, const ArenaPtr& arena, RowErrors& errors) {
  skip_.clear();
  assigner_.evaluate(batch, arena, errors);
  when_column_ = nullptr;
  if (when_) {
    when_column_ = when_->evaluate(batch, arena, errors);
    for_each_live(batch, [&](uint32_t row) {
      if (when_column_->is_null(row)) errors.entries.push_back({row, "the condition of early is null"});
    });
  }
  sort_errors(errors);
  skip(errors);
}

void WindowRows::skip(const RowErrors& errors) {
  if (errors.empty()) return;
  const size_t rows = errors.entries.back().row + size_t{1};
  if (skip_.size() < rows) skip_.resize(rows);
  for (const auto& entry : errors.entries) skip_[entry.row] = 1;
}

bool WindowRows::take(const Batch& batch, const ArenaPtr& arena, uint32_t* index, const Now& now) {
  rows_.clear();
  windows_.clear();
  finds_.clear();
  any_shows_ = false;
  taken_rows_ = late_count_ = windowless_rows_ = 0;
  facts_ = {};
  deadline_ms_ = now.deadline_ms;
  watermark_ms_ = now.watermark_ms;
  shards_ = now.shards;
  const bool single = assigner_.is_single() || sliced_;
  const bool processing = program_.window.processing_time;
  for (const uint32_t live = batch.live(); *index < live; ++*index) {
    const uint32_t row = batch.row(*index);
    if (row < skip_.size() && skip_[row] != 0) continue;
    int64_t time_ms = processing ? now.clock_ms : batch.event_time_ms[row];
    const int64_t watermark_ms =
        processing || batch.watermark_ms == nullptr ? watermark_ms_ : std::max(watermark_ms_, batch.watermark_ms[row]);
    if (watermark_ms >= deadline_ms_ && deadline_ms_ != kEndOfTime) return true;
    watermark_ms_ = watermark_ms;
    int64_t found_ms = watermark_ms;
    if (shards_ != nullptr) {
      found_ms = shards_->of(batch.shards[row], watermark_ms);
      if (processing && found_ms != kNoTime) time_ms = std::max(time_ms, found_ms + 1);
    }
    if (program_.ttl_ms > 0) deadline_ms_ = std::min(deadline_ms_, time_ms + program_.ttl_ms + 1);
    if (single) {
      if (rows_.size() == kMaxPairs) return false;
      const WindowBounds pane = sliced_ ? times_.slice_of(time_ms) : assigner_.assign_single(time_ms);
      if (add_pair(row, pane, found_ms)) {
        taken_rows_++;
      } else {
        add_late(batch, arena, row, times_.last_window(pane), found_ms);
      }
      continue;
    }
    const std::vector<WindowBounds>& panes = assigner_.assign(row, time_ms);
    if (rows_.size() + panes.size() > kMaxPairs) return false;
    bool taken = false;
    for (const WindowBounds& pane : panes) taken = add_pair(row, pane, found_ms) || taken;
    if (taken) {
      taken_rows_++;
    } else if (panes.empty()) {
      windowless_rows_++;
    } else {
      add_late(batch, arena, row, panes.back(), found_ms);
    }
  }
  return false;
}

// False: the row is late for it.
inline bool WindowRows::add_pair(uint32_t row, const WindowBounds& pane, int64_t watermark_ms) {
  if (facts_.pane != pane || shards_ != nullptr) {
    facts_.pane = pane;
    facts_.expiry_ms = times_.expiry_ms(pane);
    if (facts_.expiry_ms > watermark_ms) deadline_ms_ = std::min(deadline_ms_, times_.next_due_ms(pane, watermark_ms));
  }
  if (facts_.expiry_ms <= watermark_ms) return false;
  rows_.push_back(row);
  windows_.push_back(pane);
  Finds finds = Finds::kOpen;
  if (times_.has_fired(pane, watermark_ms)) {
    finds = shows_late_ ? Finds::kLate : Finds::kSilent;
  } else if (when_column_ && when_column_->bools[row] != 0) {
    finds = Finds::kEarly;
  }
  finds_.push_back(finds);
  any_shows_ = any_shows_ || finds == Finds::kEarly || finds == Finds::kLate;
  return true;
}

void WindowRows::add_late(const Batch& batch, const ArenaPtr& arena, uint32_t row, const WindowBounds& last,
                          int64_t watermark_ms) {
  late_count_++;
  if (program_.keep_late) late_.add(batch, arena, row, last, watermark_ms);
}

}  // namespace millrace
