#include "tests/recovery/fake_kafka.h"

#include <algorithm>

namespace millrace {

// Opaque to everybody else.
struct KafkaTopic {
  std::string name;
  std::vector<int64_t> delivered;
};

namespace {

std::optional<std::string> owned(std::string_view view) {
  if (view.data() == nullptr) return std::nullopt;
  return std::string(view);
}

class FakeAdmin : public KafkaAdmin {
 public:
  explicit FakeAdmin(FakeCluster& cluster) : cluster_(cluster) {}
  Result<std::string> cluster_id(int) override { return std::string("fake"); }
  Result<std::optional<TopicInfo>> describe_topic(const std::string& name, int) override {
    auto at = cluster_.topics.find(name);
    if (at == cluster_.topics.end()) return std::optional<TopicInfo>();
    return std::optional<TopicInfo>(TopicInfo{name, "id", static_cast<int32_t>(at->second.partitions.size())});
  }
  Result<std::map<std::string, std::string>> topic_settings(const std::string& name, int) override {
    return cluster_.topics.at(name).settings;
  }
  Status create_topic(const TopicSpec& spec, int) override {
    cluster_.make_topic(spec.name, spec.partitions, spec.settings);
    return Status::ok();
  }
  Result<std::vector<Watermarks>> watermarks(const std::vector<TopicPartition>& partitions, int) override {
    cluster_.calls.push_back("watermarks");
    std::vector<Watermarks> marks;
    for (const TopicPartition& at : partitions) {
      const FakeCluster::Log& log = cluster_.topics.at(at.topic).partitions.at(static_cast<size_t>(at.partition));
      marks.push_back({log.low, log.high});
    }
    return marks;
  }
  Result<std::vector<int64_t>> offsets_for_time(const std::vector<TopicPartition>&, int64_t, int) override {
    return std::vector<int64_t>();
  }
  Result<int> group_members(const std::string& group, int) override {
    cluster_.calls.push_back("members");
    return cluster_.members[group];
  }

 private:
  FakeCluster& cluster_;
};

class FakeConsumer : public KafkaConsumer {
 public:
  FakeConsumer(FakeCluster& cluster, std::string group) : cluster_(cluster), group_(std::move(group)) {}
  Status assign(const std::vector<PartitionOffset>& partitions) override {
    assigned_ = partitions;
    ended_.assign(partitions.size(), -1);
    return Status::ok();
  }
  Status poll(size_t max_records, size_t, int timeout_ms, bool, KafkaPoll* poll) override {
    poll->records.clear();
    poll->ends.clear();
    for (uint32_t i = 0; i < assigned_.size(); i++) {
      MR_RETURN_IF_ERROR(poll_partition(i, max_records, poll));
    }
    if (poll->records.empty() && poll->ends.empty()) cluster_.clock.advance_ms(timeout_ms);
    return Status::ok();
  }
  void read_headers(KafkaRecord* record) override {
    headers_.clear();
    for (const std::string& name : static_cast<const FakeCluster::Record*>(record->message)->headers)
      headers_.push_back({name, ""});
    record->headers = headers_.data();
    record->header_count = static_cast<uint32_t>(headers_.size());
  }
  std::vector<int64_t> positions() const override {
    std::vector<int64_t> positions;
    for (const PartitionOffset& at : assigned_) positions.push_back(at.offset);
    return positions;
  }
  Result<std::vector<int64_t>> committed(const std::vector<TopicPartition>& partitions, int) override {
    cluster_.calls.push_back("committed");
    std::vector<int64_t> offsets;
    for (const TopicPartition& at : partitions) {
      auto found = cluster_.groups[group_].find(at);
      offsets.push_back(found == cluster_.groups[group_].end() ? kOffsetNone : found->second);
    }
    return offsets;
  }
  Status commit(const std::vector<PartitionOffset>& offsets, int) override {
    for (const PartitionOffset& offset : offsets) cluster_.groups[group_][offset.at] = offset.offset;
    return Status::ok();
  }
  std::shared_ptr<const void> group_metadata() override { return std::make_shared<const std::string>(group_); }
  bool connected() const override { return true; }
  std::vector<int64_t> lag() const override { return {}; }

