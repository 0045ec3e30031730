#include "sinks/marked_file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/check.h"

namespace millrace {
namespace {

constexpr size_t kCopyBytes = 256 * 1024;

// Calls use(bytes) with the first `length` bytes of the file, piece by piece; false if it is shorter.
template <class F>
Result<bool> read_first(const FileDescriptor& file, uint64_t length, F&& use) {
  std::vector<char> block(std::min<uint64_t>(kCopyBytes, length));
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

}  // namespace

MarkedFile::MarkedFile() : hash_(XXH64_createState()) {
  MR_CHECK(hash_ != nullptr);
  XXH64_reset(hash_.get(), 0);
}

void MarkedFile::close() {
  file_ = FileDescriptor();
  dirty_ = false;
  status_ = Status::ok();
  buffer_.clear();
  length_ = 0;
  XXH64_reset(hash_.get(), 0);
}

Result<bool> MarkedFile::hash_first(const FileDescriptor& file, uint64_t length) {
  XXH64_reset(hash_.get(), 0);
  return read_first(file, length, [this](std::string_view bytes) {
    XXH64_update(hash_.get(), bytes.data(), bytes.size());
    return Status::ok();
  });
}

Status MarkedFile::start(FileDescriptor file) {
  close();
  file_ = std::move(file);
  return cut_here(0);
}

Result<bool> MarkedFile::resume(FileDescriptor* file, const Mark& mark) {
  close();
  MR_ASSIGN(const bool complete, hash_first(*file, mark.length));
  if (!complete || XXH64_digest(hash_.get()) != mark.checksum) return false;
  file_ = std::move(*file);
  MR_RETURN_IF_ERROR(cut_here(mark.length));
  return true;
}

Result<bool> MarkedFile::recognise(const FileDescriptor& file, const Mark& mark) {
  close();
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  if (size < 0) return errno_status(errno, "seek", file.path());
  if (static_cast<uint64_t>(size) != mark.length) return false;
  MR_ASSIGN(const bool complete, hash_first(file, mark.length));
  if (!complete || XXH64_digest(hash_.get()) != mark.checksum) return false;
  length_ = mark.length;
  return true;
}

// Precondition: the hash is that of the first `length` bytes.
Status MarkedFile::cut_here(uint64_t length) {
  const off_t end = static_cast<off_t>(length);
  if (::ftruncate(file_.get(), end) != 0) return errno_status(errno, "truncate", file_.path());
  if (::lseek(file_.get(), end, SEEK_SET) != end) return errno_status(errno, "seek", file_.path());
  length_ = length;
  dirty_ = true;
  return Status::ok();
}

Status MarkedFile::cut(const Mark& mark) {
  if (!status_.is_ok()) return status_;
  buffer_.clear();
  MR_CHECK(mark.length <= length_);
  if (mark.length == length_) return Status::ok();
  MR_ASSIGN(const bool complete, hash_first(file_, mark.length));
  MR_CHECK(complete);
  return cut_here(mark.length);
}

Status MarkedFile::write(std::string_view bytes) {
  MR_RETURN_IF_ERROR(write_all(file_, bytes));
  XXH64_update(hash_.get(), bytes.data(), bytes.size());
  length_ += bytes.size();
  dirty_ = true;
  return Status::ok();
}

Status MarkedFile::flush() {
  if (!status_.is_ok() || buffer_.empty()) return status_;
  status_ = write(buffer_);
  buffer_.clear();
  return status_;
}

Result<bool> MarkedFile::copy(const FileDescriptor& from, uint64_t length) {
  MR_CHECK(buffer_.empty());
  return read_first(from, length, [this](std::string_view bytes) { return write(bytes); });
}

Status MarkedFile::sync() {
  if (!status_.is_ok() || !dirty_) return status_;
  status_ = sync_file(file_);
  if (status_.is_ok()) dirty_ = false;
  return status_;
}

}  // namespace millrace
