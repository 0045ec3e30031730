#include "operators/key_window_operator.h"

#include <algorithm>

#include "base/clock.h"
#include "operators/key_window_kind.h"
#include "operators/late_rows.h"
#include "operators/projection.h"
#include "operators/state_tables.h"
#include "operators/time_progress.h"
#include "operators/timer_queue.h"
#include "state/lane_cache.h"

namespace millrace {
namespace {

constexpr uint32_t kChunkRows = 512;

std::unique_ptr<KeyWindowKind> make_kind(const KeyWindowParts& parts) {
  switch (parts.program.window.kind) {
    case WindowSpec::Kind::kSession: return make_session_windows(parts);
    case WindowSpec::Kind::kSliding: return make_sliding_windows(parts);
    default: return make_count_windows(parts);
  }
}

class KeyWindowOperator : public Operator {
 public:
  explicit KeyWindowOperator(std::shared_ptr<const AggregateProgram> program);
  Status open(const OperatorContext& context) override;
  Status process(const Batch& batch, size_t input, Collector& out) override;
  Result<uint32_t> consume(const Batch& batch, uint32_t begin, size_t input, Collector& out) override;
  Result<bool> advance(int64_t watermark_ms, size_t max_rows, Collector& out) override;
  int64_t next_clock_ms() const override { return clock_timers_.earliest(); }
  Result<bool> advance_clock(int64_t now_ms, size_t max_rows, Collector& out) override;
  int64_t restored_watermark_ms() const override { return progress_.reached_ms(); }
  int64_t output_delay_ms() const override {
    return emit().mode == EmitMode::kFinal ? program_->window.allowed_lateness_ms : 0;
  }
  Result<bool> flush(uint64_t epoch, size_t max_rows, Collector& out) override;
  void cut(DeltaBuilder& delta) override;
  bool holds_rows() const override { return coalesces() && has_time_; }
  bool wants_barrier() const override { return held_bytes() > context_.cache_bytes / 2; }
  bool is_full() const override { return held_bytes() >= context_.cache_bytes; }

 private:
  const EmitSpec& emit() const { return program_->emit; }
  // Updates wait for the end of the epoch; with min_interval for their timer.
  bool updates() const { return emit().mode == EmitMode::kUpdate && emit().min_interval_ms == 0; }
  bool coalesces() const { return updates() && !context_.emit_per_batch; }
  size_t held_bytes() const {
    return cache_->dirty_bytes() + timers_.uncut_bytes() + clock_timers_.uncut_bytes() +
           forget_timers_.uncut_bytes();
  }

  Status begin_batch(const Batch& batch, Collector& out);
  Result<uint32_t> consume_chunk(const Batch& batch, uint32_t begin, Collector& out);
  Status look_up(const Batch& batch, uint32_t begin);
  // False: the row's gap or time cannot be used; the error is noted.
  bool prepare(KeyWindowRow& row);
  Status take(const Batch& batch, KeyWindowRow& row, void* state, uint16_t shard);
  // Shows what rows [first, last) of the chunk owe, and hands on late and failed ones.
  Status finish_chunk(const Batch& batch, uint32_t first, uint32_t last, Collector& out);
  // Behind the end of time nothing is forgotten; kEndOfTime of a queue: it is empty.
  bool is_due(int64_t watermark_ms) const {
    if (watermark_ms == kEndOfTime) return timers_.earliest() != kEndOfTime;
    return watermark_ms != kNoTime && std::min(timers_.earliest(), forget_timers_.earliest()) <= watermark_ms;
  }
  void schedule(KeyWindows& windows, uint16_t shard, std::string_view key);
  void note_if_empty(void* state) {
    if (KeyWindowsCodec::of(state).windows.empty()) empty_.push_back(state);
  }
  void schedule_forget(KeyWindows& windows, uint16_t shard, std::string_view key);
  void schedule_clock(KeyWindows& windows, uint16_t shard, std::string_view key);
  Result<void*> find(uint16_t shard, std::string_view key);
  std::string_view user_key(std::string_view key);
  Status fire(const DueTimer& timer);
  Status fire_clock(const DueTimer& timer);
  Status forget(const DueTimer& timer);

