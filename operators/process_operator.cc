#include "operators/process_operator.h"

#include <algorithm>
#include <deque>
#include <numeric>
#include <optional>

#include "base/check.h"
#include "base/clock.h"
#include "operators/gather.h"
#include "operators/key_encoder.h"
#include "operators/process_output.h"
#include "operators/process_state.h"
#include "operators/process_steps.h"
#include "operators/stage_watermark.h"
#include "operators/timer_queue.h"
#include "state/lane_cache.h"

namespace millrace {
namespace {

// Tables of the operator's state: the first byte of its keys. Durable.
constexpr uint8_t kWatermarkTable = 0, kKeyTable = 1, kEventTimerTable = 2, kClockTimerTable = 3;
// The last byte of a timer's key: its number in the program, or this.
constexpr uint8_t kTtlTimer = 0xff;

constexpr uint32_t kMaxItems = ProcessOutput::kMaxRows;
constexpr uint32_t kMinItems = 16;
constexpr uint32_t kNone = UINT32_MAX;
constexpr int64_t kMicrosPerMilli = 1000;
// What timestamps in expressions reach (years 1 to 9999).
constexpr int64_t kFirstTimestampMs = -62'135'596'800'000;
constexpr int64_t kLastTimestampMs = 253'402'300'799'999;

int64_t plus_saturated(int64_t time_ms, int64_t duration_ms) {
  int64_t sum = 0;
  return __builtin_add_overflow(time_ms, duration_ms, &sum) ? kEndOfTime : sum;
}

// Times of rows as a column of an expression; kNoTime is null.
ColumnPtr timestamp_column(const int64_t* times_ms, uint32_t rows, const ArenaPtr& arena) {
  ColumnBuilder column(Type(TypeKind::kTimestamp), arena, rows);
  for (uint32_t i = 0; i < rows; i++) {
    if (times_ms[i] == kNoTime) {
      column.set_null(i);
    } else {
      column.ints[i] = std::clamp(times_ms[i], kFirstTimestampMs, kLastTimestampMs) * kMicrosPerMilli;
    }
  }
  return column.finish(rows);
}

const int64_t* repeated_time(int64_t time_ms, uint32_t rows, Arena& arena) {
  auto* times = arena.array<int64_t>(rows);
  std::fill_n(times, rows, time_ms);
  return times;
}

// Records or timers on their way through the steps. Those of one key follow each other: round k holds the k-th of every
// key, so that the rows of a round have different keys.
struct Items {
  uint32_t size = 0;
  std::vector<std::string_view> keys;  // with the table's byte in front
  std::vector<uint16_t> shards;
  std::vector<void*> states;
  std::vector<uint32_t> rounds;
  std::vector<uint32_t> previous, next;    // of the same key, or kNone
  std::vector<std::vector<uint32_t>> order;  // items by round
  size_t round_count = 0;

  void resize(uint32_t n) {
    size = n;
    keys.resize(n);
    shards.resize(n);
    states.resize(n);
    rounds.resize(n);
    previous.resize(n);
    next.resize(n);
  }
  void assign_rounds(uint32_t stamp);
};

void Items::assign_rounds(uint32_t stamp) {
  for (size_t i = 0; i < round_count; i++) order[i].clear();
  round_count = 0;
  for (uint32_t i = 0; i < size; i++) {
    ProcessState::Header& header = ProcessState::header(states[i]);
    next[i] = kNone;
    previous[i] = header.stamp == stamp ? header.latest : kNone;
    rounds[i] = previous[i] == kNone ? 0 : rounds[previous[i]] + 1;
    if (previous[i] != kNone) next[previous[i]] = i;
    header.stamp = stamp;
    header.latest = i;
    if (rounds[i] == round_count && ++round_count > order.size()) order.emplace_back();
    order[rounds[i]].push_back(i);
  }
}

struct Timer {
  int64_t time_ms;
  uint8_t number;
};

class ProcessOperator : public Operator {
 public:
  explicit ProcessOperator(std::shared_ptr<const ProcessProgram> program);
  Status open(const OperatorContext& context) override;
  Status process(const Batch& batch, size_t input, Collector& out) override;
  Result<uint32_t> consume(const Batch& batch, uint32_t begin, size_t input, Collector& out) override;
  Result<bool> advance(int64_t watermark_ms, size_t max_rows, Collector& out) override;
  int64_t next_clock_ms() const override { return clock_timers_.earliest(); }
  Result<bool> advance_clock(int64_t now_ms, size_t max_rows, Collector& out) override;
  int64_t restored_watermark_ms() const override { return watermark_.restored_ms(); }
  void cut(DeltaBuilder& delta) override;
  bool wants_barrier() const override { return uncut_bytes() > context_.cache_bytes / 2; }
  bool is_full() const override { return uncut_bytes() >= context_.cache_bytes / 4 * 3; }

