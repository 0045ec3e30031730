#include "state/rocksdb_store.h"

#include <fcntl.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <filesystem>

#include "base/crash_point.h"
#include "state/key_hash.h"
#include "state/rocksdb_options.h"
#include "state/rocksdb_status.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kEpochBytes = 8;
constexpr size_t kChecksumBytes = 8;
constexpr size_t kMaxLogEntryBytes = size_t{1} << 31;
// Dropped log entries beyond this are worth a flush, which throws them away together with their WAL.
constexpr size_t kLogFlushBytes = 8u << 20;
// Runs that wait for compaction make every read slower; beyond this an ingest waits for the compaction.
constexpr uint64_t kMaxLevel0Files = 48;
constexpr std::chrono::milliseconds kMaxCompactionWait{5000};

rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view view(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

void append_big_endian(std::string& out, uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(number >> shift & 0xff));
}

uint64_t big_endian(std::string_view bytes) {
  uint64_t number = 0;
  for (char byte : bytes.substr(0, 8)) number = number << 8 | static_cast<uint8_t>(byte);
  return number;
}

std::string epoch_key(uint64_t epoch) {
  std::string key;
  append_big_endian(key, epoch);
  return key;
}

uint64_t log_checksum(uint64_t epoch, std::string_view bytes) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), epoch);
}

class RocksdbFound : public FoundValues {
 public:
  explicit RocksdbFound(size_t n) : values(n), statuses(n) {}
  std::string_view operator[](size_t i) const override {
    const size_t at = index.empty() ? i : index[i];
    if (!statuses[at].ok()) return {};
    // An empty value is not a missing one: its view points somewhere.
    return values[at].empty() ? std::string_view("", 0) : view(values[at]);
  }

  std::vector<rocksdb::PinnableSlice> values;
  std::vector<rocksdb::Status> statuses;
  std::vector<uint32_t> index;  // of the unique key, when some were given twice
};

Status remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? errno_status(error.value(), "remove", path.string()) : Status::ok();
}

bool holds_tables(const fs::path& directory) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".sst") return true;
  }
  return false;
}

}  // namespace

const std::string& progress_key() {
  static const std::string key = full_key(kReservedShard, 0, "progress");
  return key;
}

// What compactions and flushes tell: the first error, without which a full disk would show only in reads that get
// slower, and progress.
class RocksdbStore::BackgroundWork : public rocksdb::EventListener {
 public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* status) override {
    std::lock_guard lock(mutex_);
    if (error_.is_ok()) error_ = from_rocksdb(*status, "background work of the state store");
    changed_.notify_all();
  }
  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo&) override {
    std::lock_guard lock(mutex_);
    compactions_++;
    changed_.notify_all();
  }
  Status error() const {
    std::lock_guard lock(mutex_);
    return error_;
  }
  uint64_t compactions() const {
    std::lock_guard lock(mutex_);
    return compactions_;
  }
  // Until there were more compactions than `seen`, an error, or the time is over.
  void wait(uint64_t seen, std::chrono::steady_clock::time_point until) const {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, until, [&] { return compactions_ > seen || !error_.is_ok(); });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Status error_;
  uint64_t compactions_ = 0;
};

SstWriter::SstWriter(const rocksdb::Options& options, std::string path)
    // The writer's default throws its pages out of the system's page cache; every first read would then go to the disk.
    : writer_(rocksdb::EnvOptions(options), options, /*column_family=*/nullptr, /*invalidate_page_cache=*/false),
      path_(std::move(path)) {}

SstWriter::~SstWriter() {
  if (!finished_) ::unlink(path_.c_str());
}

Status SstWriter::open() { return from_rocksdb(writer_.Open(path_), "cannot create " + path_); }

Status SstWriter::put(std::string_view key, std::string_view value) {
  const rocksdb::Status status = writer_.Put(slice(key), slice(value));
  return status.ok() ? Status::ok() : from_rocksdb(status, "cannot write " + path_);
}

Status SstWriter::remove(std::string_view key) {
  const rocksdb::Status status = writer_.Delete(slice(key));
  return status.ok() ? Status::ok() : from_rocksdb(status, "cannot write " + path_);
}

// SstFileWriter::Finish syncs the file; ingestion syncs it once more under its final name, and its directory.
Status SstWriter::finish() {
  MR_RETURN_IF_ERROR(from_rocksdb(writer_.Finish(), "cannot finish " + path_));
  finished_ = true;
  return Status::ok();
}

RocksdbStore::RocksdbStore(StateOptions options) : options_(std::move(options)) {
  cache_ = rocksdb::NewLRUCache(options_.block_cache_bytes);
}

RocksdbStore::~RocksdbStore() { (void)close_database(); }

Status RocksdbStore::failed(const rocksdb::Status& status, std::string_view action) const {
  return from_rocksdb(status, std::string("state store ") + options_.directory + ": " + std::string(action));
}

