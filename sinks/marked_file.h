// MarkedFile: a file that is appended to through a buffer, with the length and the checksum of what was flushed, so
// that
// whoever kept such a mark finds exactly those bytes again. What PartFile and PartFolder write with. One thread.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"

namespace millrace {

class MarkedFile {
 public:
  // Bytes flushed so far and their XXH64 (seed 0).
  struct Mark {
    uint64_t length = 0;
    uint64_t checksum = 0;
    friend bool operator==(const Mark&, const Mark&) = default;
  };

  MarkedFile();
  bool is_open() const { return file_.is_open(); }
  // Starts empty in `file`, which is cut to nothing.
  Status start(FileDescriptor file);
  // Goes on in *file behind the mark and cuts off the rest. Reads it once to compare the checksum. False, and *file is
  // left alone, if it does not begin with the marked bytes.
  Result<bool> resume(FileDescriptor* file, const Mark& mark);
  // False, or remembers the mark of a file that is finished, if `file` is exactly the marked bytes.
  Result<bool> recognise(const FileDescriptor& file, const Mark& mark);

  // Append to buffer(), then spill() (which writes once `bytes` have come together) or flush() (which always does).
  // The first error stays: the file is in an unknown state from then on.
  std::string& buffer() { return buffer_; }
  size_t buffered() const { return buffer_.size(); }
  Status spill(size_t bytes) { return buffer_.size() >= bytes ? flush() : status_; }
  Status flush();
  // Appends the first `length` bytes of another file; false if it is shorter. Precondition: the buffer is empty.
  Result<bool> copy(const FileDescriptor& from, uint64_t length);
  // What has been flushed.
  Mark mark() const { return {length_, XXH64_digest(hash_.get())}; }
  uint64_t bytes() const { return length_ + buffer_.size(); }  // flushed or not
  // What has been flushed is durable afterwards.
  Status sync();
  // Forgets the buffer and what lies behind the mark. Precondition: it is a mark of this file.
  Status cut(const Mark& mark);
  // Closes the descriptor and keeps the mark.
  Status release() { return file_.close(); }
  // Closes the descriptor and forgets everything.
  void close();
  const Status& status() const { return status_; }
  void fail(Status status) { status_ = std::move(status); }

 private:
  struct FreeHash {
    void operator()(XXH64_state_t* state) const { XXH64_freeState(state); }
  };
  Result<bool> hash_first(const FileDescriptor& file, uint64_t length);
  Status write(std::string_view bytes);
  Status cut_here(uint64_t length);

  FileDescriptor file_;
  bool dirty_ = false;  // flushed, not synced
  Status status_;
  std::string buffer_;
  uint64_t length_ = 0;
  std::unique_ptr<XXH64_state_t, FreeHash> hash_;  // of those bytes
};

}  // namespace millrace
