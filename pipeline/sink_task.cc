#include "pipeline/sink_task.h"

#include "pipeline/fused.h"

namespace millrace {
namespace {
constexpr int64_t kRetryMs = 1;       // the client's queue was full
constexpr int kMessagesPerTurn = 16;  // then a commit gets its turn, however full the inbox is
}  // namespace

SinkTask::SinkTask(size_t id, std::shared_ptr<Strand> strand, TaskEvents& events, const Plan& plan, Settings settings)
    : Task(id, std::move(strand), events),
      plan_(plan),
      planned_(plan.sinks[settings.sink]),
      settings_(std::move(settings)),
      inbox_(settings_.channel_bytes, [this] { schedule(); }),
      epoch_(settings_.first_epoch) {}

void SinkTask::open(bool first_start, std::optional<SinkProgress> progress) {
  strand_->post([this, first_start, progress = std::move(progress)] {
    sink_ = planned_.spec->plan->make();
    SinkContext context;
    context.log = settings_.log;
    context.producer = settings_.producer;
    context.refuse = [this](const Batch& batch, uint32_t row, Code code, const std::string& why) {
      return refuse(batch, row, code, why);
    };
    if (Status status = sink_->open(context, first_start, progress); !status.is_ok()) {
      failed_ = true;
      return events_.failed(id_, status.with_context("sink " + planned_.spec->name));
    }
    opened_ = true;
    events_.opened(id_, {});
  });
}

void SinkTask::wake() { schedule(); }

void SinkTask::schedule() {
  if (scheduled_.exchange(true, std::memory_order_acq_rel)) return;
  strand_->post([this] { turn(); });
}

void SinkTask::turn() {
  // An exchange, not a store: a wake() that still sees true has its open_epoch seen by the reads below.
  scheduled_.exchange(false, std::memory_order_acq_rel);
  if (!opened_ || failed_) return;
  for (int i = 0; i < kMessagesPerTurn; i++) {
    bool idle = false;
    auto more = step(&idle);
    if (!more.is_ok()) {
      failed_ = true;
      return events_.failed(id_, more.status().with_context("sink " + planned_.spec->name));
    }
    if (!*more || idle) return;
  }
  schedule();
}

Result<bool> SinkTask::step(bool* idle) {
  if (!outputs_.have_room()) return false;  // dead letters of this sink
  if (writing_) return write();
  auto message = inbox_.pop();
  if (!message) {
    *idle = true;
    return true;
  }
  if (message->barrier) {
    MR_RETURN_IF_ERROR(pass(*message->barrier));
    return true;
  }
  counts_.in += message->batch.live();
  writing_ = std::move(message->batch);
  cursor_ = 0;
  return write();
}

Result<bool> SinkTask::write() {
  if (epoch_ > settings_.open_epoch()) return false;  // wake() comes with the transaction
  auto written = sink_->write(*writing_, &cursor_);
  if (!written.is_ok()) return written.status();
  if (*written == Written::kRetry) {
    strand_->post_after(kRetryMs, [this] { schedule(); });
    return false;
  }
  counts_.out += writing_->live();
  rows_written_.fetch_add(writing_->live(), std::memory_order_relaxed);
  writing_.reset();
  return true;
}

Status SinkTask::pass(const Barrier& barrier) {
  MR_RETURN_IF_ERROR(sink_->flush(barrier.epoch));
  MR_ASSIGN(SinkProgress progress, sink_->prepare(barrier.epoch));
  progress.sink = planned_.spec->name;
  EpochReport report;
  report.epoch = barrier.epoch;
  if (!progress.bytes.empty()) report.sink = std::move(progress);
  counts_.bytes = sink_->bytes_written();
  counts_.dead_letters_cut = sink_->dead_letters_cut();
  report.counts["sink/" + planned_.spec->name] = counts_;
  epoch_ = barrier.epoch + 1;
  outputs_.send_barrier(barrier);
  events_.passed(id_, std::move(report));
  return Status::ok();
}

void SinkTask::commit(uint64_t epoch, bool finish) {
  strand_->post([this, epoch, finish] {
    Status status = sink_->commit(epoch);
    if (status.is_ok() && finish) status = sink_->finish();
    if (!status.is_ok()) return events_.failed(id_, status.with_context("sink " + planned_.spec->name));
    events_.committed(id_, epoch);
  });
}

// A row that the sink cannot take (larger than the broker allows, a value that does not encode): the policy of the
// row's source decides, as for any other bad record.
Status SinkTask::refuse(const Batch& batch, uint32_t row, Code code, const std::string& why) {
  const PlannedSource* source = source_to_decide(plan_, batch);
  const ErrorPolicy::Kind kind = source ? source->spec->on_error.kind : ErrorPolicy::Kind::kFail;
  counts_.out--;
  if (kind == ErrorPolicy::Kind::kDrop) {
    (code == Code::kRecordTooLarge ? counts_.dropped_too_large : counts_.dropped_evaluation)++;
    return Status::ok();
  }
  const auto channel = source ? dead_letters_.find(source->dead_letter_sink) : dead_letters_.end();
  if (kind == ErrorPolicy::Kind::kDeadLetter && channel != dead_letters_.end()) {
    counts_.dead_letters++;
    const DeadLetter letter = dead_letter_of(batch, row, planned_.input.schema, why, planned_.spec->name);
    outputs_.send(channel->second, make_dead_letters({letter}), 0);
    return Status::ok();
  }
  const std::string origin = row_origin(source, batch, row);
  return Status::user(code, why + (origin.empty() ? "" : " (" + origin + "; on_error: fail)"));
}

}  // namespace millrace
