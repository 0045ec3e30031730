#include "sources/followed_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>

namespace millrace {
namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Calls use(path, name, inode) for the entries of a folder until it returns false.
template <class F>
Status for_each_entry(const std::string& folder, F&& use) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(folder.c_str()), ::closedir);
  if (stream == nullptr) return errno_status(errno, "list", folder);
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (!use(folder == "/" ? "/" + name : folder + "/" + name, name, entry->d_ino)) return Status::ok();
    errno = 0;
  }
  return errno != 0 ? errno_status(errno, "list", folder) : Status::ok();
}

bool is_before(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

}  // namespace

std::string FollowedFile::identity() const {
  std::string text = identity_of(id, position, head);
  if (is_at_end()) text += kReadToEnd;
  return text;
}

Status FollowedFile::open() {
  if (file.is_open()) return Status::ok();
  MR_ASSIGN(FileDescriptor opened, open_file(path, O_RDONLY | O_NONBLOCK));
  struct stat info {};
  if (::fstat(opened.get(), &info) != 0) return errno_status(errno, "read", path);
  if (!S_ISREG(info.st_mode)) return not_a_file(path, info.st_mode);
  if (FileId{info.st_dev, info.st_ino} != id) {
    return Status::user(Code::kFileChanged, fmt::format("{}: it names another file by now", path));
  }
  file = std::move(opened);
  size = info.st_size;
  return Status::ok();
}

Status FollowedFile::look(bool* linked) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return errno_status(errno, "read", path);
  size = info.st_size;
  *linked = info.st_nlink > 0;
  return Status::ok();
}

Status FollowedFile::advance(int64_t to) {
  position = to;
  size = std::max(size, to);
  if (head.size() >= LineReader::kHeadBytes || static_cast<int64_t>(head.size()) >= position) return Status::ok();
  MR_ASSIGN(head, read_head(file, position));
  return Status::ok();
}

Result<std::string> find_renamed(const std::string& path, const FileId& id) {
  std::string found;
  MR_RETURN_IF_ERROR(for_each_entry(folder_of(path), [&](const std::string& entry, const std::string&, ino_t inode) {
    struct stat info {};
    if (inode == id.inode && ::stat(entry.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
        FileId{info.st_dev, info.st_ino} == id) {
      found = entry;
    }
    return found.empty();
  }));
  return found;
}

Result<std::string> find_rotated_between(const std::string& path, const std::string& old_path) {
  struct stat old {
  }, current{};
  std::string found;
  if (::stat(old_path.c_str(), &old) != 0 || ::stat(path.c_str(), &current) != 0) return found;
  const std::string base = path.substr(path.rfind('/') + 1);
  MR_RETURN_IF_ERROR(for_each_entry(folder_of(path), [&](const std::string& entry, const std::string& name, ino_t) {
    struct stat info {};
    if (name.size() > base.size() && name.starts_with(base) && ::stat(entry.c_str(), &info) == 0 &&
        S_ISREG(info.st_mode) && info.st_ino != old.st_ino && info.st_ino != current.st_ino &&
        is_before(old.st_mtim, info.st_mtim)) {
      found = entry;
    }
    return found.empty();
  }));
  return found;
}

}  // namespace millrace
