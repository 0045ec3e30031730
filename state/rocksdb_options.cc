#include "state/rocksdb_options.h"

#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

namespace millrace {
namespace {

// RocksDB's own info log ends the process when a write to it fails (a full disk), with the assertions that Debian's
// library is built with; what matters comes back as a status or through the event listener.
class NoInfoLog : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

constexpr int kNeverSlow = 1 << 20;
constexpr int kNeverStop = 1 << 21;

// RocksDB 7.8 can hang after a write stall, so none may happen: the bound of what waits for compaction is kept by
// RocksdbStore::ingest itself.
void never_stall(rocksdb::ColumnFamilyOptions& options) {
  options.level0_slowdown_writes_trigger = kNeverSlow;
  options.level0_stop_writes_trigger = kNeverStop;
  options.soft_pending_compaction_bytes_limit = 0;
  options.hard_pending_compaction_bytes_limit = 0;
}

}  // namespace

rocksdb::DBOptions rocksdb_db_options() {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.paranoid_checks = true;
  options.max_background_jobs = 2;
  options.max_open_files = -1;
  options.max_file_opening_threads = 2;
  options.skip_stats_update_on_db_open = true;  // else every file is read a second time at open
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.info_log = std::make_shared<NoInfoLog>();
  options.max_manifest_file_size = 4 << 20;
  options.compaction_readahead_size = 1 << 20;
  options.bytes_per_sync = 1 << 20;
  options.avoid_flush_during_shutdown = true;  // what is in the log stays in the WAL
  // Acknowledged epochs may not vanish silently: damage before the tail is an error, only a torn tail is cut off.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.max_total_wal_size = 64u << 20;
  options.recycle_log_file_num = 0;
  return options;
}

rocksdb::ColumnFamilyOptions rocksdb_state_options(const std::shared_ptr<rocksdb::Cache>& block_cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = block_cache;
  table.block_size = 2048;  // a miss copies and checks one block: smaller costs index, larger costs copying
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.whole_key_filtering = true;
  table.optimize_filters_for_memory = true;
  table.cache_index_and_filter_blocks = false;  // about 1.7 bytes per key, always needed, never evicted
  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kNoCompression;  // small keys and numbers: little to gain, a miss pays
  // Many small runs arrive when little changes: size-tiered compaction merges those among themselves, while leveled
  // compaction would rewrite the whole bottom level for every four of them.
  options.compaction_style = rocksdb::kCompactionStyleUniversal;
  options.compaction_options_universal.max_size_amplification_percent = 100;
  options.compaction_options_universal.size_ratio = 20;
  options.level0_file_num_compaction_trigger = 4;
  options.num_levels = 7;
  options.target_file_size_base = 64u << 20;
  options.ttl = 0;
  options.periodic_compaction_seconds = 0;
  options.write_buffer_size = 1 << 20;  // never used
  options.arena_block_size = 64 << 10;
  options.memtable_whole_key_filtering = false;
  never_stall(options);
  return options;
}

rocksdb::ColumnFamilyOptions rocksdb_log_options() {
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3;
  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_size = 32u << 20;
  options.max_write_buffer_number = 3;
  options.arena_block_size = 256 << 10;
  options.ttl = 0;
  options.periodic_compaction_seconds = 0;
  never_stall(options);
  return options;
}

}  // namespace millrace
