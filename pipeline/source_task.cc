#include "pipeline/source_task.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {
namespace {

constexpr int64_t kWaitCheckMs = 5;
constexpr int64_t kPollSlackMs = 50;  // by which a poll that waited may exceed its timeout

void keep_first_per_row(RowErrors& errors) {
  auto& entries = errors.entries;
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.row < b.row; });
  const auto same_row = [](const auto& a, const auto& b) { return a.row == b.row; };
  entries.erase(std::unique(entries.begin(), entries.end(), same_row), entries.end());
}

}  // namespace

SourceTask::SourceTask(size_t id, std::shared_ptr<Strand> strand, TaskEvents& events, const Plan& plan, size_t source,
                       Settings settings)
    : Task(id, std::move(strand), events),
      plan_(plan),
      planned_(plan.sources[source]),
      index_(source),
      settings_(std::move(settings)),
      watermarks_(planned_.spec->watermark.max_out_of_orderness_ms, planned_.spec->watermark.idle_after_ms,
                  planned_.spec->plan->sequential()) {}

SourceTask::~SourceTask() {
  stop();
  if (source_) source_->close();
}

void SourceTask::connect(TaskRoutes routes) {
  fused_ = std::make_unique<FusedOperators>(plan_, planned_.targets, outputs_, std::move(routes), arenas_);
}

void SourceTask::open(std::vector<PartitionProgress> resume) {
  strand_->post([this, resume = std::move(resume)]() mutable { open_now(std::move(resume)); });
}

void SourceTask::open_now(std::vector<PartitionProgress> resume) {
  const SourceSpec& spec = *planned_.spec;
  if (!spec.plan->makes_columns()) {
    DecodeRequest request;
    request.schema = spec.schema;
    request.wanted.assign(planned_.needed.begin(),
                          planned_.needed.begin() + static_cast<std::ptrdiff_t>(planned_.declared));
    request.want_canonical = planned_.canonical;
    Diagnostics diagnostics;  // the format was checked at lint
    decoder_ = make_decoder(spec.format, request, spec.format_at, diagnostics);
    MR_CHECK(decoder_ != nullptr);
  }
  if (planned_.event_time) event_time_ = make_evaluator(planned_.event_time);
  if (planned_.watermark_when) watermark_when_ = make_evaluator(planned_.watermark_when);
  if (Status status = fused_->open(); !status.is_ok()) return events_.failed(id_, status);
  source_ = spec.plan->make(settings_.context);
  std::vector<SourcePosition> positions;
  for (const PartitionProgress& partition : resume) positions.push_back(partition.at);
  if (Status status = source_->open(positions, planned_.needs); !status.is_ok())
    return events_.failed(id_, status.with_context("source " + spec.name));
  // Event-time state continues by name: the order of partitions may differ.
  const std::vector<SourcePosition> opened = source_->positions();
  watermarks_.resize(opened.size());
  for (size_t i = 0; i < opened.size(); i++)
    for (const PartitionProgress& known : resume)
      if (known.at.name.topic == opened[i].name.topic && known.at.name.partition == opened[i].name.partition)
        watermarks_.restore(i, known);
  events_.opened(id_, progress());
}

void SourceTask::start() {
  strand_->post([this] {
    running_ = true;
    if (planned_.makes_watermarks && planned_.rows_have_times && settings_.alignment != nullptr)
      settings_.alignment->publish(index_, kNoTime);
    send_time();
    turn();
  });
}

void SourceTask::wake() {
  strand_->post([this] {
    if (!scheduled_ && running_) turn();
  });
}

void SourceTask::inject(Barrier barrier) {
  strand_->post([this, barrier] {
    EpochReport report;
    report.epoch = barrier.epoch;
    report.source = SourceProgress{planned_.spec->name, progress()};
    NodeCounts& mine = report.counts["source/" + planned_.spec->name];
    mine = counts_;
    fused_->count(report.counts);
    outputs_.send_barrier(barrier);
    events_.passed(id_, std::move(report));
  });
}

