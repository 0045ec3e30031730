// SortedRuns: an external merge sort of entries that arrive in any order, for bulk loads. Entries collect in the buffer
// of a feeder; a full one is sorted and written as a run, behind the feeder's earlier ones in its file, by a thread of
// its own, while the next one fills. Ranges of the result are then read in parallel: each key once, with its newest
// entry; removed keys are left out.
//
// Memory: about three times `buffer_bytes` per feeder (one buffer fills, one is being sorted, and what that takes), and
// about 32 MiB per open reader; an entry that is larger than a buffer gets one of its own size for as long as it is
// there. Descriptors: one per feeder. Threads: each feeder from one thread; seal when no feeder is in use any more;
// readers after seal, each from one thread. After an error a load can only be destroyed.
#pragma once

#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace millrace {

class SortedRuns {
 private:
  struct RunFile {
    FileDescriptor file;
    uint64_t bytes = 0;
  };

 public:
  // Takes entries. The last entry of a key wins. Precondition: a key is given to one feeder only, and is shorter than
  // 4 GiB; so is its value.
  class Feeder {
   public:
    ~Feeder();
    Status put(std::string_view full_key, std::string_view value);
    Status remove(std::string_view full_key);

   private:
    friend class SortedRuns;
    struct Buffer;
    struct Spilled;
    Feeder(SortedRuns& runs, size_t number);
    Status add(std::string_view full_key, std::string_view value, uint32_t value_bytes);
    Status spill();
    Status wait_for_spill();

    SortedRuns& runs_;
    std::string path_;
    std::shared_ptr<RunFile> file_;  // once something was spilled
    Status failed_;
    std::unique_ptr<Buffer> filling_;
    std::unique_ptr<Buffer> spare_;
    std::future<Result<std::unique_ptr<Spilled>>> spilling_;
    size_t bytes_ = 0;
  };

  // The feeders' files are created in `directory` and removed again by the destructor. buffer_bytes < 2 GiB.
  SortedRuns(std::string directory, size_t buffer_bytes, size_t feeders);
  ~SortedRuns();
  SortedRuns(const SortedRuns&) = delete;
  SortedRuns& operator=(const SortedRuns&) = delete;

  Feeder& feeder(size_t i) { return *feeders_[i]; }
  // No more entries. What is left in the buffers stays in memory.
  Status seal();

  // Precondition of the rest: sealed.
  // Keys that cut the result into about `ranges` ranges of equal size, ascending; fewer when there is little.
  std::vector<std::string> split_keys(size_t ranges) const;
  size_t bytes() const;  // of entries put, keys and values

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
    std::unique_ptr<Feeder::Buffer> memory;  // the last one of a feeder
    std::shared_ptr<const RunFile> file;     // or the same entries in its file
    uint64_t end = 0;                        // in the file
    std::vector<Sample> samples;             // every 64 KiB, from the first entry on
  };
  class RunCursor;
  class MergeReader;

  void add_run(Run run);
  // Appends to the file.
  static Result<Run> write_run(const Feeder::Buffer& sorted, const std::shared_ptr<RunFile>& file);

  std::string directory_;
  size_t buffer_bytes_;
  std::mutex mutex_;       // guards runs_ until sealed
  std::vector<Run> runs_;  // those of one feeder oldest first
  std::vector<std::unique_ptr<Feeder>> feeders_;
  bool sealed_ = false;
};

}  // namespace millrace