 private:
  size_t uncut_bytes() const {
    return cache_->dirty_bytes() + event_timers_.uncut_bytes() + clock_timers_.uncut_bytes();
  }
  // Records.
  uint32_t undisturbed_rows(const Batch& batch, uint32_t begin) const;
  Result<uint32_t> take_rows(const Batch& batch, uint32_t begin, uint32_t count, Collector& out);
  Status look_up_rows(const Batch& batch, uint32_t begin, uint32_t count, const ArenaPtr& arena);
  void run_rounds(const Batch& batch, bool whole, const ArenaPtr& arena);
  ProcessTurn& begin_turn(const std::vector<uint32_t>& items);
  void fill_record_turn(ProcessTurn& turn, const Batch& batch, size_t round, bool whole, const ArenaPtr& arena);
  uint32_t items_before_new_timers() const;
  void commit_records(uint32_t end);
  Status show_records(const Batch& batch, uint32_t end, const ArenaPtr& arena, Collector& out);
  // Timers.
  Result<bool> fire(TimerQueue& queue, int64_t limit_ms, size_t max_rows, Collector& out);
  Result<size_t> collect(TimerQueue& queue, int64_t limit_ms, size_t max_timers, bool at_end, const ArenaPtr& arena);
  void settle(TimerQueue& queue);
  Status run_timers(TimerQueue& queue, bool at_end, const ArenaPtr& arena, Collector& out);
  Status run_timer_turn(const std::vector<uint32_t>& items, uint8_t number, bool at_end, const ArenaPtr& arena,
                        Collector& out);
  void fill_timer_turn(ProcessTurn& turn, uint8_t number, const ArenaPtr& arena);
  Status decode_keys(ProcessTurn& turn, const ProcessHandler& handler, const ArenaPtr& arena);
  void show_times(const ProcessHandler& handler, ProcessTurn& turn, const int64_t* watermark_ms, const ArenaPtr& arena);
  // Both.
  Status look_up();
  void commit(const ProcessHandler& handler, const ProcessTurn& turn, uint32_t row);
  void arm(size_t timer, uint32_t item, int64_t due_ms);
  void keep_until(uint32_t item, int64_t time_ms, int64_t floor_ms);
  TimerSlot& slot(uint32_t item, size_t timer) const { return state_.timer(items_.states[item], timer); }
  size_t slot_of(uint8_t number) const { return number == kTtlTimer ? state_.ttl_timer() : number; }

  std::shared_ptr<const ProcessProgram> program_;
  ProcessState state_;
  ProcessOutput output_;
  ProcessSteps on_record_;
  std::vector<std::unique_ptr<ProcessSteps>> on_timer_;
  // Timers of one lane are evaluated together although they are due at different times, as long as what fires cannot
  // set one that is due in between.
  bool events_set_events_ = false;
  bool clock_sets_clock_ = false;

  OperatorContext context_;
  std::unique_ptr<LaneCache> cache_;
  TimerQueue event_timers_, clock_timers_;
  StageWatermark watermark_;
  int64_t shown_watermark_ms_ = kNoTime;  // of the rows emitted last: it never falls
  uint32_t stamp_ = 0;
  uint32_t max_rows_ = kMaxItems;    // evaluated at once: fewer while timers come between them
  uint32_t max_timers_ = kMaxItems;  // fired at once: fewer while those that have moved come between them

