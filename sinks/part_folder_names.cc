// The names in a PartFolder: opening folders without following links, and removing what is left over.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <optional>

#include "sinks/part_folder.h"

namespace millrace {
namespace {

constexpr const char* kHiddenFolder = ".millrace-parts";
constexpr std::array<std::string_view, 3> kExtensions = {"jsonl", "csv", "txt"};

// Takes decimal digits off the front.
std::optional<uint64_t> take_number(std::string_view* text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc()) return std::nullopt;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return value;
}

// NUMBER.part
std::optional<uint64_t> hidden_number(std::string_view name) {
  const std::optional<uint64_t> number = take_number(&name);
  return name == ".part" ? number : std::nullopt;
}

// part-EPOCH-N.EXT
bool is_part_name(std::string_view name) {
  if (!name.starts_with("part-")) return false;
  name.remove_prefix(5);
  if (!take_number(&name) || !name.starts_with('-')) return false;
  name.remove_prefix(1);
  if (!take_number(&name) || !name.starts_with('.')) return false;
  name.remove_prefix(1);
  for (const std::string_view extension : kExtensions)
    if (name == extension) return true;
  return false;
}

// Names in a folder, without . and .. ; a folder of millions is read once per run without state.
Result<std::vector<std::string>> names_in(const FileDescriptor& folder) {
  const int fd = ::openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno_status(errno, "open", folder.path());
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd), ::closedir);
  if (stream == nullptr) {
    ::close(fd);
    return errno_status(errno, "list", folder.path());
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return errno_status(errno, "list", folder.path());
  return names;
}

Result<FileDescriptor> open_folder_at(const FileDescriptor& parent, const std::string& name) {
  const std::string path = parent.path() + "/" + name;
  const int fd = ::openat(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd >= 0) return FileDescriptor(fd, path);
  if (errno == ELOOP || errno == ENOTDIR) {
    return Status::user(Code::kFileIo, fmt::format("cannot write to {}: it is a link or no folder", path));
  }
  return errno_status(errno, "open", path);
}

// Opens a folder, which is made if it is missing; *made: the parent is to be synced.
Result<FileDescriptor> make_folder_at(const FileDescriptor& parent, const std::string& name, bool* made) {
  *made = ::mkdirat(parent.get(), name.c_str(), 0755) == 0;
  if (!*made && errno != EEXIST) return errno_status(errno, "create directory", parent.path() + "/" + name);
  return open_folder_at(parent, name);
}

}  // namespace

std::string PartFolder::hidden_name(uint64_t number) { return fmt::format("{}.part", number); }

Status PartFolder::sync_folder(const FileDescriptor& folder) {
  if (::fsync(folder.get()) != 0) return errno_status(errno, "sync", folder.path());
  return Status::ok();
}

