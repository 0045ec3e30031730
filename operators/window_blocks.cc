#include "operators/window_blocks.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "operators/projection.h"
#include "operators/timer_queue.h"

namespace millrace {
namespace {

using Finds = WindowRows::Finds;

// Was shown, and nobody needs to know how.
constexpr std::string_view kShown;

bool row_by_row(const AggregateProgram& program) {
  const EmitSpec& emit = program.emit;
  return emit.early_count > 0 || emit.early_when != nullptr || (emit.discarding && emit.mode == EmitMode::kClose);
}

}  // namespace

std::vector<AggregatePtr> WindowBlocks::own_slots(const AggregateProgram& program) {
  std::vector<AggregatePtr> slots;
  if (has_trigger(program)) slots.push_back(make_trigger_slot());
  if (keeps_shown(program)) slots.push_back(make_kept_bytes_slot());
  return slots;
}

bool WindowBlocks::has_trigger(const AggregateProgram& program) {
  return program.emit.early() || program.emit.min_interval_ms > 0;
}

bool WindowBlocks::keeps_shown(const AggregateProgram& program) {
  return has_trigger(program) && program.gives_retractions;
}

WindowBlocks::WindowBlocks(const AggregateProgram& program, const WindowTimes& times, AggregateFold& fold)
    : program_(program),
      times_(times),
      has_trigger_(has_trigger(program)),
      keeps_shown_(keeps_shown(program)),
      row_by_row_(row_by_row(program)),
      fold_(fold),
      updates_(program, fold_),
      output_(program),
      before_(AggregateOutput::kMaxRows),
      after_(AggregateOutput::kMaxRows) {
  if (has_trigger_) trigger_offset_ = fold_.more_offset(0);
  if (keeps_shown_) shown_offset_ = fold_.more_offset(1);
}

void WindowBlocks::open(const OperatorContext& context, WindowTable* table, TimerQueue* clock_timers) {
  context_ = context;
  table_ = table;
  clock_timers_ = clock_timers;
  MR_CHECK(!has_trigger_ || context.clock != nullptr);
}

int64_t WindowBlocks::event_time_of(const WindowBounds& window) const {
  if (program_.emit.mode == EmitMode::kUpdate || !program_.window.has_bounds()) return kNoTime;
  return window.end_ms - 1;
}

Status WindowBlocks::fold_rows(const Batch& batch, const WindowRows& rows, void* const* states, RowErrors& failed,
                               OperatorCounters& counters, Collector& out) {
  const bool each = program_.emit.mode == EmitMode::kEach;
  if (!each && !row_by_row_ && !rows.any_shows()) {
    fold_.bind(batch, rows.rows().data(), states, rows.size());
    MR_RETURN_IF_ERROR(fold_.bind_sets());
    fold_.for_each_range(failed, [&](size_t from, size_t to) {
      fold_.fold(from, to);
      for (size_t i = from; has_trigger_ && i < to; i++) count_row(rows.finds()[i], states[i]);
    });
    MR_RETURN_IF_ERROR(fold_.move_sets());
  } else {
    // What a piece shows must fit one batch.
    for (size_t begin = 0; begin < rows.size(); begin += updates_.max_keys()) {
      const size_t n = std::min(updates_.max_keys(), rows.size() - begin);
      fold_.bind(batch, rows.rows().data() + begin, states + begin, n);
      MR_RETURN_IF_ERROR(fold_.bind_sets());
      MR_RETURN_IF_ERROR(row_by_row_ ? fold_one_by_one(batch, rows, states, begin, n, failed, counters, out)
                                     : fold_showing(batch, rows, states, begin, n, failed, counters, out));
      MR_RETURN_IF_ERROR(fold_.move_sets());
    }
  }
  sort_errors(failed);
  return Status::ok();
}

// A row more in a window that will be shown by a trigger.
void WindowBlocks::count_row(Finds finds, void* state) {
  TriggerState& own = trigger(state);
  own.rows_since++;
  const bool open = finds == Finds::kOpen || finds == Finds::kEarly;
  if (program_.emit.early_every_ms == 0 || own.due_ms != kNoTime || !open) return;
  const WindowTable::Entry entry = table_->entry(state);
  own.due_ms = context_.clock->wall_ms() + program_.emit.early_every_ms;
  clock_timers_->add(own.due_ms, entry.shard, entry.full_key);
}

// Running values: what a row shows is the value right after it.
Status WindowBlocks::fold_showing(const Batch& batch, const WindowRows& rows, void* const* states, size_t begin,
                                  size_t n, RowErrors& failed, OperatorCounters& counters, Collector& out) {
  output_.begin(context_.arenas->take(), static_cast<uint32_t>(n * updates_.rows_per_key()));
  fold_.for_each_range(failed, [&](size_t from, size_t to) {
    for (size_t i = from; i < to; i++) add_rows(batch, rows, states[begin + i], begin, i);
    fold_.fold_slots_running(from, to, output_, before_.data(), after_.data());
    for (size_t i = from; has_trigger_ && i < to; i++) count_row(rows.finds()[begin + i], states[begin + i]);
  });
  if (output_.rows() == 0) return Status::ok();
  const Status status = output_.emit(batch.watermark_ms != nullptr, &batch, out, counters.out);
  counters.absorbed -= output_.reported();  // accounted for as failed
  return status;
}

void WindowBlocks::add_rows(const Batch& batch, const WindowRows& rows, void* state, size_t begin, size_t i) {
  const StateHeader& header = AccumulatorSet::header(state);
  const bool shown = header.rows() > 0;
  const int64_t shown_ms = header.event_time_ms;
  fold_.fold_header(i);
  before_[i] = after_[i] = kNoRow;
  const bool each = program_.emit.mode == EmitMode::kEach;
  if (!each && rows.finds()[begin + i] != Finds::kLate) return;
  const uint32_t row = rows.rows()[begin + i];
  const WindowBounds& window = rows.windows()[begin + i];
  const bool pair = program_.gives_retractions;
  const int64_t watermark_ms = batch.watermark_ms != nullptr ? batch.watermark_ms[row] : kNoTime;
  const auto add = [&](Change change, int64_t time_ms) {
    if (!each) time_ms = window.end_ms - 1;
    const uint32_t added = output_.add_row(batch.key_bytes[row], change, time_ms, watermark_ms, row);
    output_.set_window(added, window);
    return added;
  };
  // A row is taken back under the time that it had, and of that only the newest folded in is in the state.
  const int64_t time_ms = pair ? header.event_time_ms : batch.event_time_ms[row];
  if (pair && shown) before_[i] = add(Change::kRetract, shown_ms);
  if (header.rows() > 0) {
    after_[i] = add(Change::kInsert, time_ms);
  } else if (!pair) {
    add(Change::kDelete, time_ms);
  }
  if (has_trigger_ && header.rows() == 0) note_gone(state);
}

// Where what a row shows decides what follows: a trigger that counts, an accumulator that starts anew.
Status WindowBlocks::fold_one_by_one(const Batch& batch, const WindowRows& rows, void* const* states, size_t begin,
                                     size_t n, RowErrors& failed, OperatorCounters& counters, Collector& out) {
  updates_.begin(context_.arenas->take(), n);
  started_anew_.clear();
  fold_.for_each_range(failed, [&](size_t from, size_t to) {
    for (size_t i = from; i < to; i++) fold_one(batch, rows, states[begin + i], begin, i);
  });
  MR_ASSIGN(const uint64_t reported, updates_.emit(batch.watermark_ms != nullptr, &batch, out, counters.out));
  counters.absorbed -= reported;
  for (void* state : started_anew_) {
    if (AccumulatorSet::header(state).rows() == 0 && !LaneCache::is_removed(state)) table_->remove(state);
  }
  return Status::ok();
}

void WindowBlocks::fold_one(const Batch& batch, const WindowRows& rows, void* state, size_t begin, size_t i) {
  const Finds finds = rows.finds()[begin + i];
  std::string_view kept;
  const std::string_view* shown = nullptr;
  if (finds == Finds::kLate && AccumulatorSet::header(state).rows() > 0 && !program_.emit.discarding) {
    // The window has fired: as it is, it was shown.
    encoded_.clear();
    if (program_.gives_retractions) updates_.encode(state, encoded_);
    kept = encoded_;
    shown = &kept;
  }
  fold_.fold(i, i + 1);
  if (has_trigger_) count_row(finds, state);
  const bool counted = program_.emit.early_count > 0 && finds == Finds::kOpen &&
                       trigger(state).rows_since >= static_cast<uint64_t>(program_.emit.early_count);
  if (finds != Finds::kLate && finds != Finds::kEarly && !counted) return;
  if (finds != Finds::kLate) shown = last_shown(state, &kept);
  const uint32_t row = rows.rows()[begin + i];
  const WindowBounds& window = rows.windows()[begin + i];
  const int64_t watermark_ms = batch.watermark_ms != nullptr ? batch.watermark_ms[row] : kNoTime;
  updates_.replace(batch.key_bytes[row], state, shown, false, {watermark_ms, event_time_of(window), &window, row});
  updates_.write_added();
  note_shown(state);
  if (!program_.emit.discarding) return;
  fold_.set().destroy(state);
  fold_.set().create(state);
  started_anew_.push_back(state);
}

// How the window was shown before it fired; nullptr: it was not, or that row stands for itself.
const std::string_view* WindowBlocks::last_shown(void* state, std::string_view* kept) const {
  if (!has_trigger_ || trigger(state).shown_ms == kNoTime || program_.emit.discarding) return nullptr;
  if (keeps_shown_) {
    const std::string* bytes = kept_bytes(state).bytes;
    // What was shown before anybody asked for old versions was not kept.
    if (bytes == nullptr) return nullptr;
    *kept = *bytes;
  }
  return kept;
}

void WindowBlocks::note_shown(void* state) {
  if (!has_trigger_) return;
  if (AccumulatorSet::header(state).rows() == 0) return note_gone(state);
  trigger(state).rows_since = 0;
  trigger(state).shown_ms = context_.clock->wall_ms();
  if (!keeps_shown_) return;
  std::string*& bytes = kept_bytes(state).bytes;
  if (bytes == nullptr) bytes = new std::string();
  bytes->clear();
  updates_.encode(state, *bytes);
}

// Its last row was taken back, and that has been shown: what comes now is new.
void WindowBlocks::note_gone(void* state) {
  trigger(state).rows_since = 0;
  trigger(state).shown_ms = kNoTime;
  if (keeps_shown_) delete std::exchange(kept_bytes(state).bytes, nullptr);
}

void WindowBlocks::show(const WindowTable::Entry& entry, int64_t watermark_ms) {
  std::string_view kept;
  const std::string_view* shown = last_shown(entry.state, &kept);
  updates_.replace(entry.key, entry.state, shown, false, {watermark_ms, event_time_of(entry.window), &entry.window});
  note_shown(entry.state);
}

void WindowBlocks::show_change(const WindowTable::Entry& entry, int64_t watermark_ms) {
  if (!has_trigger_) {
    updates_.add(entry.key, entry.state, {watermark_ms, event_time_of(entry.window), &entry.window});
    return;
  }
  if (!AccumulatorSet::header(entry.state).changed() || is_pending(entry.state)) return;
  TriggerState& own = trigger(entry.state);
  const int64_t now_ms = context_.clock->wall_ms();
  // A clock that was set back must not keep windows waiting.
  const bool waits =
      own.shown_ms != kNoTime && now_ms >= own.shown_ms && now_ms - own.shown_ms < program_.emit.min_interval_ms;
  if (!waits) return show(entry, watermark_ms);
  own.due_ms = own.shown_ms + program_.emit.min_interval_ms;
  clock_timers_->add(own.due_ms, entry.shard, entry.full_key);
}

void WindowBlocks::start_anew(void* state) {
  const TriggerState kept = trigger(state);
  fold_.set().destroy(state);
  fold_.set().create(state);
  trigger(state) = kept;
}

void WindowBlocks::show_gone(const WindowTable::Entry& entry, int64_t due_ms) {
  StateHeader& header = AccumulatorSet::header(entry.state);
  std::string_view kept;
  const std::string_view* shown = header.previous;
  if (has_trigger_) {
    shown = last_shown(entry.state, &kept);
  } else if (shown == nullptr && (!header.changed() || program_.emit.mode == EmitMode::kEach)) {
    encoded_.clear();
    if (program_.gives_retractions) updates_.encode(entry.state, encoded_);
    kept = encoded_;
    shown = &kept;
  }
  header.previous = nullptr;
  // The version that goes is taken back under its own time.
  const int64_t time_ms = program_.gives_retractions ? kNoTime : due_ms;
  updates_.replace(entry.key, entry.state, shown, true, {due_ms - 1, time_ms, nullptr});
}

}  // namespace millrace
