// StateStore: the bottom layer of a pipeline's state: decided epochs only, with the progress record that says which.
// Two implementations: RocksDB (rocksdb_store.cc, the only user of RocksDB) and memory (memory_store.cc).
//
// Threads: reads (multi_get, scan, progress) from any thread; writes (ingest, log, clear, bulk load) from one thread at
// a time. All keys are full keys (state/delta.h).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "state/delta.h"

namespace millrace {

struct StateOptions {
  std::string directory;  // of this pipeline's store; rocksdb only
  size_t block_cache_bytes = 64u << 20;
  size_t memtable_bytes = 32u << 20;  // bound of the merged delta (state_layers.h)
  size_t cache_bytes = 64u << 20;     // decoded accumulators, all lanes together
};

// Values found by a read; views are valid as long as the object (it pins them).
class FoundValues {
 public:
  virtual ~FoundValues() = default;
  // data() == nullptr: no such key.
  virtual std::string_view operator[](size_t i) const = 0;
};

struct LogEntry {
  uint64_t epoch;
  std::string bytes;
};

// Unsorted entries, sorted in bounded runs and ingested at the end; for restoring a whole changelog into an empty
// store. Several feeders may give entries at the same time, each from one thread, and a key always through the same
// one; put() and remove() of a key again replaces the earlier one. finish() comes when all are done: it makes
// everything visible with `progress`, atomically as far as restarts are concerned (an unfinished load is found and
// cleared by the next open).
class BulkLoad {
 public:
  virtual ~BulkLoad() = default;
  virtual Status put(size_t feeder, std::string_view full_key, std::string_view value) = 0;
  virtual Status remove(size_t feeder, std::string_view full_key) = 0;
  virtual Status finish(std::string_view progress) = 0;
};

class StateStore {
 public:
  virtual ~StateStore() = default;
  // Values of n keys, which must ascend; duplicates allowed.
  virtual Result<std::unique_ptr<FoundValues>> multi_get(const std::vector<std::string_view>& keys) = 0;
  // Entries with begin <= key < end in order, until visit returns false.
  virtual Status scan(std::string_view begin, std::string_view end,
                      const std::function<bool(std::string_view key, std::string_view value)>& visit) = 0;
  // Makes the run (tombstones delete) and the progress record visible and durable together; progress replaces the
  // earlier one. An empty run with a new progress record is allowed. On failure nothing has changed, or the store must
  // be reopened (kStateCorrupt).
  virtual Status ingest(const Delta& run, std::string_view progress) = 0;
  // The progress record of the newest ingest or bulk load; nullopt: the store is empty.
  virtual Result<std::optional<std::string>> progress() = 0;
  // The epoch log of recovery mode `local`: appended and synced before append returns; entries in order; drop_until
  // forgets epochs <= epoch (those that an ingest covers). The memory store refuses these.
  virtual Status log_append(uint64_t epoch, std::string_view bytes) = 0;
  virtual Result<std::vector<LogEntry>> log_entries() = 0;
  virtual Status log_drop_until(uint64_t epoch) = 0;
  // Forgets everything, then accepts entries. Precondition: no reads until finish().
  virtual Result<std::unique_ptr<BulkLoad>> bulk_load(size_t feeders) = 0;
  virtual Status clear() = 0;
  // Reads every block and verifies its checksum (millrace's own checks and tests).
  virtual Status verify() = 0;
  struct Numbers {
    uint64_t keys_estimate = 0;
    uint64_t disk_bytes = 0;
    uint64_t block_cache_bytes = 0;
    uint64_t pending_compaction_bytes = 0;
  };
  virtual Numbers numbers() = 0;
};

// Opens (or creates) the store of `directory`. kStateLocked: another process holds it; kStateCorrupt: damaged (the
// caller may clear by remove_store and restore); kDiskFull.
Result<std::unique_ptr<StateStore>> open_rocksdb_store(const StateOptions& options);
std::unique_ptr<StateStore> open_memory_store();
// Deletes the store's directory. Precondition: it is closed.
Status remove_store(const std::string& directory);

}  // namespace millrace