 private:
  Status poll_partition(uint32_t i, size_t max_records, KafkaPoll* poll) {
    PartitionOffset& at = assigned_[i];
    const size_t last = cluster_.topics.at(at.at.topic).partitions.size() - 1;
    if (at.at.topic == cluster_.unreadable_topic && static_cast<size_t>(at.at.partition) == last)
      return Status::external(Code::kKafkaUnavailable, "unreadable");
    FakeCluster::Log& log = cluster_.topics.at(at.at.topic).partitions.at(static_cast<size_t>(at.at.partition));
    if (at.offset < log.low || at.offset > log.high) return Status::user(Code::kOffsetOutOfRange, "out of range");
    int64_t stable = log.high;
    for (const FakeCluster::Record& record : log.records) {
      if (record.visibility == FakeCluster::Visibility::kOpen) {
        stable = record.offset;
        break;
      }
    }
    for (const FakeCluster::Record& record : log.records) {
      if (record.offset < at.offset || record.offset >= stable) continue;
      if (poll->records.size() >= max_records) return Status::ok();
      at.offset = record.offset + 1;
      if (record.visibility != FakeCluster::Visibility::kCommitted) continue;
      KafkaRecord out;
      out.partition_index = i;
      out.offset = record.offset;
      out.message = &record;
      if (record.key) out.key = std::string_view(record.key->data(), record.key->size());
      if (record.value) out.value = std::string_view(record.value->data(), record.value->size());
      poll->records.push_back(out);
    }
    at.offset = std::max(at.offset, stable);
    if (ended_[i] != at.offset) poll->ends.emplace_back(i, at.offset);
    ended_[i] = at.offset;
    return Status::ok();
  }

  FakeCluster& cluster_;
  std::string group_;
  std::vector<PartitionOffset> assigned_;
  std::vector<Header> headers_;
  std::vector<int64_t> ended_;
};

class FakeProducer : public KafkaProducer {
 public:
  FakeProducer(FakeCluster& cluster, std::string id) : cluster_(cluster), id_(std::move(id)) {}

  Result<KafkaTopic*> topic(const std::string& name) override {
    auto topic = std::make_unique<KafkaTopic>();
    topic->name = name;
    topic->delivered.assign(cluster_.topics.at(name).partitions.size(), -1);
    topics_.push_back(std::move(topic));
    return topics_.back().get();
  }
  Produced produce(KafkaTopic* topic, const KafkaRecordOut& record) override {
    if (cluster_.queue_full_times > 0) {
      cluster_.queue_full_times--;
      return Produced::kQueueFull;
    }
    if (!id_.empty() && !open_) return Produced::kFailed;
    if (fenced()) return Produced::kFailed;
    auto visibility = id_.empty() ? FakeCluster::Visibility::kCommitted : FakeCluster::Visibility::kOpen;
    int64_t offset = cluster_.append(topic->name, record.partition, owned(record.key), owned(record.value), visibility);
    FakeCluster::Log& log = cluster_.topics.at(topic->name).partitions.at(static_cast<size_t>(record.partition));
    for (uint32_t i = 0; i < record.header_count; i++)
      log.records.back().headers.emplace_back(record.headers[i].name);
    written_.push_back({topic, record.partition, offset});
    if (cluster_.deliver_at_once) deliver();
    return Produced::kQueued;
  }
  size_t record_limit(KafkaTopic*) override { return 1'000'000; }
  void poll(int timeout_ms) override { cluster_.clock.advance_ms(timeout_ms); }
  Status flush(int) override {
    deliver();
    return error();
  }
  Status error() const override {
    if (fenced() && cluster_.purge_hides_fencing) return Status::external(Code::kTransactionAborted, "purged");
    return why_fenced();
  }
  std::vector<int64_t> last_delivered(KafkaTopic* topic) const override { return topic->delivered; }

  Status init_transactions(int) override {
    cluster_.calls.push_back("init");
    epoch_ = ++cluster_.owners[id_];
    settle(FakeCluster::Visibility::kAborted);
    return Status::ok();
  }
  Status begin_transaction() override {
    MR_RETURN_IF_ERROR(error());
    open_ = true;
    return Status::ok();
  }
  Result<CommitOutcome> commit_transaction(const std::vector<GroupOffsets>& groups) override {
    MR_RETURN_IF_ERROR(why_fenced());
    deliver();
    FakeCluster::Commit how = std::exchange(cluster_.next_commit, FakeCluster::Commit::kSucceed);
    if (how == FakeCluster::Commit::kFail) {
      settle(FakeCluster::Visibility::kAborted);
      return Status::external(Code::kTransactionAborted, "aborted");
    }
    if (how == FakeCluster::Commit::kLostBefore) return CommitOutcome::kUnknown;
    for (const GroupOffsets& group : groups) {
      const auto& name = *static_cast<const std::string*>(group.group_metadata.get());
      for (const PartitionOffset& offset : group.offsets) cluster_.groups[name][offset.at] = offset.offset;
    }
    settle(FakeCluster::Visibility::kCommitted);
    open_ = false;
    return how == FakeCluster::Commit::kLostAfter ? CommitOutcome::kUnknown : CommitOutcome::kCommitted;
  }
  void abort_transaction() override {
    cluster_.calls.push_back("abort");
    if (!fenced()) settle(FakeCluster::Visibility::kAborted);
    open_ = false;
  }