void SourceTask::released(std::vector<SourcePosition> positions) {
  strand_->post([this, positions = std::move(positions)] { source_->released(positions); });
}

// One poll. Posts itself again, so that barriers get in between; stops when a receiver is full (wake() goes on) or the
// input has ended.
void SourceTask::turn() {
  scheduled_ = false;
  if (ended_) return;
  if (!outputs_.have_room()) {
    polled_at_us_ = 0;
    return;
  }
  if (must_wait()) {
    polled_at_us_ = 0;
    scheduled_ = true;
    return strand_->post_after(kWaitCheckMs, [this] { turn(); });
  }
  SourcePoll poll;
  poll.arena = arenas_.take();
  const int64_t polled_us = settings_.context.clock->monotonic_us();
  if (Status status = source_->poll(settings_.limits, settings_.poll_timeout_ms, &poll); !status.is_ok())
    return events_.failed(id_, status.with_context("source " + planned_.spec->name));
  const int64_t waited_us = settings_.context.clock->monotonic_us() - polled_us;
  counts_.in += poll.skipped_too_large.size();
  counts_.dropped_too_large += poll.skipped_too_large.size();
  if (poll.count > 0) {
    counts_.in += poll.count;
    counts_.bytes += poll.bytes;
    if (Status status = process(poll); !status.is_ok()) return events_.failed(id_, status);
  }
  // With what was too large: the position moved.
  rows_read_.fetch_add(poll.count + poll.skipped_too_large.size(), std::memory_order_relaxed);
  apply_marks(poll);
  pass_quiet_time(poll, waited_us);
  note_lag();
  if (poll.end_of_input) {
    ended_ = true;
    send_time();  // every lane knows the last real watermark
    if (planned_.makes_watermarks) outputs_.send_time({kEndOfTime, false});
    if (settings_.alignment != nullptr) settings_.alignment->publish(index_, kEndOfTime);
    events_.source_ended(id_);
    return;
  }
  scheduled_ = true;
  send_time();
  strand_->post([this] { turn(); });
}

// Tells the lanes how far event time is behind everything sent so far.
void SourceTask::send_time() {
  if (!planned_.makes_watermarks || watermarks_.time() == sent_time_) return;
  if (watermarks_.time().idle != sent_time_.idle) activity_.fetch_add(1, std::memory_order_relaxed);
  sent_time_ = watermarks_.time();
  outputs_.send_time(sent_time_);
  shown_watermark_ms_.store(sent_time_.watermark_ms, std::memory_order_relaxed);
  if (settings_.alignment != nullptr && planned_.rows_have_times)  // without times nobody waits for it
    settings_.alignment->publish(index_, sent_time_.idle ? kEndOfTime : sent_time_.watermark_ms);
}

// The state that waits to be decided has no room, or the source is too far ahead of others.
bool SourceTask::must_wait() {
  if (settings_.held_back != nullptr && settings_.held_back->load(std::memory_order_relaxed)) return true;
  const int64_t max_drift_ms = planned_.spec->watermark.max_drift_ms;
  return max_drift_ms > 0 && planned_.makes_watermarks && settings_.alignment != nullptr &&
         settings_.alignment->ahead_ms(index_) > max_drift_ms;
}

void SourceTask::apply_marks(const SourcePoll& poll) {
  for (const auto& [partition, event_time_ms] : poll.event_time_marks) {
    watermarks_.resize(partition + 1);
    watermarks_.observe(partition, event_time_ms);
  }
}

