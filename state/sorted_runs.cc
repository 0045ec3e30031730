#include "state/sorted_runs.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/crash_point.h"
#include "state/key_sort.h"

namespace millrace {
namespace {

// Of a merge: shared by its runs, so that many runs do not take more memory, within bounds that disks like.
constexpr size_t kMergeBytes = 32u << 20;
constexpr size_t kMaxReadBytes = 256 * 1024;
constexpr size_t kMinReadBytes = 16 * 1024;
constexpr size_t kWriteBytes = 256 * 1024;
constexpr size_t kSampleBytes = 64 * 1024;
constexpr uint32_t kRemoved = UINT32_MAX;

struct EntryHead {
  uint32_t key_bytes;
  uint32_t value_bytes;
};

// Entries as they stand in buffers and files: the head, the key, the value.
struct Entry {
  std::string_view key;
  std::string_view value;
  std::string_view bytes;  // all of it
  bool removed = false;
};

size_t entry_bytes(const EntryHead& head) {
  return sizeof head + head.key_bytes + (head.value_bytes == kRemoved ? 0 : head.value_bytes);
}

Entry entry_at(const char* at) {
  EntryHead head;
  std::memcpy(&head, at, sizeof head);
  const size_t bytes = entry_bytes(head);
  const char* key = at + sizeof head;
  const char* value = key + head.key_bytes;
  const size_t value_bytes = bytes - sizeof head - head.key_bytes;
  return {{key, head.key_bytes}, {value, value_bytes}, {at, bytes}, head.value_bytes == kRemoved};
}

}  // namespace

// Entries in the order of their arrival, and one item for each to sort. The memory is kept for the next filling.
struct SortedRuns::Feeder::Buffer {
  explicit Buffer(size_t bytes) : capacity(bytes) { allocate(bytes); }
  void allocate(size_t bytes) { data = std::make_unique_for_overwrite<char[]>(bytes); }

  // False: it is full. An empty one takes every entry.
  bool add(std::string_view key, std::string_view value, uint32_t value_bytes) {
    const EntryHead head{static_cast<uint32_t>(key.size()), value_bytes};
    const size_t bytes = entry_bytes(head);
    // Beside the bytes, the items: these and the sort's scratch are as long as the entries.
    if (used + bytes + items.size() * sizeof(SortItem) > capacity) {
      if (!items.empty()) return false;
      if (bytes > capacity) allocate(bytes);
    }
    char* to = data.get() + used;
    std::memcpy(to, &head, sizeof head);
    char* to_key = to + sizeof head;
    std::memcpy(to_key, key.data(), key.size());
    if (!value.empty()) std::memcpy(to_key + key.size(), value.data(), value.size());
    items.push_back({ordered_word(to_key, key.size(), 0), ordered_word(to_key, key.size(), 8),
                     static_cast<uint32_t>(used), head.key_bytes});
    used += bytes;
    return true;
  }

  // Items in the order of their keys, each key once with its last entry.
  void sort() {
    const auto key = [this](uint32_t offset) { return data.get() + offset + sizeof(EntryHead); };
    const KeySort keys(key);
    scratch.resize(items.size());
    keys.sort(items.data(), scratch.data(), items.size(), 0);
    size_t kept = 0;
    for (size_t i = 0; i < items.size(); i++) {
      // Equal keys end up side by side, at the same depth.
      const bool superseded = i + 1 < items.size() && items[i].first == items[i + 1].first &&
                              items[i].second == items[i + 1].second && keys.compare(items[i], items[i + 1], 0) == 0;
      if (!superseded) items[kept++] = items[i];
    }
    items.resize(kept);
  }

  Entry entry(size_t i) const { return entry_at(data.get() + items[i].index); }

  size_t lower_bound(std::string_view wanted) const {
    const auto before = [this](const SortItem& item, std::string_view key) {
      return entry_at(data.get() + item.index).key < key;
    };
    const auto found = std::lower_bound(items.begin(), items.end(), wanted, before);
    return static_cast<size_t>(found - items.begin());
  }

  void clear() {
    if (used > capacity) allocate(capacity);  // it has held one large entry
    used = 0;
    items.clear();
  }