  // Scratch of a batch.
  Items items_;
  std::vector<uint32_t> rows_;  // records: physical row by item
  std::vector<uint32_t> live_;  // records: position among the rows by item
  std::vector<int64_t> event_time_ms_, item_watermark_ms_;
  std::vector<uint8_t> failed_;
  std::deque<ProcessTurn> turns_;
  size_t turn_count_ = 0;
  std::vector<uint32_t> row_in_turn_;
  std::vector<Timer> timers_;
  std::string timer_key_;
};

ProcessOperator::ProcessOperator(std::shared_ptr<const ProcessProgram> program)
    : program_(std::move(program)),
      state_(*program_),
      output_(program_->output),
      on_record_(*program_, program_->on_record, state_) {
  for (size_t i = 0; i < program_->timers.size(); i++) {
    const ProcessHandler& handler = program_->on_timer[i];
    on_timer_.push_back(std::make_unique<ProcessSteps>(*program_, handler, state_));
    const bool sets_fields = std::count(handler.sets_fields.begin(), handler.sets_fields.end(), true) > 0;
    if (program_->timers[i].processing_time) {
      for (size_t j = 0; j < program_->timers.size(); j++) {
        if (handler.arms_timers[j] && program_->timers[j].processing_time) clock_sets_clock_ = true;
      }
    } else if (handler.sets_event_timers || (program_->ttl_ms > 0 && sets_fields)) {
      events_set_events_ = true;
    }
  }
}

Status ProcessOperator::open(const OperatorContext& context) {
  MR_CHECK(context.arenas != nullptr && context.state != nullptr && context.clock != nullptr);
  context_ = context;
  const size_t queue_bytes = context.cache_bytes / 8;
  cache_ =
      std::make_unique<LaneCache>(*context.state, context.operator_id, state_, context.cache_bytes - 2 * queue_bytes);
  MR_RETURN_IF_ERROR(event_timers_.open(context, {kEventTimerTable, queue_bytes}));
  MR_RETURN_IF_ERROR(clock_timers_.open(context, {kClockTimerTable, queue_bytes}));
  MR_RETURN_IF_ERROR(watermark_.open(context, kWatermarkTable));
  shown_watermark_ms_ = watermark_.ms();
  return Status::ok();
}

Status ProcessOperator::process(const Batch& batch, size_t input, Collector& out) {
  for (uint32_t begin = 0; begin < batch.live();) {
    MR_ASSIGN(begin, consume(batch, begin, input, out));
    bool done = begin == batch.live();
    while (!done) {
      MR_ASSIGN(done, advance(batch.watermark_ms[batch.row(begin)], kMaxItems, out));
    }
  }
  return Status::ok();
}

// Records ----------------------------------------------------------------------------------------------------------

Result<uint32_t> ProcessOperator::consume(const Batch& batch, uint32_t begin, size_t, Collector& out) {
  MR_CHECK(batch.key_bytes != nullptr && batch.shards != nullptr);
  while (begin < batch.live()) {
    const uint32_t count = undisturbed_rows(batch, begin);
    if (count == 0) break;
    MR_ASSIGN(const uint32_t taken, take_rows(batch, begin, count, out));
    max_rows_ = taken < count ? std::max(taken, kMinItems) : std::min(max_rows_ * 2, kMaxItems);
    begin += taken;
  }
  const LaneCache::Counters& cache = cache_->counters();
  counters_.cache_hits = cache.hits;
  counters_.cache_misses = cache.misses;
  counters_.store_reads = cache.store_reads;
  return begin;
}

// How many of the next rows come before any timer that is set.
uint32_t ProcessOperator::undisturbed_rows(const Batch& batch, uint32_t begin) const {
  const uint32_t end = std::min(batch.live(), begin + max_rows_);
  if (batch.watermark_ms == nullptr) return end - begin;
  const int64_t earliest = event_timers_.earliest();
  uint32_t low = begin, high = end;  // watermarks do not fall
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (earliest == kEndOfTime || batch.watermark_ms[batch.row(middle)] < earliest) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - begin;
}

// Evaluates the rows without touching the state, and then takes those before which no timer is due that one of the
// others has set.
Result<uint32_t> ProcessOperator::take_rows(const Batch& batch, uint32_t begin, uint32_t count, Collector& out) {
  const ArenaPtr arena = context_.arenas->take();
  MR_RETURN_IF_ERROR(look_up_rows(batch, begin, count, arena));
  const bool whole = !batch.selection && items_.size == batch.rows;
  run_rounds(batch, whole, arena);
  const uint32_t end = items_before_new_timers();
  const uint32_t taken = end < items_.size ? live_[end] : count;
  counters_.in += taken;
  counters_.filtered += taken - end;
  if (taken > 0 && batch.watermark_ms != nullptr) {
    watermark_.advance(batch.watermark_ms[batch.row(begin + taken - 1)]);
  }
  commit_records(end);
  MR_RETURN_IF_ERROR(show_records(batch, end, arena, out));
  return taken;
}

Status ProcessOperator::look_up_rows(const Batch& batch, uint32_t begin, uint32_t count, const ArenaPtr& arena) {
  rows_.clear();
  live_.clear();
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t row = batch.row(begin + i);
    // What deletes or takes back a row is no record.
    if (batch.change(row) != Change::kInsert) continue;
    rows_.push_back(row);
    live_.push_back(i);
  }
  const auto n = static_cast<uint32_t>(rows_.size());
  items_.resize(n);
  event_time_ms_.resize(n);
  item_watermark_ms_.resize(n);
  failed_.assign(n, 0);
  row_in_turn_.resize(n);
  size_t key_bytes = 0;
  for (const uint32_t row : rows_) key_bytes += batch.key_bytes[row].size() + 1;
  char* text = arena->array<char>(key_bytes);
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t row = rows_[i];
    const std::string_view key = batch.key_bytes[row];
    items_.keys[i] = {text, key.size() + 1};
    *text++ = static_cast<char>(kKeyTable);
    std::copy(key.begin(), key.end(), text);
    text += key.size();
    items_.shards[i] = batch.shards[row];
    event_time_ms_[i] = batch.event_time_ms[row];
    item_watermark_ms_[i] = batch.watermark_ms != nullptr ? batch.watermark_ms[row] : kNoTime;
  }
  return look_up();
}

