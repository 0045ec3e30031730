#include "sources/followed_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>

namespace millrace {
namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return "";
  return path.substr(0, slash + 1);
}

bool is_before(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

void append_file(const KnownFile& file, std::string& text) {
  text += fmt::format("{}{}@{}{}", kNextFile, file.identity, file.position, file.done ? "!" : file.at_end ? "=" : "");
}

// "identity@position", with a mark or none.
std::optional<KnownFile> decode_file(std::string_view text) {
  KnownFile file;
  file.done = text.ends_with('!');
  file.at_end = file.done || text.ends_with('=');
  if (file.at_end) text.remove_suffix(1);
  const size_t at = text.find('@');
  if (at == std::string_view::npos) return std::nullopt;
  file.identity = text.substr(0, at);
  const char* end = text.data() + text.size();
  const auto number = std::from_chars(text.data() + at + 1, end, file.position);
  if (number.ec != std::errc() || number.ptr != end || file.position < 0) return std::nullopt;
  if (!parse_file_id(file.identity, &file.id)) return std::nullopt;
  return file;
}

}  // namespace

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

Result<std::string> FollowedFile::find_rewrite() const {
  if (size < position) return fmt::format("it has {} bytes, but {} have been read", size, position);
  if (position == 0) return std::string();
  MR_ASSIGN(const std::string now, read_head(file, position));
  if (now != head) return std::string("its first bytes differ from those that have been read");
  MR_ASSIGN(const bool inside, ends_inside());
  if (inside && !ended_inside) return std::string("the last line that was read does not end there any more");
  return std::string();
}

Result<bool> FollowedFile::ends_inside() const {
  char last = '\n';
  if (position > 0 && ::pread(file.get(), &last, 1, static_cast<off_t>(position - 1)) < 0)
    return errno_status(errno, "read", path);
  return last != '\n';
}

void FollowedFile::start_over() {
  position = read_size = 0;
  head.clear();
  has_columns = false;
  columns.clear();
  ended_inside = in_backlog = false;
}

Status FollowedFile::advance(int64_t to) {
  position = to;
  size = std::max(size, to);
  if (head.size() >= LineReader::kHeadBytes || static_cast<int64_t>(head.size()) >= position) return Status::ok();
  MR_ASSIGN(head, read_head(file, position));
  return Status::ok();
}

std::string encode_files(const std::optional<KnownFile>& current, const std::vector<KnownFile>& others) {
  std::string text;
  if (current) text = current->identity;
  for (const KnownFile& file : others) append_file(file, text);
  if (current && current->at_end) text += kReadToEnd;
  return text;
}

std::optional<std::vector<KnownFile>> decode_files(const SourcePosition& at) {
  std::vector<KnownFile> files;
  std::string_view text = at.identity;
  const bool at_end = text.ends_with(kReadToEnd);
  if (at_end) text.remove_suffix(kReadToEnd.size());
  size_t next = std::min(text.find(kNextFile), text.size());
  if (next > 0) {
    KnownFile current;
    current.identity = text.substr(0, next);
    current.position = at.position;
    current.at_end = at_end;
    if (!parse_file_id(current.identity, &current.id)) return std::nullopt;
    files.push_back(std::move(current));
  }
  while (next < text.size()) {
    const size_t end = std::min(text.find(kNextFile, next + 1), text.size());
    std::optional<KnownFile> file = decode_file(text.substr(next + 1, end - next - 1));
    if (!file) return std::nullopt;
    files.push_back(std::move(*file));
    next = end;
  }
  return files;
}

Result<FilesById> list_siblings(const std::string& path) {
  FilesById files;
  const std::string folder = folder_of(path);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(folder.empty() ? "." : folder.c_str()), ::closedir);
  if (stream == nullptr) {
    if (errno == ENOENT || errno == ENOTDIR) return files;
    return errno_status(errno, "list", folder);
  }
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    struct stat info {};
    const std::string name = folder + entry->d_name;
    if (::stat(name.c_str(), &info) == 0 && S_ISREG(info.st_mode)) files[{info.st_dev, info.st_ino}] = name;
    errno = 0;
  }
  if (errno != 0) return errno_status(errno, "list", folder);
  return files;
}

Result<std::string> find_renamed(const std::string& path, const FileId& id) {
  MR_ASSIGN(const FilesById files, list_siblings(path));
  const auto found = files.find({id.device, id.inode});
  return found == files.end() ? std::string() : found->second;
}

bool is_rotated_name(const std::string& path, const std::string& name) {
  if (name.size() < path.size() + 2 || !name.starts_with(path)) return false;
  const char separator = name[path.size()], digit = name[path.size() + 1];
  if ((separator != '.' && separator != '-' && separator != '_') || digit < '0' || digit > '9') return false;
  for (const std::string_view compressed : {".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip"})
    if (name.ends_with(compressed)) return false;
  return true;
}

Result<std::string> find_rotated_between(const std::string& path, const std::string& old_path,
                                         const std::vector<KnownFile>& known) {
  struct stat old {};
  struct stat current {};
  std::string found;
  if (::stat(old_path.c_str(), &old) != 0) return found;
  (void)::stat(path.c_str(), &current);  // it may not be there yet
  MR_ASSIGN(const FilesById files, list_siblings(path));
  for (const auto& [id, name] : files) {
    const FileId other{id.first, id.second};
    if (std::any_of(known.begin(), known.end(), [&](const KnownFile& one) { return one.id == other; })) continue;
    struct stat info {};
    if (name == old_path || !is_rotated_name(path, name) || ::stat(name.c_str(), &info) != 0) continue;
    if (info.st_size > 0 && info.st_ino != current.st_ino && is_before(old.st_mtim, info.st_mtim)) found = name;
  }
  return found;
}

}  // namespace millrace
