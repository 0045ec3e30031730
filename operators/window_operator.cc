#include "operators/window_operator.h"

#include <algorithm>

#include "operators/pane_operator.h"
#include "operators/timer_queue.h"
#include "operators/window_blocks.h"

namespace millrace {
namespace {

class WindowOperator : public PaneOperator {
 public:
  explicit WindowOperator(std::shared_ptr<const AggregateProgram> program);
  Status open(const OperatorContext& context) override;
  int64_t next_clock_ms() const override;
  Result<bool> advance_clock(int64_t now_ms, size_t max_rows, Collector& out) override;
  Result<bool> flush(uint64_t epoch, size_t max_rows, Collector& out) override;
  void cut(DeltaBuilder& delta) override;
  bool holds_rows() const override { return updates() && !context_.emit_per_batch; }

 protected:
  void before_fold() override;
  Status fold_pairs(const Batch& batch, RowErrors& failed, Collector& out) override;
  Status after_fold(Collector& out) override;
  Status fire(int64_t end_ms, int64_t due_ms, size_t limit, size_t* fired, Collector& out) override;
  int64_t next_timer_ms() const override { return program_->ttl_ms > 0 ? event_timers_.earliest() : kEndOfTime; }
  Result<bool> fire_timers(int64_t watermark_ms, size_t limit, Collector& out) override;
  // It was shown early, and that has to be put right; or when it was shown decides when it may be again.
  bool keeps_empty(void* state) const override {
    return WindowBlocks::has_trigger(*program_) && blocks_.trigger(state).shown_ms != kNoTime;
  }
  bool sets_may_leave() const override { return !program_->emit.discarding && program_->ttl_ms == 0; }
  size_t held_bytes() const override {
    return PaneOperator::held_bytes() + event_timers_.uncut_bytes() + clock_timers_.uncut_bytes();
  }

 private:
  bool updates() const { return program_->emit.mode == EmitMode::kUpdate; }
  WindowTable::Entry entry_of(void* state) const { return with_start(table_.entry(state)); }
  void note_new_keys();
  void add_ttl_timers();

  void begin_updates(size_t keys);
  void show_change(void* state);
  Status emit_updates(Collector& out);
  Status emit_batch_updates(Collector& out);
  Result<bool> flush_updates(size_t max_rows, Collector& out);

  Status start_anew();
  Status expire_key(const DueTimer& timer);
  Status show_due_window(const DueTimer& timer);