// The clock of idle_after runs while this source waits for rows; not while the pipeline works or holds it back, nor
// during a backlog. A stall of the whole process counts for no more than a poll may take.
void SourceTask::pass_quiet_time(const SourcePoll& poll, int64_t waited_us) {
  if (!planned_.makes_watermarks || !watermarks_.watches_idleness()) return;
  int64_t quiet_us = std::min(waited_us, (settings_.poll_timeout_ms + kPollSlackMs) * 1000);
  if (settings_.waits_between_polls) {
    const int64_t now_us = settings_.context.clock->monotonic_us();
    quiet_us = polled_at_us_ != 0 ? now_us - polled_at_us_ : 0;
    polled_at_us_ = std::max<int64_t>(now_us, 1);
  }
  const bool backlog = poll.more_waits || poll.count >= settings_.limits.max_rows;
  if (!backlog && source_->connected()) {
    quiet_us_ += quiet_us;
    watermarks_.pass_quiet_time(quiet_us_ / 1000);
    quiet_us_ %= 1000;
  }
  idle_partitions_.store(watermarks_.idle_partitions(), std::memory_order_relaxed);
}

void SourceTask::note_lag() {
  connected_.store(source_->connected(), std::memory_order_relaxed);
  const int64_t now = settings_.context.clock->monotonic_us() / 1000;
  if (now - lag_noted_ms_ < 100 && lag_noted_ms_ != 0) return;
  lag_noted_ms_ = now;
  const Source::Lag lag = source_->lag();
  lag_records_.store(lag.records, std::memory_order_relaxed);
  behind_ms_.store(lag.behind_ms, std::memory_order_relaxed);
}

std::vector<PartitionProgress> SourceTask::progress() {
  std::vector<PartitionProgress> result;
  const std::vector<SourcePosition> positions = source_->positions();
  watermarks_.resize(positions.size());
  for (size_t i = 0; i < positions.size(); i++) {
    PartitionProgress partition;
    partition.at = positions[i];
    watermarks_.save(i, partition);
    result.push_back(std::move(partition));
  }
  return result;
}

Status SourceTask::process(SourcePoll& poll) {
  Batch batch;
  batch.rows = poll.count;
  batch.bytes = poll.bytes + poll.count * 32u;
  RowErrors errors;
  decode(poll, batch, errors);
  poll.rows->source = static_cast<uint32_t>(index_);
  batch.source_rows = poll.rows;
  batch.owners.push_back(poll.arena);
  if (!errors.empty()) {
    MR_RETURN_IF_ERROR(fail_decode(batch, errors));
    MR_RETURN_IF_ERROR(drop_bad_rows(batch, errors));
  }
  MR_RETURN_IF_ERROR(stamp_event_times(batch));
  if (planned_.makes_watermarks) MR_RETURN_IF_ERROR(stamp_watermarks(batch));
  if (batch.live() == 0) return Status::ok();
  counts_.out += batch.live();
  return fused_->deliver(planned_.targets, batch);
}

void SourceTask::decode(SourcePoll& poll, Batch& batch, RowErrors& errors) {
  if (planned_.spec->plan->makes_columns()) {
    batch.columns = std::move(poll.columns);
    return;
  }
  uint8_t* canonical = planned_.canonical ? poll.arena->array<uint8_t>(poll.count) : nullptr;
  decode_errors_.clear();
  batch.columns = decoder_->decode(poll.rows->payload, poll.count, poll.arena, canonical, decode_errors_);
  poll.rows->canonical = canonical;
  for (DecodeError& error : decode_errors_) errors.entries.push_back({error.row, std::move(error.message)});
  if (planned_.edge.schema.size() > planned_.declared) add_record_columns(poll, batch);
}

