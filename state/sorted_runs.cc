#include "state/sorted_runs.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/crash_point.h"

namespace millrace {
namespace {

constexpr size_t kReadBytes = 256 * 1024;
constexpr size_t kWriteBytes = 256 * 1024;
constexpr size_t kSampleBytes = 64 * 1024;
constexpr uint32_t kRemoved = UINT32_MAX;
// What an entry costs beyond its bytes until its run is sorted: builder entry, sort item.
constexpr size_t kEntryOverhead = 40;

struct EntryHead {
  uint32_t key_bytes;
  uint32_t value_bytes;
};

}  // namespace

// One run from a given key on, in order.
class SortedRuns::RunCursor {
 public:
  RunCursor(const Run& run, std::string_view begin) : run_(run) {
    if (run.memory != nullptr) {
      next_ = run.memory->lower_bound(begin);
      return;
    }
    const auto after = std::upper_bound(run.samples.begin(), run.samples.end(), begin,
                                        [](std::string_view key, const Sample& sample) { return key < sample.key; });
    offset_ = after == run.samples.begin() ? 0 : std::prev(after)->offset;
    skip_before_ = std::string(begin);
  }

  // Moves to the next entry; false at the end or on an error.
  bool advance() {
    do {
      if (!(run_.memory != nullptr ? advance_memory() : advance_file())) return false;
    } while (key < skip_before_);
    skip_before_.clear();
    return true;
  }

  std::string_view key;
  std::string_view value;
  bool removed = false;
  Status status;

 private:
  bool advance_memory() {
    if (next_ == run_.memory->size()) return false;
    key = run_.memory->key(next_);
    const Delta::Value found = run_.memory->value(next_++);
    value = found.bytes;
    removed = found.tombstone;
    return true;
  }

  bool advance_file() {
    EntryHead head;
    if (!need(sizeof head)) return false;
    std::memcpy(&head, buffer_.data() + position_, sizeof head);
    const size_t payload = size_t{head.key_bytes} + (head.value_bytes == kRemoved ? 0 : head.value_bytes);
    if (!need(sizeof head + payload)) return false;
    const char* at = buffer_.data() + position_ + sizeof head;
    removed = head.value_bytes == kRemoved;
    key = {at, head.key_bytes};
    value = {at + head.key_bytes, removed ? 0 : head.value_bytes};
    position_ += sizeof head + payload;
    return true;
  }

  // Makes `bytes` bytes available at position_; false at the end of the run.
  bool need(size_t bytes) {
    if (buffer_.size() - position_ >= bytes) return true;
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(position_));
    position_ = 0;
    while (buffer_.size() < bytes && offset_ < run_.file_bytes) {
      const size_t have = buffer_.size();
      const size_t wanted = std::min<uint64_t>(std::max(kReadBytes, bytes - have), run_.file_bytes - offset_);
      buffer_.resize(have + wanted);
      const ssize_t got = ::pread(run_.file.get(), buffer_.data() + have, wanted, static_cast<off_t>(offset_));
      if (got <= 0) {
        buffer_.resize(have);
        if (got < 0 && errno == EINTR) continue;
        status = errno_status(got < 0 ? errno : EIO, "read", run_.file.path());
        return false;
      }
      buffer_.resize(have + static_cast<size_t>(got));
      offset_ += static_cast<uint64_t>(got);
    }
    return buffer_.size() >= bytes;
  }

  const Run& run_;
  size_t next_ = 0;
  uint64_t offset_ = 0;
  std::vector<char> buffer_;
  size_t position_ = 0;
  std::string skip_before_;
};

class SortedRuns::MergeReader : public SortedRuns::Reader {
 public:
  MergeReader(const std::vector<Run>& runs, std::string_view begin, std::string_view end) : end_(end) {
    for (const Run& run : runs) cursors_.push_back(std::make_unique<RunCursor>(run, begin));
    for (size_t age = 0; age < cursors_.size(); age++) advance(age);
  }

  bool next(std::string_view* key, std::string_view* value) override {
    if (pending_) {
      pending_ = false;
      advance(current_);
    }
    while (!heap_.empty() && status_.is_ok()) {
      std::pop_heap(heap_.begin(), heap_.end(), Later{*this});
      current_ = heap_.back();
      heap_.pop_back();
      RunCursor& cursor = *cursors_[current_];
      const bool superseded = any_ && cursor.key == last_key_;
      if (superseded || cursor.removed) {
        if (!superseded) remember(cursor.key);
        advance(current_);
        continue;
      }
      remember(cursor.key);
      *key = cursor.key;
      *value = cursor.value;
      pending_ = true;  // the cursor moves on with the next call, so that the views stay
      return true;
    }
    return false;
  }

  Status status() const override { return status_; }

 private:
  // Heap order: smallest key first, of equal keys the newest run.
  struct Later {
    const MergeReader& reader;
    bool operator()(size_t a, size_t b) const {
      const int order = reader.cursors_[a]->key.compare(reader.cursors_[b]->key);
      return order != 0 ? order > 0 : a < b;
    }
  };

  void remember(std::string_view key) {
    last_key_.assign(key);
    any_ = true;
  }

