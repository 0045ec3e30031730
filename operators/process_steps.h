// ProcessSteps: the steps of one handler, evaluated a column at a time over rows of different keys. Belongs to its
// lane.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "operators/process_output.h"
#include "operators/process_program.h"
#include "operators/process_state.h"

namespace millrace {

// Rows on which the steps of one handler run together; no two of the same key.
struct ProcessTurn {
  // Columns of the program's layout: what the handler reads or sets before its steps, what it has set after them. No
  // selection, event_time_ms is set.
  Batch batch;
  std::vector<uint32_t> items;  // by row: the record or timer, as the output numbers them
  // By row: timers set now are due later than this; kNoTime: at any time.
  const int64_t* event_floor_ms = nullptr;
  const int64_t* clock_floor_ms = nullptr;  // nullptr: at any time
  // The input has ended: a timer that would set itself again and again is not set.
  bool at_end = false;
  RowErrors errors;  // of the rows that failed, ascending; the state of their keys is as before
  std::vector<uint8_t> set_fields;  // by row: 1: a step has set or cleared a field; only with a ttl
};

class ProcessSteps {
 public:
  // The first two outlive it; `state` too.
  ProcessSteps(const ProcessProgram& program, const ProcessHandler& handler, ProcessState& state);
  ~ProcessSteps();
  void run(ProcessTurn& turn, const ArenaPtr& arena, ProcessOutput& output);
  const ProcessHandler& handler() const { return handler_; }

 private:
  // Ascending rows; nullptr: all of the turn.
  using Rows = std::shared_ptr<const std::vector<uint32_t>>;
  struct Bound;  // a step with the evaluators of its expressions

  std::vector<Bound> bind(const std::vector<ProcessStep>& steps);
  void run_steps(std::vector<Bound>& steps, const Rows& rows);
  void run_when(Bound& step, const Rows& rows);
  void run_set(Bound& step, const Rows& rows);
  void run_set_timer(Bound& step, const Rows& rows);
  void run_clear(const ProcessStep& step, const Rows& rows);
  void run_clear_timer(const ProcessStep& step, const Rows& rows);
  void run_emit(Bound& step, const Rows& rows);
  std::vector<ColumnPtr> evaluate(Bound& step, const Rows& rows);
  ColumnPtr due_times(const ColumnPtr& wanted, size_t timer, const Rows& rows);
  void note_set(const Rows& rows);
  void check_sizes(size_t field, const ColumnPtr& values, const Rows& rows);
  // The rows that have not failed.
  Rows alive(const Rows& rows) const;
  bool is_empty(const Rows& rows) const { return rows ? rows->empty() : turn_->batch.rows == 0; }
  template <class F>
  void each(const Rows& rows, F&& f) const;
  void fail(uint32_t row, std::string message);
  void assign(size_t column, const Type& type, ColumnPtr values, const Rows& rows);
  void restore_failed(const std::vector<ColumnPtr>& before);

  const ProcessProgram& program_;
  const ProcessHandler& handler_;
  ProcessState& state_;
  std::vector<Bound> steps_;
  // Of the turn at hand.
  ProcessTurn* turn_ = nullptr;
  ProcessOutput* output_ = nullptr;
  ArenaPtr arena_;
  std::vector<uint8_t> failed_;
  std::vector<uint32_t> all_rows_;
  RowErrors errors_;
};

}  // namespace millrace
