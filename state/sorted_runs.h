// SortedRuns: an external merge sort of entries that arrive in any order, for bulk loads. Entries collect in memory; a
// full buffer is sorted by a thread of its own and written to a run file, while the next one fills. Ranges of the
// result are then read in parallel: each key once, with its newest entry; removed keys are left out.
//
// Memory: at most three buffers of `buffer_bytes` (one fills, one waits or is being sorted with its index), and 256 KiB
// per run file and open reader. Threads: put, remove and seal from one thread; readers each from one thread, any number
// after seal.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "state/delta.h"

namespace millrace {

class SortedRuns {
 public:
  // Run files are created in `directory` and removed again by the destructor.
  SortedRuns(std::string directory, size_t buffer_bytes);
  ~SortedRuns();
  SortedRuns(const SortedRuns&) = delete;
  SortedRuns& operator=(const SortedRuns&) = delete;

  Status put(std::string_view full_key, std::string_view value);
  Status remove(std::string_view full_key);
  // No more entries. A load that fits into one buffer stays in memory.
  Status seal();

  // Precondition of the rest: sealed.
  // Keys that cut the result into about `ranges` ranges of equal size, ascending; fewer when there is little.
  std::vector<std::string> split_keys(size_t ranges) const;
  size_t bytes() const { return total_bytes_; }  // of entries put, keys and values

  // Entries with begin <= key < end (end empty: to the last) in order.
  class Reader {
   public:
    virtual ~Reader() = default;
    // False at the end or on an error, which status() tells. Views are valid until the next call.
    virtual bool next(std::string_view* key, std::string_view* value) = 0;
    virtual Status status() const = 0;
  };
  std::unique_ptr<Reader> read(std::string_view begin, std::string_view end) const;

 private:
  struct Sample {
    std::string key;
    uint64_t offset;
  };
  struct Run {
    DeltaPtr memory;      // the only run of a small load
    FileDescriptor file;  // or an unlinked-at-exit file of key_bytes, value_bytes, key, value
    uint64_t file_bytes = 0;
    std::vector<Sample> samples;  // every 64 KiB
  };
  class RunCursor;
  class MergeReader;

  Status spill();
  Status wait_for_spill();
  Result<Run> write_run(const Delta& sorted, const std::string& path) const;

  std::string directory_;
  size_t buffer_bytes_;
  DeltaBuilder builder_;
  size_t total_bytes_ = 0;
  std::vector<Run> runs_;  // oldest first
  std::future<Result<Run>> spilling_;
  size_t spilled_ = 0;
  std::vector<std::string> paths_;
  bool sealed_ = false;
};

}  // namespace millrace