Status RocksdbStore::open() {
  MR_RETURN_IF_ERROR(make_directories(options_.directory));
  MR_RETURN_IF_ERROR(lock());
  MR_RETURN_IF_ERROR(remove_leftovers());
  return open_database();
}

Status RocksdbStore::lock() {
  const std::string path = options_.directory + "/LOCK.millrace";
  MR_ASSIGN(lock_, open_file(path, O_RDWR | O_CREAT));
  int result = 0;
  do {
    result = ::flock(lock_.get(), LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return Status::ok();
  if (errno == EWOULDBLOCK) {
    return Status::terminal(Code::kStateLocked,
                            "state directory " + options_.directory + " is in use by another process");
  }
  return errno_status(errno, "lock", path);
}

Status RocksdbStore::remove_leftovers() {
  MR_RETURN_IF_ERROR(remove_tree(options_.directory + "/incoming"));
  std::error_code error;
  std::vector<fs::path> discarded;
  for (const auto& entry : fs::directory_iterator(options_.directory, error)) {
    if (entry.path().filename().string().starts_with("discarded-")) discarded.push_back(entry.path());
  }
  if (error) return errno_status(error.value(), "read", options_.directory);
  for (const fs::path& path : discarded) MR_RETURN_IF_ERROR(remove_tree(path));
  return make_directories(options_.directory + "/incoming");
}

Status RocksdbStore::open_database() {
  const std::string path = options_.directory + "/db";
  std::error_code error;
  // RocksDB would take tables without a CURRENT file for leftovers and start an empty database.
  if (!fs::exists(path + "/CURRENT", error) && holds_tables(path)) {
    return Status::terminal(Code::kStateCorrupt, "state store " + path + ": the file CURRENT is missing");
  }
  rocksdb::DBOptions options = rocksdb_db_options();
  work_ = std::make_shared<BackgroundWork>();
  options.listeners.push_back(work_);
  const rocksdb::ColumnFamilyOptions state = rocksdb_state_options(cache_);
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {{rocksdb::kDefaultColumnFamilyName, state},
                                                                 {"log", rocksdb_log_options()}};
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  MR_RETURN_IF_ERROR(failed(rocksdb::DB::Open(options, path, families, &handles, &db), "cannot open"));
  db_.reset(db);
  state_ = handles[0];
  log_ = handles[1];
  rocksdb::DBOptions writer_options = options;
  writer_options.listeners.clear();
  state_options_ = rocksdb::Options(writer_options, state);
  log_dropped_ = 0;
  log_unflushed_bytes_ = 0;
  choose_caching();
  return sync_directory(options_.directory);
}

Status RocksdbStore::close_database() {
  if (db_ == nullptr) return Status::ok();
  for (rocksdb::ColumnFamilyHandle* handle : {state_, log_}) {
    const rocksdb::Status status = db_->DestroyColumnFamilyHandle(handle);
    if (!status.ok()) return failed(status, "cannot close");
  }
  const rocksdb::Status status = db_->Close();
  db_.reset();
  return failed(status, "cannot close");
}

// The page cache of the system holds the files anyway. Once the state is larger than the block cache, copying each
// block that is missed into it, and another one out, costs more than it saves (docs/benchmarks.md).
void RocksdbStore::choose_caching() {
  uint64_t bytes = 0;
  db_->GetIntProperty(state_, rocksdb::DB::Properties::kTotalSstFilesSize, &bytes);
  const bool fill = fill_cache_ ? bytes <= options_.block_cache_bytes : bytes <= options_.block_cache_bytes / 2;
  if (fill == fill_cache_) return;
  fill_cache_ = fill;
  if (!fill) cache_->EraseUnRefEntries();
}

rocksdb::ReadOptions RocksdbStore::read_options() const {
  rocksdb::ReadOptions options;
  options.verify_checksums = true;  // of blocks that come from the disk; cached ones have been verified
  options.fill_cache = fill_cache_;
  return options;
}

Result<std::unique_ptr<FoundValues>> RocksdbStore::multi_get(const std::vector<std::string_view>& keys) {
  std::vector<rocksdb::Slice> slices;
  slices.reserve(keys.size());
  std::vector<uint32_t> index;
  for (size_t i = 0; i < keys.size(); i++) {
    if (i > 0 && keys[i] == keys[i - 1]) {
      if (index.empty()) {
        for (uint32_t before = 0; before < i; before++) index.push_back(before);
      }
    } else {
      slices.push_back(slice(keys[i]));
    }
    if (!index.empty()) index.push_back(static_cast<uint32_t>(slices.size() - 1));
  }
  auto found = std::make_unique<RocksdbFound>(slices.size());
  found->index = std::move(index);
  if (!slices.empty()) {
    db_->MultiGet(read_options(), state_, slices.size(), slices.data(), found->values.data(), found->statuses.data(),
                  /*sorted_input=*/true);
  }
  for (const rocksdb::Status& status : found->statuses) {
    if (!status.ok() && !status.IsNotFound()) return failed(status, "cannot read");
  }
  return std::unique_ptr<FoundValues>(std::move(found));
}

Status RocksdbStore::scan(std::string_view begin, std::string_view end,
                          const std::function<bool(std::string_view, std::string_view)>& visit) {
  const rocksdb::Slice upper = slice(end);
  rocksdb::ReadOptions options = read_options();
  options.fill_cache = false;
  options.iterate_upper_bound = &upper;
  std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(options, state_));
  for (iterator->Seek(slice(begin)); iterator->Valid(); iterator->Next()) {
    if (!visit(view(iterator->key()), view(iterator->value()))) return Status::ok();
  }
  return failed(iterator->status(), "cannot scan");
}

std::string RocksdbStore::incoming_path() {
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  return options_.directory + "/incoming/" + std::to_string(now) + "-" + std::to_string(::getpid()) + "-" +
         std::to_string(next_file_++) + ".sst";
}

Status RocksdbStore::background_error() const { return work_->error(); }

void RocksdbStore::wait_for_compaction() {
  const auto give_up = std::chrono::steady_clock::now() + kMaxCompactionWait;
  while (std::chrono::steady_clock::now() < give_up && background_error().is_ok()) {
    const uint64_t seen = work_->compactions();
    std::string files;
    db_->GetProperty(state_, rocksdb::DB::Properties::kNumFilesAtLevelPrefix + "0", &files);
    if (std::strtoull(files.c_str(), nullptr, 10) < kMaxLevel0Files) return;
    work_->wait(seen, give_up);
  }
}

Status RocksdbStore::ingest(const Delta& run, std::string_view progress) {
  MR_RETURN_IF_ERROR(background_error());
  wait_for_compaction();
  const std::string path = incoming_path();
  SstWriter writer(state_options_, path);
  MR_RETURN_IF_ERROR(writer.open());
  for (size_t i = 0; i < run.size(); i++) {
    const std::string_view key = run.key(i);
    MR_CHECK(key.size() >= kFullKeyPrefix && shard_of(key) != kReservedShard);
    const Delta::Value value = run.value(i);
    MR_RETURN_IF_ERROR(value.tombstone ? writer.remove(key) : writer.put(key, value.bytes));
  }
  MR_RETURN_IF_ERROR(writer.put(progress_key(), progress));
  MR_RETURN_IF_ERROR(writer.finish());
  crash_point("store-sst-written");
  MR_RETURN_IF_ERROR(ingest_files({path}));
  crash_point("store-ingested");
  return Status::ok();
}

Status RocksdbStore::ingest_files(const std::vector<std::string>& paths) {
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  options.write_global_seqno = false;    // it is in the manifest; the file stays as it was synced
  options.allow_blocking_flush = false;  // the family's memtable is always empty
  const rocksdb::Status status = db_->IngestExternalFile(state_, paths, options);
  if (!status.ok()) {
    for (const std::string& path : paths) ::unlink(path.c_str());
    return failed(status, "cannot ingest");
  }
  choose_caching();
  return Status::ok();
}

Result<std::optional<std::string>> RocksdbStore::progress() {
  std::string value;
  const rocksdb::Status status = db_->Get(read_options(), state_, slice(progress_key()), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return failed(status, "cannot read the progress record");
  return std::optional<std::string>(std::move(value));
}

Status RocksdbStore::log_append(uint64_t epoch, std::string_view bytes) {
  if (bytes.size() > kMaxLogEntryBytes) {
    return Status::user(Code::kRecordTooLarge, "an epoch's delta is too large for the epoch log");
  }
  std::lock_guard lock(log_mutex_);
  MR_RETURN_IF_ERROR(background_error());
  std::string checksum;
  append_big_endian(checksum, log_checksum(epoch, bytes));
  const std::string key = epoch_key(epoch);
  const rocksdb::Slice key_parts[] = {slice(key)};
  const rocksdb::Slice value_parts[] = {slice(checksum), slice(bytes)};
  rocksdb::WriteBatch batch(bytes.size() + 64);
  rocksdb::Status status = batch.Put(log_, rocksdb::SliceParts(key_parts, 1), rocksdb::SliceParts(value_parts, 2));
  rocksdb::WriteOptions options;
  options.sync = true;
  if (status.ok()) status = db_->Write(options, &batch);
  if (!status.ok()) return failed(status, "cannot append to the epoch log");
  log_dropped_ = std::min(log_dropped_, epoch);
  log_unflushed_bytes_ += bytes.size();
  crash_point("log-appended");
  return Status::ok();
}

Result<std::vector<LogEntry>> RocksdbStore::log_entries() {
  std::lock_guard lock(log_mutex_);
  std::vector<LogEntry> entries;
  std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(rocksdb::ReadOptions(), log_));
  for (iterator->SeekToFirst(); iterator->Valid(); iterator->Next()) {
    const std::string_view key = view(iterator->key());
    const std::string_view value = view(iterator->value());
    const bool whole = key.size() == kEpochBytes && value.size() >= kChecksumBytes;
    const uint64_t epoch = whole ? big_endian(key) : 0;
    if (!whole || big_endian(value) != log_checksum(epoch, value.substr(kChecksumBytes))) {
      return Status::terminal(Code::kStateCorrupt, "state store " + options_.directory + ": the epoch log is damaged");
    }
    entries.push_back({epoch, std::string(value.substr(kChecksumBytes))});
  }
  MR_RETURN_IF_ERROR(failed(iterator->status(), "cannot read the epoch log"));
  return entries;
}

// Not synced: an entry that comes back after a power failure is one that the store's progress record covers.
Status RocksdbStore::log_drop_until(uint64_t epoch) {
  std::lock_guard lock(log_mutex_);
  rocksdb::WriteBatch batch;
  {
    // From the last dropped entry on, so that the iterator does not walk over the tombstones of all before.
    std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(rocksdb::ReadOptions(), log_));
    for (iterator->Seek(slice(epoch_key(log_dropped_))); iterator->Valid(); iterator->Next()) {
      const std::string_view key = view(iterator->key());
      if (key.size() == kEpochBytes && big_endian(key) > epoch) break;
      const rocksdb::Status status = batch.Delete(log_, slice(key));
      if (!status.ok()) return failed(status, "cannot drop from the epoch log");
    }
    MR_RETURN_IF_ERROR(failed(iterator->status(), "cannot read the epoch log"));
  }
  if (batch.Count() > 0) {
    const rocksdb::Status status = db_->Write(rocksdb::WriteOptions(), &batch);
    if (!status.ok()) return failed(status, "cannot drop from the epoch log");
  }
  log_dropped_ = std::max(log_dropped_, epoch);
  if (log_unflushed_bytes_ >= kLogFlushBytes) {
    log_unflushed_bytes_ = 0;
    rocksdb::FlushOptions flush;
    flush.wait = false;
    flush.allow_write_stall = true;
    const rocksdb::Status status = db_->Flush(flush, log_);
    if (!status.ok()) return failed(status, "cannot flush the epoch log");
  }
  crash_point("log-dropped");
  return Status::ok();
}