 private:
  struct Written {
    KafkaTopic* topic;
    int32_t partition;
    int64_t offset;
  };
  Status why_fenced() const {
    return fenced() ? Status::terminal(Code::kFenced, "fenced by a newer owner") : Status::ok();
  }
  bool fenced() const { return !id_.empty() && epoch_ != 0 && cluster_.owners[id_] != epoch_; }
  void deliver() {
    for (const Written& written : written_) {
      written.topic->delivered[static_cast<size_t>(written.partition)] = written.offset;
    }
    written_.clear();
  }
  // Ends the open transaction. There is one of ours at a time; an open record with the key "hanging" is somebody
  // else's.
  void settle(FakeCluster::Visibility outcome) {
    for (auto& [name, topic] : cluster_.topics) {
      for (size_t p = 0; p < topic.partitions.size(); p++) {
        bool any = false;
        for (FakeCluster::Record& record : topic.partitions[p].records) {
          if (record.visibility != FakeCluster::Visibility::kOpen || record.key == "hanging") continue;
          record.visibility = outcome;
          any = true;
        }
        if (any) {
          cluster_.append(name, static_cast<int32_t>(p), std::nullopt, std::nullopt, FakeCluster::Visibility::kMarker);
        }
      }
    }
  }

  FakeCluster& cluster_;
  std::string id_;
  int epoch_ = 0;
  bool open_ = false;
  std::vector<std::unique_ptr<KafkaTopic>> topics_;
  std::vector<Written> written_;
};

}  // namespace

KafkaClients FakeCluster::clients() {
  KafkaClients clients;
  clients.admin = [this]() -> Result<std::unique_ptr<KafkaAdmin>> {
    return std::unique_ptr<KafkaAdmin>(std::make_unique<FakeAdmin>(*this));
  };
  clients.consumer = [this](const KafkaConsumerOptions& options) -> Result<std::unique_ptr<KafkaConsumer>> {
    return std::unique_ptr<KafkaConsumer>(std::make_unique<FakeConsumer>(*this, options.group));
  };
  clients.producer = [this](const KafkaProducerOptions& options) -> Result<std::unique_ptr<KafkaProducer>> {
    return std::unique_ptr<KafkaProducer>(std::make_unique<FakeProducer>(*this, options.transactional_id));
  };
  return clients;
}

void FakeCluster::make_topic(const std::string& name, int partitions, std::map<std::string, std::string> settings) {
  topics[name].settings = std::move(settings);
  topics[name].partitions.resize(static_cast<size_t>(partitions));
}

int64_t FakeCluster::append(const std::string& topic, int32_t partition, std::optional<std::string> key,
                            std::optional<std::string> value, Visibility visibility) {
  Log& log = topics.at(topic).partitions.at(static_cast<size_t>(partition));
  log.records.push_back({std::move(key), std::move(value), visibility, log.high, {}});
  return log.high++;
}

void FakeCluster::compact(const std::string& topic) {
  for (Log& log : topics.at(topic).partitions) {
    std::map<std::string, int64_t> newest;
    for (const Record& record : log.records) {
      if (record.visibility == Visibility::kCommitted && record.key) newest[*record.key] = record.offset;
    }
    std::erase_if(log.records, [&](const Record& record) {
      if (record.visibility == Visibility::kOpen) return false;
      return record.visibility != Visibility::kCommitted || !record.key || newest[*record.key] != record.offset;
    });
  }
}

std::map<std::string, std::string> FakeCluster::table(const std::string& topic) const {
  std::map<std::string, std::string> table;
  for (const Log& log : topics.at(topic).partitions) {
    for (const Record& record : log.records) {
      if (record.visibility != Visibility::kCommitted || !record.key) continue;
      table.erase(*record.key);
      if (record.value) table[*record.key] = *record.value;
    }
  }
  return table;
}

}  // namespace millrace