Status ProcessOperator::look_up() {
  MR_RETURN_IF_ERROR(cache_->lookup(items_.keys.data(), items_.shards.data(), items_.size, items_.states.data()));
  items_.assign_rounds(++stamp_);
  output_.begin(items_.size);
  turn_count_ = 0;
  return Status::ok();
}

void ProcessOperator::run_rounds(const Batch& batch, bool whole, const ArenaPtr& arena) {
  for (size_t round = 0; round < items_.round_count; round++) {
    ProcessTurn& turn = begin_turn(items_.order[round]);
    fill_record_turn(turn, batch, round, whole && items_.round_count == 1, arena);
    on_record_.run(turn, arena, output_);
    for (const auto& entry : turn.errors.entries) failed_[turn.items[entry.row]] = 1;
  }
}

ProcessTurn& ProcessOperator::begin_turn(const std::vector<uint32_t>& items) {
  if (turn_count_ == turns_.size()) turns_.emplace_back();
  ProcessTurn& turn = turns_[turn_count_++];
  turn.items = items;
  turn.batch = Batch();
  turn.batch.rows = static_cast<uint32_t>(items.size());
  turn.batch.columns.resize(program_->columns());
  turn.clock_floor_ms = nullptr;
  turn.at_end = false;
  for (uint32_t row = 0; row < turn.batch.rows; row++) row_in_turn_[items[row]] = row;
  return turn;
}

void ProcessOperator::fill_record_turn(ProcessTurn& turn, const Batch& batch, size_t round, bool whole,
                                       const ArenaPtr& arena) {
  const ProcessHandler& handler = program_->on_record;
  const uint32_t n = turn.batch.rows;
  auto* rows = arena->array<uint32_t>(n);
  auto* times = arena->array<int64_t>(n);
  auto* watermarks = arena->array<int64_t>(n);
  for (uint32_t i = 0; i < n; i++) {
    rows[i] = rows_[turn.items[i]];
    times[i] = event_time_ms_[turn.items[i]];
    watermarks[i] = item_watermark_ms_[turn.items[i]];
  }
  turn.batch.event_time_ms = times;
  turn.event_floor_ms = watermarks;
  for (size_t c = 0; c < program_->input.size(); c++) {
    if (!handler.reads_columns[c]) continue;
    turn.batch.columns[c] = whole ? batch.columns[c] : gather_column(batch.columns[c], rows, n, arena);
  }
  show_times(handler, turn, watermarks, arena);
  // The first of a key reads its state, the others go on with what the one before has left.
  const ProcessTurn* before = round > 0 ? &turns_[turn_count_ - 2] : nullptr;
  std::vector<void*> states(before == nullptr ? n : 0);
  for (uint32_t i = 0; i < n; i++) {
    if (before == nullptr) {
      states[i] = items_.states[turn.items[i]];
    } else {
      rows[i] = row_in_turn_[items_.previous[turn.items[i]]];
    }
  }
  const auto from_before = [&](size_t column) { return gather_column(before->batch.columns[column], rows, n, arena); };
  for (size_t field = 0; field < program_->fields.size(); field++) {
    if (!program_->loads_field(handler, field)) continue;
    const size_t column = program_->field_column(field);
    turn.batch.columns[column] =
        before ? from_before(column) : state_.load_field(field, states.data(), n, arena);
  }
  for (size_t timer = 0; timer < program_->timers.size(); timer++) {
    if (!program_->loads_timer(handler, timer)) continue;
    const size_t column = program_->timer_column(timer);
    turn.batch.columns[column] =
        before ? from_before(column) : state_.load_timer(timer, states.data(), n, arena);
  }
}