  size_t capacity;
  size_t used = 0;
  std::unique_ptr<char[]> data;
  std::vector<SortItem> items;
  std::vector<SortItem> scratch;
};

struct SortedRuns::Feeder::Spilled {
  Run run;
  std::unique_ptr<Buffer> buffer;
};

// One run from a given key on, in order.
class SortedRuns::RunCursor {
 public:
  RunCursor(const Run& run, std::string_view begin, size_t read_bytes) : run_(run), read_bytes_(read_bytes) {
    if (run.memory != nullptr) {
      next_ = run.memory->lower_bound(begin);
      return;
    }
    const auto after = std::upper_bound(run.samples.begin(), run.samples.end(), begin,
                                        [](std::string_view key, const Sample& sample) { return key < sample.key; });
    offset_ = after == run.samples.begin() ? run.samples.front().offset : std::prev(after)->offset;
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
    if (next_ == run_.memory->items.size()) return false;
    take(run_.memory->entry(next_++));
    return true;
  }

  bool advance_file() {
    EntryHead head;
    if (!need(sizeof head)) return false;
    std::memcpy(&head, buffer_.data() + position_, sizeof head);
    if (!need(entry_bytes(head))) return false;
    take(entry_at(buffer_.data() + position_));
    position_ += entry_bytes(head);
    return true;
  }

  void take(const Entry& entry) {
    key = entry.key;
    value = entry.value;
    removed = entry.removed;
  }

  // Makes `bytes` bytes available at position_; false at the end of the run.
  bool need(size_t bytes) {
    if (buffer_.size() - position_ >= bytes) return true;
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(position_));
    position_ = 0;
    const FileDescriptor& file = run_.file->file;
    while (buffer_.size() < bytes && offset_ < run_.end) {
      const size_t have = buffer_.size();
      const size_t wanted = std::min<uint64_t>(std::max(read_bytes_, bytes - have), run_.end - offset_);
      buffer_.resize(have + wanted);
      const ssize_t got = ::pread(file.get(), buffer_.data() + have, wanted, static_cast<off_t>(offset_));
      if (got <= 0) {
        buffer_.resize(have);
        if (got < 0 && errno == EINTR) continue;
        status = errno_status(got < 0 ? errno : EIO, "read", file.path());
        return false;
      }
      buffer_.resize(have + static_cast<size_t>(got));
      offset_ += static_cast<uint64_t>(got);
    }
    return buffer_.size() >= bytes;
  }

  const Run& run_;
  const size_t read_bytes_;
  size_t next_ = 0;
  uint64_t offset_ = 0;
  std::vector<char> buffer_;
  size_t position_ = 0;
  std::string skip_before_;
};

