#include "pipeline/source_task.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

SourceTask::SourceTask(size_t id, std::shared_ptr<Strand> strand, TaskEvents& events, const Plan& plan, size_t source,
                       Settings settings)
    : Task(id, std::move(strand), events),
      plan_(plan),
      planned_(plan.sources[source]),
      index_(source),
      settings_(std::move(settings)) {}

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
  if (Status status = fused_->open(); !status.is_ok()) return events_.failed(id_, status);
  source_ = spec.plan->make(settings_.context);
  std::vector<SourcePosition> positions;
  for (const PartitionProgress& partition : resume) positions.push_back(partition.at);
  if (Status status = source_->open(positions, planned_.needs); !status.is_ok())
    return events_.failed(id_, status.with_context("source " + spec.name));
  // Event-time state continues by name: the order of partitions may differ.
  const std::vector<SourcePosition> opened = source_->positions();
  max_event_time_ms_.assign(opened.size(), kNoTime);
  for (size_t i = 0; i < opened.size(); i++)
    for (const PartitionProgress& known : resume)
      if (known.at.name.topic == opened[i].name.topic && known.at.name.partition == opened[i].name.partition)
        max_event_time_ms_[i] = known.max_event_time_ms;
  events_.opened(id_, progress());
}

void SourceTask::start() {
  strand_->post([this] {
    running_ = true;
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
  if (ended_ || !outputs_.have_room()) return;
  SourcePoll poll;
  poll.arena = arenas_.take();
  if (Status status = source_->poll(settings_.limits, settings_.poll_timeout_ms, &poll); !status.is_ok())
    return events_.failed(id_, status.with_context("source " + planned_.spec->name));
  counts_.in += poll.skipped_too_large.size();
  counts_.dropped_too_large += poll.skipped_too_large.size();
  if (poll.count > 0) {
    counts_.in += poll.count;
    counts_.bytes += poll.bytes;
    if (Status status = process(poll); !status.is_ok()) return events_.failed(id_, status);
    rows_read_.fetch_add(poll.count, std::memory_order_relaxed);
  } else if (!poll.skipped_too_large.empty()) {
    rows_read_.fetch_add(1, std::memory_order_relaxed);  // the position moved
  }
  note_lag();
  if (poll.end_of_input) {
    ended_ = true;
    events_.source_ended(id_);
    return;
  }
  scheduled_ = true;
  strand_->post([this] { turn(); });
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
  max_event_time_ms_.resize(positions.size(), kNoTime);
  for (size_t i = 0; i < positions.size(); i++) {
    PartitionProgress partition;
    partition.at = positions[i];
    partition.max_event_time_ms = max_event_time_ms_[i];
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
  if (!event_time_) {
    for (uint32_t i = 0; i < batch.rows; i++) times[i] = rows.timestamp_ms ? rows.timestamp_ms[i] : kNoTime;
  } else {
    RowErrors errors;
    const ColumnPtr column = event_time_->evaluate(batch, arena, errors);
    for_each_live(batch, [&](uint32_t row) {
      if (column->is_null(row)) errors.entries.push_back({row, "event_time is null"});
    });
    std::sort(errors.entries.begin(), errors.entries.end(), [](const auto& a, const auto& b) { return a.row < b.row; });
    errors.entries.erase(std::unique(errors.entries.begin(), errors.entries.end(),
                                     [](const auto& a, const auto& b) { return a.row == b.row; }),
                         errors.entries.end());
    if (!errors.empty()) {
      MR_RETURN_IF_ERROR(fused_->fail_rows(planned_.spec->name, counts_, batch, errors));
      MR_RETURN_IF_ERROR(drop_bad_rows(batch, errors));
    }
    // Floor, so that times before 1970 fall into the millisecond they belong to.
    for_each_live(batch, [&](uint32_t row) {
      const int64_t us = column->ints[row];
      times[row] = us >= 0 ? us / 1000 : -((-(us + 1)) / 1000) - 1;
    });
  }
  for_each_live(batch, [&](uint32_t row) {
    const uint32_t partition = rows.partition[row];
    if (partition >= max_event_time_ms_.size()) max_event_time_ms_.resize(partition + 1, kNoTime);
    max_event_time_ms_[partition] = std::max(max_event_time_ms_[partition], times[row]);
  });
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
                                           row_origin(batch, first.row) + "; on_error: fail)");
  }
  return fused_->fail_rows(planned_.spec->name, counts_, batch, errors);
}

}  // namespace millrace
