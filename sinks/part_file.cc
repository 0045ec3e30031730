#include "sinks/part_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/check.h"

namespace millrace {
namespace {

constexpr size_t kCopyBytes = 256 * 1024;

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

// Calls use(bytes) with the first `length` bytes of the file, piece by piece; false if it is shorter.
template <class F>
Result<bool> read_bytes(const FileDescriptor& file, uint64_t length, F&& use) {
  std::vector<char> block(kCopyBytes);
  for (uint64_t at = 0; at < length;) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(block.size(), length - at));
    const ssize_t got = ::pread(file.get(), block.data(), wanted, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_status(errno, "read", file.path());
    if (got == 0) return false;
    MR_RETURN_IF_ERROR(use(std::string_view(block.data(), static_cast<size_t>(got))));
    at += static_cast<uint64_t>(got);
  }
  return true;
}

Result<bool> hash_bytes(const FileDescriptor& file, uint64_t length, XXH64_state_t* hash) {
  XXH64_reset(hash, 0);
  return read_bytes(file, length, [hash](std::string_view bytes) {
    XXH64_update(hash, bytes.data(), bytes.size());
    return Status::ok();
  });
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
    : target_(std::move(target)),
      directory_(directory_of(target_)),
      part_(part_of(target_)),
      hash_(XXH64_createState()) {
  MR_CHECK(hash_ != nullptr);
  XXH64_reset(hash_.get(), 0);
}

void PartFile::close() {
  file_ = FileDescriptor();
  published_ = dirty_ = entry_dirty_ = false;
  failed_ = Status::ok();
  buffer_.clear();
  length_ = 0;
  XXH64_reset(hash_.get(), 0);
}

Status PartFile::check_target() const {
  struct stat info {};
  if (::lstat(target_.c_str(), &info) != 0) return errno == ENOENT ? Status::ok() : open_error(errno, target_);
  if (S_ISLNK(info.st_mode)) return bad_target(target_, "a symbolic link");
  if (S_ISDIR(info.st_mode)) return bad_target(target_, "a directory");
  if (!S_ISREG(info.st_mode)) return bad_target(target_, "not a regular file");
  return Status::ok();
}

// Opens and locks the part; false: there is none. The lock is taken on the file that has the name at that moment, since
// a writer that ends renames it.
Result<bool> PartFile::open_part(bool create) {
  constexpr int kAttempts = 10;
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    const int fd = ::open(part_.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (create ? O_CREAT : 0), 0644);
    if (fd < 0 && errno == EINTR) continue;
    if (fd < 0 && errno == ENOENT && !create) return false;
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
    file_ = std::move(file);
    return true;
  }
  return Status::external(Code::kFileIo, fmt::format("cannot open {}: it keeps being replaced", part_));
}

Status PartFile::start() {
  close();
  MR_RETURN_IF_ERROR(make_directories(directory_));
  MR_RETURN_IF_ERROR(check_target());
  MR_ASSIGN(const bool opened, open_part(true));
  MR_CHECK(opened);
  entry_dirty_ = true;
  return cut_to(Mark{0, XXH64_digest(hash_.get())});
}

// Precondition: the hash is that of the first mark.length bytes.
Status PartFile::cut_to(const Mark& mark) {
  const off_t length = static_cast<off_t>(mark.length);
  if (::ftruncate(file_.get(), length) != 0) return errno_status(errno, "truncate", part_);
  if (::lseek(file_.get(), length, SEEK_SET) != length) return errno_status(errno, "seek", part_);
  length_ = mark.length;
  dirty_ = true;
  return Status::ok();
}

Result<bool> PartFile::target_holds(const Mark& mark) const {
  const int fd = ::open(target_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return false;
  const FileDescriptor file(fd, target_);
  struct stat info {};
  if (::fstat(fd, &info) != 0) return errno_status(errno, "read", target_);
  if (!S_ISREG(info.st_mode) || static_cast<uint64_t>(info.st_size) != mark.length) return false;
  MR_ASSIGN(const bool complete, hash_bytes(file, mark.length, hash_.get()));
  return complete && XXH64_digest(hash_.get()) == mark.checksum;
}

Status PartFile::resume(const Mark& mark) {
  close();
  MR_RETURN_IF_ERROR(make_directories(directory_));
  MR_RETURN_IF_ERROR(check_target());
  MR_ASSIGN(const bool exists, open_part(false));
  if (exists) {
    MR_ASSIGN(const bool complete, hash_bytes(file_, mark.length, hash_.get()));
    if (complete && XXH64_digest(hash_.get()) == mark.checksum) return cut_to(mark);
  }
  MR_ASSIGN(const bool published, target_holds(mark));
  if (published) {
    // A part beside it is a copy that was not finished.
    if (exists && ::unlink(part_.c_str()) != 0) return errno_status(errno, "remove", part_);
    file_ = FileDescriptor();
    length_ = mark.length;
    published_ = true;
    return Status::ok();
  }
  if (!exists && mark.length == 0) return start();
  file_ = FileDescriptor();
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
  if (!failed_.is_ok() || file_.is_open()) return failed_;
  MR_CHECK(published_);
  failed_ = copy_target();
  return failed_;
}

// More rows for a file that was published: they go behind a copy, so that readers of the target see none of them yet.
Status PartFile::copy_target() {
  const Mark mark = this->mark();
  MR_ASSIGN(const FileDescriptor from, open_file(target_, O_RDONLY | O_NOFOLLOW));
  MR_RETURN_IF_ERROR(start());
  const uint64_t written = bytes_written_;
  MR_ASSIGN(const bool complete,
            read_bytes(from, mark.length, [this](std::string_view bytes) { return write(bytes); }));
  bytes_written_ = written;
  if (!complete || this->mark() != mark) {
    return Status::user(Code::kFileChanged, fmt::format("{} was changed while the pipeline was running", target_));
  }
  return Status::ok();
}

Status PartFile::write(std::string_view bytes) {
  MR_RETURN_IF_ERROR(write_all(file_, bytes));
  XXH64_update(hash_.get(), bytes.data(), bytes.size());
  length_ += bytes.size();
  bytes_written_ += bytes.size();
  dirty_ = true;
  return Status::ok();
}

Status PartFile::flush() {
  if (!failed_.is_ok() || buffer_.empty()) return failed_;
  failed_ = write(buffer_);
  buffer_.clear();
  return failed_;
}

PartFile::Mark PartFile::mark() const { return {length_, XXH64_digest(hash_.get())}; }

Status PartFile::sync() {
  if (!failed_.is_ok() || published_) return failed_;
  if (dirty_) failed_ = sync_file(file_);
  if (failed_.is_ok()) failed_ = sync_name();
  if (failed_.is_ok()) dirty_ = false;
  return failed_;
}

Status PartFile::publish(const Mark& mark) {
  if (!failed_.is_ok()) return failed_;
  if (published_) return sync_name();
  buffer_.clear();
  MR_CHECK(mark.length <= length_);
  if (mark.length < length_) {
    MR_ASSIGN(const bool complete, hash_bytes(file_, mark.length, hash_.get()));
    MR_CHECK(complete);
    MR_RETURN_IF_ERROR(cut_to(mark));
  }
  MR_RETURN_IF_ERROR(sync());
  MR_RETURN_IF_ERROR(check_target());
  if (::rename(part_.c_str(), target_.c_str()) != 0) return errno_status(errno, "rename", part_);
  published_ = true;
  entry_dirty_ = true;
  MR_RETURN_IF_ERROR(file_.close());
  return sync_name();
}

Status PartFile::sync_name() {
  if (entry_dirty_) MR_RETURN_IF_ERROR(sync_directory(directory_));
  entry_dirty_ = false;
  return Status::ok();
}

}  // namespace millrace
