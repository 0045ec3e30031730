// PartFile: the durable half of the file sink. Bytes are appended to a hidden part beside the target; a mark (length
// and checksum) says how far they were decided; publish() turns the part into the target. Whatever happens in between,
// resume(mark) finds exactly the marked bytes again, or says why not. One thread; nothing is locked but the part
// itself, against a second writer.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"

namespace millrace {

class PartFile {
 public:
  // Bytes appended so far and their XXH64 (seed 0).
  struct Mark {
    uint64_t length = 0;
    uint64_t checksum = 0;
    friend bool operator==(const Mark&, const Mark&) = default;
  };

  static constexpr size_t kBufferBytes = 256 * 1024;

  explicit PartFile(std::string target);

  // Starts empty: makes the directory, and removes what an earlier run has left. The target stays until publish().
  Status start();
  // Goes on behind the mark: what was written after it is cut off. Reads the part once to compare its checksum. A part
  // that was published already is accepted. kFileChanged (user): the marked bytes are not there any more.
  Status resume(const Mark& mark);

  // Append to buffer(), then spill() (which writes once enough has come together) or flush() (which always does).
  // Precondition: begin_append() has returned ok since the last start, resume or publish.
  Status begin_append();
  std::string& buffer() { return buffer_; }
  Status spill() { return buffer_.size() >= kBufferBytes ? flush() : Status::ok(); }
  Status flush();
  // What has been flushed.
  Mark mark() const;
  // What has been flushed is durable afterwards.
  Status sync();
  // Cuts off what lies behind the mark, makes the rest durable and renames it to the target. Idempotent.
  Status publish(const Mark& mark);
  // Forgets everything in memory and releases the part, which stays as it is.
  void close();

  size_t buffered() const { return buffer_.size(); }
  const std::string& target() const { return target_; }
  const std::string& part() const { return part_; }
  // Appended since this object was made.
  uint64_t bytes_written() const { return bytes_written_; }

 private:
  struct FreeHash {
    void operator()(XXH64_state_t* state) const { XXH64_freeState(state); }
  };

  Status check_target() const;
  Result<bool> open_part(bool create);
  Result<bool> target_holds(const Mark& mark) const;
  Status cut_to(const Mark& mark);
  Status copy_target();
  Status write(std::string_view bytes);
  Status sync_name();

  const std::string target_;
  const std::string directory_;
  const std::string part_;
  FileDescriptor file_;
  bool published_ = false;    // the target holds what was marked; the part does not exist
  bool dirty_ = false;        // flushed, not synced
  bool entry_dirty_ = false;  // the part's name is not durable yet
  Status failed_;             // the first write error; the part is in an unknown state from then on
  std::string buffer_;
  uint64_t length_ = 0;  // written to the part
  uint64_t bytes_written_ = 0;
  std::unique_ptr<XXH64_state_t, FreeHash> hash_;  // of those bytes
};

}  // namespace millrace