void ProcessOperator::show_times(const ProcessHandler& handler, ProcessTurn& turn, const int64_t* watermark_ms,
                                 const ArenaPtr& arena) {
  const uint32_t n = turn.batch.rows;
  std::vector<ColumnPtr>& columns = turn.batch.columns;
  if (const size_t at = program_->event_time_column(); handler.reads_columns[at]) {
    columns[at] = timestamp_column(turn.batch.event_time_ms, n, arena);
  }
  if (const size_t at = program_->watermark_column(); handler.reads_columns[at]) {
    columns[at] = timestamp_column(watermark_ms, n, arena);
  }
  if (const size_t at = program_->now_column(); handler.reads_columns[at]) {
    columns[at] = timestamp_column(repeated_time(context_.clock->wall_ms(), n, *arena), n, arena);
  }
}

// The first item whose watermark has passed a timer that one before it has set; all items if there is none.
uint32_t ProcessOperator::items_before_new_timers() const {
  if (program_->ttl_ms == 0 && !program_->on_record.sets_event_timers) return items_.size;
  int64_t earliest = kEndOfTime;
  for (uint32_t i = 0; i < items_.size; i++) {
    if (i > 0 && item_watermark_ms_[i] >= earliest) return i;
    if (failed_[i] != 0) continue;
    if (program_->ttl_ms > 0) {
      const int64_t forgotten_ms = plus_saturated(event_time_ms_[i], program_->ttl_ms);
      earliest = std::min(earliest, std::max(forgotten_ms, plus_saturated(item_watermark_ms_[i], 1)));
    }
    const ProcessTurn& turn = turns_[items_.rounds[i]];
    for (size_t timer = 0; timer < program_->timers.size(); timer++) {
      if (!program_->on_record.arms_timers[timer] || program_->timers[timer].processing_time) continue;
      const Column& due = *turn.batch.columns[program_->timer_column(timer)];
      if (!due.is_null(row_in_turn_[i])) earliest = std::min(earliest, due.ints[row_in_turn_[i]] / kMicrosPerMilli);
    }
  }
  return items_.size;
}

void ProcessOperator::commit_records(uint32_t end) {
  for (uint32_t i = 0; i < end; i++) {
    const bool latest = items_.next[i] == kNone || items_.next[i] >= end;
    if (latest) commit(program_->on_record, turns_[items_.rounds[i]], row_in_turn_[i]);
    if (failed_[i] == 0 && program_->ttl_ms > 0) keep_until(i, event_time_ms_[i], item_watermark_ms_[i]);
  }
}

void ProcessOperator::commit(const ProcessHandler& handler, const ProcessTurn& turn, uint32_t row) {
  const uint32_t item = turn.items[row];
  state_.note_change(items_.states[item]);
  for (size_t field = 0; field < program_->fields.size(); field++) {
    if (!handler.sets_fields[field]) continue;
    state_.store_field(field, turn.batch.columns[program_->field_column(field)], row, items_.states[item]);
  }
  for (size_t timer = 0; timer < program_->timers.size(); timer++) {
    if (!handler.sets_timers[timer]) continue;
    const Column& due = *turn.batch.columns[program_->timer_column(timer)];
    arm(timer, item, due.is_null(row) ? kNoTime : due.ints[row] / kMicrosPerMilli);
  }
}

// A timer that moves to a later time leaves its entry in the queue where it is; when that fires, the timer is queued
// for the time at which it is due then.
void ProcessOperator::arm(size_t timer, uint32_t item, int64_t due_ms) {
  TimerSlot& at = slot(item, timer);
  state_.note_change(items_.states[item]);
  at.due_ms = due_ms;
  if (due_ms == kNoTime || (at.queued_ms != kNoTime && at.queued_ms <= due_ms)) return;
  at.queued_ms = due_ms;
  const bool ttl = timer == state_.ttl_timer();
  timer_key_.assign(items_.keys[item].substr(1));
  timer_key_.push_back(static_cast<char>(ttl ? kTtlTimer : static_cast<uint8_t>(timer)));
  const bool clock = !ttl && program_->timers[timer].processing_time;
  (clock ? clock_timers_ : event_timers_).add(due_ms, items_.shards[item], timer_key_);
}

