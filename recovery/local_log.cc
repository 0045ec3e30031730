// Mode local: an epoch is decided by one synced append to the store's epoch log: its deltas and its progress record.
// What the log holds beyond the store is replayed at start; an entry leaves the log when an ingest covers its epoch.

#include <mutex>

#include "base/crash_point.h"
#include "base/mutant.h"
#include "recovery/epoch_entry.h"
#include "recovery/modes.h"
#include "recovery/operator_table.h"
#include "recovery/sink_lender.h"

namespace millrace {

namespace {

constexpr size_t kPurgeChunkKeys = 65'536;

class LocalLog : public DecisionLog {
 public:
  LocalLog(const RecoverySettings& settings, const Clock& clock, Logger log, KafkaClients clients)
      : settings_(settings), clock_(clock), log_(std::move(log)), sinks_(settings, std::move(clients)) {}

  Result<Recovered> recover() override;
  Status begin(uint64_t first_epoch) override;
  Result<DecisionOutcome> decide(Decision& decision, std::string* record) override;
  void stored(uint64_t epoch) override;
  KafkaProducer* sink_producer() override { return sinks_.producer(); }
  Status health() override;
  void close() override { sinks_.close(); }

 private:
  Result<Recovered> try_recover();
  Result<std::optional<ProgressRecord>> read_record(StateStore& store);
  Status replay(StateStore& store, std::optional<ProgressRecord>* record, Recovered* recovered);
  Status purge(StateStore& store, const ProgressRecord& before, const std::vector<uint16_t>& numbers,
               const ProgressRecord& after);

