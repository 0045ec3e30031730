// How RocksDB is set up, with the reason for each choice; figures in docs/benchmarks.md, "State store".
#pragma once

#include <rocksdb/cache.h>
#include <rocksdb/options.h>

#include <memory>

namespace millrace {

rocksdb::DBOptions rocksdb_db_options();
// The family of the state: filled by ingestion only.
rocksdb::ColumnFamilyOptions rocksdb_state_options(const std::shared_ptr<rocksdb::Cache>& block_cache);
// The family of the epoch log: short-lived values behind the WAL.
rocksdb::ColumnFamilyOptions rocksdb_log_options();

}  // namespace millrace
