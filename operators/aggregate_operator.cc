#include "operators/aggregate_operator.h"

#include <algorithm>
#include <numeric>

#include "operators/aggregate_fold.h"
#include "operators/aggregate_updates.h"
#include "operators/projection.h"
#include "operators/state_tables.h"
#include "state/lane_cache.h"

namespace millrace {
namespace {

class AggregateOperator : public Operator {
 public:
  explicit AggregateOperator(std::shared_ptr<const AggregateProgram> program);
  Status open(const OperatorContext& context) override;
  Status process(const Batch& batch, size_t input, Collector& out) override;
  Result<bool> flush(uint64_t epoch, size_t max_rows, Collector& out) override;
  void cut(DeltaBuilder& delta) override;
  bool holds_rows() const override { return coalesces(); }
  bool wants_barrier() const override { return dirty_bytes() > context_.cache_bytes / 2; }
  bool is_full() const override { return dirty_bytes() >= context_.cache_bytes; }

 private:
  // Updates wait for the end of the epoch.
  bool coalesces() const { return !emits_each() && !context_.emit_per_batch; }
  bool emits_each() const { return program_->emit.mode == EmitMode::kEach; }
  Status fold_chunk(const Batch& batch, uint32_t begin, uint32_t count, Collector& out);
  size_t dirty_bytes() const { return cache_->dirty_bytes() + fold_.dirty_bytes(); }
  Status look_up(const Batch& batch, uint32_t begin, uint32_t count);
  // Puts the table byte in front of keys_.
  void tag_keys(uint32_t count);
  // Folds rows [begin, end) of the chunk, and adds their rows to the output.
  void fold_each(const Batch& batch, size_t begin, size_t end);
  void add_rows(const Batch& batch, size_t i);

  std::shared_ptr<const AggregateProgram> program_;
  AggregateFold fold_;
  AggregateUpdates updates_;
  AggregateOutput output_;  // emit each
  OperatorContext context_;
  std::unique_ptr<LaneCache> cache_;
  // Where sets may leave their blocks, the state has several tables, and the keys of blocks begin with a byte.
  size_t tag_bytes_ = 0;

  // Scratch of a chunk.
  std::vector<uint32_t> rows_;
  std::vector<std::string_view> keys_;
  std::string tagged_keys_;
  std::vector<uint16_t> shards_;
  std::vector<void*> states_;
  std::vector<uint32_t> before_, after_;  // output rows, emit each