// The fields of the key are forgotten ttl after this time.
void ProcessOperator::keep_until(uint32_t item, int64_t time_ms, int64_t floor_ms) {
  const int64_t until_ms = std::max(plus_saturated(time_ms, program_->ttl_ms), plus_saturated(floor_ms, 1));
  const TimerSlot& at = slot(item, state_.ttl_timer());
  if (until_ms != kEndOfTime && until_ms > at.due_ms) arm(state_.ttl_timer(), item, until_ms);
}

Status ProcessOperator::show_records(const Batch& batch, uint32_t end, const ArenaPtr& arena, Collector& out) {
  RowErrors errors;
  for (size_t i = 0; i < turn_count_; i++) {
    for (const auto& entry : turns_[i].errors.entries) {
      const uint32_t item = turns_[i].items[entry.row];
      if (item < end) errors.entries.push_back({rows_[item], entry.message});
    }
  }
  counters_.absorbed += end - errors.entries.size();
  if (end > 0) shown_watermark_ms_ = std::max(shown_watermark_ms_, item_watermark_ms_[end - 1]);
  const ProcessOutput::Items shown{event_time_ms_.data(), item_watermark_ms_.data(), failed_.data()};
  MR_RETURN_IF_ERROR(output_.emit(shown, end, arena, out, counters_.out));
  for (size_t i = 0; i < turn_count_; i++) turns_[i].batch = Batch();
  if (errors.empty()) return Status::ok();
  std::sort(errors.entries.begin(), errors.entries.end(), [](const auto& a, const auto& b) { return a.row < b.row; });
  return out.fail_rows(batch, errors);
}

// Timers -----------------------------------------------------------------------------------------------------------

Result<bool> ProcessOperator::advance(int64_t watermark_ms, size_t max_rows, Collector& out) {
  MR_ASSIGN(const bool done, fire(event_timers_, watermark_ms, max_rows, out));
  // The end of this input is not the end of time for a state that is opened again.
  if (done && watermark_ms != kEndOfTime) watermark_.advance(watermark_ms);
  return done;
}

Result<bool> ProcessOperator::advance_clock(int64_t now_ms, size_t max_rows, Collector& out) {
  return fire(clock_timers_, now_ms, max_rows, out);
}

Result<bool> ProcessOperator::fire(TimerQueue& queue, int64_t limit_ms, size_t max_rows, Collector& out) {
  const bool one_time = &queue == &event_timers_ ? events_set_events_ : clock_sets_clock_;
  const bool at_end = &queue == &event_timers_ && limit_ms == kEndOfTime;
  size_t emits = 1;
  for (const ProcessHandler& handler : program_->on_timer) emits = std::max(emits, handler.max_emits);
  for (size_t budget = std::max<size_t>(max_rows, 1); budget > 0;) {
    const int64_t earliest = queue.earliest();
    if (earliest > limit_ms || earliest == kEndOfTime) break;
    const ArenaPtr arena = context_.arenas->take();
    const size_t timers = std::clamp<size_t>(budget / emits, 1, max_timers_);
    MR_ASSIGN(const size_t collected, collect(queue, one_time ? earliest : limit_ms, timers, at_end, arena));
    const uint64_t emitted_before = counters_.out;
    if (items_.size > 0) MR_RETURN_IF_ERROR(run_timers(queue, at_end, arena, out));
    budget -= std::min<size_t>(budget, std::max<size_t>(counters_.out - emitted_before, collected));
  }
  const int64_t earliest = queue.earliest();
  return earliest > limit_ms || earliest == kEndOfTime;
}

// Takes timers out of the queue and looks the state of their keys up. Returns how many; items are those that are due.
Result<size_t> ProcessOperator::collect(TimerQueue& queue, int64_t limit_ms, size_t max_timers, bool at_end,
                                        const ArenaPtr& arena) {
  timers_.clear();
  items_.keys.clear();
  items_.shards.clear();
  size_t put_off = 0;
  const auto fired = [&](const DueTimer& timer) {
    MR_CHECK(!timer.key.empty());
    // The end of the input makes no key old.
    if (at_end && static_cast<uint8_t>(timer.key.back()) == kTtlTimer && timer.time_ms > watermark_.ms()) {
      put_off++;
      queue.put_off();
      return Status::ok();
    }
    const size_t key_bytes = timer.key.size() - 1;
    char* key = arena->array<char>(key_bytes + 1);
    key[0] = static_cast<char>(kKeyTable);
    std::copy_n(timer.key.begin(), key_bytes, key + 1);
    timers_.push_back({timer.time_ms, static_cast<uint8_t>(timer.key.back())});
    items_.keys.emplace_back(key, key_bytes + 1);
    items_.shards.push_back(timer.shard);
    return Status::ok();
  };
  const Result<bool> done = queue.fire(limit_ms, max_timers, fired);
  if (!done.is_ok()) return done.status();
  const size_t collected = timers_.size();
  items_.resize(static_cast<uint32_t>(collected));
  if (collected == 0) return put_off;
  MR_RETURN_IF_ERROR(cache_->lookup(items_.keys.data(), items_.shards.data(), items_.size, items_.states.data()));
  settle(queue);
  return collected + put_off;
}

