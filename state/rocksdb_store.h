// RocksdbStore: the store on disk. Behind state_store.h; a header of its own for the files that implement it.
//
//   <directory>/LOCK.millrace   flock: one process at a time
//   <directory>/db/             the RocksDB database: family `default` (state, ingested SSTs only), `log` (epoch log,
//   WAL) <directory>/incoming/       SSTs and runs being written; emptied at every open <directory>/discarded-N/    a
//   database that clear() has renamed away; removed at every open
//
// Threads: as state_store.h says; besides, the log may be used while another thread ingests.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/sst_file_writer.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "state/sorted_runs.h"
#include "state/state_store.h"

namespace millrace {

class RocksdbStore : public StateStore {
 public:
  explicit RocksdbStore(StateOptions options);
  ~RocksdbStore() override;
  Status open();

  Result<std::unique_ptr<FoundValues>> multi_get(const std::vector<std::string_view>& keys) override;
  Status scan(std::string_view begin, std::string_view end,
              const std::function<bool(std::string_view key, std::string_view value)>& visit) override;
  Status ingest(const Delta& run, std::string_view progress) override;
  Result<std::optional<std::string>> progress() override;
  Status log_append(uint64_t epoch, std::string_view bytes) override;
  Result<std::vector<LogEntry>> log_entries() override;
  Status log_drop_until(uint64_t epoch) override;
  Result<std::unique_ptr<BulkLoad>> bulk_load(size_t feeders) override;
  Status clear() override;
  Status verify() override;
  Numbers numbers() override;

 private:
  friend class RocksdbBulkLoad;
  class BackgroundWork;

  Status lock();
  Status remove_leftovers();
  Status open_database();
  Status close_database();
  // A name in incoming/ that no attempt of any process has used.
  std::string incoming_path();
  // Makes complete, synced files with disjoint keys part of the state, atomically. Removes them on failure.
  Status ingest_files(const std::vector<std::string>& paths);
  Status background_error() const;
  void wait_for_compaction();
  void choose_caching();
  rocksdb::ReadOptions read_options() const;
  Status failed(const rocksdb::Status& status, std::string_view action) const;

  StateOptions options_;
  FileDescriptor lock_;
  std::shared_ptr<rocksdb::Cache> cache_;
  std::shared_ptr<BackgroundWork> work_;
  rocksdb::Options state_options_;  // of the SSTs
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyHandle* state_ = nullptr;
  rocksdb::ColumnFamilyHandle* log_ = nullptr;
  std::atomic<uint64_t> next_file_{0};
  std::atomic<bool> fill_cache_{true};
  std::mutex log_mutex_;
  uint64_t log_dropped_ = 0;        // guarded by log_mutex_: entries below are gone (0: unknown)
  size_t log_unflushed_bytes_ = 0;  // guarded by log_mutex_: appended since the memtable was last flushed
};

// One SST on its way into the store. Keys ascend.
class SstWriter {
 public:
  SstWriter(const rocksdb::Options& options, std::string path);
  ~SstWriter();  // removes an unfinished file
  Status open();
  Status put(std::string_view key, std::string_view value);
  Status remove(std::string_view key);
  // Complete and durable afterwards.
  Status finish();
  uint64_t bytes() { return writer_.FileSize(); }

 private:
  rocksdb::SstFileWriter writer_;
  std::string path_;
  bool finished_ = false;
};

// The key of the progress record, the last of all keys.
const std::string& progress_key();

}  // namespace millrace
