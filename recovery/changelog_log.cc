#include "recovery/changelog_log.h"

#include <algorithm>

#include "base/crash_point.h"
#include "base/murmur2.h"
#include "base/mutant.h"
#include "recovery/changelog_key.h"

namespace millrace {

namespace {

constexpr int kFullQueuePollMs = 10;
// A decision at least once a minute, with room for the decision itself.
constexpr int64_t kRecommitMs = 50'000;

const SourceProgress* find_source(const ProgressRecord& record, const std::string& name) {
  auto at = std::find_if(record.sources.begin(), record.sources.end(),
                         [&](const SourceProgress& source) { return source.source == name; });
  return at == record.sources.end() ? nullptr : &*at;
}

}  // namespace

ChangelogLog::ChangelogLog(const RecoverySettings& settings, const Clock& clock, Logger log, KafkaClients clients)
    : settings_(settings), clock_(clock), log_(std::move(log)), clients_(clients), sinks_(settings, clients) {
  MR_CHECK(settings_.changelog_partitions > 0 &&
           settings_.shards % static_cast<uint32_t>(settings_.changelog_partitions) == 0);
}

ChangelogLog::~ChangelogLog() { close(); }

Status ChangelogLog::begin(uint64_t first_epoch) {
  MR_CHECK(first_epoch == decided_ + 1);
  decided_ms_ = now_ms();
  usable_ = true;
  return open_epoch_for(first_epoch);
}

// Local to librdkafka until the first produce: an idle pipeline holds no transaction open at the broker.
Status ChangelogLog::open_epoch_for(uint64_t epoch) {
  if (Status status = producer_->begin_transaction(); !status.is_ok()) {
    usable_ = false;
    return status;
  }
  open_epoch_.store(epoch, std::memory_order_release);
  crash_point("epoch-begin");
  std::function<void()> callback;
  {
    std::lock_guard lock(callback_mutex_);
    callback = on_open_;
  }
  if (callback) callback();
  return Status::ok();
}

Result<DecisionOutcome> ChangelogLog::decide(Decision& decision, std::string* record) {
  MR_CHECK(decision.epoch == decided_ + 1);
  if (!usable_) {  // health() has found the transaction aborted while this decision was on its way
    MR_RETURN_IF_ERROR(health());
    return Status::external(Code::kTransactionAborted, "the transaction was aborted before its decision");
  }
  usable_ = false;  // until the commit has succeeded
  decision.progress.epoch = decision.epoch;
  decision.progress.decided_wall_ms = clock_.wall_ms();
  decision.progress.writer = settings_.writer;
  apply_identity(identity_, &decision.progress);
  if (mutant("apply-before-decision")) {
    MR_RETURN_IF_ERROR(store_->ingest(*Delta::merge(decision.deltas, false), last_record_));
  }
  for (const DeltaPtr& delta : decision.deltas) MR_RETURN_IF_ERROR(produce_delta(*delta));
  crash_point("changelog-produced");
  note_delivered();
  decision.progress.changelog = positions_;
  *record = decision.progress.encode();
  Result<CommitOutcome> outcome = commit(decision, *record);
  if (!outcome.is_ok()) {
    if (!mutant("swallow-fenced") || outcome.status().code() != Code::kFenced) return outcome.status();
    MR_RETURN_IF_ERROR(repeat_with_new_producer(decision, *record));
  } else if (*outcome == CommitOutcome::kUnknown) {
    return DecisionOutcome::kUnknown;
  }
  crash_point("after-commit");
  usable_ = true;
  decided_ = decision.epoch;
  decided_ms_ = now_ms();
  offsets_missing_ = false;
  last_record_ = *record;
  MR_RETURN_IF_ERROR(open_epoch_for(decision.epoch + 1));
  return DecisionOutcome::kDecided;
}

Status ChangelogLog::produce_delta(const Delta& delta) {
  KafkaRecordOut out;
  out.timestamp_ms = clock_.wall_ms();
  const auto partitions = static_cast<uint32_t>(settings_.changelog_partitions);
  for (size_t i = 0; i < delta.size(); i++) {
    std::string_view key = delta.key(i);
    uint16_t number = operator_of(key);
    MR_CHECK(number < topics_.size() && topics_[number].handle != nullptr);
    Delta::Value value = delta.value(i);
    const uint16_t shard = shard_of(key);
    out.partition = static_cast<int32_t>(shard % partitions);
    out.key = key.substr(kFullKeyPrefix);
    out.headers = nullptr;
    out.header_count = 0;
    // A key of one of several tables (windows, timers) does not say which shard it belongs to.
    std::string with_shard;
    const Header marked{kShardHeader, ""};
    if (shard_of(out.key, settings_.shards) != shard) {
      with_shard = key_with_shard(shard, out.key);
      out.key = with_shard;
      out.headers = &marked;
      out.header_count = 1;
    }
    out.value = value.tombstone ? std::string_view() : value.bytes;
    if (!value.tombstone && out.value.data() == nullptr) out.value = std::string_view("", 0);
    MR_RETURN_IF_ERROR(produce(topics_[number].handle, out, topics_[number].name));
  }
  return Status::ok();
}

Status ChangelogLog::produce(KafkaTopic* topic, const KafkaRecordOut& record, const std::string& what) {
  Produced produced = producer_->produce(topic, record);
  if (produced == Produced::kQueueFull) {
    const int64_t deadline_ms = now_ms() + settings_.transaction_timeout_ms;
    while (produced == Produced::kQueueFull && now_ms() < deadline_ms) {
      producer_->poll(kFullQueuePollMs);
      produced = producer_->produce(topic, record);
    }
  }
  switch (produced) {
    case Produced::kQueued: return Status::ok();
    case Produced::kQueueFull:
      return Status::external(Code::kKafkaUnavailable, fmt::format("{}: the producer's queue stayed full for {} s",
                                                                   what, settings_.transaction_timeout_ms / 1000));
    case Produced::kTooLarge:
      return Status::user(Code::kRecordTooLarge,
                          fmt::format("{}: the state of one key is {} bytes, more than a Kafka record may have", what,
                                      record.key.size() + record.value.size()));
    case Produced::kFailed: break;
  }
  Status error = producer_->error();
  return error.is_ok() ? Status::external(Code::kKafkaUnavailable, what + ": produce failed") : error;
}

// Every changelog record below a delivered one is of this epoch or an earlier one, since an epoch is only written when
// the one before is decided: what was delivered so far is a lower bound of the epoch's end, got without waiting for the
// rest.
void ChangelogLog::note_delivered() {
  producer_->poll(0);
  for (const ChangelogTopic& topic : topics_) {
    if (topic.handle == nullptr) continue;
    std::vector<int64_t> delivered = producer_->last_delivered(topic.handle);
    size_t n = std::min(delivered.size(), static_cast<size_t>(settings_.changelog_partitions));
    for (size_t p = 0; p < n; p++) {
      int64_t& offset = positions_[topic.first_position + p].offset;
      if (delivered[p] >= 0) offset = std::max(offset, delivered[p] + 1);
    }
  }
}

std::vector<GroupOffsets> ChangelogLog::group_offsets(const ProgressRecord& progress) const {
  std::vector<GroupOffsets> groups;
  for (const auto& [name, consumer] : group_consumers_) {
    GroupOffsets offsets;
    for (const RecoverySettings::KafkaGroup& group : settings_.groups) {
      const SourceProgress* source = find_source(progress, group.source);
      if (group.group != name || !group.same_cluster || source == nullptr) continue;
      for (const PartitionProgress& partition : source->partitions) {
        if (partition.at.position < 0) continue;
        const PartitionName& at = partition.at.name;
        offsets.offsets.push_back({{at.topic, at.partition}, partition.at.position});
      }
    }
    if (offsets.offsets.empty()) continue;
    offsets.group_metadata = consumer->group_metadata();
    groups.push_back(std::move(offsets));
  }
  return groups;
}

Result<CommitOutcome> ChangelogLog::commit(const Decision& decision, const std::string& record) {
  KafkaRecordOut out;
  out.partition = 0;
  out.key = settings_.pipeline;
  out.value = record;
  out.timestamp_ms = clock_.wall_ms();
  MR_RETURN_IF_ERROR(produce(progress_handle_, out, progress_topic(settings_.pipeline)));
  MR_RETURN_IF_ERROR(sinks_.flush());
  // Only so that the crash point stands behind the flush: commit_transaction flushes too, and knows the reason of an
  // error better (records purged because we were fenced).
  Status flushed = producer_->flush(settings_.transaction_timeout_ms);
  if (flushed.is_ok()) crash_point("before-commit");
  std::vector<GroupOffsets> groups = group_offsets(decision.progress);
  Result<CommitOutcome> outcome = producer_->commit_transaction(groups);
  // The mutant commit-twice: asks again, hears that nothing is left to commit, and goes on. The first request may still
  // be on its way.
  if (mutant("commit-twice") && outcome.is_ok() && *outcome == CommitOutcome::kUnknown) {
    (void)producer_->commit_transaction({});
    outcome = CommitOutcome::kCommitted;
  }
  return outcome;
}

// The mutant swallow-fenced: what a program does that takes fencing for a hiccup. Never reached in a release build.
Status ChangelogLog::repeat_with_new_producer(const Decision& decision, const std::string& record) {
  retired_.push_back(std::move(producer_));
  MR_RETURN_IF_ERROR(open_producer());
  MR_RETURN_IF_ERROR(open_topics());
  MR_RETURN_IF_ERROR(producer_->begin_transaction());
  for (const DeltaPtr& delta : decision.deltas) MR_RETURN_IF_ERROR(produce_delta(*delta));
  Result<CommitOutcome> outcome = commit(decision, record);
  return outcome.is_ok() ? Status::ok() : outcome.status();
}

KafkaProducer* ChangelogLog::sink_producer() {
  return settings_.guarantee == Guarantee::kExactlyOnce ? producer_.get() : sinks_.producer();
}

uint64_t ChangelogLog::open_epoch() const {
  if (settings_.guarantee != Guarantee::kExactlyOnce) return UINT64_MAX;
  return open_epoch_.load(std::memory_order_acquire);
}

void ChangelogLog::on_open(std::function<void()> callback) {
  std::lock_guard lock(callback_mutex_);
  on_open_ = std::move(callback);
}

bool ChangelogLog::wants_decision(int64_t now_ms) const {
  return offsets_missing_ || now_ms - decided_ms_ >= kRecommitMs;
}

// A transaction that librdkafka gave up purges its records, and these may be all that error() knows of: asking to
// commit is refused, with the reason (fenced, or something that a restart cures).
Status ChangelogLog::health() {
  if (!producer_) return sinks_.health();
  Status error = producer_->error();
  if (error.code() == Code::kTransactionAborted && usable_) {
    usable_ = false;
    Result<CommitOutcome> refused = producer_->commit_transaction({});
    if (!refused.is_ok()) error = refused.status();
  }
  MR_RETURN_IF_ERROR(error);
  return sinks_.health();
}

// Only a transaction that nothing has gone wrong with is aborted; anything else is settled by the next incarnation's
// init_transactions, since a late request of ours could hit what comes after.
void ChangelogLog::close() {
  if (producer_ && usable_) producer_->abort_transaction();
  usable_ = false;
  sinks_.close();
  producer_.reset();
  retired_.clear();
  group_consumers_.clear();
  admin_.reset();
}

std::unique_ptr<DecisionLog> make_changelog_log(const RecoverySettings& settings, const Clock& clock, Logger log,
                                                KafkaClients clients) {
  return std::make_unique<ChangelogLog>(settings, clock, std::move(log), std::move(clients));
}

}  // namespace millrace
