// AggregateFold: rows of a batch on their way into state blocks. It evaluates the inputs of a program once per batch
// and folds bound rows, each into the block that the operator has found for it: a key's, a window's. An instance
// belongs to one lane.
//
//   fold.evaluate(batch, arena, errors);            once per batch
//   fold.bind(batch, rows, states, n);              any number of times, for rows that have not failed
//   fold.for_each_range(errors, [&](size_t begin, size_t end) { fold.fold(begin, end); });
//   fold.release();
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "operators/accumulator_set.h"
#include "operators/aggregate_output.h"
#include "operators/aggregate_program.h"
#include "operators/set_members.h"

namespace millrace {

class AggregateFold {
 public:
  // A block holds one slot per call of the program, then `more`: slots that the operator keeps for itself, which
  // nothing is folded into. The program outlives the instance.
  explicit AggregateFold(const AggregateProgram& program, const std::vector<AggregatePtr>& more = {});

  // Layout of a block; values(): of its first part, what the calls of the program make of it.
  const AccumulatorSet& set() const { return set_; }
  const AccumulatorSet& values() const { return values_; }
  size_t offset(size_t call) const { return offsets_[call]; }
  size_t more_offset(size_t index) const { return set_.offset(offsets_.size() + index); }

  // Evaluates the inputs over the live rows. Rows that fail, or whose condition is null, are appended to errors
  // (ascending, each once) and must not be bound.
  void evaluate(const Batch& batch, const ArenaPtr& arena, RowErrors& errors);
  // Lets go of the columns.
  void release();

  // The rows to fold next, in order: physical row rows[i] into block states[i]. A row may be bound several times (to
  // several windows). The arrays and the batch stay until the next bind.
  void bind(const Batch& batch, const uint32_t* rows, void* const* states, size_t n);
  // Functions with sets: these may leave their blocks once open_sets has been called; else a set that grows too large
  // is an error of the row. bind_sets follows each bind, move_sets the folding of what was bound. blocks: where the
  // states live; time_bytes: MemberTable.
  bool has_sets() const { return SetMembers::needed(program_); }
  Status open_sets(const OperatorContext& context, const LaneCache& blocks, size_t cache_bytes, size_t time_bytes);
  Status bind_sets() { return sets_ ? sets_->bind(calls_) : Status::ok(); }
  Status move_sets() { return sets_ ? sets_->move(states_, bound_) : Status::ok(); }
  // Memory of values outside that only a cut frees.
  size_t dirty_bytes() const { return sets_ ? members()->dirty_bytes() : 0; }
  // nullptr: open_sets has not been called.
  MemberTable* members() const { return sets_ ? &sets_->table() : nullptr; }

  // Calls range(begin, end) for ranges of bound rows that together hold every row that fits; `range` folds them before
  // it returns. The others are appended to errors. In one range if none can fail.
  template <class Range>
  void for_each_range(RowErrors& errors, Range&& range) {
    if (cannot_fail()) return range(size_t{0}, bound_);
    for (size_t i = 0; i < bound_; i++) {
      std::string message = refusal(i);
      if (message.empty()) {
        range(i, i + 1);
      } else {
        errors.entries.push_back({rows_[i], std::move(message)});
      }
    }
  }

  // Folds bound rows [begin, end): headers and slots.
  void fold(size_t begin, size_t end);
  // In two steps, for running values: the header of row i, in order; then the slots, whose values before and after
  // each row go to rows before[i] and after[i] of the output's columns (kNoRow: not wanted; before may be nullptr).
  void fold_header(size_t i) {
    StateHeader& header = AccumulatorSet::header(states_[i]);
    if (changes_ != nullptr && changes_[rows_[i]] == Change::kRetract) {
      header.take_row();
    } else {
      header.add_row(event_time_ms_[rows_[i]]);
    }
  }
  void fold_slots_running(size_t begin, size_t end, AggregateOutput& output, const uint32_t* before,
                          const uint32_t* after);

  // Writes the results of n blocks to rows out_rows[i] of the output's columns.
  void write(void* const* states, const uint32_t* out_rows, size_t n, AggregateOutput& output) const;

 private:
  bool cannot_fail() const;
  // Why bound row i cannot be folded into its block as it is; empty: it can.
  std::string refusal(size_t i) const;
  void reject_null_conditions(const Batch& batch, size_t input, RowErrors& errors) const;
  AggregateRows range_of(size_t call, size_t begin, size_t end) const;

  const AggregateProgram& program_;
  std::vector<AggregatePtr> aggregates_;  // per call: the program's, or this lane's own
  AccumulatorSet set_;
  AccumulatorSet values_;
  std::vector<std::unique_ptr<Evaluator>> evaluators_;  // per input; nullptr: a plain column
  std::vector<bool> is_condition_;                      // per input
  std::vector<size_t> offsets_;                         // per call
  std::vector<ColumnPtr> inputs_;                       // of the batch at hand
  std::unique_ptr<SetMembers> sets_;

  // What is bound.
  std::vector<AggregateRows> calls_;
  size_t bound_ = 0;
  const uint32_t* rows_ = nullptr;
  void* const* states_ = nullptr;
  const Change* changes_ = nullptr;  // nullptr: nothing is taken back
  const int64_t* event_time_ms_ = nullptr;
};

}  // namespace millrace
