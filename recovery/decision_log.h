// DecisionLog: the one interface behind every recovery mode. An incarnation of a pipeline does, in this order:
// recover() … begin(first epoch) … per epoch: sinks write, decide(n) … close(). Whatever goes wrong in between ends the
// incarnation: the next one starts with recover() on new objects (the one restart path); there is no rollback.
//
// Threads: all methods are called from one thread, the decider's (blocking is allowed there), except producer(),
// sinks_may_write() which the sink strands use.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "kafka/kafka_config.h"
#include "recovery/progress.h"
#include "state/delta.h"
#include "state/state_layers.h"
#include "state/state_store.h"

namespace millrace {

enum class RecoveryMode { kNone, kLocal, kChangelog };
enum class Guarantee { kExactlyOnce, kAtLeastOnce };

// What a mode needs to know of the plan.
struct RecoverySettings {
  std::string pipeline;
  RecoveryMode mode = RecoveryMode::kNone;
  Guarantee guarantee = Guarantee::kExactlyOnce;
  KafkaConfig kafka;  // cluster of sinks, changelogs and progress
  uint32_t shards = 16;
  int changelog_partitions = 4;    // divides shards
  int changelog_replication = -1;  // -1: the broker's default
  std::string data_directory;      // of this pipeline; state in <data_directory>/state
  bool rocksdb = true;             // state backend
  StateOptions state;
  struct Keyed {
    std::string id;
    std::string descriptor;
  };
  std::vector<Keyed> operators;  // keyed operators in plan order
  struct KafkaGroup {
    std::string source;  // name in the pipeline
    std::string group;
    bool same_cluster = true;  // offsets go into the transaction
  };
  std::vector<KafkaGroup> groups;  // one per Kafka source
  bool accept_reset = false;       // --accept-reset
  int transaction_timeout_ms = 10'000;
  uint64_t writer = 0;  // this runner; the same in all its incarnations
  // Restarts within a process: the newest epoch that it knows to be decided. A later one by another writer means that
  // we were replaced while we stood still (SIGSTOP): kFenced instead of fencing the successor.
  std::optional<uint64_t> known_epoch;
  // Restarts within a process: what the previous incarnation found damaged in the local store, which is then not
  // trusted. Mode changelog only: elsewhere the store is the only copy.
  std::string store_damage;
};

// What a start found.
struct Recovered {
  bool first_start = true;            // nothing decided yet: sources apply `start`, files are replaced
  ProgressRecord progress;            // of the last decided epoch (also on a first start: names, operator numbers)
  std::unique_ptr<StateStore> store;  // holds exactly the state of progress.epoch
  // What was done, for the log, the metrics and the tests: empty | local | tail | full
  std::string restored_from;
  uint64_t replayed_records = 0;
  int64_t restore_ms = 0;
};

struct Decision {
  uint64_t epoch = 0;
  ProgressRecord progress;       // sources, sinks, finished filled by the coordinator; the log fills in the rest
  std::vector<DeltaPtr> deltas;  // one per lane, may be empty
  bool offsets_moved = true;     // false: nothing was read since the last decision
};

enum class DecisionOutcome {
  kDecided,
  kUnknown,  // neither success nor failure: take the restart path
};

class DecisionLog {
 public:
  virtual ~DecisionLog() = default;
  // The start order of DESIGN 4, rule 1, up to and including the restored store.
  virtual Result<Recovered> recover() = 0;
  // Opens the first epoch: from here on sinks may write through producer(). Called after sources and sinks are open.
  virtual Status begin(uint64_t first_epoch) = 0;
  // Makes the epoch durable; returns when the outcome is known. After kDecided the next epoch is open (sinks may
  // write). Encodes progress into *record (what StateLayers::decide needs). An error or kUnknown ends the incarnation.
  virtual Result<DecisionOutcome> decide(Decision& decision, std::string* record) = 0;
  // The store now holds this epoch: older log entries may go. Any thread.
  virtual void stored(uint64_t epoch) { (void)epoch; }
  // The producer of Kafka sinks: transactional for exactly_once, the second, idempotent one for at_least_once; nullptr
  // without Kafka.
  virtual KafkaProducer* sink_producer() { return nullptr; }
  // Exactly-once Kafka sinks may only produce while the transaction of their epoch is open: the epoch that may be
  // written now; UINT64_MAX: no limit. The callback given to on_open is invoked (any thread) whenever this grows.
  virtual uint64_t open_epoch() const { return UINT64_MAX; }
  virtual void on_open(std::function<void()> callback) { (void)callback; }
  // True when a decision is due although nothing moved (re-commit at least once a minute). now_ms:
  // Clock::monotonic_us() / 1000.
  virtual bool wants_decision(int64_t now_ms) const {
    (void)now_ms;
    return false;
  }
  // A health check between decisions (fenced while idle). ok: go on.
  virtual Status health() { return Status::ok(); }
  virtual void close() {}
};

// Group offsets are part of the decision in this mode (otherwise sources commit them after the release).
std::unique_ptr<DecisionLog> make_decision_log(const RecoverySettings& settings, const Clock& clock, Logger log);

}  // namespace millrace
