#include "operators/aggregate_fold.h"

#include <algorithm>

#include "operators/projection.h"

namespace millrace {
namespace {

std::vector<AggregatePtr> own_aggregates(const AggregateProgram& program) {
  std::vector<AggregatePtr> aggregates;
  for (const AggregateCall& call : program.calls) {
    AggregatePtr own = call.aggregate->for_lane();
    aggregates.push_back(own != nullptr ? std::move(own) : call.aggregate);
  }
  return aggregates;
}

std::vector<AggregatePtr> slots_of(const AggregateProgram& program, const std::vector<AggregatePtr>& aggregates,
                                   const std::vector<AggregatePtr>& more) {
  std::vector<AggregatePtr> slots;
  for (int call : program.state_order) slots.push_back(aggregates[static_cast<size_t>(call)]);
  slots.insert(slots.end(), more.begin(), more.end());
  return slots;
}

}  // namespace

AggregateFold::AggregateFold(const AggregateProgram& program, const std::vector<AggregatePtr>& more)
    : program_(program),
      aggregates_(own_aggregates(program)),
      set_(slots_of(program, aggregates_, more)),
      values_(slots_of(program, aggregates_, {})),
      is_condition_(program.inputs.size()),
      offsets_(program.calls.size()),
      inputs_(program.inputs.size()),
      calls_(program.calls.size()) {
  for (const AggregateInput& input : program_.inputs) {
    evaluators_.push_back(input.expression->plain_column() >= 0 ? nullptr : make_evaluator(input.expression));
  }
  for (const AggregateCall& call : program_.calls) {
    if (call.condition >= 0) is_condition_[static_cast<size_t>(call.condition)] = true;
    MR_CHECK(!program_.takes_retractions || call.aggregate->can_retract());
  }
  for (size_t i = 0; i < offsets_.size(); i++) {
    offsets_[static_cast<size_t>(program_.state_order[i])] = set_.offset(i);
  }
}

void AggregateFold::evaluate(const Batch& batch, const ArenaPtr& arena, RowErrors& errors) {
  for (size_t i = 0; i < inputs_.size(); i++) {
    const AggregateInput& input = program_.inputs[i];
    if (!evaluators_[i]) {
      inputs_[i] = batch.columns[static_cast<size_t>(input.expression->plain_column())];
    } else if (input.condition < 0) {
      inputs_[i] = evaluators_[i]->evaluate(batch, arena, errors);
    } else {
      const Column& condition = *inputs_[static_cast<size_t>(input.condition)];
      const Batch met =
          select_rows(batch, [&](uint32_t row) { return !condition.is_null(row) && condition.bools[row] != 0; });
      inputs_[i] = evaluators_[i]->evaluate(met, arena, errors);
    }
    if (is_condition_[i]) reject_null_conditions(batch, i, errors);
  }
  sort_errors(errors);
}

// Null is neither true nor false. (Rows that failed to evaluate are null too; their own message stands first.)
void AggregateFold::reject_null_conditions(const Batch& batch, size_t input, RowErrors& errors) const {
  const Column& condition = *inputs_[input];
  if (condition.nulls == nullptr) return;
  for_each_live(batch, [&](uint32_t row) {
    if (!condition.is_null(row)) return;
    errors.entries.push_back({row, "the condition " + program_.inputs[input].text + " is null"});
  });
}

void AggregateFold::release() {
  std::fill(inputs_.begin(), inputs_.end(), nullptr);
  bound_ = 0;
}

void AggregateFold::bind(const Batch& batch, const uint32_t* rows, void* const* states, size_t n) {
  bound_ = n;
  rows_ = rows;
  states_ = states;
  changes_ = program_.takes_retractions ? batch.changes : nullptr;
  event_time_ms_ = batch.event_time_ms;
  for (size_t i = 0; i < calls_.size(); i++) {
    const AggregateCall& call = program_.calls[i];
    AggregateRows& bound = calls_[i];
    bound.n = n;
    bound.states = states;
    bound.rows = rows;
    bound.value = call.value >= 0 ? inputs_[static_cast<size_t>(call.value)].get() : nullptr;
    bound.condition = call.condition >= 0 ? inputs_[static_cast<size_t>(call.condition)].get() : nullptr;
    bound.changes = changes_;
    bound.offset = offsets_[i];
    bound.batch = &batch;
  }
}

bool AggregateFold::cannot_fail() const {
  if (program_.takes_retractions) return false;
  for (size_t c = 0; c < calls_.size(); c++) {
    if (!aggregates_[c]->cannot_fail(calls_[c])) return false;
  }
  return true;
}

std::string AggregateFold::refusal(size_t i) const {
  const bool retract = changes_ != nullptr && changes_[rows_[i]] == Change::kRetract;
  if (retract && AccumulatorSet::header(states_[i]).rows() == 0) return "takes back a row that was never counted";
  for (size_t c = 0; c < calls_.size(); c++) {
    if (!aggregates_[c]->can_fold(calls_[c], i)) return aggregates_[c]->failure() + " in " + program_.calls[c].text;
  }
  return {};
}

Status AggregateFold::open_sets(const OperatorContext& context, const LaneCache& blocks, size_t cache_bytes,
                                size_t time_bytes) {
  sets_ = std::make_unique<SetMembers>(program_, offsets_, time_bytes);
  return sets_->open(context, blocks, cache_bytes);
}

AggregateRows AggregateFold::range_of(size_t call, size_t begin, size_t end) const {
  AggregateRows range = calls_[call];
  range.n = end - begin;
  range.states += begin;
  range.rows += begin;
  if (range.members != nullptr) range.members += begin;
  return range;
}

void AggregateFold::fold(size_t begin, size_t end) {
  for (size_t i = begin; i < end; i++) fold_header(i);
  for (size_t c = 0; c < calls_.size(); c++) aggregates_[c]->add(range_of(c, begin, end));
}

void AggregateFold::fold_slots_running(size_t begin, size_t end, AggregateOutput& output, const uint32_t* before,
                                       const uint32_t* after) {
  for (size_t c = 0; c < calls_.size(); c++) {
    aggregates_[c]->add_running(
        range_of(c, begin, end), {&output.column(c), before == nullptr ? nullptr : before + begin, after + begin});
  }
}

void AggregateFold::write(void* const* states, const uint32_t* out_rows, size_t n, AggregateOutput& output) const {
  for (size_t c = 0; c < calls_.size(); c++) {
    aggregates_[c]->write(states, offsets_[c], n, out_rows, output.column(c));
  }
}

}  // namespace millrace