// The rename is the moment at which everything is forgotten; a crash before or after it leaves a whole database or
// none.
Status RocksdbStore::clear() {
  MR_RETURN_IF_ERROR(close_database());
  const std::string discarded =
      options_.directory + "/discarded-" + std::to_string(::getpid()) + "-" + std::to_string(next_file_++);
  std::error_code error;
  fs::rename(options_.directory + "/db", discarded, error);
  if (error) return errno_status(error.value(), "rename", options_.directory + "/db");
  MR_RETURN_IF_ERROR(sync_directory(options_.directory));
  MR_RETURN_IF_ERROR(remove_leftovers());
  cache_->EraseUnRefEntries();
  return open_database();
}

Status RocksdbStore::verify() {
  MR_RETURN_IF_ERROR(background_error());
  rocksdb::ReadOptions options;
  options.readahead_size = 1 << 20;
  MR_RETURN_IF_ERROR(failed(db_->VerifyChecksum(options), "verification"));
  return log_entries().status();
}

StateStore::Numbers RocksdbStore::numbers() {
  Numbers numbers;
  using Properties = rocksdb::DB::Properties;
  db_->GetIntProperty(state_, Properties::kEstimateNumKeys, &numbers.keys_estimate);
  db_->GetAggregatedIntProperty(Properties::kTotalSstFilesSize, &numbers.disk_bytes);
  db_->GetIntProperty(state_, Properties::kEstimatePendingCompactionBytes, &numbers.pending_compaction_bytes);
  numbers.block_cache_bytes = cache_->GetUsage();
  return numbers;
}

Result<std::unique_ptr<StateStore>> open_rocksdb_store(const StateOptions& options) {
  auto store = std::make_unique<RocksdbStore>(options);
  MR_RETURN_IF_ERROR(store->open());
  return std::unique_ptr<StateStore>(std::move(store));
}

Status remove_store(const std::string& directory) {
  std::error_code error;
  if (!fs::exists(directory, error)) return Status::ok();
  // The lock goes last: until then nobody else opens what is half removed.
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().filename() == "LOCK.millrace") continue;
    MR_RETURN_IF_ERROR(remove_tree(entry.path()));
  }
  if (error) return errno_status(error.value(), "read", directory);
  return remove_tree(directory);
}

}  // namespace millrace
