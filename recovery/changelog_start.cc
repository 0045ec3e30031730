#include "recovery/changelog_start.h"

#include <algorithm>

#include "recovery/changelog_topics.h"

namespace millrace {

namespace {

// The newest records come first: nearly always the last one decided is among them, however long compaction was idle.
constexpr int64_t kNewestRecords = 1'000;
constexpr int kSettleMs = 10'000;  // beyond the transaction timeout, for unstable offsets

SourceProgress* find_source(ProgressRecord& record, const std::string& name) {
  auto at = std::find_if(record.sources.begin(), record.sources.end(),
                         [&](const SourceProgress& source) { return source.source == name; });
  return at == record.sources.end() ? nullptr : &*at;
}

Status contradicted(const std::string& group, const TopicPartition& at, int64_t committed, int64_t recorded) {
  return Status::user(
      Code::kProgressContradicted,
      fmt::format("{}[{}]: group \"{}\" stands at offset {}, the progress record at {}; somebody moved the "
                  "group's offsets. Set the offset back to {}, or start once with --accept-reset, which "
                  "continues at the group's offset with the state as it is",
                  at.topic, at.partition, group, committed, recorded, recorded));
}

Status compare_source(const RecoverySettings& settings, const RecoverySettings::KafkaGroup& group,
                      KafkaConsumer& consumer, SourceProgress* source, bool* missing, const Logger& log) {
  std::vector<TopicPartition> partitions;
  for (const PartitionProgress& partition : source->partitions) {
    partitions.push_back({partition.at.name.topic, partition.at.name.partition});
  }
  if (partitions.empty()) return Status::ok();
  MR_ASSIGN(std::vector<int64_t> offsets, consumer.committed(partitions, settings.transaction_timeout_ms + kSettleMs));
  for (size_t i = 0; i < partitions.size(); i++) {
    PartitionProgress& partition = source->partitions[i];
    if (offsets[i] == partition.at.position) continue;
    if (offsets[i] < 0) {
      log.warn("{}[{}]: group \"{}\" has no offset any more; the progress record says {}, which is committed anew",
               partitions[i].topic, partitions[i].partition, group.group, partition.at.position);
      *missing = true;
      continue;
    }
    if (!settings.accept_reset) {
      return contradicted(group.group, partitions[i], offsets[i], partition.at.position);
    }
    log.warn("--accept-reset: {}[{}] continues at offset {} of group \"{}\" instead of {}", partitions[i].topic,
             partitions[i].partition, offsets[i], group.group, partition.at.position);
    partition.at.position = offsets[i];
    partition.max_event_time_ms = kNoTime;
    partition.watermark_ms = kNoTime;
    partition.idle = false;
  }
  return Status::ok();
}

}  // namespace

Result<std::optional<ProgressRecord>> read_last_progress(KafkaAdmin& admin, KafkaConsumer& consumer,
                                                         const std::string& pipeline, const ReadLimits& limits,
                                                         const Clock& clock, const Logger& log) {
  TopicPartition at{progress_topic(pipeline), 0};
  MR_ASSIGN(std::vector<Watermarks> marks, admin.watermarks({at}, kAdminTimeoutMs));
  std::optional<std::string> last;
  auto visit = [&](size_t, const KafkaRecord& record) {
    if (record.key == pipeline && record.value.data() != nullptr) last = std::string(record.value);
    return Status::ok();
  };
  int64_t begin = std::max(marks[0].low, marks[0].high - kNewestRecords);
  MR_RETURN_IF_ERROR(read_to_end(consumer, {{at, begin, marks[0].high}}, limits, clock, log, visit));
  if (!last && begin > marks[0].low) {
    MR_RETURN_IF_ERROR(read_to_end(consumer, {{at, marks[0].low, marks[0].high}}, limits, clock, log, visit));
  }
  if (!last) return std::optional<ProgressRecord>();
  Result<ProgressRecord> record = ProgressRecord::parse(*last);
  if (!record.is_ok()) return record.status().with_context(at.topic);
  if (record->pipeline != pipeline || record->mode != "changelog") {
    return Status::terminal(Code::kProgressCorrupt, fmt::format("{}: the record belongs to pipeline \"{}\" in mode {}",
                                                                at.topic, record->pipeline, record->mode));
  }
  return std::optional<ProgressRecord>(std::move(*record));
}

Status compare_group_offsets(const RecoverySettings& settings, GroupConsumers& consumers, ProgressRecord* record,
                             bool* missing, const Logger& log) {
  for (const RecoverySettings::KafkaGroup& group : settings.groups) {
    if (!group.same_cluster) continue;
    SourceProgress* source = find_source(*record, group.source);
    if (source == nullptr) continue;
    MR_RETURN_IF_ERROR(compare_source(settings, group, *consumers.at(group.group), source, missing, log));
  }
  return Status::ok();
}

}  // namespace millrace
