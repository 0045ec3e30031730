#include "operators/pane_operator.h"

#include <algorithm>

#include "base/clock.h"
#include "operators/projection.h"

namespace millrace {
namespace {

// Panes that have expired are taken out of the state this many at a time.
constexpr size_t kExpiredPerStep = 4096;

}  // namespace

PaneOperator::PaneOperator(std::shared_ptr<const AggregateProgram> program, bool sliced,
                           const std::vector<AggregatePtr>& more)
    : program_(std::move(program)),
      times_(program_->window, program_->emit, sliced),
      fold_(*program_, more),
      rows_(*program_, times_, sliced),
      table_(program_->window.kind == WindowSpec::Kind::kCustom),
      states_(WindowRows::kMaxPairs),
      has_watermark_(program_->window.uses_event_time() || program_->ttl_ms > 0),
      keys_(WindowRows::kMaxPairs),
      shards_(WindowRows::kMaxPairs) {}

Status PaneOperator::open(const OperatorContext& context) {
  MR_CHECK(context.arenas != nullptr && context.state != nullptr);
  MR_CHECK(context.clock != nullptr || !in_processing_time());
  context_ = context;
  MR_RETURN_IF_ERROR(progress_.open(context));
  const bool sets = fold_.has_sets() && sets_may_leave();
  OperatorContext of_table = context;
  if (sets) of_table.cache_bytes /= 2;
  MR_RETURN_IF_ERROR(table_.open(of_table, fold_.set()));
  if (sets) {
    MR_RETURN_IF_ERROR(fold_.open_sets(context, table_.cache(), context.cache_bytes / 2, table_.time_bytes()));
  }
  time_ms_ = progress_.reached_ms();
  shard_times_.restore(progress_, context.shards);
  for (size_t i = 0; times_.fires() && i < table_.shards(); i++) {
    const TimeProgress::Shard& shard = progress_.shard(i);
    MR_RETURN_IF_ERROR(start(i, times_.fired_end_ms(shard.time_ms), shard.resume));
  }
  return Status::ok();
}

int64_t PaneOperator::restored_watermark_ms() const { return in_processing_time() ? kNoTime : progress_.reached_ms(); }

int64_t PaneOperator::output_delay_ms() const {
  return !in_processing_time() && program_->emit.mode == EmitMode::kFinal ? times_.lateness_ms() : 0;
}

Status PaneOperator::process(const Batch& batch, size_t input, Collector& out) {
  for (uint32_t begin = 0; begin < batch.live();) {
    MR_ASSIGN(const uint32_t next, consume(batch, begin, input, out));
    if (next == batch.live()) break;
    for (bool done = false; !done;) {
      MR_ASSIGN(done, advance(batch.watermark_ms[batch.row(next)], AggregateOutput::kMaxRows, out));
    }
    begin = next;
  }
  return Status::ok();
}

Result<uint32_t> PaneOperator::consume(const Batch& batch, uint32_t begin, size_t, Collector& out) {
  if (!in_batch_) MR_RETURN_IF_ERROR(begin_batch(batch, out));
  uint32_t at = begin;
  for (bool due = false; !due && at < batch.live();) {
    WindowRows::Now now{time_ms_, next_due_ms(), 0, shard_times_.any() ? &shard_times_ : nullptr};
    if (in_processing_time()) {
      // Never into a window that has fired, even if the clock was set back.
      now.clock_ms = std::max(context_.clock->wall_ms(), time_ms_ == kNoTime ? kNoTime : time_ms_ + 1);
    }
    const uint32_t first = at;
    due = rows_.take(batch, batch_arena_, &at, now);
    // Rows are taken while nothing is due at the watermark that they find.
    if (at > first && !in_processing_time()) pass_time(rows_.watermark_ms());
    MR_RETURN_IF_ERROR(fold_taken(batch, out));
  }
  MR_RETURN_IF_ERROR(rows_.emit_late(batch, out));
  if (at == batch.live()) end_batch();
  return at;
}

Status PaneOperator::begin_batch(const Batch& batch, Collector& out) {
  MR_CHECK(batch.key_bytes != nullptr && batch.shards != nullptr);
  in_batch_ = true;
  counters_.in += batch.live();
  batch_arena_ = context_.arenas->take();
  if (batch.watermark_ms != nullptr && batch.live() > 0) {
    has_watermark_ = true;
    watermark_ms_ = std::max(watermark_ms_, batch.watermark_ms[batch.row(batch.live() - 1)]);
  }
  RowErrors errors;
  rows_.begin(batch, batch_arena_, errors);
  RowErrors more;
  fold_.evaluate(without_rows(batch, errors), batch_arena_, more);
  if (more.empty() && errors.empty()) return Status::ok();
  rows_.skip(more);
  errors.entries.insert(errors.entries.end(), more.entries.begin(), more.entries.end());
  sort_errors(errors);
  return out.fail_rows(batch, errors);
}

void PaneOperator::end_batch() {
  in_batch_ = false;
  batch_arena_.reset();
  fold_.release();
  rows_.release();
  const LaneCache::Counters& cache = table_.cache().counters();
  counters_.cache_hits = cache.hits;
  counters_.cache_misses = cache.misses;
  counters_.store_reads = cache.store_reads;
}

Status PaneOperator::fold_taken(const Batch& batch, Collector& out) {
  counters_.late += rows_.late_rows();
  counters_.filtered += rows_.windowless_rows();
  const size_t n = rows_.size();
  if (n == 0) return Status::ok();
  for (size_t i = 0; i < n; i++) {
    keys_[i] = batch.key_bytes[rows_.rows()[i]];
    shards_[i] = batch.shards[rows_.rows()[i]];
  }
  MR_RETURN_IF_ERROR(table_.look_up(keys_.data(), shards_.data(), rows_.windows().data(), n, states_.data()));
  before_fold();
  RowErrors failed;
  MR_RETURN_IF_ERROR(fold_pairs(batch, failed, out));
  counters_.absorbed += rows_.taken_rows() - failed.entries.size();
  MR_RETURN_IF_ERROR(after_fold(out));
  if (failed.empty()) return Status::ok();
  drop_unused();
  return out.fail_rows(batch, failed);
}

// Panes that were made for rows that did not fit.
void PaneOperator::drop_unused() {
  for (size_t i = 0; i < rows_.size(); i++) {
    const StateHeader& header = AccumulatorSet::header(states_[i]);
    if (header.rows() > 0 || header.changed() || header.previous != nullptr || keeps_empty(states_[i])) continue;
    if (!LaneCache::is_removed(states_[i])) table_.remove(states_[i]);
  }
}

int64_t PaneOperator::first_end() const {
  int64_t first = kNoEnd;
  for (size_t i = 0; i < table_.shards(); i++) first = std::min(first, next_end(i));
  return first;
}

int64_t PaneOperator::next_due_ms() const {
  if (in_processing_time()) return kEndOfTime;
  const int64_t end_ms = times_.fires() ? first_end() : kNoEnd;
  const int64_t due_ms = end_ms == kNoEnd ? kEndOfTime : times_.due_of_window_ms(end_ms);
  return std::min(due_ms, next_timer_ms());
}

Result<bool> PaneOperator::advance(int64_t watermark_ms, size_t max_rows, Collector& out) {
  if (!in_processing_time() || watermark_ms == kEndOfTime) return advance_time(watermark_ms, max_rows, out);
  has_watermark_ = true;
  watermark_ms_ = std::max(watermark_ms_, watermark_ms);
  return true;
}

Result<bool> PaneOperator::advance_time(int64_t time_ms, size_t max_rows, Collector& out) {
  size_t budget = std::max<size_t>(max_rows / rows_per_key(), 1);
  for (;;) {
    const int64_t end_ms = times_.fires() ? first_end() : kNoEnd;
    if (end_ms == kNoEnd || times_.due_of_window_ms(end_ms) > time_ms) break;
    if (budget == 0) return false;
    const int64_t due_ms = times_.due_of_window_ms(end_ms);
    // Until every shard has fired, the others are behind (remember_time).
    if (time_ms == kEndOfTime) {
      note_end(end_ms, due_ms);
    } else {
      time_ms_ = std::max(time_ms_, due_ms);
    }
    size_t fired = 0;
    MR_RETURN_IF_ERROR(fire(end_ms, due_ms, std::min(budget, AggregateOutput::kMaxRows / rows_per_key()), &fired, out));
    budget -= std::min(budget, std::max<size_t>(fired, 1));
  }
  // The end of the input makes no key old, and leaves the time where it was.
  if (time_ms == kEndOfTime) return true;
  MR_ASSIGN(const bool done, fire_timers(time_ms, budget, out));
  if (done) pass_time(time_ms);
  return done;
}

// Everything due until then has fired.
void PaneOperator::pass_time(int64_t time_ms) {
  time_ms_ = std::max(time_ms_, time_ms);
  shard_times_.pass(time_ms_);
  if (times_.fires()) pass(times_.fired_end_ms(time_ms_));
}

// At the end of the input a shard comes as far as its own windows do, wherever the others are.
void PaneOperator::note_end(int64_t end_ms, int64_t due_ms) {
  if (due_ms == kEndOfTime) return;
  for (size_t i = 0; i < progress_.shards(); i++) {
    if (next_end(i) == end_ms) shard_times_.note(progress_.shard_id(i), due_ms);
  }
}

// By every shard.
int64_t PaneOperator::reached_ms() const {
  if (!shard_times_.any()) return time_ms_;
  int64_t reached_ms = kEndOfTime;
  for (size_t i = 0; i < progress_.shards(); i++) {
    reached_ms = std::min(reached_ms, shard_times_.of(progress_.shard_id(i), time_ms_));
  }
  return reached_ms;
}

int64_t PaneOperator::next_clock_ms() const {
  // A window of the clock that ends at this time fires then.
  return in_processing_time() ? first_end() : kEndOfTime;
}

Result<bool> PaneOperator::advance_clock(int64_t now_ms, size_t max_rows, Collector& out) {
  return in_processing_time() ? advance_time(now_ms - 1, max_rows, out) : Result<bool>(true);
}

Result<bool> PaneOperator::flush(uint64_t, size_t, Collector&) {
  const int64_t time_ms = reached_ms();
  if (!program_->window.has_bounds() || time_ms == kNoTime) return true;
  // What does not fit into this epoch is taken out in a later one; but something is, in each.
  if (expired_ && is_full()) return true;
  expired_ = true;
  // What has not fired has not expired, whatever an advance under way has come to.
  int64_t end_ms = time_ms + 1 - times_.lateness_ms();
  if (times_.fires()) end_ms = std::min(end_ms, first_end() - 1);
  MR_ASSIGN(const bool done, table_.expire(times_.last_pane_end(end_ms), kExpiredPerStep));
  if (done && fold_.members() != nullptr) MR_RETURN_IF_ERROR(fold_.members()->expire(end_ms));
  return done;
}

void PaneOperator::remember_time() {
  for (size_t i = 0; i < progress_.shards(); i++) {
    const int64_t end_ms = times_.fires() ? next_end(i) : kNoEnd;
    const int64_t due_ms = end_ms == kNoEnd ? kEndOfTime : times_.due_of_window_ms(end_ms);
    const int64_t time_ms = shard_times_.of(progress_.shard_id(i), time_ms_);
    progress_.set(i, {due_ms <= time_ms ? due_ms - 1 : time_ms, times_.fires() ? resume(i) : std::string()});
  }
}

void PaneOperator::cut(DeltaBuilder& delta) {
  expired_ = false;
  if (program_->takes_retractions) {
    // Panes whose last row was taken back leave the state.
    std::vector<void*> gone;
    table_.cache().visit_dirty(0, table_.cache().dirty_count(), [&](const LaneCache::EntryView& entry) {
      if (AccumulatorSet::header(entry.state).rows() == 0 && !keeps_empty(entry.state)) gone.push_back(entry.state);
    });
    for (void* state : gone) table_.remove(state);
  }
  remember_time();
  table_.cut(delta);
  if (fold_.members() != nullptr) fold_.members()->cut(delta);
  progress_.cut(delta);
}

}  // namespace millrace
