// Restoring the state of mode changelog into the local store: the tail behind a store that still fits the progress
// record, or everything into an emptied one. Blocking; the decider's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kafka/admin.h"
#include "kafka/consumer.h"
#include "recovery/progress.h"
#include "recovery/topic_reader.h"
#include "state/state_store.h"

namespace millrace {

// One changelog partition as captured after init_transactions.
struct ChangelogSpan {
  TopicPartition at;
  uint16_t operator_number = 0;
  int64_t floor = 0;  // the state begins here
  int64_t low = 0;    // what the broker still has
  int64_t high = 0;
};

struct RestorePlan {
  ProgressRecord target;  // what the store shall hold; target.changelog: position = high of every span
  std::vector<ChangelogSpan> spans;
  int64_t delete_retention_ms = 0;
  int64_t now_wall_ms = 0;
};

// Why a store whose progress record is `held` (nullptr: none) cannot be completed by replaying the tail; empty: it can.
std::string why_full(const RestorePlan& plan, const ProgressRecord* held);

// Spans below whose begin the broker has deleted records of the state: a full replay would be incomplete.
std::vector<ChangelogSpan> incomplete_spans(const RestorePlan& plan);

// At most so many records a restore reads: the tail behind `held`, or everything.
int64_t records_to_read(const RestorePlan& plan, const std::optional<ProgressRecord>& held);

struct RestoreTools {
  // Each reads its share of the partitions on a thread of its own (the first one on the caller's). At least one.
  std::vector<std::unique_ptr<KafkaConsumer>> consumers;
  const Clock& clock;
  const Logger& log;
  ReadLimits limits;
};

// Replays what lies behind held's positions. A crash in between is harmless: the parts are ingested with held's own
// record, so that the next start begins there again, and the last part with the target. Returns replayed records.
Result<uint64_t> replay_tail(const RestorePlan& plan, const ProgressRecord& held, StateStore& store,
                             const RestoreTools& tools);
// Empties the store and loads every span from its floor.
Result<uint64_t> replay_full(const RestorePlan& plan, StateStore& store, const RestoreTools& tools);

}  // namespace millrace
