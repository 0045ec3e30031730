#include "sinks/part_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/check.h"

namespace millrace {
namespace {

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string part_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  const size_t name = slash == std::string::npos ? 0 : slash + 1;
  return path.substr(0, name) + "." + path.substr(name) + ".millrace-part";
}

// Paths are the user's: what is wrong with them does not pass by itself.
Status bad_target(const std::string& path, const char* what) {
  return Status::user(Code::kFileIo, fmt::format("cannot write to {}: it is {}", path, what));
}

Status open_error(int error, const std::string& path) {
  if (error == ELOOP) return bad_target(path, "a symbolic link");
  if (error == EACCES || error == EROFS || error == EISDIR || error == ENXIO || error == ENAMETOOLONG) {
    return Status::user(Code::kFileIo, errno_status(error, "open", path).message());
  }
  return errno_status(error, "open", path);
}

}  // namespace

PartFile::PartFile(std::string target)
    : target_(std::move(target)), directory_(directory_of(target_)), part_(part_of(target_)) {}

void PartFile::close() {
  file_.close();
  published_ = entry_dirty_ = false;
}

Status PartFile::check_target() const {
  struct stat info {};
  if (::lstat(target_.c_str(), &info) != 0) return errno == ENOENT ? Status::ok() : open_error(errno, target_);
  if (S_ISLNK(info.st_mode)) return bad_target(target_, "a symbolic link");
  if (S_ISDIR(info.st_mode)) return bad_target(target_, "a directory");
  if (!S_ISREG(info.st_mode)) return bad_target(target_, "not a regular file");
  return Status::ok();
}

// Opens and locks the part; a closed descriptor: there is none. The lock is taken on the file that has the name at that
// moment, since a writer that ends renames it.
Result<FileDescriptor> PartFile::open_part(bool create) {
  constexpr int kAttempts = 10;
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    const int fd = ::open(part_.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (create ? O_CREAT : 0), 0644);
    if (fd < 0 && errno == EINTR) continue;
    if (fd < 0 && errno == ENOENT && !create) return FileDescriptor();
    if (fd < 0) return open_error(errno, part_);
    FileDescriptor file(fd, part_);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      return Status::terminal(Code::kStateLocked, fmt::format("{} is being written by another process", target_));
    }
    struct stat opened {
    }, named{};
    if (::fstat(fd, &opened) != 0) return errno_status(errno, "open", part_);
    if (!S_ISREG(opened.st_mode)) return bad_target(part_, "not a regular file");
    if (opened.st_nlink > 1) return bad_target(part_, "a hard link of another file");
    if (::lstat(part_.c_str(), &named) != 0 || named.st_ino != opened.st_ino) continue;
    return file;
  }
  return Status::external(Code::kFileIo, fmt::format("cannot open {}: it keeps being replaced", part_));
}

Status PartFile::start() {
  close();
  MR_RETURN_IF_ERROR(make_directories(directory_));
  MR_RETURN_IF_ERROR(check_target());
  MR_ASSIGN(FileDescriptor part, open_part(true));
  entry_dirty_ = true;
  return file_.start(std::move(part));
}

Result<bool> PartFile::target_holds(const Mark& mark) {
  const int fd = ::open(target_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return false;
  const FileDescriptor target(fd, target_);
  struct stat info {};
  if (::fstat(fd, &info) != 0) return errno_status(errno, "read", target_);
  if (!S_ISREG(info.st_mode)) return false;
  return file_.recognise(target, mark);
}

Status PartFile::resume(const Mark& mark) {
  close();
  MR_RETURN_IF_ERROR(make_directories(directory_));
  MR_RETURN_IF_ERROR(check_target());
  MR_ASSIGN(FileDescriptor part, open_part(false));
  const bool exists = part.is_open();
  if (exists) {
    MR_ASSIGN(const bool resumed, file_.resume(&part, mark));
    if (resumed) return Status::ok();
  }
  MR_ASSIGN(const bool published, target_holds(mark));
  if (published) {
    // A part beside it is a copy that was not finished.
    if (exists && ::unlink(part_.c_str()) != 0) return errno_status(errno, "remove", part_);
    published_ = true;
    return Status::ok();
  }
  if (!exists && mark.length == 0) return start();
  close();
  return Status::user(
      Code::kFileChanged,
      fmt::format("{}: {} bytes were committed, but {}; put the file back as it was, or start the pipeline without "
                  "its state (what is in {} is then written anew)",
                  target_, mark.length,
                  exists ? fmt::format("{} does not begin with them", part_)
                         : fmt::format("neither {} nor {} holds them", part_, target_),
                  target_));
}

Status PartFile::begin_append() {
  if (!file_.status().is_ok() || file_.is_open()) return file_.status();
  MR_CHECK(published_);
  if (const Status status = copy_target(); !status.is_ok()) file_.fail(status);
  return file_.status();
}

// More rows for a file that was published: they go behind a copy, so that readers of the target see none of them yet.
Status PartFile::copy_target() {
  const Mark mark = this->mark();
  MR_ASSIGN(const FileDescriptor from, open_file(target_, O_RDONLY | O_NOFOLLOW));
  MR_RETURN_IF_ERROR(start());
  MR_ASSIGN(const bool complete, file_.copy(from, mark.length));
  if (!complete || this->mark() != mark) {
    return Status::user(Code::kFileChanged, fmt::format("{} was changed while the pipeline was running", target_));
  }
  return Status::ok();
}

Status PartFile::flush() {
  bytes_written_ += buffered();
  return file_.flush();
}

Status PartFile::sync() {
  if (published_) return file_.status();
  MR_RETURN_IF_ERROR(file_.sync());
  if (const Status status = sync_name(); !status.is_ok()) file_.fail(status);
  return file_.status();
}

Status PartFile::publish(const Mark& mark) {
  if (!file_.status().is_ok()) return file_.status();
  if (published_) return sync_name();
  MR_RETURN_IF_ERROR(file_.cut(mark));
  MR_RETURN_IF_ERROR(sync());
  MR_RETURN_IF_ERROR(check_target());
  if (::rename(part_.c_str(), target_.c_str()) != 0) return errno_status(errno, "rename", part_);
  published_ = true;
  entry_dirty_ = true;
  MR_RETURN_IF_ERROR(file_.release());
  return sync_name();
}

Status PartFile::sync_name() {
  if (entry_dirty_) MR_RETURN_IF_ERROR(sync_directory(directory_));
  entry_dirty_ = false;
  return Status::ok();
}

}  // namespace millrace