  std::shared_ptr<const AggregateProgram> program_;
  AggregateFold fold_;
  KeyWindowsCodec codec_;
  KeyWindowOutput output_;
  std::unique_ptr<KeyWindowKind> kind_;
  LateRows late_;
  std::unique_ptr<Evaluator> gap_, early_when_;
  const bool has_time_;
  OperatorContext context_;
  std::unique_ptr<LaneCache> cache_;
  TimeProgress progress_;
  TimerQueue timers_, clock_timers_;
  TimerQueue forget_timers_;  // in event time, for keys of which only closed sessions are left

  // Of a batch that is not consumed yet.
  bool in_batch_ = false;
  ArenaPtr arena_;
  std::vector<uint8_t> failed_;  // by physical row; empty: none has
  ColumnPtr gaps_, early_;
  RowErrors errors_;

  // Rows of the batch that have been looked up; none after a cut.
  uint32_t chunk_begin_ = 0;
  uint32_t chunk_count_ = 0;
  std::vector<std::string_view> keys_;
  std::vector<uint16_t> shards_;
  std::vector<void*> states_;
  std::vector<uint32_t> rows_;
  std::string key_;
  std::vector<void*> empty_;  // states that had no windows after something happened, since the last cut

  int64_t watermark_ms_ = kNoTime;
  ShardTimes shard_times_;
  size_t cursor_ = 0;  // of the flush under way
};

KeyWindowOperator::KeyWindowOperator(std::shared_ptr<const AggregateProgram> program)
    : program_(std::move(program)),
      fold_(*program_),
      codec_(fold_.set()),
      output_(*program_, fold_),
      kind_(make_kind({*program_, fold_.set(), codec_, output_})),
      late_(program_->input),
      has_time_(program_->window.uses_event_time()),
      keys_(kChunkRows),
      shards_(kChunkRows),
      states_(kChunkRows),
      rows_(kChunkRows) {
  if (program_->window.gap) gap_ = make_evaluator(program_->window.gap);
  if (emit().early_when) early_when_ = make_evaluator(emit().early_when);
}

Status KeyWindowOperator::open(const OperatorContext& context) {
  MR_CHECK(context.arenas != nullptr && context.state != nullptr);
  context_ = context;
  cache_ = std::make_unique<LaneCache>(*context.state, context.operator_id, codec_, context.cache_bytes);
  MR_RETURN_IF_ERROR(progress_.open(context));
  MR_RETURN_IF_ERROR(timers_.open(context, {static_cast<uint8_t>(StateTable::kEventTimers)}));
  MR_RETURN_IF_ERROR(clock_timers_.open(context, {static_cast<uint8_t>(StateTable::kClockTimers)}));
  MR_RETURN_IF_ERROR(forget_timers_.open(context, {static_cast<uint8_t>(StateTable::kForgetTimers)}));
  watermark_ms_ = progress_.reached_ms();
  shard_times_.restore(progress_, context.shards);
  return Status::ok();
}

Status KeyWindowOperator::process(const Batch& batch, size_t input, Collector& out) {
  for (uint32_t begin = 0; begin < batch.live();) {
    MR_ASSIGN(begin, consume(batch, begin, input, out));
    // Without time it stops only because the cache is full.
    for (bool done = begin == batch.live() || !has_time_ || batch.watermark_ms == nullptr; !done;) {
      MR_ASSIGN(done, advance(batch.watermark_ms[batch.row(begin)], AggregateOutput::kMaxRows, out));
    }
  }
  return Status::ok();
}

Status KeyWindowOperator::begin_batch(const Batch& batch, Collector& out) {
  MR_CHECK(batch.key_bytes != nullptr && batch.shards != nullptr);
  counters_.in += batch.live();
  chunk_count_ = 0;
  arena_ = context_.arenas->take();
  in_batch_ = true;
  RowErrors errors;
  fold_.evaluate(batch, arena_, errors);
  if (gap_) gaps_ = gap_->evaluate(batch, arena_, errors);
  if (early_when_) {
    early_ = early_when_->evaluate(batch, arena_, errors);
    for_each_live(batch, [&](uint32_t row) {
      if (early_->is_null(row)) errors.entries.push_back({row, "the condition of early is null"});
    });
  }
  failed_.clear();
  if (errors.empty()) return Status::ok();
  sort_errors(errors);
  failed_.resize(batch.rows);
  for (const RowErrors::Entry& entry : errors.entries) failed_[entry.row] = 1;
  return out.fail_rows(batch, errors);
}

Result<uint32_t> KeyWindowOperator::consume(const Batch& batch, uint32_t begin, size_t, Collector& out) {
  if (!in_batch_) MR_RETURN_IF_ERROR(begin_batch(batch, out));
  if (!output_.is_open()) output_.begin(*context_.arenas, &batch, has_time_, out, counters_);
  uint32_t at = begin;
  while (at < batch.live()) {
    MR_ASSIGN(const uint32_t next, consume_chunk(batch, at, out));
    if (next == at) return at;  // a timer is due
    at = next;
    if (is_full()) break;
  }
  if (at < batch.live()) return at;
  in_batch_ = false;
  MR_RETURN_IF_ERROR(output_.end());
  fold_.release();
  gaps_ = early_ = nullptr;
  arena_ = nullptr;
  const LaneCache::Counters& cache = cache_->counters();
  counters_.cache_hits = cache.hits;
  counters_.cache_misses = cache.misses;
  counters_.store_reads = cache.store_reads;
  return at;
}

// Up to a row at whose watermark a timer is due.
Result<uint32_t> KeyWindowOperator::consume_chunk(const Batch& batch, uint32_t begin, Collector& out) {
  // What was looked up stays good until the next cut, however often timers come between.
  if (begin < chunk_begin_ || begin >= chunk_begin_ + chunk_count_) MR_RETURN_IF_ERROR(look_up(batch, begin));
  uint32_t at = begin - chunk_begin_;
  const uint32_t first = at;
  for (; at < chunk_count_; at++) {
    KeyWindowRow row(fold_, batch);
    row.row = rows_[at];
    row.stage_watermark_ms = has_time_ && batch.watermark_ms != nullptr ? batch.watermark_ms[row.row] : kNoTime;
    if (is_due(row.stage_watermark_ms)) break;
    row.watermark_ms = shard_times_.of(shards_[at], row.stage_watermark_ms);
    if (row.stage_watermark_ms != kEndOfTime) watermark_ms_ = std::max(watermark_ms_, row.stage_watermark_ms);
    row.time_ms = batch.event_time_ms[row.row];
    row.key = batch.key_bytes[row.row];
    const bool failed = (!failed_.empty() && failed_[row.row] != 0) || !prepare(row);
    if (!failed) MR_RETURN_IF_ERROR(take(batch, row, states_[at], shards_[at]));
    note_if_empty(states_[at]);
  }
  MR_RETURN_IF_ERROR(finish_chunk(batch, first, at, out));
  return chunk_begin_ + at;
}

Status KeyWindowOperator::look_up(const Batch& batch, uint32_t begin) {
  const uint32_t count = std::min(kChunkRows, batch.live() - begin);
  chunk_begin_ = begin;
  chunk_count_ = count;
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t row = batch.row(begin + i);
    const std::string_view key = batch.key_bytes[row];
    char* bytes = arena_->array<char>(key.size() + 1);
    bytes[0] = static_cast<char>(StateTable::kKeyWindows);
    if (!key.empty()) std::memcpy(bytes + 1, key.data(), key.size());
    rows_[i] = row;
    keys_[i] = {bytes, key.size() + 1};
    shards_[i] = batch.shards[row];
  }
  return cache_->lookup(keys_.data(), shards_.data(), count, states_.data());
}

bool KeyWindowOperator::prepare(KeyWindowRow& row) {
  const WindowSpec& window = program_->window;
  if (has_time_ && (row.time_ms > kMaxWindowTimeMs || row.time_ms < -kMaxWindowTimeMs)) {
    errors_.entries.push_back({row.row, "the event time is out of range for windows"});
    return false;
  }
  row.gap_ms = window.gap_ms;
  if (gaps_ != nullptr) {
    // Rounded up, so that a gap of less than a millisecond is one.
    const int64_t us = gaps_->is_null(row.row) ? 0 : gaps_->ints[row.row];
    row.gap_ms = us <= 0 ? 0 : std::min((us - 1) / 1000 + 1, kMaxWindowSpanMs);
    if (row.gap_ms == 0) {
      errors_.entries.push_back({row.row, "the gap of the session is not longer than 0"});
      return false;
    }
    if (window.max_gap_ms > 0) row.gap_ms = std::min(row.gap_ms, window.max_gap_ms);
  }
  row.early_when = early_ != nullptr && early_->bools[row.row] != 0;
  return true;
}

Status KeyWindowOperator::take(const Batch& batch, KeyWindowRow& row, void* state, uint16_t shard) {
  KeyWindows& windows = KeyWindowsCodec::of(state);
  MR_ASSIGN(const KeyWindowKind::Taken taken, kind_->add(windows, row));
  counters_.fired += taken.fired;
  if (taken.late) {
    counters_.late++;
    if (program_->keep_late) late_.add(batch, arena_, row.row, taken.late_for, row.watermark_ms);
  } else if (!taken.refusal.empty()) {
    errors_.entries.push_back({row.row, taken.refusal});
  } else {
    counters_.absorbed++;
    schedule(windows, shard, row.key);
    schedule_clock(windows, shard, row.key);
  }
  return Status::ok();
}

Status KeyWindowOperator::finish_chunk(const Batch& batch, uint32_t first, uint32_t last, Collector& out) {
  if (updates() && context_.emit_per_batch) {
    for (uint32_t i = first; i < last; i++) {
      KeyWindows& windows = KeyWindowsCodec::of(states_[i]);
      MR_RETURN_IF_ERROR(kind_->show_changed(windows, batch.key_bytes[rows_[i]], watermark_ms_));
    }
  }
  MR_RETURN_IF_ERROR(late_.emit(batch, out));
  if (errors_.empty()) return Status::ok();
  RowErrors errors;
  std::swap(errors, errors_);
  sort_errors(errors);
  return out.fail_rows(batch, errors);
}

void KeyWindowOperator::schedule(KeyWindows& windows, uint16_t shard, std::string_view key) {
  const int64_t due_ms = kind_->next_due_ms(windows);
  if (due_ms == kEndOfTime || (windows.timer_ms != kNoTime && windows.timer_ms <= due_ms)) return;
  windows.timer_ms = due_ms;
  timers_.add(due_ms, shard, key);
}

void KeyWindowOperator::schedule_forget(KeyWindows& windows, uint16_t shard, std::string_view key) {
  const int64_t forget_ms = kind_->forget_ms(windows);
  if (forget_ms == kEndOfTime || forget_ms == windows.forget_ms) return;
  windows.forget_ms = forget_ms;
  forget_timers_.add(forget_ms, shard, key);
}

// A change waits for at most early.every or min_interval.
void KeyWindowOperator::schedule_clock(KeyWindows& windows, uint16_t shard, std::string_view key) {
  const int64_t wait_ms = std::max(emit().early_every_ms, emit().min_interval_ms);
  if (wait_ms == 0 || windows.clock_timer_ms != kNoTime) return;
  windows.clock_timer_ms = context_.clock->wall_ms() + wait_ms;
  clock_timers_.add(windows.clock_timer_ms, shard, key);
}

Result<void*> KeyWindowOperator::find(uint16_t shard, std::string_view key) {
  key_.assign(1, static_cast<char>(StateTable::kKeyWindows));
  key_.append(key);
  const std::string_view full = key_;
  void* state = nullptr;
  MR_RETURN_IF_ERROR(cache_->lookup(&full, &shard, 1, &state));
  return state;
}

Result<bool> KeyWindowOperator::advance(int64_t watermark_ms, size_t max_rows, Collector& out) {
  if (!has_time_) return true;
  // Within a batch its rows and what fires between them leave together, in order.
  if (!output_.is_open()) output_.begin(*context_.arenas, nullptr, true, out, counters_);
  MR_ASSIGN(bool done, timers_.fire(watermark_ms, max_rows, [&](const DueTimer& timer) {
    if (watermark_ms == kEndOfTime) shard_times_.note(timer.shard, timer.time_ms);
    return fire(timer);
  }));
  if (!in_batch_) MR_RETURN_IF_ERROR(output_.end());
  // The end of the input makes nothing old: rows of a later run may belong to what has closed.
  if (done && watermark_ms != kEndOfTime) {
    MR_ASSIGN(done,
              forget_timers_.fire(watermark_ms, max_rows, [this](const DueTimer& timer) { return forget(timer); }));
  }
  // At the end of the input the state remembers what has happened, not the end of time: a later run goes on.
  if (done && watermark_ms != kEndOfTime) {
    watermark_ms_ = std::max(watermark_ms_, watermark_ms);
    shard_times_.pass(watermark_ms_);
  }
  return done;
}

Status KeyWindowOperator::fire(const DueTimer& timer) {
  MR_ASSIGN(void* const found, find(timer.shard, timer.key));
  KeyWindows& windows = KeyWindowsCodec::of(found);
  note_if_empty(found);
  if (windows.timer_ms != timer.time_ms) return Status::ok();
  windows.timer_ms = kNoTime;
  const std::string_view key = cache_->view(found).key.substr(1);
  MR_ASSIGN(const uint64_t fired, kind_->fire(windows, key, timer.time_ms));
  counters_.fired += fired;
  schedule(windows, timer.shard, key);
  schedule_forget(windows, timer.shard, key);
  note_if_empty(found);
  return Status::ok();
}

Status KeyWindowOperator::forget(const DueTimer& timer) {
  MR_ASSIGN(void* const found, find(timer.shard, timer.key));
  KeyWindows& windows = KeyWindowsCodec::of(found);
  note_if_empty(found);
  if (windows.forget_ms != timer.time_ms) return Status::ok();
  windows.forget_ms = kNoTime;
  kind_->forget(windows, timer.time_ms);
  note_if_empty(found);
  schedule_forget(windows, timer.shard, cache_->view(found).key.substr(1));
  return Status::ok();
}

Result<bool> KeyWindowOperator::advance_clock(int64_t now_ms, size_t max_rows, Collector& out) {
  output_.begin(*context_.arenas, nullptr, has_time_, out, counters_);
  MR_ASSIGN(const bool done,
            clock_timers_.fire(now_ms, max_rows, [this](const DueTimer& timer) { return fire_clock(timer); }));
  MR_RETURN_IF_ERROR(output_.end());
  return done;
}

Status KeyWindowOperator::fire_clock(const DueTimer& timer) {
  MR_ASSIGN(void* const found, find(timer.shard, timer.key));
  KeyWindows& windows = KeyWindowsCodec::of(found);
  note_if_empty(found);
  if (windows.clock_timer_ms != timer.time_ms) return Status::ok();
  windows.clock_timer_ms = kNoTime;
  counters_.fired++;
  return kind_->show_changed(windows, cache_->view(found).key.substr(1), watermark_ms_);
}

Result<bool> KeyWindowOperator::flush(uint64_t, size_t max_rows, Collector& out) {
  // The cut that follows takes the keys away that rows under way are made of.
  if (output_.is_open()) MR_RETURN_IF_ERROR(output_.end());
  if (!coalesces()) return true;
  std::vector<LaneCache::EntryView> changed;
  changed.reserve(std::min(max_rows, cache_->dirty_count() - cursor_));
  cursor_ = cache_->visit_dirty(cursor_, max_rows,
                                [&](const LaneCache::EntryView& entry) { changed.push_back(entry); });
  output_.begin(*context_.arenas, nullptr, has_time_, out, counters_);
  for (const LaneCache::EntryView& entry : changed) {
    MR_RETURN_IF_ERROR(kind_->show_changed(KeyWindowsCodec::of(entry.state), entry.key.substr(1), watermark_ms_));
  }
  MR_RETURN_IF_ERROR(output_.end());
  if (cursor_ < cache_->dirty_count()) return false;
  cursor_ = 0;
  return true;
}

void KeyWindowOperator::cut(DeltaBuilder& delta) {
  if (output_.any_failed()) {
    cache_->visit_dirty(0, cache_->dirty_count(), [&](const LaneCache::EntryView& entry) {
      output_.forget_failed(KeyWindowsCodec::of(entry.state));
    });
  }
  // Keys without windows leave the state; a timer that is still there finds nothing.
  for (uint32_t i = 0; i < chunk_count_; i++) note_if_empty(states_[i]);
  for (void* state : empty_) {
    if (KeyWindowsCodec::of(state).windows.empty() && !LaneCache::is_removed(state)) cache_->mark_removed(state);
  }
  empty_.clear();
  output_.forget_tickets();
  cache_->cut(delta);
  chunk_count_ = 0;
  timers_.cut(delta);
  clock_timers_.cut(delta);
  forget_timers_.cut(delta);
  for (size_t i = 0; has_time_ && i < progress_.shards(); i++) {
    progress_.set(i, {shard_times_.of(progress_.shard_id(i), watermark_ms_), {}});
  }
  progress_.cut(delta);
}

}  // namespace

std::unique_ptr<Operator> make_key_window_operator(std::shared_ptr<const AggregateProgram> program) {
  return std::make_unique<KeyWindowOperator>(std::move(program));
}

}  // namespace millrace
