#include "operators/window_operator.h"

#include <algorithm>

#include "base/clock.h"
#include "operators/projection.h"
#include "operators/time_progress.h"
#include "operators/timer_queue.h"
#include "operators/window_blocks.h"

namespace millrace {
namespace {

// Windows that have expired are taken out of the state this many at a time.
constexpr size_t kExpiredPerStep = 4096;

class WindowOperator : public Operator {
 public:
  explicit WindowOperator(std::shared_ptr<const AggregateProgram> program);
  Status open(const OperatorContext& context) override;
  Status process(const Batch& batch, size_t input, Collector& out) override;
  Result<uint32_t> consume(const Batch& batch, uint32_t begin, size_t input, Collector& out) override;
  Result<bool> advance(int64_t watermark_ms, size_t max_rows, Collector& out) override;
  int64_t next_clock_ms() const override;
  Result<bool> advance_clock(int64_t now_ms, size_t max_rows, Collector& out) override;
  int64_t restored_watermark_ms() const override;
  Result<bool> flush(uint64_t epoch, size_t max_rows, Collector& out) override;
  void cut(DeltaBuilder& delta) override;
  bool holds_rows() const override { return updates() && !context_.emit_per_batch; }
  bool wants_barrier() const override { return held_bytes() > context_.cache_bytes / 2; }
  bool is_full() const override { return held_bytes() >= context_.cache_bytes; }

 private:
  bool updates() const { return program_->emit.mode == EmitMode::kUpdate; }
  bool in_processing_time() const { return program_->window.processing_time; }
  size_t held_bytes() const { return table_.dirty_bytes() + event_timers_.uncut_bytes() + clock_timers_.uncut_bytes(); }

  // The stage's watermark, for stamps.
  int64_t stage_watermark_ms() const { return in_processing_time() ? watermark_ms_ : time_ms_; }

  Status begin_batch(const Batch& batch, Collector& out);
  Status fold_taken(const Batch& batch, Collector& out);
  void drop_unused(void* const* states, size_t n);
  void note_new_keys(void* const* states, size_t n);
  void add_ttl_timers();
  void count_cache();
  WindowTable::Entry entry_of(void* state) const;
  WindowTable::Entry with_start(WindowTable::Entry entry) const;

  void begin_updates(size_t keys);
  void show_change(void* state);
  Status emit_updates(Collector& out);
  Status emit_batch_updates(size_t n, Collector& out);
  Result<bool> flush_updates(size_t max_rows, Collector& out);
  bool flush_done();

  // The first of what is due in event time.
  int64_t next_due_ms() const;
  Result<bool> advance_time(int64_t time_ms, size_t max_rows, Collector& out);
  void pass_time(int64_t time_ms);
  Status fire(size_t shard, int64_t due_ms, size_t limit, size_t* visited, Collector& out);
  Status start_anew();
  Status expire_keys(int64_t watermark_ms, size_t limit, bool* done, Collector& out);
  Status expire_key(const DueTimer& timer);
  Status show_due(int64_t now_ms, size_t limit, bool* done, Collector& out);
  Status show_due_window(const DueTimer& timer);
  void remember_time();

  std::shared_ptr<const AggregateProgram> program_;
  const WindowTimes times_;
  const bool remove_at_fire_;  // windows leave the state when they fire
  WindowBlocks blocks_;
  WindowRows rows_;
  WindowTable table_;
  TimeProgress progress_;
  TimerQueue event_timers_;  // ttl
  TimerQueue clock_timers_;  // early.every, min_interval
  OperatorContext context_;

  ArenaPtr batch_arena_;  // of a batch that is not consumed yet
  bool in_batch_ = false;
  // How far the time of the windows has come: the watermark, or the clock. Everything due until then has fired, except
  // what an advance under way has still to visit.
  int64_t time_ms_ = kNoTime;
  bool has_watermark_ = false;
  int64_t watermark_ms_ = kNoTime;  // of the stage, for stamps in processing time
  size_t cursor_ = 0;               // of the flush of updates under way
  bool updates_done_ = false;