  const bool remove_at_fire_;  // windows leave the state when they fire
  WindowBlocks blocks_;
  TimerQueue event_timers_;  // ttl
  TimerQueue clock_timers_;  // early.every, min_interval
  size_t cursor_ = 0;        // of the flush of updates under way
  bool updates_done_ = false;
  std::vector<void*> new_keys_;
  std::vector<WindowTable::Entry> entries_;
  std::vector<void*> shown_;  // that start anew afterwards
};

bool removes_at_fire(const AggregateProgram& program) {
  if (!program.window.has_bounds()) return false;
  return program.emit.mode != EmitMode::kClose || program.window.allowed_lateness_ms == 0;
}

WindowOperator::WindowOperator(std::shared_ptr<const AggregateProgram> program)
    : PaneOperator(program, /*sliced=*/false, WindowBlocks::own_slots(*program)),
      remove_at_fire_(removes_at_fire(*program_)),
      blocks_(*program_, times_, fold_) {}

Status WindowOperator::open(const OperatorContext& context) {
  MR_RETURN_IF_ERROR(PaneOperator::open(context));
  blocks_.open(context, &table_, &clock_timers_);
  MR_RETURN_IF_ERROR(event_timers_.open(context, {static_cast<uint8_t>(StateTable::kEventTimers)}));
  return clock_timers_.open(context, {static_cast<uint8_t>(StateTable::kClockTimers)});
}

void WindowOperator::before_fold() {
  if (program_->ttl_ms > 0) note_new_keys();
  if (updates() && !WindowBlocks::has_trigger(*program_)) blocks_.updates().remember(states_.data(), rows_.size());
}

Status WindowOperator::fold_pairs(const Batch& batch, RowErrors& failed, Collector& out) {
  return blocks_.fold_rows(batch, rows_, states_.data(), failed, counters_, out);
}

Status WindowOperator::after_fold(Collector& out) {
  add_ttl_timers();
  return updates() && context_.emit_per_batch ? emit_batch_updates(out) : Status::ok();
}

void WindowOperator::note_new_keys() {
  new_keys_.clear();
  for (size_t i = 0; i < rows_.size(); i++) {
    if (AccumulatorSet::header(states_[i]).rows() == 0) new_keys_.push_back(states_[i]);
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

Status WindowOperator::emit_batch_updates(Collector& out) {
  const size_t n = rows_.size();
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
  StateHeader& header = AccumulatorSet::header(state);
  if (LaneCache::is_removed(state) || !header.changed()) {
    // What was kept for a row that then did not fit is freed at the end of the epoch.
    header.previous = nullptr;
    return;
  }
  blocks_.show_change(entry_of(state), stage_watermark_ms());
  if (program_->emit.discarding && !blocks_.is_pending(state)) shown_.push_back(state);
}

Status WindowOperator::emit_updates(Collector& out) {
  MR_RETURN_IF_ERROR(blocks_.updates().emit(has_watermark_, nullptr, out, counters_.out).status());
  for (void* state : shown_) {
    // The next row may have to wait for min_interval.
    if (program_->emit.min_interval_ms > 0) {
      blocks_.start_anew(state);
    } else {
      table_.remove(state);
    }
  }
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

Result<bool> WindowOperator::flush(uint64_t epoch, size_t max_rows, Collector& out) {
  if (updates() && !context_.emit_per_batch && !updates_done_) {
    MR_ASSIGN(updates_done_, flush_updates(max_rows, out));
    if (!updates_done_) return false;
  }
  MR_ASSIGN(const bool expired, PaneOperator::flush(epoch, max_rows, out));
  if (expired) updates_done_ = false;
  return expired;
}

Status WindowOperator::fire(int64_t end_ms, int64_t due_ms, size_t limit, size_t* fired, Collector& out) {
  table_.release();
  entries_.clear();
  for (size_t i = 0; i < table_.shards() && entries_.size() < limit; i++) {
    bool done = false;
    if (table_.next_end(i) == end_ms) MR_RETURN_IF_ERROR(table_.visit(i, limit, remove_at_fire_, &entries_, &done));
  }
  *fired = entries_.size();
  begin_updates(entries_.size());
  for (WindowTable::Entry& entry : entries_) {
    entry = with_start(entry);
    const StateHeader& header = AccumulatorSet::header(entry.state);
    if (updates() && !header.changed() && !blocks_.is_pending(entry.state)) continue;
    if (header.rows() > 0) counters_.fired++;
    blocks_.show(entry, stamp_ms(due_ms));
  }
  MR_RETURN_IF_ERROR(emit_updates(out));
  return program_->emit.discarding && !remove_at_fire_ ? start_anew() : Status::ok();
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
Result<bool> WindowOperator::fire_timers(int64_t watermark_ms, size_t limit, Collector& out) {
  if (program_->ttl_ms == 0) return true;
  limit = std::min(limit, blocks_.updates().max_keys());
  table_.release();
  begin_updates(limit);
  MR_ASSIGN(const bool done,
            event_timers_.fire(watermark_ms, limit, [this](const DueTimer& timer) { return expire_key(timer); }));
  MR_RETURN_IF_ERROR(emit_updates(out));
  return done;
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
  return std::min(PaneOperator::next_clock_ms(), clock_timers_.earliest());
}

Result<bool> WindowOperator::advance_clock(int64_t now_ms, size_t max_rows, Collector& out) {
  MR_ASSIGN(const bool fired, PaneOperator::advance_clock(now_ms, max_rows, out));
  if (!fired) return false;
  // Windows that a timer is to show.
  const size_t limit = std::clamp<size_t>(max_rows / rows_per_key(), 1, blocks_.updates().max_keys());
  begin_updates(limit);
  MR_ASSIGN(const bool done,
            clock_timers_.fire(now_ms, limit, [this](const DueTimer& timer) { return show_due_window(timer); }));
  MR_RETURN_IF_ERROR(emit_updates(out));
  return done;
}

Status WindowOperator::show_due_window(const DueTimer& timer) {
  const WindowTable::Entry window = with_start(table_.parse(timer.key));
  // A window that has fired since was shown then.
  if (times_.has_fired(window.window, shard_times_.of(timer.shard, time_ms_))) return Status::ok();
  void* state = nullptr;
  MR_RETURN_IF_ERROR(table_.look_up(&window.key, &timer.shard, &window.window, 1, &state));
  if (AccumulatorSet::header(state).rows() == 0) {
    if (!blocks_.is_pending(state) && !keeps_empty(state)) table_.remove(state);
  }
  if (!blocks_.is_pending(state) || blocks_.trigger(state).due_ms != timer.time_ms) return Status::ok();
  blocks_.trigger(state).due_ms = kNoTime;
  if (!updates() && blocks_.trigger(state).rows_since == 0) return Status::ok();
  counters_.fired++;
  blocks_.show(entry_of(state), stage_watermark_ms());
  if (program_->emit.discarding) shown_.push_back(state);
  return Status::ok();
}

void WindowOperator::cut(DeltaBuilder& delta) {
  PaneOperator::cut(delta);
  event_timers_.cut(delta);
  clock_timers_.cut(delta);
}

}  // namespace

std::unique_ptr<Operator> make_window_operator(std::shared_ptr<const AggregateProgram> program) {
  return std::make_unique<WindowOperator>(std::move(program));
}

}  // namespace millrace
