// ChangelogLog: mode changelog. One Kafka transaction holds the outputs (exactly_once), the changelog records, the
// progress record and the group offsets of an epoch; that it is committed is the decision. Internal to this folder;
// threads as in decision_log.h.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "recovery/changelog_restore.h"
#include "recovery/changelog_start.h"
#include "recovery/changelog_topics.h"
#include "recovery/modes.h"
#include "recovery/operator_table.h"
#include "recovery/sink_lender.h"

namespace millrace {

class ChangelogLog : public DecisionLog {
 public:
  ChangelogLog(const RecoverySettings& settings, const Clock& clock, Logger log, KafkaClients clients);
  ~ChangelogLog() override;

  Result<Recovered> recover() override;
  Status begin(uint64_t first_epoch) override;
  Result<DecisionOutcome> decide(Decision& decision, std::string* record) override;
  KafkaProducer* sink_producer() override;
  uint64_t open_epoch() const override;
  void on_open(std::function<void()> callback) override;
  bool wants_decision(int64_t now_ms) const override;
  Status health() override;
  void close() override;

 private:
  // changelog_recover.cc: the start order.
  Status refuse_successor();
  Status open_store(std::unique_ptr<StateStore>* store);
  Status replace_store(std::unique_ptr<StateStore>* store, const Status& why);
  Result<int> count_members(const std::string& group);
  Status refuse_members();
  Result<std::unique_ptr<KafkaConsumer>> new_reader(size_t queue_bytes);
  Status open_producer();
  Status settle(const std::optional<ProgressRecord>& record, StateStore& store, RestorePlan* plan,
                std::string* full_because);
  Status make_plan(const std::optional<ProgressRecord>& record, const std::set<std::string>& lost, RestorePlan* plan);
  Result<std::vector<ChangelogSpan>> capture_spans(const OperatorTable& table,
                                                   const std::optional<ProgressRecord>& record);
  Status refuse_foreign(const std::vector<ChangelogSpan>& spans, const OperatorTable& table);
  Status restore(const RestorePlan& plan, const std::string& full_because, bool first_start, Recovered* recovered);
  std::optional<ProgressRecord> held_record(StateStore& store);
  Status open_topics();

  // changelog_log.cc: the epochs.
  int64_t now_ms() const { return clock_.monotonic_us() / 1000; }
  Status open_epoch_for(uint64_t epoch);
  Status produce_delta(const Delta& delta);
  Status produce(KafkaTopic* topic, const KafkaRecordOut& record, const std::string& what);
  void note_delivered();
  std::vector<GroupOffsets> group_offsets(const ProgressRecord& progress) const;
  Result<CommitOutcome> commit(const Decision& decision, const std::string& record);
  Status repeat_with_new_producer(const Decision& decision, const std::string& record);

  const RecoverySettings settings_;
  const Clock& clock_;
  const Logger log_;
  const KafkaClients clients_;
  SinkLender sinks_;  // at_least_once only

  std::unique_ptr<KafkaAdmin> admin_;
  std::unique_ptr<KafkaProducer> producer_;
  std::vector<std::unique_ptr<KafkaProducer>> retired_;  // only ever filled by the mutant swallow-fenced
  GroupConsumers group_consumers_;
  int64_t delete_retention_ms_ = 0;

  StateIdentity identity_;
  std::vector<ChangelogPosition> positions_;  // lower bounds; grow with delivery reports
  struct ChangelogTopic {
    std::string name;
    KafkaTopic* handle = nullptr;
    size_t first_position = 0;  // in positions_, one per partition
  };
  std::vector<ChangelogTopic> topics_;  // by operator number; handle nullptr: no such operator
  KafkaTopic* progress_handle_ = nullptr;

  StateStore* store_ = nullptr;  // owned by who called recover(); only for the mutant apply-before-decision
  std::string last_record_;
  uint64_t decided_ = 0;
  int64_t decided_ms_ = 0;  // monotonic
  bool offsets_missing_ = false;
  bool usable_ = false;  // false after anything but a committed transaction: never abort or commit again
  std::atomic<uint64_t> open_epoch_{0};
  std::mutex callback_mutex_;
  std::function<void()> on_open_;
};

}  // namespace millrace
