// Mode none: nothing is durable. State starts empty, every epoch is decided as soon as it is flushed.

#include "recovery/modes.h"
#include "recovery/operator_table.h"
#include "recovery/sink_lender.h"

namespace millrace {

namespace {

class NoneLog : public DecisionLog {
 public:
  NoneLog(const RecoverySettings& settings, const Clock& clock, Logger log, KafkaClients clients)
      : settings_(settings), clock_(clock), log_(std::move(log)), sinks_(settings, std::move(clients)) {}

  Result<Recovered> recover() override {
    int64_t started_us = clock_.monotonic_us();
    Recovered recovered;
    MR_ASSIGN(recovered.store, open_empty());
    MR_ASSIGN(OperatorTable table, settle_operators(settings_, nullptr, {}, log_));
    identity_ = {settings_.pipeline, "none",          first_generation(clock_.wall_ms()),
                 settings_.shards,   table.operators, table.next_operator};
    apply_identity(identity_, &recovered.progress);
    MR_RETURN_IF_ERROR(sinks_.open());
    recovered.restored_from = "empty";
    recovered.restore_ms = (clock_.monotonic_us() - started_us) / 1000;
    return recovered;
  }

  Status begin(uint64_t) override { return Status::ok(); }

  Result<DecisionOutcome> decide(Decision& decision, std::string* record) override {
    decision.progress.epoch = decision.epoch;
    apply_identity(identity_, &decision.progress);
    decision.progress.decided_wall_ms = clock_.wall_ms();
    MR_RETURN_IF_ERROR(sinks_.flush());
    *record = decision.progress.encode();
    return DecisionOutcome::kDecided;
  }

  KafkaProducer* sink_producer() override { return sinks_.producer(); }
  Status health() override { return sinks_.health(); }
  void close() override { sinks_.close(); }

 private:
  // A store whose only copy of a state this would be is not emptied by a changed word in the YAML.
  Status check_disposable(StateStore& store) {
    MR_ASSIGN(std::optional<std::string> bytes, store.progress());
    std::string mode;
    if (bytes) {
      Result<ProgressRecord> record = ProgressRecord::parse(*bytes);
      mode = record.is_ok() ? record->mode : "local";
    } else if (settings_.rocksdb) {
      MR_ASSIGN(std::vector<LogEntry> entries, store.log_entries());
      if (!entries.empty()) mode = "local";
    }
    if (mode != "local" || settings_.accept_reset) return Status::ok();
    return Status::user(
        Code::kStateIncompatible,
        fmt::format("{} holds the only copy of the state of recovery mode local, and mode none begins by "
                    "deleting it; remove the directory, use another data_dir, or start once with "
                    "--accept-reset",
                    state_directory(settings_)));
  }

  Result<std::unique_ptr<StateStore>> open_empty() {
    Result<std::unique_ptr<StateStore>> opened = open_state(settings_);
    if (!opened.is_ok() && opened.status().code() == Code::kStateCorrupt) {
      log_.warn("mode none: the damaged store in {} is removed ({})", state_directory(settings_),
                opened.status().message());
      MR_RETURN_IF_ERROR(remove_store(state_directory(settings_)));
      opened = open_state(settings_);
    }
    if (!opened.is_ok()) return opened;
    MR_RETURN_IF_ERROR(check_disposable(**opened));
    MR_RETURN_IF_ERROR((*opened)->clear());
    return opened;
  }

  const RecoverySettings settings_;
  const Clock& clock_;
  const Logger log_;
  SinkLender sinks_;
  StateIdentity identity_;
};

}  // namespace

std::unique_ptr<DecisionLog> make_none_log(const RecoverySettings& settings, const Clock& clock, Logger log,
                                           KafkaClients clients) {
  return std::make_unique<NoneLog>(settings, clock, std::move(log), std::move(clients));
}

}  // namespace millrace