// Leaves those that are due. A timer that has moved is queued for its new time; what is due behind that goes back.
void ProcessOperator::settle(TimerQueue& queue) {
  const uint32_t collected = items_.size;
  int64_t moved_ms = kEndOfTime;
  uint32_t kept = 0;
  uint32_t put_back = 0;
  for (uint32_t i = 0; i < collected; i++) {
    const Timer timer = timers_[i];
    const size_t number = slot_of(timer.number);
    TimerSlot& at = slot(i, number);
    const bool queued = at.queued_ms == timer.time_ms;
    if (timer.time_ms >= moved_ms) {
      timer_key_.assign(items_.keys[i].substr(1));
      timer_key_.push_back(static_cast<char>(timer.number));
      queue.add(timer.time_ms, items_.shards[i], timer_key_);
      put_back++;
      continue;
    }
    if (queued) {
      at.queued_ms = kNoTime;
      state_.note_change(items_.states[i]);
    }
    if (queued && at.due_ms != kNoTime && at.due_ms > timer.time_ms) {
      moved_ms = std::min(moved_ms, at.due_ms);
      arm(number, i, at.due_ms);
    }
    if (at.due_ms != timer.time_ms) continue;
    items_.keys[kept] = items_.keys[i];
    items_.shards[kept] = items_.shards[i];
    items_.states[kept] = items_.states[i];
    timers_[kept++] = timer;
  }
  items_.resize(kept);
  timers_.resize(kept);
  max_timers_ = put_back * 2 > collected ? std::max(max_timers_ / 2, kMinItems) : std::min(max_timers_ * 2, kMaxItems);
}

Status ProcessOperator::run_timers(TimerQueue& queue, bool at_end, const ArenaPtr& arena, Collector& out) {
  const bool events = &queue == &event_timers_;
  const uint32_t n = items_.size;
  event_time_ms_.resize(n);
  item_watermark_ms_.resize(n);
  failed_.assign(n, 0);
  row_in_turn_.resize(n);
  for (uint32_t i = 0; i < n; i++) {
    event_time_ms_[i] = timers_[i].time_ms;
    const int64_t watermark_ms = events ? timers_[i].time_ms - 1 : watermark_.ms();
    shown_watermark_ms_ = std::max(shown_watermark_ms_, watermark_ms);
    item_watermark_ms_[i] = shown_watermark_ms_;
  }
  items_.assign_rounds(++stamp_);
  output_.begin(n);
  turn_count_ = 0;
  std::vector<uint32_t> same;
  for (size_t round = 0; round < items_.round_count; round++) {
    for (size_t timer = 0; timer <= program_->timers.size(); timer++) {
      const uint8_t number = timer == program_->timers.size() ? kTtlTimer : static_cast<uint8_t>(timer);
      same.clear();
      for (const uint32_t item : items_.order[round]) {
        // An earlier timer of the key may have cleared or moved it.
        if (timers_[item].number != number || slot(item, slot_of(number)).due_ms != timers_[item].time_ms) continue;
        slot(item, slot_of(number)).due_ms = kNoTime;
        state_.note_change(items_.states[item]);
        same.push_back(item);
      }
      if (same.empty()) continue;
      if (number == kTtlTimer) {
        for (const uint32_t item : same) state_.reset_fields(items_.states[item]);
      } else {
        MR_RETURN_IF_ERROR(run_timer_turn(same, number, at_end, arena, out));
      }
    }
  }
  const ProcessOutput::Items shown{event_time_ms_.data(), item_watermark_ms_.data(), failed_.data()};
  MR_RETURN_IF_ERROR(output_.emit(shown, n, arena, out, counters_.out));
  for (size_t i = 0; i < turn_count_; i++) turns_[i].batch = Batch();
  return Status::ok();
}

