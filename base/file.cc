#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace millrace {

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Status FileDescriptor::close() {
  if (fd_ < 0) return Status::ok();
  // Linux releases the descriptor even when close fails, so it is never repeated.
  if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) return errno_status(errno, "close", path_);
  return Status::ok();
}

Status errno_status(int error, std::string_view action, const std::string& path) {
  std::string message = fmt::format("cannot {} {}: {}", action, path, std::generic_category().message(error));
  if (error == ENOSPC || error == EDQUOT) return Status::terminal(Code::kDiskFull, std::move(message));
  return Status::external(Code::kFileIo, std::move(message));
}

Result<FileDescriptor> open_file(const std::string& path, int flags, unsigned mode) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return errno_status(errno, "open", path);
  return FileDescriptor(fd, path);
}

Status write_all(const FileDescriptor& file, std::string_view data) {
  while (!data.empty()) {
    ssize_t written = ::write(file.get(), data.data(), data.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno_status(errno, "write", file.path());
    }
    data.remove_prefix(static_cast<size_t>(written));
  }
  return Status::ok();
}

Status sync_file(const FileDescriptor& file) {
  if (::fdatasync(file.get()) != 0) return errno_status(errno, "sync", file.path());
  return Status::ok();
}

Result<std::string> read_file(const std::string& path, size_t max_bytes) {
  MR_ASSIGN(FileDescriptor file, open_file(path, O_RDONLY));
  std::string content;
  char block[16 * 1024];
  while (true) {
    ssize_t got = ::read(file.get(), block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_status(errno, "read", path);
    if (got == 0) return content;
    if (content.size() + static_cast<size_t>(got) > max_bytes) {
      return Status::user(Code::kRecordTooLarge, fmt::format("{} is larger than {} bytes", path, max_bytes));
    }
    content.append(block, static_cast<size_t>(got));
  }
}

Status sync_directory(const std::string& path) {
  MR_ASSIGN(FileDescriptor directory, open_file(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(directory.get()) != 0) return errno_status(errno, "sync", path);
  return Status::ok();
}

Status make_directories(const std::string& path) {
  size_t end = 0;
  while (end < path.size()) {
    end = std::min(path.find('/', end + 1), path.size());
    std::string prefix = path.substr(0, end);
    if (::mkdir(prefix.c_str(), 0755) == 0) {
      size_t slash = prefix.find_last_of('/');
      std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : prefix.substr(0, slash);
      MR_RETURN_IF_ERROR(sync_directory(parent));
      continue;
    }
    int error = errno;
    struct stat info;
    // Also covers parents that exist but may not be written to.
    if (::stat(prefix.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) continue;
    return errno_status(error == EEXIST ? ENOTDIR : error, "create directory", prefix);
  }
  return Status::ok();
}

}  // namespace millrace
