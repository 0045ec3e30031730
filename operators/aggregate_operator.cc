#include "operators/aggregate_operator.h"

#include <algorithm>
#include <numeric>

#include "operators/accumulator_set.h"
#include "operators/aggregate_output.h"
#include "state/lane_cache.h"

namespace millrace {
namespace {

// Marks that a key had been shown before this epoch, when nobody needs its old values.
constexpr std::string_view kShown;

std::vector<AggregatePtr> slots_of(const AggregateProgram& program) {
  std::vector<AggregatePtr> slots;
  for (int call : program.state_order) slots.push_back(program.calls[static_cast<size_t>(call)].aggregate);
  return slots;
}

class AggregateOperator : public Operator {
 public:
  explicit AggregateOperator(std::shared_ptr<const AggregateProgram> program);
  Status open(const OperatorContext& context) override;
  Status process(const Batch& batch, size_t input, Collector& out) override;
  Result<bool> flush(uint64_t epoch, size_t max_rows, Collector& out) override;
  void cut(DeltaBuilder& delta) override;
  bool wants_barrier() const override { return cache_->dirty_bytes() > context_.cache_bytes / 2; }
  bool is_full() const override { return cache_->dirty_bytes() >= context_.cache_bytes; }

 private:
  // Updates wait for the end of the epoch.
  bool coalesces() const { return !emits_each() && !context_.emit_per_batch; }
  bool emits_each() const { return program_->emit == AggregateProgram::Emit::kEach; }
  size_t output_rows_per_row() const { return program_->gives_retractions ? 2 : 1; }
  void evaluate_inputs(const Batch& batch, const ArenaPtr& arena, RowErrors& errors);
  Status fold_chunk(const Batch& batch, uint32_t begin, uint32_t count, Collector& out);
  Status look_up(const Batch& batch, uint32_t begin, uint32_t count);
  void remember_previous(uint32_t count);
  void bind_calls(const Batch& batch, uint32_t count);
  // Folds rows [begin, end) of the chunk; none of them can fail.
  void fold(const Batch& batch, uint32_t begin, uint32_t end);
  void fold_headers(const Batch& batch, uint32_t begin, uint32_t end);
  // Folds rows one by one and leaves out those that do not fit.
  void fold_carefully(const Batch& batch, uint32_t count, RowErrors& errors);
  // Why row i cannot be folded; empty: it can.
  std::string refusal(const Batch& batch, uint32_t i) const;
  // Starts a batch of updates of at most `keys` keys; adds one key if it has changed since it was last shown; and emits
  // the batch.
  void begin_updates(size_t keys);
  void add_update(std::string_view key, void* state);
  Status emit_updates(Collector& out);
  void* decode_previous(const std::string_view& bytes);

  std::shared_ptr<const AggregateProgram> program_;
  AccumulatorSet set_;
  AggregateOutput output_;
  std::vector<std::unique_ptr<Evaluator>> evaluators_;  // per input; nullptr: a plain column
  std::vector<bool> is_condition_;                      // per input
  std::vector<size_t> offsets_;                         // per call
  OperatorContext context_;
  std::unique_ptr<LaneCache> cache_;

  // Scratch of a chunk.
  std::vector<ColumnPtr> inputs_;
  std::vector<uint32_t> rows_;
  std::vector<std::string_view> keys_;
  std::vector<uint16_t> shards_;
  std::vector<void*> states_;
  std::vector<AggregateRows> calls_;
  std::vector<uint32_t> before_, after_;  // output rows, emit each
  // Scratch of a flush.
  std::vector<void*> shown_states_;
  std::vector<uint32_t> shown_rows_;
  std::vector<uint64_t> previous_blocks_;
  size_t previous_count_ = 0;

