// The memory store: one ordered map per shard. What it holds dies with the process; for tests and `state: {backend:
// memory}`.
#include <map>
#include <mutex>
#include <shared_mutex>

#include "base/check.h"
#include "state/state_store.h"

namespace millrace {
namespace {

class MemoryFound : public FoundValues {
 public:
  explicit MemoryFound(size_t n) : spans_(n, Span{kAbsent, 0}) {}
  void set(size_t i, std::string_view value) {
    spans_[i] = {bytes_.size(), value.size()};
    bytes_.append(value);
  }
  std::string_view operator[](size_t i) const override {
    const Span& span = spans_[i];
    return span.offset == kAbsent ? std::string_view() : std::string_view(bytes_.data() + span.offset, span.size);
  }

 private:
  static constexpr size_t kAbsent = SIZE_MAX;
  struct Span {
    size_t offset;
    size_t size;
  };
  std::vector<Span> spans_;
  std::string bytes_;
};

class MemoryStore : public StateStore {
 public:
  Result<std::unique_ptr<FoundValues>> multi_get(const std::vector<std::string_view>& keys) override {
    auto found = std::make_unique<MemoryFound>(keys.size());
    std::shared_lock lock(mutex_);
    for (size_t i = 0; i < keys.size(); i++) {
      const auto shard = shards_.find(shard_of(keys[i]));
      if (shard == shards_.end()) continue;
      const auto entry = shard->second.find(keys[i].substr(2));
      if (entry != shard->second.end()) found->set(i, entry->second);
    }
    return std::unique_ptr<FoundValues>(std::move(found));
  }

  Status scan(std::string_view begin, std::string_view end,
              const std::function<bool(std::string_view, std::string_view)>& visit) override {
    std::shared_lock lock(mutex_);
    std::string key;
    for (const auto& [shard, entries] : shards_) {
      const char prefix[2] = {static_cast<char>(shard >> 8), static_cast<char>(shard & 0xff)};
      const std::string_view shard_prefix(prefix, 2);
      // A begin inside this shard skips into it; a begin before it skips nothing.
      auto entry = begin.substr(0, 2) == shard_prefix ? entries.lower_bound(begin.substr(2)) : entries.begin();
      if (begin.size() >= 2 && begin.substr(0, 2) > shard_prefix) continue;
      for (; entry != entries.end(); ++entry) {
        key.assign(shard_prefix).append(entry->first);
        if (key >= end) return Status::ok();
        if (!visit(key, entry->second)) return Status::ok();
      }
    }
    return Status::ok();
  }

  Status ingest(const Delta& run, std::string_view progress) override {
    std::unique_lock lock(mutex_);
    for (size_t i = 0; i < run.size(); i++) apply(run.key(i), run.value(i));
    progress_ = std::string(progress);
    return Status::ok();
  }

  Result<std::optional<std::string>> progress() override {
    std::shared_lock lock(mutex_);
    return progress_;
  }

  Status log_append(uint64_t, std::string_view) override { return no_log(); }
  Result<std::vector<LogEntry>> log_entries() override { return no_log(); }
  Status log_drop_until(uint64_t) override { return no_log(); }

  Result<std::unique_ptr<BulkLoad>> bulk_load(size_t feeders) override;

  Status clear() override {
    std::unique_lock lock(mutex_);
    shards_.clear();
    bytes_ = 0;
    keys_ = 0;
    progress_.reset();
    return Status::ok();
  }

  Status verify() override { return Status::ok(); }

  Numbers numbers() override {
    std::shared_lock lock(mutex_);
    Numbers numbers;
    numbers.keys_estimate = keys_;
    return numbers;
  }

 private:
  friend class MemoryBulkLoad;
  using Entries = std::map<std::string, std::string, std::less<>>;

  static Status no_log() { return Status::internal("the memory store keeps no epoch log"); }

  void apply(std::string_view key, const Delta::Value& value) {
    MR_CHECK(key.size() >= kFullKeyPrefix && shard_of(key) != kReservedShard);
    Entries& entries = shards_[shard_of(key)];
    const std::string_view rest = key.substr(2);
    auto entry = entries.lower_bound(rest);
    const bool exists = entry != entries.end() && entry->first == rest;
    if (value.tombstone) {
      if (!exists) return;
      entries.erase(entry);
      keys_--;
    } else if (exists) {
      entry->second.assign(value.bytes);
    } else {
      entries.emplace_hint(entry, rest, value.bytes);
      keys_++;
    }
  }

  std::shared_mutex mutex_;
  std::map<uint16_t, Entries> shards_;  // by shard; keys without their shard
  std::optional<std::string> progress_;
  size_t bytes_ = 0;
  uint64_t keys_ = 0;
};

class MemoryBulkLoad : public BulkLoad {
 public:
  explicit MemoryBulkLoad(MemoryStore& store) : store_(store) {}

  Status put(size_t, std::string_view full_key, std::string_view value) override {
    std::unique_lock lock(store_.mutex_);
    store_.apply(full_key, {.tombstone = false, .bytes = value});
    return Status::ok();
  }
  Status remove(size_t, std::string_view full_key) override {
    std::unique_lock lock(store_.mutex_);
    store_.apply(full_key, {.tombstone = true, .bytes = {}});
    return Status::ok();
  }
  Status finish(std::string_view progress) override {
    std::unique_lock lock(store_.mutex_);
    store_.progress_ = std::string(progress);
    return Status::ok();
  }

 private:
  MemoryStore& store_;
};

Result<std::unique_ptr<BulkLoad>> MemoryStore::bulk_load(size_t) {
  MR_RETURN_IF_ERROR(clear());
  return std::unique_ptr<BulkLoad>(std::make_unique<MemoryBulkLoad>(*this));
}

}  // namespace

std::unique_ptr<StateStore> open_memory_store() { return std::make_unique<MemoryStore>(); }

}  // namespace millrace