// must_exist: parts have been decided, so the hidden folder cannot be missing.
Status PartFolder::open_root(bool must_exist) {
  const std::string& root = path_.root();
  struct stat info {};
  if (::stat(root.c_str(), &info) == 0 && !S_ISDIR(info.st_mode)) {
    return Status::user(Code::kFileIo, fmt::format("cannot write to {}: it is no folder", root));
  }
  MR_RETURN_IF_ERROR(make_directories(root));
  MR_ASSIGN(root_, open_file(root, O_RDONLY | O_DIRECTORY));
  int locked;
  do {
    locked = ::flock(root_.get(), LOCK_EX | LOCK_NB);
  } while (locked != 0 && errno == EINTR);
  if (locked != 0) {
    return Status::terminal(Code::kStateLocked, fmt::format("{} is being written by another process", root));
  }
  if (must_exist && ::fstatat(root_.get(), kHiddenFolder, &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return changed(fmt::format("{}/{} is gone", root, kHiddenFolder));
  }
  bool made = false;
  MR_ASSIGN(hidden_, make_folder_at(root_, kHiddenFolder, &made));
  hidden_dirty_ = false;
  return made ? sync_folder(root_) : Status::ok();
}

// The folder of a part, made if it is missing.
Result<FileDescriptor> PartFolder::open_folder(const std::string& folder) {
  MR_ASSIGN(FileDescriptor at, open_file(root_.path(), O_RDONLY | O_DIRECTORY));
  for (size_t begin = 0; begin < folder.size();) {
    const size_t end = std::min(folder.find('/', begin), folder.size());
    bool made = false;
    MR_ASSIGN(FileDescriptor next, make_folder_at(at, folder.substr(begin, end - begin), &made));
    if (made) MR_RETURN_IF_ERROR(sync_folder(at));
    at = std::move(next);
    begin = end + 1;
  }
  return at;
}

// The hidden file of a part; a closed descriptor: there is none.
Result<FileDescriptor> PartFolder::open_hidden(uint64_t number, int flags) {
  const std::string name = hidden_name(number);
  const std::string path = hidden_.path() + "/" + name;
  const int fd = ::openat(hidden_.get(), name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags, 0644);
  if (fd < 0 && errno == ENOENT && flags == 0) return FileDescriptor();
  if (fd < 0 && errno == ELOOP) {
    return Status::user(Code::kFileIo, fmt::format("cannot write to {}: it is a link", path));
  }
  if (fd < 0) return errno_status(errno, "open", path);
  FileDescriptor file(fd, path);
  struct stat info {};
  if (::fstat(fd, &info) != 0) return errno_status(errno, "open", path);
  if (!S_ISREG(info.st_mode) || info.st_nlink > 1) {
    return Status::user(Code::kFileIo, fmt::format("cannot write to {}: it is not a file of this sink", path));
  }
  return file;
}

// What no record knows was never decided.
Status PartFolder::remove_hidden(const std::vector<PartProgress>& except) {
  std::set<uint64_t> keep;
  for (const PartProgress& part : except) keep.insert(part.number);
  MR_ASSIGN(const std::vector<std::string> names, names_in(hidden_));
  for (const std::string& name : names) {
    const std::optional<uint64_t> number = hidden_number(name);
    if (!number || keep.count(*number) > 0) continue;
    if (::unlinkat(hidden_.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
      return errno_status(errno, "remove", hidden_.path() + "/" + name);
    }
  }
  return Status::ok();
}

// Parts of earlier runs; those of the record that are visible already stay.
Status PartFolder::remove_old(const FolderProgress& except) {
  std::set<std::string> keep;
  const auto keep_published = [&](const std::vector<PartProgress>& parts, size_t first) {
    for (size_t i = 0; i < parts.size(); i++) {
      struct stat info {};
      const std::string hidden = hidden_name(parts[i].number);
      if (::fstatat(hidden_.get(), hidden.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) continue;
      keep.insert((parts[i].folder.empty() ? "" : parts[i].folder + "/") + except.part_name(first + i));
    }
  };
  keep_published(except.closed, 0);
  keep_published(except.open, except.closed.size());
  size_t removed = 0;
  MR_RETURN_IF_ERROR(remove_old_below(root_, "", 0, keep, &removed));
  if (removed > 0) log_.info("{}: {} parts of an earlier run are replaced", path_.root(), removed);
  return Status::ok();
}

Status PartFolder::remove_old_below(const FileDescriptor& folder, const std::string& path, size_t level,
                                    const std::set<std::string>& keep, size_t* removed) {
  MR_ASSIGN(const std::vector<std::string> names, names_in(folder));
  for (const std::string& name : names) {
    if (level == path_.levels()) {
      if (!is_part_name(name) || keep.count(path + name) > 0) continue;
      if (::unlinkat(folder.get(), name.c_str(), 0) == 0) {
        ++*removed;
      } else if (errno != ENOENT) {
        return errno_status(errno, "remove", folder.path() + "/" + name);
      }
      continue;
    }
    struct stat info {};
    if (name.starts_with('.') || !path_.may_name(level, name) ||
        ::fstatat(folder.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(info.st_mode)) {
      continue;
    }
    const size_t before = *removed;
    {
      MR_ASSIGN(const FileDescriptor below, open_folder_at(folder, name));
      MR_RETURN_IF_ERROR(remove_old_below(below, path + name + "/", level + 1, keep, removed));
    }
    // A folder that something else is in stays.
    if (*removed > before) (void)::unlinkat(folder.get(), name.c_str(), AT_REMOVEDIR);
  }
  return Status::ok();
}

}  // namespace millrace