class SortedRuns::MergeReader : public SortedRuns::Reader {
 public:
  MergeReader(const std::vector<Run>& runs, std::string_view begin, std::string_view end) : end_(end) {
    const size_t read_bytes = std::clamp(kMergeBytes / std::max<size_t>(runs.size(), 1), kMinReadBytes, kMaxReadBytes);
    for (const Run& run : runs) cursors_.push_back(std::make_unique<RunCursor>(run, begin, read_bytes));
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

SortedRuns::SortedRuns(std::string directory, size_t buffer_bytes, size_t feeders)
    : directory_(std::move(directory)), buffer_bytes_(buffer_bytes) {
  MR_CHECK(buffer_bytes < (size_t{1} << 31) && feeders > 0);
  for (size_t i = 0; i < feeders; i++) feeders_.emplace_back(new Feeder(*this, i));
}

SortedRuns::~SortedRuns() {
  for (const auto& feeder : feeders_) {
    if (feeder->spilling_.valid()) feeder->spilling_.wait();
    if (feeder->file_) ::unlink(feeder->path_.c_str());
  }
}

SortedRuns::Feeder::Feeder(SortedRuns& runs, size_t number)
    : runs_(runs),
      path_(runs.directory_ + "/runs-" + std::to_string(number)),
      filling_(std::make_unique<Buffer>(runs.buffer_bytes_)) {}

SortedRuns::Feeder::~Feeder() {
  if (spilling_.valid()) spilling_.wait();
}

Status SortedRuns::Feeder::put(std::string_view full_key, std::string_view value) {
  MR_CHECK(full_key.size() < UINT32_MAX && value.size() < kRemoved);
  return add(full_key, value, static_cast<uint32_t>(value.size()));
}

Status SortedRuns::Feeder::remove(std::string_view full_key) {
  MR_CHECK(full_key.size() < UINT32_MAX);
  return add(full_key, {}, kRemoved);
}

Status SortedRuns::Feeder::add(std::string_view full_key, std::string_view value, uint32_t value_bytes) {
  bytes_ += full_key.size() + value.size();
  if (filling_->add(full_key, value, value_bytes)) return Status::ok();
  MR_RETURN_IF_ERROR(spill());
  MR_CHECK(filling_->add(full_key, value, value_bytes));
  return Status::ok();
}

Status SortedRuns::Feeder::spill() {
  MR_RETURN_IF_ERROR(wait_for_spill());
  if (!file_) {
    MR_ASSIGN(FileDescriptor file, open_file(path_, O_RDWR | O_CREAT | O_TRUNC));
    file_ = std::make_shared<RunFile>(RunFile{std::move(file), 0});
  }
  const auto sort_and_write = [file = file_](std::unique_ptr<Buffer> full) -> Result<std::unique_ptr<Spilled>> {
    full->sort();
    MR_ASSIGN(Run run, write_run(*full, file));
    full->clear();
    return std::make_unique<Spilled>(Spilled{std::move(run), std::move(full)});
  };
  std::unique_ptr<Buffer> next = spare_ ? std::move(spare_) : std::make_unique<Buffer>(runs_.buffer_bytes_);
  spilling_ = std::async(std::launch::async, sort_and_write, std::exchange(filling_, std::move(next)));
  return Status::ok();
}

Status SortedRuns::Feeder::wait_for_spill() {
  if (!spilling_.valid()) return failed_;
  Result<std::unique_ptr<Spilled>> spilled = spilling_.get();
  if (!spilled.is_ok()) return failed_ = spilled.status();
  spare_ = std::move((*spilled)->buffer);
  runs_.add_run(std::move((*spilled)->run));
  return Status::ok();
}

void SortedRuns::add_run(Run run) {
  const std::lock_guard lock(mutex_);
  runs_.push_back(std::move(run));
  crash_point("bulk-load-run");
}

Status SortedRuns::seal() {
  MR_CHECK(!sealed_);
  std::vector<std::future<void>> sorting;
  for (const auto& feeder : feeders_) {
    sorting.push_back(std::async(std::launch::async, [&feeder] { feeder->filling_->sort(); }));
  }
  for (std::future<void>& one : sorting) one.get();
  for (const auto& feeder : feeders_) {
    MR_RETURN_IF_ERROR(feeder->wait_for_spill());
    feeder->spare_.reset();
    if (feeder->filling_->items.empty()) continue;
    Run last;
    last.memory = std::move(feeder->filling_);
    add_run(std::move(last));
  }
  sealed_ = true;
  return Status::ok();
}

size_t SortedRuns::bytes() const {
  size_t bytes = 0;
  for (const auto& feeder : feeders_) bytes += feeder->bytes_;
  return bytes;
}

// The file is read back by this process only; it needs neither checksums nor syncs.
Result<SortedRuns::Run> SortedRuns::write_run(const Feeder::Buffer& sorted, const std::shared_ptr<RunFile>& file) {
  Run run;
  run.file = file;
  std::string buffer;
  buffer.reserve(kWriteBytes + kSampleBytes);
  uint64_t next_sample = file->bytes;
  for (size_t i = 0; i < sorted.items.size(); i++) {
    const Entry entry = sorted.entry(i);
    if (file->bytes >= next_sample) {
      run.samples.push_back({std::string(entry.key), file->bytes});
      next_sample = file->bytes + kSampleBytes;
    }
    buffer.append(entry.bytes);
    file->bytes += entry.bytes.size();
    if (buffer.size() >= kWriteBytes) {
      MR_RETURN_IF_ERROR(write_all(file->file, buffer));
      buffer.clear();
    }
  }
  MR_RETURN_IF_ERROR(write_all(file->file, buffer));
  run.end = file->bytes;
  return run;
}

std::vector<std::string> SortedRuns::split_keys(size_t ranges) const {
  MR_CHECK(sealed_ && ranges > 0);
  std::vector<std::string> sampled;
  for (const Run& run : runs_) {
    for (const Sample& sample : run.samples) sampled.push_back(sample.key);
    if (run.memory == nullptr) continue;
    const size_t entries = run.memory->items.size();
    const size_t step = std::max<size_t>(1, entries / 256);
    for (size_t i = step; i < entries; i += step) sampled.emplace_back(run.memory->entry(i).key);
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