void SourceTask::add_record_columns(const SourcePoll& poll, Batch& batch) {
  const SourceRows& rows = *poll.rows;
  const Schema& schema = planned_.edge.schema;
  batch.columns.resize(schema.size());
  for (size_t column = planned_.declared; column < schema.size(); column++) {
    if (!planned_.needed[column]) continue;
    ColumnBuilder builder(schema[column].type, poll.arena, poll.count);
    const std::string& name = schema[column].name;
    for (uint32_t i = 0; i < poll.count; i++) {
      if (name == "record.key") {
        if (rows.key == nullptr || rows.key[i].data() == nullptr)
          builder.set_null(i);
        else
          builder.strings[i] = rows.key[i];
      } else if (name == "record.topic") {
        builder.strings[i] = (*rows.partitions)[rows.partition[i]].topic;
      } else if (name == "record.partition") {
        builder.ints[i] = (*rows.partitions)[rows.partition[i]].partition;
      } else if (name == "record.offset") {
        builder.ints[i] = rows.offset[i];
      } else if (name == "record.timestamp") {
        if (rows.timestamp_ms == nullptr || rows.timestamp_ms[i] == kNoTime)
          builder.set_null(i);
        else
          builder.ints[i] = rows.timestamp_ms[i] * 1000;
      } else if (name == "record.headers") {
        builder.spans[i] = rows.headers ? rows.headers[i] : Span{};
      }
    }
    if (name == "record.headers") {
      uint32_t total = 0;
      for (uint32_t i = 0; i < poll.count; i++)
        total = std::max(total, builder.spans[i].begin + builder.spans[i].count);
      ColumnBuilder keys(Type(TypeKind::kString), poll.arena, total);
      ColumnBuilder values(Type(TypeKind::kBytes), poll.arena, total);
      for (uint32_t i = 0; i < total; i++) {
        keys.strings[i] = rows.header_list[i].name;
        values.strings[i] = rows.header_list[i].value;
      }
      builder.children = {keys.finish(total), values.finish(total)};
    }
    auto built = std::const_pointer_cast<Column>(builder.finish(poll.count));
    built->owners.insert(built->owners.end(), rows.owners.begin(), rows.owners.end());
    batch.columns[column] = built;
  }
}

Status SourceTask::stamp_event_times(Batch& batch) {
  const ArenaPtr arena = arenas_.take();
  int64_t* times = arena->array<int64_t>(batch.rows);
  batch.event_time_ms = times;
  batch.owners.push_back(arena);
  const SourceRows& rows = *batch.source_rows;
  if (event_time_) {
    MR_RETURN_IF_ERROR(evaluate_event_times(batch, times));
  } else {
    for (uint32_t i = 0; i < batch.rows; i++) times[i] = rows.timestamp_ms ? rows.timestamp_ms[i] : kNoTime;
  }
  const WatermarkSpec& spec = planned_.spec->watermark;
  if (spec.max_future_ms > 0) {
    future_limit_ms_ = settings_.context.clock->wall_ms() + spec.max_future_ms;
    if (spec.on_future != WatermarkSpec::OnFuture::kClamp) MR_RETURN_IF_ERROR(refuse_future(batch));
  }
  for_each_live(batch, [&](uint32_t row) {
    if (rows.partition[row] >= partitions_seen_) partitions_seen_ = rows.partition[row] + 1;
  });
  watermarks_.resize(partitions_seen_);
  return Status::ok();
}

Status SourceTask::evaluate_event_times(Batch& batch, int64_t* times) {
  RowErrors errors;
  const ColumnPtr column = event_time_->evaluate(batch, arenas_.take(), errors);
  for_each_live(batch, [&](uint32_t row) {
    if (column->is_null(row)) errors.entries.push_back({row, "event_time is null"});
  });
  keep_first_per_row(errors);
  if (!errors.empty()) {
    MR_RETURN_IF_ERROR(fused_->fail_rows(planned_.spec->name, counts_, batch, errors, planned_.edge.schema));
    MR_RETURN_IF_ERROR(drop_bad_rows(batch, errors));
  }
  // Floor, so that times before 1970 fall into the millisecond they belong to.
  for_each_live(batch, [&](uint32_t row) {
    const int64_t us = column->ints[row];
    times[row] = us >= 0 ? us / 1000 : -((-(us + 1)) / 1000) - 1;
  });
  return Status::ok();
}

