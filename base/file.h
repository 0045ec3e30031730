// Files: a descriptor that closes itself, and the few calls that everybody needs, with errors as Status. A full disk is
// kDiskFull (terminal); everything else is kFileIo with the path and what the system says. Interrupted calls are
// repeated. Functions: any thread. A FileDescriptor: one thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  // Takes ownership of fd; path is for messages.
  FileDescriptor(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  bool is_open() const { return fd_ >= 0; }
  int get() const { return fd_; }
  const std::string& path() const { return path_; }
  // Closes and says whether the system lost something. The destructor closes too, silently.
  Status close();

 private:
  int fd_ = -1;
  std::string path_;
};

// open(2); flags such as O_RDONLY, to which O_CLOEXEC is added.
Result<FileDescriptor> open_file(const std::string& path, int flags, unsigned mode = 0644);
// Writes all of data at the position of the descriptor.
Status write_all(const FileDescriptor& file, std::string_view data);
// fdatasync.
Status sync_file(const FileDescriptor& file);
// The whole file; kRecordTooLarge (user) if it is longer than max_bytes.
Result<std::string> read_file(const std::string& path, size_t max_bytes);
// fsync of a directory: makes creations, renames and removals in it durable.
Status sync_directory(const std::string& path);
// mkdir -p; every directory that is created is durable. An existing directory is fine.
Status make_directories(const std::string& path);
// The Status of an errno: "cannot open /x/y: No such file or directory".
Status errno_status(int error, std::string_view action, const std::string& path);

}  // namespace millrace