  const RecoverySettings settings_;
  const Clock& clock_;
  const Logger log_;
  SinkLender sinks_;
  StateIdentity identity_;
  StateStore* store_ = nullptr;  // owned by who called recover()
  uint64_t decided_ = 0;
  std::string last_record_;
  std::mutex mutex_;         // one writer of the epoch log at a time: decide() and stored()
  Status background_error_;  // guarded by mutex_
};

Status with_way_out(const Status& status, const std::string& directory) {
  return Status::terminal(
      status.code(), fmt::format("{}: {}; recovery mode local has no other copy of this state: bring the directory "
                                 "back from a backup, or start once with --accept-reset, which deletes it",
                                 directory, status.message()));
}

Result<Recovered> LocalLog::recover() {
  if (!settings_.rocksdb) {
    return Status::user(Code::kStateIncompatible,
                        "recovery mode local keeps its epoch log in the store: it needs `state: {backend: rocksdb}`");
  }
  int64_t started_us = clock_.monotonic_us();
  Result<Recovered> result = try_recover();
  if (!result.is_ok()) {
    Code code = result.status().code();
    bool damaged = code == Code::kStateCorrupt || code == Code::kProgressCorrupt;
    if (!damaged && code != Code::kStateIncompatible) return result;
    if (!settings_.accept_reset && damaged) return with_way_out(result.status(), state_directory(settings_));
    if (!settings_.accept_reset) return result;
    log_.warn("--accept-reset: {} is deleted and the pipeline starts empty ({})", state_directory(settings_),
              result.status().message());
    MR_RETURN_IF_ERROR(remove_store(state_directory(settings_)));
    result = try_recover();
    if (!result.is_ok()) return result;
  }
  MR_RETURN_IF_ERROR(sinks_.open());
  result->restore_ms = (clock_.monotonic_us() - started_us) / 1000;
  crash_point("recover-restored");
  log_.info("mode local: {} at epoch {}, {} log records replayed in {} ms",
            result->first_start ? "first start" : "state found", decided_, result->replayed_records,
            result->restore_ms);
  return result;
}

Result<Recovered> LocalLog::try_recover() {
  Recovered recovered;
  MR_ASSIGN(recovered.store, open_state(settings_));
  StateStore& store = *recovered.store;
  crash_point("recover-begin");
  MR_ASSIGN(std::optional<ProgressRecord> record, read_record(store));
  recovered.restored_from = record ? "local" : "empty";
  MR_RETURN_IF_ERROR(replay(store, &record, &recovered));
  MR_ASSIGN(OperatorTable table, settle_operators(settings_, record ? &*record : nullptr, {}, log_));
  uint64_t generation = record ? record->generation + (table.reset ? 1 : 0) : first_generation(clock_.wall_ms());
  identity_ = {settings_.pipeline, "local", generation, settings_.shards, table.operators, table.next_operator};
  recovered.first_start = !record;
  if (record) recovered.progress = *record;
  apply_identity(identity_, &recovered.progress);
  if (!table.dropped.empty()) MR_RETURN_IF_ERROR(purge(store, *record, table.dropped, recovered.progress));
  decided_ = recovered.progress.epoch;
  last_record_ = recovered.progress.encode();
  store_ = &store;
  return recovered;
}

// The record of the newest ingest; nullopt: nothing was ingested yet. A store of mode none is emptied: its state was
// given up by contract.
Result<std::optional<ProgressRecord>> LocalLog::read_record(StateStore& store) {
  MR_ASSIGN(std::optional<std::string> bytes, store.progress());
  if (!bytes) return std::optional<ProgressRecord>();
  MR_ASSIGN(ProgressRecord record, ProgressRecord::parse(*bytes));
  if (record.mode == "none") {
    MR_RETURN_IF_ERROR(store.clear());
    return std::optional<ProgressRecord>();
  }
  if (record.mode != "local" || record.pipeline != settings_.pipeline) {
    return Status::user(
        Code::kStateIncompatible,
        fmt::format("{} holds the state of pipeline \"{}\" in recovery mode {}; use another data_dir, or "
                    "start once with --accept-reset, which deletes it",
                    state_directory(settings_), record.pipeline, record.mode));
  }
  return std::optional<ProgressRecord>(std::move(record));
}

Status LocalLog::replay(StateStore& store, std::optional<ProgressRecord>* record, Recovered* recovered) {
  MR_ASSIGN(std::vector<LogEntry> entries, store.log_entries());
  uint64_t epoch = *record ? (*record)->epoch : 0;
  std::string progress;
  DeltaBuilder builder(entries.empty() ? 0 : entries.back().epoch);
  for (const LogEntry& logged : entries) {
    if (logged.epoch <= epoch) continue;  // an ingest covers it
    if (logged.epoch != epoch + 1) {
      return Status::terminal(Code::kProgressCorrupt,
                              fmt::format("the epoch log jumps from {} to {}", epoch, logged.epoch));
    }
    uint64_t* replayed = &recovered->replayed_records;
    MR_ASSIGN(EpochEntry entry, read_epoch_entry(logged.bytes, [&](std::string_view key, std::string_view value) {
                if (value.data() == nullptr) {
                  builder.remove_full(key);
                } else {
                  builder.put_full(key, value);
                }
                ++*replayed;
              }));
    crash_point("restore-record");
    if (entry.epoch != logged.epoch) {
      return Status::terminal(Code::kProgressCorrupt, fmt::format("the epoch log holds epoch {} in the place of {}",
                                                                  entry.epoch, logged.epoch));
    }
    progress = entry.progress;
    epoch = entry.epoch;
  }
  if (progress.empty()) return Status::ok();
  MR_ASSIGN(ProgressRecord last, ProgressRecord::parse(progress));
  if (last.epoch != epoch || last.pipeline != settings_.pipeline) {
    return Status::terminal(Code::kProgressCorrupt,
                            fmt::format("the epoch log's record of epoch {} is that of epoch {} of pipeline \"{}\"",
                                        epoch, last.epoch, last.pipeline));
  }
  MR_RETURN_IF_ERROR(store.ingest(*builder.finish(), progress));
  MR_RETURN_IF_ERROR(store.log_drop_until(epoch));
  *record = std::move(last);
  recovered->restored_from = "local";
  return Status::ok();
}

// Deletes the keys of operators that no longer count. The record changes with the last step, so a crash in between
// repeats it.
Status LocalLog::purge(StateStore& store, const ProgressRecord& before, const std::vector<uint16_t>& numbers,
                       const ProgressRecord& after) {
  std::string before_bytes = before.encode();
  uint64_t purged = 0;
  for (uint16_t number : numbers) {
    for (uint32_t shard = 0; shard < before.shards; shard++) {
      std::string begin = full_key(static_cast<uint16_t>(shard), number, "");
      const std::string end = full_key(static_cast<uint16_t>(shard), static_cast<uint16_t>(number + 1), "");
      for (bool more = true; more;) {
        DeltaBuilder builder(before.epoch);
        std::string last;
        MR_RETURN_IF_ERROR(store.scan(begin, end, [&](std::string_view key, std::string_view) {
          builder.remove_full(key);
          last = key;
          return builder.size() < kPurgeChunkKeys;
        }));
        more = builder.size() == kPurgeChunkKeys;
        purged += builder.size();
        if (builder.size() != 0) MR_RETURN_IF_ERROR(store.ingest(*builder.finish(), before_bytes));
        begin = last + '\0';
      }
    }
  }
  log_.info("{} keys of dropped operators deleted", purged);
  return store.ingest(*DeltaBuilder(before.epoch).finish(), after.encode());
}

Status LocalLog::begin(uint64_t first_epoch) {
  MR_CHECK(first_epoch == decided_ + 1);
  crash_point("epoch-begin");
  return Status::ok();
}

Result<DecisionOutcome> LocalLog::decide(Decision& decision, std::string* record) {
  MR_CHECK(decision.epoch == decided_ + 1);
  MR_RETURN_IF_ERROR(health());
  decision.progress.epoch = decision.epoch;
  decision.progress.decided_wall_ms = clock_.wall_ms();
  apply_identity(identity_, &decision.progress);
  *record = decision.progress.encode();
  if (mutant("apply-before-decision")) {
    MR_RETURN_IF_ERROR(store_->ingest(*Delta::merge(decision.deltas, false), last_record_));
  }
  MR_RETURN_IF_ERROR(sinks_.flush());
  std::string entry = encode_epoch_entry(decision.epoch, *record, decision.deltas);
  crash_point("before-commit");
  {
    std::lock_guard lock(mutex_);
    MR_RETURN_IF_ERROR(store_->log_append(decision.epoch, entry));
  }
  crash_point("local-decided");
  decided_ = decision.epoch;
  last_record_ = *record;
  crash_point("epoch-begin");
  return DecisionOutcome::kDecided;
}

void LocalLog::stored(uint64_t epoch) {
  std::lock_guard lock(mutex_);
  Status status = store_->log_drop_until(epoch);
  if (!status.is_ok() && background_error_.is_ok()) background_error_ = status.with_context("epoch log");
}

Status LocalLog::health() {
  MR_RETURN_IF_ERROR(sinks_.health());
  std::lock_guard lock(mutex_);
  return background_error_;
}

}  // namespace

std::unique_ptr<DecisionLog> make_local_log(const RecoverySettings& settings, const Clock& clock, Logger log,
                                            KafkaClients clients) {
  return std::make_unique<LocalLog>(settings, clock, std::move(log), std::move(clients));
}

}  // namespace millrace