// Rows from beyond max_future stay out of the pipeline.
Status SourceTask::refuse_future(Batch& batch) {
  RowErrors errors;
  for_each_live(batch, [&](uint32_t row) {
    if (batch.event_time_ms[row] <= future_limit_ms_) return;
    errors.entries.push_back({row, "the event time is further ahead of the clock than max_future"});
  });
  if (errors.empty()) return Status::ok();
  counts_.dropped_future += errors.entries.size();
  if (planned_.future_sink != kNoIndex) {
    counts_.dropped_future -= errors.entries.size();
    counts_.dead_letters += errors.entries.size();
    fused_->send_dead_letters(planned_.future_sink, planned_.spec->name, batch, errors, planned_.edge.schema);
  }
  return drop_bad_rows(batch, errors);
}

// Each row gets the watermark that the rows before it left. A row without a time (a record without timestamp) cannot be
// placed, except where nobody asks for times but only for the end of the input.
Status SourceTask::stamp_watermarks(Batch& batch) {
  RowErrors errors;
  ColumnPtr moves;
  if (watermark_when_) moves = watermark_when_->evaluate(batch, arenas_.take(), errors);
  const bool needs_times = planned_.rows_have_times;
  for_each_live(batch, [&](uint32_t row) {
    if (needs_times && batch.event_time_ms[row] == kNoTime)
      errors.entries.push_back({row, "the record has no event time"});
  });
  if (!errors.empty()) {
    keep_first_per_row(errors);
    MR_RETURN_IF_ERROR(fused_->fail_rows(planned_.spec->name, counts_, batch, errors, planned_.edge.schema));
    MR_RETURN_IF_ERROR(drop_bad_rows(batch, errors));
  }
  const ArenaPtr arena = arenas_.take();
  int64_t* watermarks = arena->array<int64_t>(batch.rows);
  const uint32_t* partition = batch.source_rows->partition;
  const bool clamps = planned_.spec->watermark.max_future_ms > 0;
  for_each_live(batch, [&](uint32_t row) {
    watermarks[row] = watermarks_.watermark_ms();
    int64_t time_ms = batch.event_time_ms[row];
    if (clamps && time_ms > future_limit_ms_) {
      time_ms = future_limit_ms_;
      counts_.future++;
    }
    // Null is not true.
    if (moves && (moves->is_null(row) || moves->bools[row] == 0))
      watermarks_.note_row(partition[row]);
    else
      watermarks_.observe(partition[row], time_ms);
  });
  batch.watermark_ms = watermarks;
  batch.owners.push_back(arena);
  return Status::ok();
}

Status SourceTask::drop_bad_rows(Batch& batch, const RowErrors& errors) {
  auto selection = std::make_shared<std::vector<uint32_t>>();
  selection->reserve(batch.live());
  size_t next = 0;
  for_each_live(batch, [&](uint32_t row) {
    while (next < errors.entries.size() && errors.entries[next].row < row) next++;
    if (next < errors.entries.size() && errors.entries[next].row == row) return;
    selection->push_back(row);
  });
  batch.selection = std::move(selection);
  return Status::ok();
}

Status SourceTask::fail_decode(const Batch& batch, const RowErrors& errors) {
  const ErrorPolicy& policy = planned_.spec->on_error;
  if (policy.kind == ErrorPolicy::Kind::kDrop) {
    counts_.dropped_decode += errors.entries.size();
    return Status::ok();
  }
  if (policy.kind == ErrorPolicy::Kind::kFail) {
    const RowErrors::Entry& first = errors.entries.front();
    return Status::user(Code::kDecode, "source " + planned_.spec->name + ": " + first.message + " (" +
                                           row_origin(&planned_, batch, first.row) + "; on_error: fail)");
  }
  return fused_->fail_rows(planned_.spec->name, counts_, batch, errors, planned_.edge.schema);
}

}  // namespace millrace