  size_t cursor_ = 0;     // of the flush under way
  Arena previous_arena_;  // encoded blocks before the epoch
  std::string encoded_;
  bool has_watermark_ = false;
  int64_t watermark_ms_ = kNoTime;
};

AggregateOperator::AggregateOperator(std::shared_ptr<const AggregateProgram> program)
    : program_(std::move(program)),
      set_(slots_of(*program_)),
      output_(*program_),
      is_condition_(program_->inputs.size()),
      offsets_(program_->calls.size()),
      inputs_(program_->inputs.size()),
      calls_(program_->calls.size()) {
  for (const AggregateInput& input : program_->inputs) {
    evaluators_.push_back(input.expression->plain_column() >= 0 ? nullptr : make_evaluator(input.expression));
  }
  for (const AggregateCall& call : program_->calls) {
    if (call.condition >= 0) is_condition_[static_cast<size_t>(call.condition)] = true;
  }
  for (size_t i = 0; i < offsets_.size(); i++) {
    offsets_[static_cast<size_t>(program_->state_order[i])] = set_.offset(i);
  }
  MR_CHECK(!program_->takes_retractions || set_.can_retract());
  constexpr size_t kRows = AggregateOutput::kMaxRows;
  rows_.resize(kRows);
  keys_.resize(kRows);
  shards_.resize(kRows);
  states_.resize(kRows);
  before_.resize(kRows);
  after_.resize(kRows);
  if (program_->gives_retractions && !emits_each()) {
    previous_blocks_.resize(kRows / 2 * set_.size() / sizeof(uint64_t));
  }
}

Status AggregateOperator::open(const OperatorContext& context) {
  MR_CHECK(context.arenas != nullptr && context.state != nullptr);
  context_ = context;
  cache_ = std::make_unique<LaneCache>(*context.state, context.operator_id, set_, context.cache_bytes);
  return Status::ok();
}

Status AggregateOperator::process(const Batch& batch, size_t, Collector& out) {
  MR_CHECK(batch.key_bytes != nullptr && batch.shards != nullptr);
  counters_.in += batch.live();
  const ArenaPtr arena = context_.arenas->take();
  RowErrors errors;
  evaluate_inputs(batch, arena, errors);
  if (!errors.empty()) MR_RETURN_IF_ERROR(out.fail_rows(batch, errors));
  const Batch rows = without_rows(batch, errors);
  if (batch.watermark_ms != nullptr && batch.live() > 0) {
    has_watermark_ = true;
    watermark_ms_ = std::max(watermark_ms_, batch.watermark_ms[batch.row(batch.live() - 1)]);
  }
  // What a chunk emits at once must fit one output batch.
  const auto chunk = static_cast<uint32_t>(AggregateOutput::kMaxRows / (coalesces() ? 1 : output_rows_per_row()));
  Status status;
  for (uint32_t begin = 0; status.is_ok() && begin < rows.live(); begin += chunk) {
    status = fold_chunk(rows, begin, std::min(chunk, rows.live() - begin), out);
  }
  std::fill(inputs_.begin(), inputs_.end(), nullptr);
  const LaneCache::Counters& cache = cache_->counters();
  counters_.cache_hits = cache.hits;
  counters_.cache_misses = cache.misses;
  counters_.store_reads = cache.store_reads;
  return status;
}

void AggregateOperator::evaluate_inputs(const Batch& batch, const ArenaPtr& arena, RowErrors& errors) {
  for (size_t i = 0; i < inputs_.size(); i++) {
    const AggregateInput& input = program_->inputs[i];
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
    // Null is neither true nor false. (Rows that failed to evaluate are null too; their own message stands first.)
    if (!is_condition_[i] || inputs_[i]->nulls == nullptr) continue;
    for_each_live(batch, [&](uint32_t row) {
      if (inputs_[i]->is_null(row)) errors.entries.push_back({row, "the condition " + input.text + " is null"});
    });
  }
  sort_errors(errors);
}

Status AggregateOperator::fold_chunk(const Batch& batch, uint32_t begin, uint32_t count, Collector& out) {
  MR_RETURN_IF_ERROR(look_up(batch, begin, count));
  if (!emits_each()) remember_previous(count);
  bind_calls(batch, count);
  if (emits_each()) output_.begin(context_.arenas->take(), count * static_cast<uint32_t>(output_rows_per_row()));
  const bool safe = !program_->takes_retractions &&
                    std::all_of(program_->calls.begin(), program_->calls.end(), [&](const AggregateCall& call) {
                      return call.aggregate->cannot_fail(calls_[static_cast<size_t>(&call - program_->calls.data())]);
                    });
  RowErrors errors;
  if (safe) {
    fold(batch, 0, count);
  } else {
    fold_carefully(batch, count, errors);
  }
  counters_.absorbed += count - errors.entries.size();
  if (emits_each() && output_.rows() > 0) {
    const Status emitted = output_.emit(batch.watermark_ms != nullptr, &batch, out, counters_.out);
    counters_.absorbed -= output_.reported();  // accounted for as failed
    MR_RETURN_IF_ERROR(emitted);
  }
  if (context_.emit_per_batch && !emits_each()) {
    begin_updates(count);
    for (uint32_t i = 0; i < count; i++) add_update(batch.key_bytes[rows_[i]], states_[i]);
    MR_RETURN_IF_ERROR(emit_updates(out));
    previous_arena_.reset();
  }
  return errors.empty() ? Status::ok() : out.fail_rows(batch, errors);
}

Status AggregateOperator::look_up(const Batch& batch, uint32_t begin, uint32_t count) {
  const std::string_view* keys = keys_.data();
  const uint16_t* shards = shards_.data();
  if (!batch.selection) {
    std::iota(rows_.begin(), rows_.begin() + count, begin);
    keys = batch.key_bytes + begin;
    shards = batch.shards + begin;
  } else {
    for (uint32_t i = 0; i < count; i++) {
      const uint32_t row = (*batch.selection)[begin + i];
      rows_[i] = row;
      keys_[i] = batch.key_bytes[row];
      shards_[i] = batch.shards[row];
    }
  }
  return cache_->lookup(keys, shards, count, states_.data());
}

// Before a key changes for the first time since it was last shown, keeps what was shown.
void AggregateOperator::remember_previous(uint32_t count) {
  if (!program_->gives_retractions && !program_->takes_retractions) return;
  for (uint32_t i = 0; i < count; i++) {
    StateHeader& header = AccumulatorSet::header(states_[i]);
    if (header.changed() || header.rows() == 0 || header.previous != nullptr) continue;
    if (!program_->gives_retractions) {
      header.previous = &kShown;
      continue;
    }
    encoded_.clear();
    set_.encode(states_[i], encoded_);
    auto* view = static_cast<std::string_view*>(previous_arena_.allocate(sizeof(std::string_view)));
    header.previous = new (view) std::string_view(previous_arena_.copy(encoded_));
  }
}

void AggregateOperator::bind_calls(const Batch& batch, uint32_t count) {
  for (size_t i = 0; i < calls_.size(); i++) {
    const AggregateCall& call = program_->calls[i];
    AggregateRows& rows = calls_[i];
    rows.n = count;
    rows.states = states_.data();
    rows.rows = rows_.data();
    rows.value = call.value >= 0 ? inputs_[static_cast<size_t>(call.value)].get() : nullptr;
    rows.condition = call.condition >= 0 ? inputs_[static_cast<size_t>(call.condition)].get() : nullptr;
    rows.changes = program_->takes_retractions ? batch.changes : nullptr;
    rows.offset = offsets_[i];
  }
}

void AggregateOperator::fold(const Batch& batch, uint32_t begin, uint32_t end) {
  fold_headers(batch, begin, end);
  for (size_t c = 0; c < calls_.size(); c++) {
    AggregateRows rows = calls_[c];
    rows.n = end - begin;
    rows.states += begin;
    rows.rows += begin;
    const Aggregate& aggregate = *program_->calls[c].aggregate;
    if (!emits_each()) {
      aggregate.add(rows);
    } else {
      aggregate.add_running(rows, {&output_.column(c), before_.data() + begin, after_.data() + begin});
    }
  }
}

void AggregateOperator::fold_headers(const Batch& batch, uint32_t begin, uint32_t end) {
  const Change* changes = program_->takes_retractions ? batch.changes : nullptr;
  for (uint32_t i = begin; i < end; i++) {
    const uint32_t row = rows_[i];
    const int64_t time_ms = batch.event_time_ms[row];
    StateHeader& header = AccumulatorSet::header(states_[i]);
    const bool shown = header.rows() > 0;
    if (changes != nullptr && changes[row] == Change::kRetract) {
      header.take_row();
    } else {
      header.add_row(time_ms);
    }
    if (!emits_each()) continue;
    const int64_t watermark_ms = batch.watermark_ms != nullptr ? batch.watermark_ms[row] : kNoTime;
    const bool pair = program_->gives_retractions;
    const std::string_view key = batch.key_bytes[row];
    before_[i] = pair && shown ? output_.add_row(key, Change::kRetract, time_ms, watermark_ms, row) : kNoRow;
    after_[i] = header.rows() > 0 ? output_.add_row(key, Change::kInsert, time_ms, watermark_ms, row) : kNoRow;
    if (header.rows() == 0 && !pair) output_.add_row(key, Change::kDelete, time_ms, watermark_ms, row);
  }
}

void AggregateOperator::fold_carefully(const Batch& batch, uint32_t count, RowErrors& errors) {
  for (uint32_t i = 0; i < count; i++) {
    std::string message = refusal(batch, i);
    if (message.empty()) {
      fold(batch, i, i + 1);
    } else {
      errors.entries.push_back({rows_[i], std::move(message)});
    }
  }
}

std::string AggregateOperator::refusal(const Batch& batch, uint32_t i) const {
  const bool retract = program_->takes_retractions && batch.change(rows_[i]) == Change::kRetract;
  if (retract && AccumulatorSet::header(states_[i]).rows() == 0) return "takes back a row that was never counted";
  for (size_t c = 0; c < calls_.size(); c++) {
    if (!program_->calls[c].aggregate->can_fold(calls_[c], i)) return "overflow in " + program_->calls[c].text;
  }
  return {};
}

Result<bool> AggregateOperator::flush(uint64_t, size_t max_rows, Collector& out) {
  if (!coalesces()) return true;
  size_t budget = std::max<size_t>(max_rows / output_rows_per_row(), 1);
  while (cursor_ < cache_->dirty_count() && budget > 0) {
    const size_t limit =
        std::min({budget, AggregateOutput::kMaxRows / output_rows_per_row(), cache_->dirty_count() - cursor_});
    begin_updates(limit);
    const size_t next = cache_->visit_dirty(
        cursor_, limit, [this](const LaneCache::EntryView& entry) { add_update(entry.key, entry.state); });
    budget -= std::min(budget, next - cursor_);
    cursor_ = next;
    MR_RETURN_IF_ERROR(emit_updates(out));
  }
  if (cursor_ < cache_->dirty_count()) return false;
  cursor_ = 0;
  previous_arena_.reset();
  return true;
}

void AggregateOperator::begin_updates(size_t keys) {
  output_.begin(context_.arenas->take(), static_cast<uint32_t>(keys * output_rows_per_row()));
  shown_states_.clear();
  shown_rows_.clear();
  previous_count_ = 0;
}

void AggregateOperator::add_update(std::string_view key, void* state) {
  StateHeader& header = AccumulatorSet::header(state);
  const std::string_view* previous = header.previous;
  header.previous = nullptr;
  if (!header.changed()) return;
  header.clear_changed();
  if (previous != nullptr && program_->gives_retractions) {
    void* old = decode_previous(*previous);
    shown_states_.push_back(old);
    shown_rows_.push_back(
        output_.add_row(key, Change::kRetract, AccumulatorSet::header(old).event_time_ms, watermark_ms_));
  }
  if (header.rows() > 0) {
    shown_states_.push_back(state);
    shown_rows_.push_back(output_.add_row(key, Change::kInsert, header.event_time_ms, watermark_ms_));
  } else if (previous != nullptr && !program_->gives_retractions) {
    output_.add_row(key, Change::kDelete, header.event_time_ms, watermark_ms_);
  }
}

void* AggregateOperator::decode_previous(const std::string_view& bytes) {
  void* block = previous_blocks_.data() + previous_count_ * set_.size() / sizeof(uint64_t);
  previous_count_++;
  set_.create(block);
  const Status status = set_.decode(bytes, block);
  MR_CHECK(status.is_ok());
  return block;
}

Status AggregateOperator::emit_updates(Collector& out) {
  for (size_t c = 0; c < calls_.size(); c++) {
    program_->calls[c].aggregate->write(shown_states_.data(), offsets_[c], shown_states_.size(), shown_rows_.data(),
                                        output_.column(c));
  }
  for (size_t i = 0; i < previous_count_; i++) {
    set_.destroy(previous_blocks_.data() + i * set_.size() / sizeof(uint64_t));
  }
  if (output_.rows() == 0) return Status::ok();
  return output_.emit(has_watermark_, nullptr, out, counters_.out);
}

void AggregateOperator::cut(DeltaBuilder& delta) {
  if (program_->takes_retractions) {
    // Keys whose last row was taken back leave the state.
    std::vector<void*> gone;
    cache_->visit_dirty(0, cache_->dirty_count(), [&](const LaneCache::EntryView& entry) {
      if (AccumulatorSet::header(entry.state).rows() == 0) gone.push_back(entry.state);
    });
    for (void* state : gone) cache_->mark_removed(state);
  }
  cache_->cut(delta);
}

}  // namespace

std::unique_ptr<Operator> make_aggregate_operator(std::shared_ptr<const AggregateProgram> program) {
  return std::make_unique<AggregateOperator>(std::move(program));
}

}  // namespace millrace