  size_t cursor_ = 0;  // of the flush under way
  bool has_watermark_ = false;
  int64_t watermark_ms_ = kNoTime;
};

AggregateOperator::AggregateOperator(std::shared_ptr<const AggregateProgram> program)
    : program_(std::move(program)), fold_(*program_), updates_(*program_, fold_), output_(*program_) {
  constexpr size_t kRows = AggregateOutput::kMaxRows;
  rows_.resize(kRows);
  keys_.resize(kRows);
  shards_.resize(kRows);
  states_.resize(kRows);
  before_.resize(kRows);
  after_.resize(kRows);
}

Status AggregateOperator::open(const OperatorContext& context) {
  MR_CHECK(context.arenas != nullptr && context.state != nullptr);
  context_ = context;
  const bool sets = fold_.has_sets();
  const size_t cache_bytes = sets ? context.cache_bytes / 2 : context.cache_bytes;
  cache_ = std::make_unique<LaneCache>(*context.state, context.operator_id, fold_.set(), cache_bytes);
  if (!sets) return Status::ok();
  tag_bytes_ = 1;
  return fold_.open_sets(context, *cache_, cache_bytes, 0);
}

Status AggregateOperator::process(const Batch& batch, size_t, Collector& out) {
  MR_CHECK(batch.key_bytes != nullptr && batch.shards != nullptr);
  counters_.in += batch.live();
  const ArenaPtr arena = context_.arenas->take();
  RowErrors errors;
  fold_.evaluate(batch, arena, errors);
  if (!errors.empty()) MR_RETURN_IF_ERROR(out.fail_rows(batch, errors));
  const Batch rows = without_rows(batch, errors);
  if (batch.watermark_ms != nullptr && batch.live() > 0) {
    has_watermark_ = true;
    watermark_ms_ = std::max(watermark_ms_, batch.watermark_ms[batch.row(batch.live() - 1)]);
  }
  // What a chunk emits at once must fit one output batch.
  const auto chunk = static_cast<uint32_t>(coalesces() ? AggregateOutput::kMaxRows : updates_.max_keys());
  Status status;
  for (uint32_t begin = 0; status.is_ok() && begin < rows.live(); begin += chunk) {
    status = fold_chunk(rows, begin, std::min(chunk, rows.live() - begin), out);
  }
  fold_.release();
  const LaneCache::Counters& cache = cache_->counters();
  counters_.cache_hits = cache.hits;
  counters_.cache_misses = cache.misses;
  counters_.store_reads = cache.store_reads;
  return status;
}

Status AggregateOperator::fold_chunk(const Batch& batch, uint32_t begin, uint32_t count, Collector& out) {
  MR_RETURN_IF_ERROR(look_up(batch, begin, count));
  fold_.bind(batch, rows_.data(), states_.data(), count);
  MR_RETURN_IF_ERROR(fold_.bind_sets());
  RowErrors errors;
  if (emits_each()) {
    output_.begin(context_.arenas->take(), count * static_cast<uint32_t>(updates_.rows_per_key()));
    fold_.for_each_range(errors, [&](size_t from, size_t to) { fold_each(batch, from, to); });
  } else {
    updates_.remember(states_.data(), count);
    fold_.for_each_range(errors, [&](size_t from, size_t to) { fold_.fold(from, to); });
  }
  MR_RETURN_IF_ERROR(fold_.move_sets());
  counters_.absorbed += count - errors.entries.size();
  if (emits_each() && output_.rows() > 0) {
    const Status emitted = output_.emit(batch.watermark_ms != nullptr, &batch, out, counters_.out);
    counters_.absorbed -= output_.reported();  // accounted for as failed
    MR_RETURN_IF_ERROR(emitted);
  }
  if (context_.emit_per_batch && !emits_each()) {
    updates_.begin(context_.arenas->take(), count);
    for (uint32_t i = 0; i < count; i++) updates_.add(batch.key_bytes[rows_[i]], states_[i], {watermark_ms_});
    MR_RETURN_IF_ERROR(updates_.emit(has_watermark_, nullptr, out, counters_.out).status());
    updates_.forget();
  }
  return errors.empty() ? Status::ok() : out.fail_rows(batch, errors);
}

Status AggregateOperator::look_up(const Batch& batch, uint32_t begin, uint32_t count) {
  const std::string_view* keys = keys_.data();
  const uint16_t* shards = shards_.data();
  if (!batch.selection && tag_bytes_ == 0) {
    std::iota(rows_.begin(), rows_.begin() + count, begin);
    keys = batch.key_bytes + begin;
    shards = batch.shards + begin;
  } else {
    for (uint32_t i = 0; i < count; i++) {
      const uint32_t row = batch.row(begin + i);
      rows_[i] = row;
      keys_[i] = batch.key_bytes[row];
      shards_[i] = batch.shards[row];
    }
  }
  if (tag_bytes_ > 0) tag_keys(count);
  return cache_->lookup(keys, shards, count, states_.data());
}

void AggregateOperator::tag_keys(uint32_t count) {
  tagged_keys_.clear();
  for (uint32_t i = 0; i < count; i++) {
    tagged_keys_.push_back(static_cast<char>(StateTable::kBlocks));
    tagged_keys_.append(keys_[i]);
  }
  size_t begin = 0;
  for (uint32_t i = 0; i < count; i++) {
    const size_t bytes = tag_bytes_ + keys_[i].size();
    keys_[i] = std::string_view(tagged_keys_).substr(begin, bytes);
    begin += bytes;
  }
}

void AggregateOperator::fold_each(const Batch& batch, size_t begin, size_t end) {
  for (size_t i = begin; i < end; i++) add_rows(batch, i);
  fold_.fold_slots_running(begin, end, output_, before_.data(), after_.data());
}

void AggregateOperator::add_rows(const Batch& batch, size_t i) {
  const StateHeader& header = AccumulatorSet::header(states_[i]);
  const bool shown = header.rows() > 0;
  const int64_t shown_ms = header.event_time_ms;
  fold_.fold_header(i);
  const uint32_t row = rows_[i];
  const bool pair = program_->gives_retractions;
  // A row is taken back under the time that it had, and of that only the newest folded in is in the state.
  const int64_t time_ms = pair ? header.event_time_ms : batch.event_time_ms[row];
  const int64_t watermark_ms = batch.watermark_ms != nullptr ? batch.watermark_ms[row] : kNoTime;
  const std::string_view key = batch.key_bytes[row];
  before_[i] = pair && shown ? output_.add_row(key, Change::kRetract, shown_ms, watermark_ms, row) : kNoRow;
  after_[i] = header.rows() > 0 ? output_.add_row(key, Change::kInsert, time_ms, watermark_ms, row) : kNoRow;
  if (header.rows() == 0 && !pair) output_.add_row(key, Change::kDelete, time_ms, watermark_ms, row);
}

Result<bool> AggregateOperator::flush(uint64_t, size_t max_rows, Collector& out) {
  if (!coalesces()) return true;
  size_t budget = std::max<size_t>(max_rows / updates_.rows_per_key(), 1);
  while (cursor_ < cache_->dirty_count() && budget > 0) {
    const size_t limit = std::min({budget, updates_.max_keys(), cache_->dirty_count() - cursor_});
    updates_.begin(context_.arenas->take(), limit);
    const size_t next = cache_->visit_dirty(cursor_, limit, [this](const LaneCache::EntryView& entry) {
      updates_.add(entry.key.substr(tag_bytes_), entry.state, {watermark_ms_});
    });
    budget -= std::min(budget, next - cursor_);
    cursor_ = next;
    MR_RETURN_IF_ERROR(updates_.emit(has_watermark_, nullptr, out, counters_.out).status());
  }
  if (cursor_ < cache_->dirty_count()) return false;
  cursor_ = 0;
  updates_.forget();
  return true;
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
  if (fold_.members() != nullptr) fold_.members()->cut(delta);
}

}  // namespace

std::unique_ptr<Operator> make_aggregate_operator(std::shared_ptr<const AggregateProgram> program) {
  return std::make_unique<AggregateOperator>(std::move(program));
}

}  // namespace millrace
