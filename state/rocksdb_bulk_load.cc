// Bulk load: sort everything, write it once into SSTs with disjoint ranges, ingest them at the bottom level in one
// atomic step. Until that step the store is empty and has no progress record, which is how the next open finds an
// unfinished load.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "base/crash_point.h"
#include "state/rocksdb_store.h"

namespace millrace {
namespace {

constexpr size_t kBufferBytes = 32u << 20;  // all feeders together
constexpr size_t kRangeBytes = 48u << 20;  // of entries per SST
constexpr size_t kMinRangeBytes = 4u << 20;
constexpr size_t kWriters = 2;

}  // namespace

class RocksdbBulkLoad : public BulkLoad {
 public:
  RocksdbBulkLoad(RocksdbStore& store, size_t feeders)
      : store_(store), runs_(store.options_.directory + "/incoming", kBufferBytes / feeders, feeders) {}

  Status put(size_t feeder, std::string_view full_key, std::string_view value) override {
    MR_CHECK(full_key.size() >= kFullKeyPrefix && shard_of(full_key) != kReservedShard);
    return runs_.feeder(feeder).put(full_key, value);
  }
  Status remove(size_t feeder, std::string_view full_key) override { return runs_.feeder(feeder).remove(full_key); }

  Status finish(std::string_view progress) override {
    MR_RETURN_IF_ERROR(runs_.seal());
    std::vector<std::string> bounds = {""};
    for (std::string& key : runs_.split_keys(range_count())) bounds.push_back(std::move(key));
    bounds.push_back("");  // to the end
    const size_t ranges = bounds.size() - 1;
    std::vector<std::string> paths(ranges);  // "": the range is empty
    std::vector<Status> results(ranges);
    std::atomic<size_t> next{0};
    const auto write_ranges = [&] {
      for (size_t i = next++; i < ranges; i = next++) {
        const bool last = i + 1 == ranges;
        results[i] = write_range(bounds[i], bounds[i + 1], last ? &progress : nullptr, &paths[i]);
      }
    };
    std::vector<std::thread> writers;
    for (size_t i = 1; i < std::min(kWriters, ranges); i++) writers.emplace_back(write_ranges);
    write_ranges();
    for (std::thread& writer : writers) writer.join();
    std::erase(paths, "");
    for (const Status& result : results) {
      if (result.is_ok()) continue;
      // A full disk is not to stay full of what nobody will ingest.
      for (const std::string& path : paths) ::unlink(path.c_str());
      return result;
    }
    crash_point("bulk-load-finish");
    return store_.ingest_files(paths);
  }

 private:
  size_t range_count() const {
    const size_t bytes = runs_.bytes();
    if (bytes < 2 * kMinRangeBytes) return 1;
    return std::max(kWriters, bytes / kRangeBytes);
  }

  Status write_range(std::string_view begin, std::string_view end, const std::string_view* progress,
                     std::string* written) {
    const std::unique_ptr<SortedRuns::Reader> reader = runs_.read(begin, end);
    const std::string path = store_.incoming_path();
    SstWriter writer(store_.state_options_, path);
    bool any = false;
    std::string_view key;
    std::string_view value;
    while (reader->next(&key, &value)) {
      if (!any) MR_RETURN_IF_ERROR(writer.open());
      any = true;
      MR_RETURN_IF_ERROR(writer.put(key, value));
    }
    MR_RETURN_IF_ERROR(reader->status());
    if (progress != nullptr) {
      if (!any) MR_RETURN_IF_ERROR(writer.open());
      any = true;
      MR_RETURN_IF_ERROR(writer.put(progress_key(), *progress));
    }
    if (!any) return Status::ok();
    *written = path;
    return writer.finish();
  }

  RocksdbStore& store_;
  SortedRuns runs_;
};

Result<std::unique_ptr<BulkLoad>> RocksdbStore::bulk_load(size_t feeders) {
  MR_RETURN_IF_ERROR(clear());
  return std::unique_ptr<BulkLoad>(std::make_unique<RocksdbBulkLoad>(*this, feeders));
}

}  // namespace millrace