  // Scratch of a chunk.
  std::vector<std::string_view> keys_;
  std::vector<uint16_t> shards_;
  std::vector<void*> states_;
  std::vector<void*> new_keys_;
  std::vector<WindowTable::Entry> entries_;
  std::vector<void*> shown_;  // that start anew afterwards
};

bool removes_at_fire(const AggregateProgram& program) {
  if (!program.window.has_bounds()) return false;
  return program.emit.mode != EmitMode::kClose || program.window.allowed_lateness_ms == 0;
}

WindowOperator::WindowOperator(std::shared_ptr<const AggregateProgram> program)
    : program_(std::move(program)),
      times_(program_->window, program_->emit, /*sliced=*/false),
      remove_at_fire_(removes_at_fire(*program_)),
      blocks_(*program_, times_),
      rows_(*program_, times_, /*sliced=*/false),
      table_(blocks_.fold().set(), program_->window.kind == WindowSpec::Kind::kCustom),
      has_watermark_(program_->window.uses_event_time() || program_->ttl_ms > 0),
      keys_(WindowRows::kMaxPairs),
      shards_(WindowRows::kMaxPairs),
      states_(WindowRows::kMaxPairs) {}

Status WindowOperator::open(const OperatorContext& context) {
  MR_CHECK(context.arenas != nullptr && context.state != nullptr);
  MR_CHECK(context.clock != nullptr || !in_processing_time());
  context_ = context;
  MR_RETURN_IF_ERROR(progress_.open(context));
  MR_RETURN_IF_ERROR(table_.open(context));
  MR_RETURN_IF_ERROR(event_timers_.open(context, {static_cast<uint8_t>(StateTable::kEventTimers)}));
  MR_RETURN_IF_ERROR(clock_timers_.open(context, {static_cast<uint8_t>(StateTable::kClockTimers)}));
  blocks_.open(context, &table_, &clock_timers_);
  time_ms_ = progress_.restored_ms();
  for (size_t i = 0; times_.fires() && i < table_.shards(); i++) {
    const TimeProgress::Shard& shard = progress_.shard(i);
    MR_RETURN_IF_ERROR(table_.start_walk(i, times_.fired_end_ms(shard.time_ms), shard.resume));
  }
  return Status::ok();
}

int64_t WindowOperator::restored_watermark_ms() const {
  return in_processing_time() ? kNoTime : progress_.restored_ms();
}

Status WindowOperator::process(const Batch& batch, size_t input, Collector& out) {
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

Result<uint32_t> WindowOperator::consume(const Batch& batch, uint32_t begin, size_t, Collector& out) {
  if (!in_batch_) MR_RETURN_IF_ERROR(begin_batch(batch, out));
  uint32_t at = begin;
  for (bool due = false; !due && at < batch.live();) {
    WindowRows::Now now{time_ms_, next_due_ms(), 0};
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
  if (at == batch.live()) {
    in_batch_ = false;
    batch_arena_.reset();
    blocks_.fold().release();
    rows_.release();
    count_cache();
  }
  return at;
}

Status WindowOperator::begin_batch(const Batch& batch, Collector& out) {
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
  blocks_.fold().evaluate(without_rows(batch, errors), batch_arena_, more);
  if (more.empty() && errors.empty()) return Status::ok();
  rows_.skip(more);
  errors.entries.insert(errors.entries.end(), more.entries.begin(), more.entries.end());
  sort_errors(errors);
  return out.fail_rows(batch, errors);
}

Status WindowOperator::fold_taken(const Batch& batch, Collector& out) {
  counters_.late += rows_.late_rows();
  counters_.filtered += rows_.windowless_rows();
  const size_t n = rows_.size();
  if (n == 0) return Status::ok();
  for (size_t i = 0; i < n; i++) {
    keys_[i] = batch.key_bytes[rows_.rows()[i]];
    shards_[i] = batch.shards[rows_.rows()[i]];
  }
  MR_RETURN_IF_ERROR(table_.look_up(keys_.data(), shards_.data(), rows_.windows().data(), n, states_.data()));
  if (program_->ttl_ms > 0) note_new_keys(states_.data(), n);
  if (updates() && !WindowBlocks::has_trigger(*program_)) blocks_.updates().remember(states_.data(), n);
  RowErrors failed;
  MR_RETURN_IF_ERROR(blocks_.fold_rows(batch, rows_, states_.data(), failed, counters_, out));
  counters_.absorbed += rows_.taken_rows() - failed.entries.size();
  add_ttl_timers();
  if (updates() && context_.emit_per_batch) MR_RETURN_IF_ERROR(emit_batch_updates(n, out));
  if (failed.empty()) return Status::ok();
  drop_unused(states_.data(), n);
  return out.fail_rows(batch, failed);
}

// Windows that were made for rows that did not fit.
void WindowOperator::drop_unused(void* const* states, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const StateHeader& header = AccumulatorSet::header(states[i]);
    if (header.rows() > 0 || header.changed() || header.previous != nullptr || LaneCache::is_removed(states[i]))
      continue;
    table_.remove(states[i]);
  }
}

void WindowOperator::note_new_keys(void* const* states, size_t n) {
  new_keys_.clear();
  for (size_t i = 0; i < n; i++) {
    if (AccumulatorSet::header(states[i]).rows() == 0) new_keys_.push_back(states[i]);
  }
  std::sort(new_keys_.begin(), new_keys_.end());
  new_keys_.erase(std::unique(new_keys_.begin(), new_keys_.end()), new_keys_.end());
}

// One timer per key; when it is found too early, it is set again.
void WindowOperator::add_ttl_timers() {
  for (void* state : new_keys_) {
    const StateHeader& header = AccumulatorSet::header(state);
    if (header.rows() == 0) continue;
    const WindowTable::Entry entry = table_.entry(state);
    event_timers_.add(header.event_time_ms + program_->ttl_ms + 1, entry.shard, entry.key);
  }
  new_keys_.clear();
}

void WindowOperator::count_cache() {
  const LaneCache::Counters& cache = table_.cache().counters();
  counters_.cache_hits = cache.hits;
  counters_.cache_misses = cache.misses;
  counters_.store_reads = cache.store_reads;
}

WindowTable::Entry WindowOperator::entry_of(void* state) const { return with_start(table_.entry(state)); }

WindowTable::Entry WindowOperator::with_start(WindowTable::Entry entry) const {
  if (program_->window.size_ms > 0) entry.window.start_ms = entry.window.end_ms - program_->window.size_ms;
  return entry;
}

Status WindowOperator::emit_batch_updates(size_t n, Collector& out) {
  for (size_t begin = 0; begin < n; begin += blocks_.updates().max_keys()) {
    const size_t end = std::min(n, begin + blocks_.updates().max_keys());
    begin_updates(end - begin);
    for (size_t i = begin; i < end; i++) show_change(states_[i]);
    MR_RETURN_IF_ERROR(emit_updates(out));
  }
  blocks_.updates().forget();
  return Status::ok();
}

void WindowOperator::begin_updates(size_t keys) {
  blocks_.updates().begin(context_.arenas->take(), keys);
  shown_.clear();
}

void WindowOperator::show_change(void* state) {
  if (LaneCache::is_removed(state) || !AccumulatorSet::header(state).changed()) return;
  blocks_.show_change(entry_of(state), stage_watermark_ms());
  if (program_->emit.discarding && !blocks_.is_pending(state)) shown_.push_back(state);
}

Status WindowOperator::emit_updates(Collector& out) {
  MR_RETURN_IF_ERROR(blocks_.updates().emit(has_watermark_, nullptr, out, counters_.out).status());
  for (void* state : shown_) table_.remove(state);
  shown_.clear();
  return Status::ok();
}

Result<bool> WindowOperator::flush_updates(size_t max_rows, Collector& out) {
  AggregateUpdates& updates = blocks_.updates();
  size_t budget = std::max<size_t>(max_rows / updates.rows_per_key(), 1);
  LaneCache& cache = table_.cache();
  while (cursor_ < cache.dirty_count() && budget > 0) {
    const size_t limit = std::min({budget, updates.max_keys(), cache.dirty_count() - cursor_});
    begin_updates(limit);
    const size_t next =
        cache.visit_dirty(cursor_, limit, [this](const LaneCache::EntryView& entry) { show_change(entry.state); });
    budget -= std::min(budget, next - cursor_);
    cursor_ = next;
    MR_RETURN_IF_ERROR(emit_updates(out));
  }
  if (cursor_ < cache.dirty_count()) return false;
  cursor_ = 0;
  updates.forget();
  return true;
}

Result<bool> WindowOperator::flush(uint64_t, size_t max_rows, Collector& out) {
  if (updates() && !context_.emit_per_batch && !updates_done_) {
    MR_ASSIGN(updates_done_, flush_updates(max_rows, out));
    if (!updates_done_) return false;
  }
  if (!program_->window.has_bounds() || time_ms_ == kNoTime) return flush_done();
  // What has not fired has not expired, whatever an advance under way has come to.
  size_t shard = 0;
  int64_t end_ms = time_ms_ + 1 - times_.lateness_ms();
  if (times_.fires()) end_ms = std::min(end_ms, table_.first_end(&shard) - 1);
  // What does not fit into this epoch is taken out in a later one.
  if (is_full()) return flush_done();
  MR_ASSIGN(const bool expired, table_.expire(end_ms, kExpiredPerStep));
  return expired ? flush_done() : false;
}

bool WindowOperator::flush_done() {
  updates_done_ = false;
  return true;
}

int64_t WindowOperator::next_due_ms() const {
  if (in_processing_time()) return kEndOfTime;
  size_t shard = 0;
  const int64_t end_ms = times_.fires() ? table_.first_end(&shard) : WindowTable::kNoEnd;
  const int64_t due_ms = end_ms == WindowTable::kNoEnd ? kEndOfTime : times_.due_of_window_ms(end_ms);
  return program_->ttl_ms > 0 ? std::min(due_ms, event_timers_.earliest()) : due_ms;
}

Result<bool> WindowOperator::advance(int64_t watermark_ms, size_t max_rows, Collector& out) {
  if (!in_processing_time()) return advance_time(watermark_ms, max_rows, out);
  if (watermark_ms == kEndOfTime) return advance_time(kEndOfTime, max_rows, out);
  has_watermark_ = true;
  watermark_ms_ = std::max(watermark_ms_, watermark_ms);
  return true;
}

Result<bool> WindowOperator::advance_time(int64_t time_ms, size_t max_rows, Collector& out) {
  size_t budget = std::max<size_t>(max_rows / blocks_.updates().rows_per_key(), 1);
  for (;;) {
    size_t shard = 0;
    const int64_t end_ms = times_.fires() ? table_.first_end(&shard) : WindowTable::kNoEnd;
    if (end_ms == WindowTable::kNoEnd || times_.due_of_window_ms(end_ms) > time_ms) break;
    if (budget == 0) return false;
    size_t visited = 0;
    MR_RETURN_IF_ERROR(fire(shard, times_.due_of_window_ms(end_ms), budget, &visited, out));
    budget -= std::min(budget, std::max<size_t>(visited, 1));
  }
  // The end of the input makes no key old.
  if (time_ms == kEndOfTime) return true;
  if (program_->ttl_ms > 0) {
    bool done = false;
    MR_RETURN_IF_ERROR(expire_keys(time_ms, budget, &done, out));
    if (!done) return false;
  }
  pass_time(time_ms);
  return true;
}

// Everything due until then has fired.
void WindowOperator::pass_time(int64_t time_ms) {
  time_ms_ = std::max(time_ms_, time_ms);
  if (times_.fires()) table_.pass(times_.fired_end_ms(time_ms_));
}

// Shows windows of the next end of a shard.
Status WindowOperator::fire(size_t shard, int64_t due_ms, size_t limit, size_t* visited, Collector& out) {
  bool done = false;
  limit = std::min(limit, blocks_.updates().max_keys());
  MR_RETURN_IF_ERROR(table_.visit(shard, limit, remove_at_fire_, &entries_, &done));
  *visited = entries_.size();
  begin_updates(entries_.size());
  const int64_t watermark_ms = due_ms == kEndOfTime || in_processing_time() ? stage_watermark_ms() : due_ms - 1;
  for (WindowTable::Entry& entry : entries_) {
    entry = with_start(entry);
    const StateHeader& header = AccumulatorSet::header(entry.state);
    if (updates() && !header.changed() && !blocks_.is_pending(entry.state)) continue;
    if (header.rows() > 0) counters_.fired++;
    blocks_.show(entry, watermark_ms);
  }
  MR_RETURN_IF_ERROR(emit_updates(out));
  if (program_->emit.discarding && !remove_at_fire_) MR_RETURN_IF_ERROR(start_anew());
  if (done && due_ms != kEndOfTime) time_ms_ = std::max(time_ms_, due_ms);
  return Status::ok();
}

// What was shown is not part of the windows' later versions.
Status WindowOperator::start_anew() {
  for (const WindowTable::Entry& entry : entries_) {
    void* state = entry.state;
    if (!entry.dirty) MR_RETURN_IF_ERROR(table_.look_up(&entry.key, &entry.shard, &entry.window, 1, &state));
    table_.remove(state);
  }
  return Status::ok();
}

// Keys without a row for longer than their time to live.
Status WindowOperator::expire_keys(int64_t watermark_ms, size_t limit, bool* done, Collector& out) {
  limit = std::min(limit, blocks_.updates().max_keys());
  begin_updates(limit);
  MR_ASSIGN(*done,
            event_timers_.fire(watermark_ms, limit, [this](const DueTimer& timer) { return expire_key(timer); }));
  return emit_updates(out);
}

Status WindowOperator::expire_key(const DueTimer& timer) {
  const WindowBounds window = {0, kGlobalEndMs};
  const void* found = nullptr;
  MR_RETURN_IF_ERROR(table_.peek(&timer.key, &timer.shard, &window, 1, &found));
  if (found == nullptr) return Status::ok();
  const int64_t due_ms = AccumulatorSet::header(found).event_time_ms + program_->ttl_ms + 1;
  if (due_ms > timer.time_ms) {
    event_timers_.add(due_ms, timer.shard, timer.key);
    return Status::ok();
  }
  void* state = nullptr;
  MR_RETURN_IF_ERROR(table_.look_up(&timer.key, &timer.shard, &window, 1, &state));
  counters_.fired++;
  blocks_.show_gone(table_.entry(state), timer.time_ms);
  table_.remove(state);
  return Status::ok();
}

int64_t WindowOperator::next_clock_ms() const {
  int64_t due_ms = clock_timers_.earliest();
  if (!in_processing_time()) return due_ms;
  size_t shard = 0;
  const int64_t end_ms = table_.first_end(&shard);
  return end_ms == WindowTable::kNoEnd ? due_ms : std::min(due_ms, end_ms);
}

Result<bool> WindowOperator::advance_clock(int64_t now_ms, size_t max_rows, Collector& out) {
  if (in_processing_time()) {
    MR_ASSIGN(const bool fired, advance_time(now_ms - 1, max_rows, out));
    if (!fired) return false;
  }
  bool done = false;
  MR_RETURN_IF_ERROR(show_due(now_ms, std::max<size_t>(max_rows / blocks_.updates().rows_per_key(), 1), &done, out));
  return done;
}

// Windows that a timer is to show.
Status WindowOperator::show_due(int64_t now_ms, size_t limit, bool* done, Collector& out) {
  limit = std::min(limit, blocks_.updates().max_keys());
  begin_updates(limit);
  MR_ASSIGN(*done, clock_timers_.fire(now_ms, limit, [this](const DueTimer& timer) { return show_due_window(timer); }));
  return emit_updates(out);
}

Status WindowOperator::show_due_window(const DueTimer& timer) {
  const WindowTable::Entry window = with_start(table_.parse(timer.key));
  // A window that has fired since was shown then.
  if (times_.has_fired(window.window, time_ms_)) return Status::ok();
  void* state = nullptr;
  MR_RETURN_IF_ERROR(table_.look_up(&window.key, &timer.shard, &window.window, 1, &state));
  if (AccumulatorSet::header(state).rows() == 0) {
    if (!blocks_.is_pending(state)) table_.remove(state);
  }
  if (!blocks_.is_pending(state) || blocks_.trigger(state).due_ms != timer.time_ms) return Status::ok();
  blocks_.trigger(state).due_ms = kNoTime;
  if (!updates() && blocks_.trigger(state).rows_since == 0) return Status::ok();
  counters_.fired++;
  blocks_.show(entry_of(state), stage_watermark_ms());
  if (program_->emit.discarding) shown_.push_back(state);
  return Status::ok();
}

void WindowOperator::remember_time() {
  for (size_t i = 0; i < progress_.shards(); i++) {
    const int64_t end_ms = times_.fires() ? table_.next_end(i) : WindowTable::kNoEnd;
    const int64_t due_ms = end_ms == WindowTable::kNoEnd ? kEndOfTime : times_.due_of_window_ms(end_ms);
    progress_.set(i, {due_ms <= time_ms_ ? due_ms - 1 : time_ms_, times_.fires() ? table_.resume(i) : std::string()});
  }
}

void WindowOperator::cut(DeltaBuilder& delta) {
  if (program_->takes_retractions) {
    // Windows whose last row was taken back leave the state, unless that has still to be shown.
    std::vector<void*> gone;
    table_.cache().visit_dirty(0, table_.cache().dirty_count(), [&](const LaneCache::EntryView& entry) {
      const bool shown = WindowBlocks::has_trigger(*program_) && blocks_.trigger(entry.state).shown_ms != kNoTime;
      if (AccumulatorSet::header(entry.state).rows() == 0 && !shown) gone.push_back(entry.state);
    });
    for (void* state : gone) table_.remove(state);
  }
  remember_time();
  table_.cut(delta);
  event_timers_.cut(delta);
  clock_timers_.cut(delta);
  progress_.cut(delta);
}

}  // namespace

std::unique_ptr<Operator> make_window_operator(std::shared_ptr<const AggregateProgram> program) {
  return std::make_unique<WindowOperator>(std::move(program));
}

}  // namespace millrace
