#include "pipeline/lane_task.h"

#include "base/check.h"

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
  fused_ = std::make_unique<FusedOperators>(plan_, planned_.targets, outputs_, std::move(routes), arenas_);
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
    context.emit_per_batch = settings_.emit_per_batch;
    Status status = op_->open(context);
    if (status.is_ok()) status = fused_->open();
    if (!status.is_ok()) return events_.failed(id_, status.with_context("operator " + planned_.spec->id));
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
  Status status;
  if (flushing_) {
    bool done = false;
    status = flush_some(&done);
    if (status.is_ok() && done) {
      flushing_ = false;
      cut();
      if (barrier_) finish_barrier();
    }
  } else if (op_->is_full()) {
    // The barrier stands behind data that does not fit any more: emit and cut within the epoch.
    flushing_ = true;
  } else if (auto message = inbox_.pop()) {
    if (message->barrier) {
      barrier_ = message->barrier;
      flushing_ = true;
    } else {
      status = op_->process(message->batch, message->input, *this);
      if (op_->wants_barrier() && !barrier_wanted_) {
        barrier_wanted_ = true;
        events_.wants_barrier(id_);
      }
    }
  } else {
    *idle = true;
  }
  if (!status.is_ok()) {
    failed_ = true;
    events_.failed(id_, status);
    return false;
  }
  return true;
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
  mine.cache_hits = own.cache_hits;
  mine.cache_misses = own.cache_misses;
  mine.store_reads = own.store_reads;
  fused_->count(report.counts);
  outputs_.send_barrier(barrier);
  events_.passed(id_, std::move(report));
}

Status LaneTask::emit(Batch batch) {
  return batch.live() == 0 ? Status::ok() : fused_->deliver(planned_.targets, batch);
}

Status LaneTask::emit_side(const std::string&, Batch batch) { return fused_->deliver(planned_.late_targets, batch); }

Status LaneTask::fail_rows(const Batch& batch, const RowErrors& errors) {
  return fused_->fail_rows(planned_.spec->id, failures_, batch, errors);
}

}  // namespace millrace
