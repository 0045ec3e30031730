// The start order of mode changelog (DESIGN 4, rules 1 and 8): lock the local store, refuse while the group has
// members, see to the topics, fence older incarnations, and only then read what is true and restore it.

#include <algorithm>

#include "base/crash_point.h"
#include "recovery/changelog_log.h"

namespace millrace {

namespace {

constexpr int kInitTimeoutMs = 20'000;  // less than the grace period of a stop; then it is tried again
constexpr int kMemberAttempts = 10;
constexpr size_t kRestoreQueueBytes = 64u << 20;  // of all readers
// One reader keeps a core busy with librdkafka's thread and another with ours, but not quite; what comes on top of two
// is small (docs/benchmarks.md). Another connection does not pay for few records.
constexpr size_t kRestoreReaders = 2;
constexpr int64_t kManyRecords = 100'000;
constexpr size_t kProgressQueueBytes = 8u << 20;
constexpr size_t kGroupQueueBytes = 1u << 20;  // these consumers never fetch

std::string reader_group(const RecoverySettings& settings) {
  for (const RecoverySettings::KafkaGroup& group : settings.groups) {
    if (group.same_cluster) return group.group;
  }
  return "millrace." + settings.pipeline;
}

const ChangelogPosition* position_of(const std::optional<ProgressRecord>& record, const TopicPartition& at) {
  if (!record) return nullptr;
  for (const ChangelogPosition& position : record->changelog) {
    if (position.partition == at.partition && position.topic == at.topic) return &position;
  }
  return nullptr;
}

Status gap(const ChangelogSpan& span, const std::string& what) {
  return Status::user(Code::kChangelogGap,
                      fmt::format("{}[{}]: {}; the state in it cannot be rebuilt. Bring the topic or the local store "
                                  "back, or start once with --accept-reset, which empties the state of its operator",
                                  span.at.topic, span.at.partition, what));
}

}  // namespace

Result<Recovered> ChangelogLog::recover() {
  MR_CHECK(producer_ == nullptr);  // one incarnation per object
  const int64_t started_ms = now_ms();
  Recovered recovered;
  MR_RETURN_IF_ERROR(open_store(&recovered.store));
  crash_point("recover-begin");
  MR_ASSIGN(admin_, clients_.admin());
  MR_RETURN_IF_ERROR(refuse_members());
  MR_ASSIGN(InternalTopics topics, ensure_internal_topics(*admin_, settings_, log_));
  delete_retention_ms_ = topics.delete_retention_ms;
  MR_RETURN_IF_ERROR(refuse_successor());
  MR_RETURN_IF_ERROR(open_producer());
  MR_ASSIGN(std::unique_ptr<KafkaConsumer> reader, new_reader(kProgressQueueBytes));
  Result<std::optional<ProgressRecord>> found =
      read_last_progress(*admin_, *reader, settings_.pipeline, ReadLimits{}, clock_, log_);
  reader.reset();
  if (!found.is_ok() && found.status().code() == Code::kProgressCorrupt && settings_.accept_reset) {
    log_.warn("--accept-reset: the pipeline starts as if for the first time ({})", found.status().message());
    found = std::optional<ProgressRecord>();
  }
  if (!found.is_ok()) return found.status();
  std::optional<ProgressRecord> record = std::move(found).value();
  if (record) MR_RETURN_IF_ERROR(compare_group_offsets(settings_, group_consumers_, &*record, &offsets_missing_, log_));

  RestorePlan plan;
  std::string full_because;
  MR_RETURN_IF_ERROR(settle(record, *recovered.store, &plan, &full_because));
  recovered.first_start = !record;
  MR_RETURN_IF_ERROR(restore(plan, full_because, !record, &recovered));
  recovered.progress = plan.target;
  positions_ = plan.target.changelog;
  MR_RETURN_IF_ERROR(open_topics());
  if (settings_.guarantee == Guarantee::kAtLeastOnce) MR_RETURN_IF_ERROR(sinks_.open());
  store_ = recovered.store.get();
  last_record_ = plan.target.encode();
  decided_ = plan.target.epoch;
  recovered.restore_ms = now_ms() - started_ms;
  crash_point("recover-restored");
  log_.info("mode changelog: epoch {}, state restored from {}: {} changelog records replayed in {} ms", decided_,
            recovered.restored_from, recovered.replayed_records, recovered.restore_ms);
  return recovered;
}

// Before init_transactions, which would fence a process that took over while this one stood still.
Status ChangelogLog::refuse_successor() {
  if (!settings_.known_epoch) return Status::ok();
  MR_ASSIGN(std::unique_ptr<KafkaConsumer> reader, new_reader(kProgressQueueBytes));
  MR_ASSIGN(std::optional<ProgressRecord> record,
            read_last_progress(*admin_, *reader, settings_.pipeline, ReadLimits{}, clock_, log_));
  if (!record || record->writer == settings_.writer || record->epoch <= *settings_.known_epoch) return Status::ok();
  return Status::terminal(Code::kFenced, fmt::format("another process has taken over pipeline {}: it decided epoch {}",
                                                     settings_.pipeline, record->epoch));
}

Status ChangelogLog::open_store(std::unique_ptr<StateStore>* store) {
  if (!settings_.store_damage.empty()) {
    return replace_store(store, Status::terminal(Code::kStateCorrupt, settings_.store_damage));
  }
  Result<std::unique_ptr<StateStore>> opened = open_state(settings_);
  if (!opened.is_ok() && opened.status().code() == Code::kStateCorrupt) return replace_store(store, opened.status());
  if (!opened.is_ok()) return opened.status();
  *store = std::move(opened).value();
  std::optional<ProgressRecord> held = held_record(**store);
  bool only_copy = held && held->mode == "local";
  if (!held && settings_.rocksdb) {
    Result<std::vector<LogEntry>> entries = (*store)->log_entries();
    only_copy = entries.is_ok() && !entries->empty();
  }
  if (!only_copy || settings_.accept_reset) return Status::ok();
  return Status::user(
      Code::kStateIncompatible,
      fmt::format("{} holds the only copy of a state of recovery mode local, which mode changelog would "
                  "replace; use another data_dir, or start once with --accept-reset, which deletes it",
                  state_directory(settings_)));
}

// The local store is a cache of the changelog: a damaged one is thrown away, loudly.
Status ChangelogLog::replace_store(std::unique_ptr<StateStore>* store, const Status& why) {
  log_.error("the local store in {} is damaged, removed, and restored in full from the changelog: {}",
             state_directory(settings_), why.to_string());
  store->reset();
  if (settings_.rocksdb) MR_RETURN_IF_ERROR(remove_store(state_directory(settings_)));
  MR_ASSIGN(*store, open_state(settings_));
  return Status::ok();
}

// nullopt also when it cannot be read: then the store is replaced by a full replay.
std::optional<ProgressRecord> ChangelogLog::held_record(StateStore& store) {
  Result<std::optional<std::string>> bytes = store.progress();
  if (!bytes.is_ok() || !bytes.value()) return std::nullopt;
  Result<ProgressRecord> record = ProgressRecord::parse(**bytes);
  if (record.is_ok()) return std::move(record).value();
  log_.error("the local store's progress record is damaged: {}", record.status().message());
  return std::nullopt;
}

// In slices: on a broker that has just made its first offsets topic a request for a group can stay unanswered, while
// the next one is answered at once.
Result<int> ChangelogLog::count_members(const std::string& group) {
  Result<int> members = 0;
  for (int attempt = 0; attempt < kMemberAttempts; attempt++) {
    members = admin_->group_members(group, kAdminTimeoutMs / kMemberAttempts);
    if (members.is_ok() || members.status().retry() == Retry::kNever) break;
  }
  return members;
}

Status ChangelogLog::refuse_members() {
  for (const RecoverySettings::KafkaGroup& group : settings_.groups) {
    if (!group.same_cluster || group_consumers_.count(group.group) != 0) continue;
    MR_ASSIGN(int members, count_members(group.group));
    if (members > 0) {
      return Status::user(
          Code::kGroupHasMembers,
          fmt::format("group \"{}\" has {} live members; the pipeline assigns all partitions itself and "
                      "would commit over them: stop the other consumers, or give source \"{}\" a group "
                      "of its own",
                      group.group, members, group.source));
    }
    MR_ASSIGN(group_consumers_[group.group], clients_.consumer({group.group, kGroupQueueBytes}));
  }
  return Status::ok();
}

Result<std::unique_ptr<KafkaConsumer>> ChangelogLog::new_reader(size_t queue_bytes) {
  return clients_.consumer({reader_group(settings_), queue_bytes});
}

Status ChangelogLog::open_producer() {
  KafkaProducerOptions options;
  options.transactional_id = "millrace." + settings_.pipeline;
  options.transaction_timeout_ms = settings_.transaction_timeout_ms;
  MR_ASSIGN(producer_, clients_.producer(options));
  return producer_->init_transactions(kInitTimeoutMs);
}

// Decides what the store has to hold and whether the tail is enough for it.
Status ChangelogLog::settle(const std::optional<ProgressRecord>& record, StateStore& store, RestorePlan* plan,
                            std::string* full_because) {
  std::set<std::string> lost;
  MR_RETURN_IF_ERROR(make_plan(record, lost, plan));
  std::optional<ProgressRecord> held = held_record(store);
  *full_because = why_full(*plan, held ? &*held : nullptr);
  for (const ChangelogSpan& span : plan->spans) {
    const ChangelogPosition* position = position_of(record, span.at);
    Status status;
    if (position != nullptr && span.high < position->offset) {
      status = gap(span, fmt::format("the topic ends at offset {}, the progress record knows {}: it was recreated or "
                                     "truncated",
                                     span.high, position->offset));
    } else if (!full_because->empty() && span.low > span.floor) {
      status =
          gap(span, fmt::format("records below offset {} were deleted, the state begins at {}, and the local store "
                                "does not help ({})",
                                span.low, span.floor, *full_because));
    }
    if (status.is_ok()) continue;
    if (!settings_.accept_reset) return status;
    for (const OperatorProgress& op : plan->target.operators) {
      if (op.number == span.operator_number) lost.insert(op.id);
    }
  }
  if (lost.empty()) return Status::ok();
  MR_RETURN_IF_ERROR(make_plan(record, lost, plan));
  *full_because = why_full(*plan, held ? &*held : nullptr);
  return Status::ok();
}

Status ChangelogLog::make_plan(const std::optional<ProgressRecord>& record, const std::set<std::string>& lost,
                               RestorePlan* plan) {
  MR_ASSIGN(OperatorTable table, settle_operators(settings_, record ? &*record : nullptr, lost, log_));
  for (OperatorProgress& op : table.operators) op.changelog_topic = changelog_topic(settings_.pipeline, op.id);
  uint64_t generation = record ? record->generation + (table.reset ? 1 : 0) : first_generation(clock_.wall_ms());
  identity_ = {settings_.pipeline, "changelog", generation, settings_.shards, table.operators, table.next_operator};
  plan->target = record ? *record : ProgressRecord{};
  apply_identity(identity_, &plan->target);
  MR_ASSIGN(plan->spans, capture_spans(table, record));
  if (!settings_.accept_reset) MR_RETURN_IF_ERROR(refuse_foreign(plan->spans, table));
  plan->target.changelog.clear();
  for (const ChangelogSpan& span : plan->spans) {
    plan->target.changelog.push_back({span.at.topic, span.at.partition, span.high, span.floor});
  }
  plan->delete_retention_ms = delete_retention_ms_;
  plan->now_wall_ms = clock_.wall_ms();
  return Status::ok();
}

Result<std::vector<ChangelogSpan>> ChangelogLog::capture_spans(const OperatorTable& table,
                                                               const std::optional<ProgressRecord>& record) {
  std::vector<ChangelogSpan> spans;
  std::vector<TopicPartition> partitions;
  for (const OperatorProgress& op : table.operators) {
    for (int32_t p = 0; p < settings_.changelog_partitions; p++) {
      spans.push_back({{op.changelog_topic, p}, op.number});
      partitions.push_back({op.changelog_topic, p});
    }
  }
  if (partitions.empty()) return spans;
  MR_ASSIGN(std::vector<Watermarks> marks, admin_->watermarks(partitions, kAdminTimeoutMs));
  for (size_t i = 0; i < spans.size(); i++) {
    ChangelogSpan& span = spans[i];
    span.low = marks[i].low;
    span.high = marks[i].high;
    const OperatorProgress& op = table.operators[i / static_cast<size_t>(settings_.changelog_partitions)];
    bool fresh = std::find(table.fresh.begin(), table.fresh.end(), op.id) != table.fresh.end();
    const ChangelogPosition* position = fresh ? nullptr : position_of(record, span.at);
    span.floor = fresh ? span.high : position != nullptr ? position->floor : 0;
  }
  return spans;
}

// Records in the changelog of an operator that the progress record does not know: somebody else's, or of an earlier
// life of it. Aborted transactions leave offsets without records, so it is the records that count.
Status ChangelogLog::refuse_foreign(const std::vector<ChangelogSpan>& spans, const OperatorTable& table) {
  std::vector<ReadRange> ranges;
  for (const ChangelogSpan& span : spans) {
    bool fresh = std::any_of(table.operators.begin(), table.operators.end(), [&](const OperatorProgress& op) {
      return op.number == span.operator_number &&
             std::find(table.fresh.begin(), table.fresh.end(), op.id) != table.fresh.end();
    });
    if (fresh) ranges.push_back({span.at, span.low, span.high});
  }
  bool empty =
      std::all_of(ranges.begin(), ranges.end(), [](const ReadRange& range) { return range.begin >= range.end; });
  if (empty) return Status::ok();
  MR_ASSIGN(std::unique_ptr<KafkaConsumer> reader, new_reader(kProgressQueueBytes));
  return read_to_end(*reader, ranges, ReadLimits{}, clock_, log_, [&](size_t range, const KafkaRecord& record) {
    return Status::user(
        Code::kProgressCorrupt,
        fmt::format(
            "{}[{}] holds records (offset {}), but the progress record on {} does not know this operator's "
            "state: it belongs to another owner or an earlier life of the operator. Delete the topic, rename the "
            "pipeline or operator, or start once with --accept-reset, which leaves those records behind",
            ranges[range].at.topic, ranges[range].at.partition, record.offset, progress_topic(settings_.pipeline)));
  });
}

Status ChangelogLog::restore(const RestorePlan& plan, const std::string& full_because, bool first_start,
                             Recovered* recovered) {
  if (first_start) {
    Result<std::optional<std::string>> held = recovered->store->progress();
    if (held.is_ok() && held.value()) {
      log_.warn("the local store is emptied: {} holds no progress record", progress_topic(settings_.pipeline));
    }
    recovered->restored_from = "empty";
    return recovered->store->clear();
  }
  const std::optional<ProgressRecord> held =
      full_because.empty() ? held_record(*recovered->store) : std::optional<ProgressRecord>();
  MR_CHECK(held.has_value() == full_because.empty());
  const size_t most = std::min(kRestoreReaders, static_cast<size_t>(settings_.changelog_partitions));
  const size_t readers = records_to_read(plan, held) < kManyRecords ? 1 : most;
  RestoreTools tools{{}, clock_, log_, ReadLimits{}};
  for (size_t i = 0; i < readers; i++) {
    MR_ASSIGN(std::unique_ptr<KafkaConsumer> reader, new_reader(kRestoreQueueBytes / readers));
    tools.consumers.push_back(std::move(reader));
  }
  if (held) {
    Result<uint64_t> tail = replay_tail(plan, *held, *recovered->store, tools);
    if (tail.is_ok()) {
      recovered->replayed_records = *tail;
      recovered->restored_from = *tail == 0 ? "local" : "tail";
      return Status::ok();
    }
    if (tail.status().code() != Code::kStateCorrupt) return tail.status();
    MR_RETURN_IF_ERROR(replace_store(&recovered->store, tail.status()));
    if (std::vector<ChangelogSpan> missing = incomplete_spans(plan); !missing.empty()) {
      return gap(missing[0], "records of the state were deleted, and the local store is damaged");
    }
  } else {
    log_.info("the local store is restored in full: {}", full_because);
  }
  Result<uint64_t> full = replay_full(plan, *recovered->store, tools);
  if (!full.is_ok() && full.status().code() == Code::kStateCorrupt) {
    MR_RETURN_IF_ERROR(replace_store(&recovered->store, full.status()));
    full = replay_full(plan, *recovered->store, tools);
  }
  if (!full.is_ok()) return full.status();
  recovered->replayed_records = *full;
  recovered->restored_from = "full";
  return Status::ok();
}

Status ChangelogLog::open_topics() {
  MR_ASSIGN(progress_handle_, producer_->topic(progress_topic(settings_.pipeline)));
  topics_.assign(identity_.next_operator, {});
  for (const OperatorProgress& op : identity_.operators) {
    ChangelogTopic& topic = topics_[op.number];
    topic.name = op.changelog_topic;
    MR_ASSIGN(topic.handle, producer_->topic(topic.name));
    auto first = std::find_if(positions_.begin(), positions_.end(),
                              [&](const ChangelogPosition& position) { return position.topic == op.changelog_topic; });
    topic.first_position = static_cast<size_t>(first - positions_.begin());
  }
  return Status::ok();
}

}  // namespace millrace
