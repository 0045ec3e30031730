// PartFile: the durable half of the file sink. Bytes are appended to a hidden part beside the target; a mark (length
// and checksum) says how far they were decided; publish() turns the part into the target. Whatever happens in between,
// resume(mark) finds exactly the marked bytes again, or says why not. One thread; nothing is locked but the part
// itself, against a second writer.
#pragma once

#include <cstdint>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "sinks/marked_file.h"

namespace millrace {

class PartFile {
 public:
  using Mark = MarkedFile::Mark;

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
  std::string& buffer() { return file_.buffer(); }
  Status spill() { return file_.buffer().size() >= kBufferBytes ? flush() : Status::ok(); }
  Status flush();
  // What has been flushed.
  Mark mark() const { return file_.mark(); }
  // What has been flushed is durable afterwards.
  Status sync();
  // Cuts off what lies behind the mark, makes the rest durable and renames it to the target. Idempotent.
  Status publish(const Mark& mark);
  // Forgets everything in memory and releases the part, which stays as it is.
  void close();

  size_t buffered() const { return file_.buffered(); }
  const std::string& target() const { return target_; }
  const std::string& part() const { return part_; }
  // Appended since this object was made.
  uint64_t bytes_written() const { return bytes_written_; }

 private:
  Status check_target() const;
  Result<FileDescriptor> open_part(bool create);
  Result<bool> target_holds(const Mark& mark);
  Status copy_target();
  Status sync_name();

  const std::string target_;
  const std::string directory_;
  const std::string part_;
  MarkedFile file_;           // the part; closed once it is published
  bool published_ = false;    // the target holds what was marked; the part does not exist
  bool entry_dirty_ = false;  // the part's name is not durable yet
  uint64_t bytes_written_ = 0;
};

}  // namespace millrace
