#include "operators/process_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "operators/cells.h"
#include "operators/projection.h"

namespace millrace {
namespace {

constexpr int64_t kMicrosPerMilli = 1000;
// The last due time that is a timestamp.
constexpr int64_t kMaxDueMs = INT64_MAX / kMicrosPerMilli - 1;

int64_t ceil_to_ms(int64_t us) {
  const int64_t ms = us / kMicrosPerMilli;
  return ms + (us > ms * kMicrosPerMilli ? 1 : 0);
}

ColumnPtr null_column(const Type& type, uint32_t rows, const ArenaPtr& arena) {
  const std::vector<ColumnCell> cells(rows);
  return column_of_cells(type, cells.data(), rows, arena);
}

}  // namespace

struct ProcessSteps::Bound {
  const ProcessStep* step;
  std::vector<std::unique_ptr<Evaluator>> values;  // by value of the step; nullptr: a plain column
  std::unique_ptr<Evaluator> condition;
  std::vector<Bound> then, otherwise;
};

ProcessSteps::ProcessSteps(const ProcessProgram& program, const ProcessHandler& handler, ProcessState& state)
    : program_(program), handler_(handler), state_(state), steps_(bind(handler.steps)) {}

ProcessSteps::~ProcessSteps() = default;

std::vector<ProcessSteps::Bound> ProcessSteps::bind(const std::vector<ProcessStep>& steps) {
  std::vector<Bound> bound;
  for (const ProcessStep& step : steps) {
    Bound& next = bound.emplace_back();
    next.step = &step;
    for (const ProcessStep::Value& value : step.values) {
      const bool plain = value.expression->plain_column() >= 0;
      next.values.push_back(plain ? nullptr : make_evaluator(value.expression));
    }
    if (step.condition) next.condition = make_evaluator(step.condition);
    next.then = bind(step.then);
    next.otherwise = bind(step.otherwise);
  }
  return bound;
}

void ProcessSteps::run(ProcessTurn& turn, const ArenaPtr& arena, ProcessOutput& output) {
  turn_ = &turn;
  output_ = &output;
  arena_ = arena;
  failed_.assign(turn.batch.rows, 0);
  turn.errors.clear();
  turn.set_fields.assign(program_.ttl_ms > 0 ? turn.batch.rows : 0, 0);
  const std::vector<ColumnPtr> before = turn.batch.columns;
  run_steps(steps_, nullptr);
  turn.batch.selection.reset();
  if (!turn.errors.empty()) {
    std::sort(turn.errors.entries.begin(), turn.errors.entries.end(),
              [](const auto& a, const auto& b) { return a.row < b.row; });
    restore_failed(before);
  }
  arena_.reset();
}

void ProcessSteps::run_steps(std::vector<Bound>& steps, const Rows& rows) {
  for (Bound& bound : steps) {
    const Rows live = alive(rows);
    if (is_empty(live)) return;
    switch (bound.step->kind) {
      case ProcessStep::Kind::kWhen: run_when(bound, live); break;
      case ProcessStep::Kind::kSet: run_set(bound, live); break;
      case ProcessStep::Kind::kSetTimer: run_set_timer(bound, live); break;
      case ProcessStep::Kind::kClear: run_clear(*bound.step, live); break;
      case ProcessStep::Kind::kClearTimer: run_clear_timer(*bound.step, live); break;
      case ProcessStep::Kind::kEmit: run_emit(bound, live); break;
    }
  }
}

ProcessSteps::Rows ProcessSteps::alive(const Rows& rows) const {
  if (turn_->errors.empty()) return rows;
  auto live = std::make_shared<std::vector<uint32_t>>();
  each(rows, [&](uint32_t row) {
    if (failed_[row] == 0) live->push_back(row);
  });
  return live;
}

template <class F>
void ProcessSteps::each(const Rows& rows, F&& f) const {
  if (rows) {
    for (uint32_t row : *rows) f(row);
  } else {
    for (uint32_t row = 0; row < turn_->batch.rows; row++) f(row);
  }
}

void ProcessSteps::fail(uint32_t row, std::string message) {
  if (failed_[row] != 0) return;
  failed_[row] = 1;
  turn_->errors.entries.push_back({row, std::move(message)});
}

void ProcessSteps::run_when(Bound& step, const Rows& rows) {
  turn_->batch.selection = rows;
  errors_.clear();
  const ColumnPtr condition = step.condition->evaluate(turn_->batch, arena_, errors_);
  for (auto& entry : errors_.entries) fail(entry.row, std::move(entry.message));
  auto met = std::make_shared<std::vector<uint32_t>>();
  auto unmet = std::make_shared<std::vector<uint32_t>>();
  each(rows, [&](uint32_t row) {
    if (failed_[row] != 0) return;
    if (condition->is_null(row)) return fail(row, "the condition " + step.step->condition_text + " is null");
    (condition->bools[row] != 0 ? met : unmet)->push_back(row);
  });
  const bool all_met = met->size() == turn_->batch.rows;
  run_steps(step.then, all_met ? nullptr : Rows(std::move(met)));
  if (!step.otherwise.empty()) run_steps(step.otherwise, unmet);
}

// The values of a step, all of them of the state before it. Rows that fail are null in them.
std::vector<ColumnPtr> ProcessSteps::evaluate(Bound& bound, const Rows& rows) {
  turn_->batch.selection = rows;
  errors_.clear();
  std::vector<ColumnPtr> columns;
  for (size_t i = 0; i < bound.values.size(); i++) {
    const int plain = bound.step->values[i].expression->plain_column();
    columns.push_back(plain >= 0 ? turn_->batch.columns[static_cast<size_t>(plain)]
                                 : bound.values[i]->evaluate(turn_->batch, arena_, errors_));
  }
  for (auto& entry : errors_.entries) fail(entry.row, std::move(entry.message));
  return columns;
}

// Where only some of the rows are set, the others keep what they have.
void ProcessSteps::assign(size_t column, const Type& type, ColumnPtr values, const Rows& rows) {
  ColumnPtr& target = turn_->batch.columns[column];
  if (!rows && values->type.kind() == type.kind()) {
    target = std::move(values);
    return;
  }
  if (!rows && all_rows_.size() != turn_->batch.rows) {
    all_rows_.resize(turn_->batch.rows);
    std::iota(all_rows_.begin(), all_rows_.end(), 0);
  }
  const std::vector<uint32_t>& replaced = rows ? *rows : all_rows_;
  target = replace_rows(target, values, replaced.data(), static_cast<uint32_t>(replaced.size()), arena_);
}

void ProcessSteps::run_set(Bound& bound, const Rows& rows) {
  const std::vector<ColumnPtr> columns = evaluate(bound, rows);
  for (size_t i = 0; i < columns.size(); i++) {
    check_sizes(static_cast<size_t>(bound.step->values[i].target), columns[i], rows);
  }
  const Rows live = alive(rows);
  for (size_t i = 0; i < columns.size(); i++) {
    const auto field = static_cast<size_t>(bound.step->values[i].target);
    assign(program_.field_column(field), program_.fields[field].type, columns[i], live);
  }
  note_set(live);
}

void ProcessSteps::note_set(const Rows& rows) {
  if (program_.ttl_ms == 0) return;
  each(rows, [&](uint32_t row) { turn_->set_fields[row] = 1; });
}

void ProcessSteps::check_sizes(size_t field, const ColumnPtr& values, const Rows& rows) {
  if (values->ints != nullptr || values->doubles != nullptr || values->bools != nullptr) return;
  each(rows, [&](uint32_t row) {
    if (failed_[row] != 0 || values->type.kind() == TypeKind::kNull) return;
    if (state_.value_bytes(field, values, row) <= ProcessState::kMaxValueBytes) return;
    fail(row, fmt::format("state.{} would be longer than 1 MiB", program_.fields[field].name));
  });
}

void ProcessSteps::run_set_timer(Bound& bound, const Rows& rows) {
  const std::vector<ColumnPtr> columns = evaluate(bound, rows);
  const Rows live = alive(rows);
  for (size_t i = 0; i < columns.size(); i++) {
    const auto timer = static_cast<size_t>(bound.step->values[i].target);
    assign(program_.timer_column(timer), Type(TypeKind::kTimestamp), due_times(columns[i], timer, live), live);
  }
}

// Whole milliseconds, behind the floor. A null clears the timer.
ColumnPtr ProcessSteps::due_times(const ColumnPtr& wanted, size_t timer, const Rows& rows) {
  const Type timestamp(TypeKind::kTimestamp);
  if (turn_->at_end && handler_.repeats_timers[timer]) return null_column(timestamp, turn_->batch.rows, arena_);
  const int64_t* floor_ms =
      program_.timers[timer].processing_time ? turn_->clock_floor_ms : turn_->event_floor_ms;
  ColumnBuilder due(timestamp, arena_, turn_->batch.rows);
  each(rows, [&](uint32_t row) {
    if (wanted->is_null(row)) return due.set_null(row);
    int64_t due_ms = ceil_to_ms(wanted->ints[row]);
    if (floor_ms != nullptr && floor_ms[row] >= due_ms) {
      if (floor_ms[row] >= kMaxDueMs) return due.set_null(row);
      due_ms = floor_ms[row] + 1;
    }
    due.ints[row] = std::min(due_ms, kMaxDueMs) * kMicrosPerMilli;
  });
  return due.finish(turn_->batch.rows);
}

void ProcessSteps::run_clear(const ProcessStep& step, const Rows& rows) {
  for (int target : step.targets) {
    const auto index = static_cast<size_t>(target);
    const ProcessField& field = program_.fields[index];
    const std::vector<ColumnCell> cells(turn_->batch.rows, {field.initial.get(), 0});
    auto values = column_of_cells(field.type, cells.data(), turn_->batch.rows, arena_);
    if (field.initial) values->owners.push_back(field.initial);
    assign(program_.field_column(index), field.type, std::move(values), rows);
  }
  note_set(rows);
}

void ProcessSteps::run_clear_timer(const ProcessStep& step, const Rows& rows) {
  const Type timestamp(TypeKind::kTimestamp);
  for (int target : step.targets) {
    assign(program_.timer_column(static_cast<size_t>(target)), timestamp,
           null_column(timestamp, turn_->batch.rows, arena_), rows);
  }
}

void ProcessSteps::run_emit(Bound& bound, const Rows& rows) {
  std::vector<ColumnPtr> columns = evaluate(bound, rows);
  const Rows live = alive(rows);
  if (!is_empty(live)) output_->add(std::move(columns), turn_->items, live.get());
}

void ProcessSteps::restore_failed(const std::vector<ColumnPtr>& before) {
  std::vector<uint32_t> rows;
  for (const auto& entry : turn_->errors.entries) rows.push_back(entry.row);
  for (size_t i = program_.input.size(); i < before.size(); i++) {
    ColumnPtr& column = turn_->batch.columns[i];
    if (column == before[i]) continue;
    column = replace_rows(column, before[i], rows.data(), static_cast<uint32_t>(rows.size()), arena_);
  }
}

}  // namespace millrace
