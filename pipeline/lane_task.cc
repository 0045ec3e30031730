#include "pipeline/lane_task.h"

#include <algorithm>

#include "base/check.h"
#include "pipeline/watermark.h"

namespace millrace {
namespace {
constexpr int kMessagesPerTurn = 16;  // then other strands get the thread
constexpr size_t kRowsPerFlush = 8192;
}  // namespace

LaneTask::LaneTask(size_t id, std::shared_ptr<Strand> strand, TaskEvents& events, const Plan& plan, LaneState& state,
                   Settings settings)
    : Task(id, std::move(strand), events),
      plan_(plan),
      planned_(plan.operators[settings.op]),
      state_(state),
      settings_(settings),
      inbox_(settings.channel_bytes, [this] { schedule(); }),
      epoch_(settings.first_epoch) {}

void LaneTask::connect(TaskRoutes routes) {
  fused_ = std::make_unique<FusedOperators>(plan_, planned_.all_targets(), outputs_, std::move(routes), arenas_);
}

void LaneTask::open() {
  strand_->post([this] {
    op_ = planned_.spec->plan->make();
    OperatorContext context;
    context.arenas = &arenas_;
    context.state = &state_;
    context.operator_id = settings_.operator_number;
    context.cache_bytes = settings_.cache_bytes;
    context.lane = settings_.lane;
    context.lanes = settings_.lanes;
    context.shards = plan_.spec->shards;
    context.clock = settings_.clock;
    context.emit_per_batch = settings_.emit_per_batch;
    Status status = op_->open(context);
    if (status.is_ok()) status = fused_->open();
    if (!status.is_ok()) return events_.failed(id_, status.with_context("operator " + planned_.spec->id));
    watermark_ms_ = op_->restored_watermark_ms();
    channel_times_.resize(inbox_.channels());
    next_clock_ms_.store(op_->next_clock_ms(), std::memory_order_relaxed);
    events_.opened(id_, {});
  });
}

void LaneTask::wake() { schedule(); }

void LaneTask::schedule() {
  if (scheduled_.exchange(true, std::memory_order_acq_rel)) return;
  strand_->post([this] { turn(); });
}

void LaneTask::turn() {
  // From here on a push schedules again; a spurious turn is harmless, a missed one is not.
  scheduled_.store(false, std::memory_order_release);
  if (failed_) return;
  for (int i = 0; i < kMessagesPerTurn; i++) {
    bool idle = false;
    if (!step(&idle)) return;
    if (idle) return;
  }
  schedule();
}

bool LaneTask::step(bool* idle) {
  if (!outputs_.have_room()) return false;
  const Status status = work(idle);
  next_clock_ms_.store(op_ ? op_->next_clock_ms() : kEndOfTime, std::memory_order_relaxed);
  if (status.is_ok()) return true;
  failed_ = true;
  events_.failed(id_, status);
  return false;
}

// One bounded piece of work; what was begun comes first.
Status LaneTask::work(bool* idle) {
  if (flushing_) {
    bool done = false;
    MR_RETURN_IF_ERROR(flush_some(&done));
    if (!done) return Status::ok();
    flushing_ = false;
    cut();
    if (barrier_) finish_barrier();
    return Status::ok();
  }
  if (op_->is_full()) {
    // The barrier stands behind data that does not fit any more: emit and cut within the epoch.
    flushing_ = true;
    return Status::ok();
  }
  if (advancing_to_ms_) return advance();
  if (batch_) return consume();
  if (clock_fires_ || op_->next_clock_ms() <= settings_.clock->wall_ms()) return advance_clock();
  return take(idle);
}

Status LaneTask::take(bool* idle) {
  std::optional<Message> message = inbox_.pop();
  if (!message) {
    *idle = true;
  } else if (message->barrier) {
    barrier_ = message->barrier;
    flushing_ = true;
  } else if (message->time) {
    pass_time(message->channel, *message->time);
  } else {
    batch_ = std::move(message->batch);
    batch_input_ = message->input;
    cursor_ = 0;
    if (batch_->watermark_ms != nullptr) align_watermarks(message->channel, *batch_);
    return consume();
  }
  return Status::ok();
}

void LaneTask::align_watermarks(size_t channel, Batch& batch) {
  if (batch.live() == 0) return;
  StreamTime& own = channel_times_[channel];
  const int64_t last = batch.watermark_ms[batch.row(batch.live() - 1)];
  own.idle = false;
  if (channel_times_.size() == 1 && batch.watermark_ms[batch.row(0)] >= watermark_ms_) {
    own.watermark_ms = watermark_ms_ = last;
    return;
  }
  const ArenaPtr arena = arenas_.take();
  int64_t* aligned = arena->array<int64_t>(batch.rows);
  for_each_live(batch, [&](uint32_t row) {
    own.watermark_ms = std::max(own.watermark_ms, batch.watermark_ms[row]);
    watermark_ms_ = std::max(watermark_ms_, aligned_watermark(channel_times_));
    aligned[row] = watermark_ms_;
  });
  batch.watermark_ms = aligned;
  batch.owners.push_back(arena);
}

void LaneTask::pass_time(size_t channel, const StreamTime& time) {
  StreamTime& own = channel_times_[channel];
  own.watermark_ms = std::max(own.watermark_ms, time.watermark_ms);
  own.idle = time.idle;
  const int64_t aligned = aligned_watermark(channel_times_);
  watermark_ms_ = std::max(watermark_ms_, aligned);
  idle_ = aligned != kEndOfTime && std::all_of(channel_times_.begin(), channel_times_.end(), [](const auto& one) {
            return one.idle || one.watermark_ms == kEndOfTime;
          });
  // Rows have moved the watermark as well: what counts is what was passed on.
  if (sent_time_ != output_time()) advancing_to_ms_ = watermark_ms_;
}

int64_t LaneTask::delayed(int64_t watermark_ms) const {
  if (watermark_ms == kNoTime || watermark_ms == kEndOfTime) return watermark_ms;
  int64_t delayed_ms = 0;
  return __builtin_sub_overflow(watermark_ms, op_->output_delay_ms(), &delayed_ms) ? kNoTime : delayed_ms;
}

// Tells the tasks behind this one where it stands, when everything that is due has been emitted.
void LaneTask::send_time() {
  const StreamTime time = output_time();
  if (sent_time_ == time) return;
  sent_time_ = time;
  outputs_.send_time(time);
}

Status LaneTask::consume() {
  const uint32_t begin = cursor_;
  auto consumed = op_->consume(*batch_, begin, batch_input_, *this);
  if (!consumed.is_ok()) return consumed.status();
  cursor_ = *consumed;
  if (cursor_ < batch_->live()) {
    // Without event time what stopped the operator is its cache: the next turn sees that it is full.
    if (batch_->watermark_ms != nullptr) advancing_to_ms_ = batch_->watermark_ms[batch_->row(cursor_)];
  } else {
    batch_.reset();
  }
  want_barrier();
  return Status::ok();
}

Status LaneTask::advance() {
  const uint64_t fired = op_->counters().fired;
  auto done = op_->advance(*advancing_to_ms_, kRowsPerFlush, *this);
  if (!done.is_ok()) return done.status();
  if (op_->counters().fired != fired) activity_.fetch_add(1, std::memory_order_relaxed);
  if (*done) {
    advancing_to_ms_.reset();
    // Within a batch the rows themselves carry the watermark.
    if (!batch_ && !op_->holds_rows()) send_time();
  }
  want_barrier();
  return Status::ok();
}

Status LaneTask::advance_clock() {
  auto done = op_->advance_clock(settings_.clock->wall_ms(), kRowsPerFlush, *this);
  if (!done.is_ok()) return done.status();
  clock_fires_ = !*done;
  activity_.fetch_add(1, std::memory_order_relaxed);
  want_barrier();
  return Status::ok();
}

void LaneTask::want_barrier() {
  if (barrier_wanted_ || !op_->wants_barrier()) return;
  barrier_wanted_ = true;
  events_.wants_barrier(id_);
}

Status LaneTask::flush_some(bool* done) {
  auto result = op_->flush(epoch_, kRowsPerFlush, *this);
  if (!result.is_ok()) return result.status();
  *done = *result;
  return Status::ok();
}

void LaneTask::cut() {
  if (barrier_ && !settings_.always_cut && !op_->wants_barrier()) return;
  DeltaBuilder builder(epoch_);
  op_->cut(builder);
  DeltaPtr delta = builder.finish();
  if (delta->size() == 0) return;
  state_.add_undecided(delta);
  cuts_.push_back(std::move(delta));
}

void LaneTask::finish_barrier() {
  const Barrier barrier = *barrier_;
  MR_CHECK(barrier.epoch == epoch_);
  barrier_.reset();
  EpochReport report;
  report.epoch = barrier.epoch;
  if (cuts_.size() == 1) report.delta = cuts_[0];
  if (cuts_.size() > 1) report.delta = Delta::merge(cuts_, false);
  cuts_.clear();
  epoch_ = barrier.epoch + 1;
  barrier_wanted_ = false;
  NodeCounts& mine = report.counts["operator/" + planned_.spec->id];
  const OperatorCounters& own = op_->counters();
  mine = failures_;
  mine.in = own.in;
  mine.out = own.out;
  mine.filtered = own.filtered;
  mine.absorbed = own.absorbed;
  mine.late = own.late;
  if (planned_.late_targets.empty()) mine.dropped_late = own.late;
  mine.fired = own.fired;
  mine.cache_hits = own.cache_hits;
  mine.cache_misses = own.cache_misses;
  mine.store_reads = own.store_reads;
  fused_->count(report.counts);
  send_time();
  outputs_.send_barrier(barrier);
  events_.passed(id_, std::move(report));
}

Status LaneTask::emit(Batch batch) {
  const bool held = op_->holds_rows();
  if ((held || op_->output_delay_ms() > 0) && batch.watermark_ms != nullptr) {
    const ArenaPtr arena = arenas_.take();
    int64_t* watermark_ms = arena->array<int64_t>(batch.rows);
    for (size_t i = 0; i < batch.rows; i++) {
      watermark_ms[i] = held ? sent_time_.watermark_ms : delayed(batch.watermark_ms[i]);
    }
    batch.watermark_ms = watermark_ms;
    batch.owners.push_back(arena);
  }
  return batch.live() == 0 ? Status::ok() : fused_->deliver(planned_.targets, batch);
}

Status LaneTask::emit_side(const std::string&, Batch batch) { return fused_->deliver(planned_.late_targets, batch); }

Status LaneTask::fail_rows(const Batch& batch, const RowErrors& errors) {
  return fused_->fail_rows(planned_.spec->id, failures_, batch, errors, planned_.input);
}

Status LaneTask::fail_results(const Batch& batch, const RowErrors& errors) {
  return fused_->fail_rows(planned_.spec->id, failures_, batch, errors, planned_.spec->plan->output().schema);
}

}  // namespace millrace