Status ProcessOperator::run_timer_turn(const std::vector<uint32_t>& items, uint8_t number, bool at_end,
                                       const ArenaPtr& arena, Collector& out) {
  const ProcessHandler& handler = program_->on_timer[number];
  const bool events = !program_->timers[number].processing_time;
  ProcessTurn& turn = begin_turn(items);
  turn.at_end = at_end;
  fill_timer_turn(turn, number, arena);
  MR_RETURN_IF_ERROR(decode_keys(turn, handler, arena));
  on_timer_[number]->run(turn, arena, output_);
  counters_.fired += items.size();
  for (uint32_t row = 0; row < turn.batch.rows; row++) {
    commit(handler, turn, row);
    if (program_->ttl_ms == 0 || turn.set_fields[row] == 0) continue;
    const int64_t time_ms = events ? event_time_ms_[items[row]] : watermark_.ms();
    if (time_ms != kNoTime) keep_until(items[row], time_ms, turn.event_floor_ms[row]);
  }
  if (turn.errors.empty()) return Status::ok();
  for (auto& entry : turn.errors.entries) {
    failed_[items[entry.row]] = 1;
    entry.message = "timer " + program_->timers[number].name + ": " + entry.message;
  }
  return out.fail_rows(turn.batch, turn.errors);
}

void ProcessOperator::fill_timer_turn(ProcessTurn& turn, uint8_t number, const ArenaPtr& arena) {
  const ProcessHandler& handler = program_->on_timer[number];
  const uint32_t n = turn.batch.rows;
  auto* times = arena->array<int64_t>(n);
  std::vector<void*> states(n);
  for (uint32_t i = 0; i < n; i++) {
    times[i] = event_time_ms_[turn.items[i]];
    states[i] = items_.states[turn.items[i]];
  }
  turn.batch.event_time_ms = times;
  const bool clock = program_->timers[number].processing_time;
  // On an event-time timer the watermark is where the timer is due, however far it has come by now.
  turn.event_floor_ms = clock ? repeated_time(watermark_.ms(), n, *arena) : times;
  turn.clock_floor_ms = clock ? times : nullptr;
  show_times(handler, turn, turn.event_floor_ms, arena);
  for (size_t field = 0; field < program_->fields.size(); field++) {
    if (!program_->loads_field(handler, field)) continue;
    turn.batch.columns[program_->field_column(field)] = state_.load_field(field, states.data(), n, arena);
  }
  for (size_t timer = 0; timer < program_->timers.size(); timer++) {
    if (!program_->loads_timer(handler, timer)) continue;
    turn.batch.columns[program_->timer_column(timer)] = state_.load_timer(timer, states.data(), n, arena);
  }
}

Status ProcessOperator::decode_keys(ProcessTurn& turn, const ProcessHandler& handler, const ArenaPtr& arena) {
  const uint32_t n = turn.batch.rows;
  std::vector<std::string_view> parts(program_->keys.size());
  for (size_t part = 0; part < parts.size(); part++) {
    if (!handler.reads_columns[program_->key_column(part)]) continue;
    ColumnBuilder column(program_->input[static_cast<size_t>(program_->keys[part])].type, arena, n);
    for (uint32_t row = 0; row < n; row++) {
      const std::string_view key = items_.keys[turn.items[row]].substr(1);
      if (!split_key(key, parts.size(), parts.data()) || !decode_key_part(parts[part], column, row)) {
        return Status::terminal(Code::kStateCorrupt, "key bytes do not decode");
      }
    }
    turn.batch.columns[program_->key_column(part)] = column.finish(n);
  }
  return Status::ok();
}

// State --------------------------------------------------------------------------------------------------------------

void ProcessOperator::cut(DeltaBuilder& delta) {
  std::vector<void*> initial;
  cache_->visit_dirty(0, cache_->dirty_count(), [&](const LaneCache::EntryView& entry) {
    if (state_.is_initial(entry.state)) initial.push_back(entry.state);
  });
  for (void* state : initial) cache_->mark_removed(state);
  cache_->cut(delta);
  state_.note_cut();
  event_timers_.cut(delta);
  clock_timers_.cut(delta);
  watermark_.cut(delta);
}

}  // namespace

std::unique_ptr<Operator> make_process_operator(std::shared_ptr<const ProcessProgram> program) {
  return std::make_unique<ProcessOperator>(std::move(program));
}

}  // namespace millrace