  void advance(size_t age) {
    RunCursor& cursor = *cursors_[age];
    if (!cursor.advance()) {
      if (!cursor.status.is_ok()) status_ = cursor.status;
      return;
    }
    if (!end_.empty() && cursor.key >= end_) return;
    heap_.push_back(age);
    std::push_heap(heap_.begin(), heap_.end(), Later{*this});
  }

  std::string end_;
  std::vector<std::unique_ptr<RunCursor>> cursors_;
  std::vector<size_t> heap_;
  std::string last_key_;
  bool any_ = false;
  bool pending_ = false;
  size_t current_ = 0;
  Status status_;
};

SortedRuns::SortedRuns(std::string directory, size_t buffer_bytes)
    : directory_(std::move(directory)), buffer_bytes_(buffer_bytes), builder_(0) {}

SortedRuns::~SortedRuns() {
  if (spilling_.valid()) spilling_.wait();
  for (const std::string& path : paths_) ::unlink(path.c_str());
}

Status SortedRuns::put(std::string_view full_key, std::string_view value) {
  MR_CHECK(!sealed_);
  builder_.put_full(full_key, value);
  total_bytes_ += full_key.size() + value.size();
  return builder_.bytes() + builder_.size() * kEntryOverhead < buffer_bytes_ ? Status::ok() : spill();
}

Status SortedRuns::remove(std::string_view full_key) {
  MR_CHECK(!sealed_);
  builder_.remove_full(full_key);
  total_bytes_ += full_key.size();
  return builder_.bytes() + builder_.size() * kEntryOverhead < buffer_bytes_ ? Status::ok() : spill();
}

Status SortedRuns::spill() {
  MR_RETURN_IF_ERROR(wait_for_spill());
  const std::string path = directory_ + "/run-" + std::to_string(spilled_++);
  paths_.push_back(path);
  auto full = std::make_shared<DeltaBuilder>(std::move(builder_));
  builder_ = DeltaBuilder(0);
  spilling_ = std::async(std::launch::async, [this, full, path] { return write_run(*full->finish(false), path); });
  return Status::ok();
}

Status SortedRuns::wait_for_spill() {
  if (!spilling_.valid()) return Status::ok();
  MR_ASSIGN(Run run, spilling_.get());
  runs_.push_back(std::move(run));
  crash_point("bulk-load-run");
  return Status::ok();
}

Status SortedRuns::seal() {
  MR_CHECK(!sealed_);
  MR_RETURN_IF_ERROR(wait_for_spill());
  sealed_ = true;
  if (builder_.size() == 0) return Status::ok();
  Run last;
  last.memory = builder_.finish(false);
  runs_.push_back(std::move(last));
  crash_point("bulk-load-run");
  return Status::ok();
}

// The file is read back by this process only; it needs neither checksums nor syncs.
Result<SortedRuns::Run> SortedRuns::write_run(const Delta& sorted, const std::string& path) const {
  Run run;
  MR_ASSIGN(run.file, open_file(path, O_RDWR | O_CREAT | O_TRUNC));
  std::string buffer;
  buffer.reserve(kWriteBytes + kSampleBytes);
  uint64_t offset = 0;
  uint64_t next_sample = 0;
  for (size_t i = 0; i < sorted.size(); i++) {
    const std::string_view key = sorted.key(i);
    const Delta::Value value = sorted.value(i);
    if (offset >= next_sample) {
      run.samples.push_back({std::string(key), offset});
      next_sample = offset + kSampleBytes;
    }
    const EntryHead head{static_cast<uint32_t>(key.size()),
                         value.tombstone ? kRemoved : static_cast<uint32_t>(value.bytes.size())};
    const size_t before = buffer.size();
    buffer.append(reinterpret_cast<const char*>(&head), sizeof head).append(key).append(value.bytes);
    offset += buffer.size() - before;
    if (buffer.size() >= kWriteBytes) {
      MR_RETURN_IF_ERROR(write_all(run.file, buffer));
      buffer.clear();
    }
  }
  MR_RETURN_IF_ERROR(write_all(run.file, buffer));
  run.file_bytes = offset;
  return run;
}

std::vector<std::string> SortedRuns::split_keys(size_t ranges) const {
  MR_CHECK(sealed_ && ranges > 0);
  std::vector<std::string> sampled;
  for (const Run& run : runs_) {
    for (const Sample& sample : run.samples) sampled.push_back(sample.key);
    if (run.memory == nullptr) continue;
    const size_t step = std::max<size_t>(1, run.memory->size() / 256);
    for (size_t i = step; i < run.memory->size(); i += step) sampled.emplace_back(run.memory->key(i));
  }
  std::sort(sampled.begin(), sampled.end());
  sampled.erase(std::unique(sampled.begin(), sampled.end()), sampled.end());
  std::vector<std::string> splits;
  for (size_t i = 1; i < ranges; i++) {
    const size_t at = sampled.size() * i / ranges;
    if (at == 0 || (!splits.empty() && sampled[at] == splits.back())) continue;
    splits.push_back(sampled[at]);
  }
  return splits;
}

std::unique_ptr<SortedRuns::Reader> SortedRuns::read(std::string_view begin, std::string_view end) const {
  MR_CHECK(sealed_);
  return std::make_unique<MergeReader>(runs_, begin, end);
}

}  // namespace millrace
