#include "sources/input_file.h"

#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace millrace {

std::string identity_of(const FileId& id, int64_t position, std::string_view head) {
  const size_t size = static_cast<size_t>(std::min<int64_t>(position, LineReader::kHeadBytes));
  return fmt::format("{:x}:{:x}:{:016x}", id.device, id.inode, XXH64(head.data(), std::min(size, head.size()), 0));
}

Result<std::string> read_head(const FileDescriptor& file, int64_t position) {
  std::string head(static_cast<size_t>(std::min<int64_t>(position, LineReader::kHeadBytes)), '\0');
  const ssize_t got = ::pread(file.get(), head.data(), head.size(), 0);
  if (got < 0) return errno_status(errno, "read", file.path());
  head.resize(static_cast<size_t>(got));
  return head;
}

bool parse_file_id(const std::string& identity, FileId* id) {
  const char* end = identity.data() + identity.size();
  const auto device = std::from_chars(identity.data(), end, id->device, 16);
  if (device.ec != std::errc() || device.ptr == end || *device.ptr != ':') return false;
  const auto inode = std::from_chars(device.ptr + 1, end, id->inode, 16);
  return inode.ec == std::errc() && inode.ptr != end && *inode.ptr == ':';
}

Status file_changed(const std::string& path, const std::string& why) {
  return Status::user(
      Code::kFileChanged,
      fmt::format("{}: {}; put the file back as it was, or start the pipeline without its state", path, why));
}

bool is_pattern(const std::string& path) { return path.find_first_of("*?[") != std::string::npos; }

Status not_a_file(const std::string& path, mode_t mode) {
  if (S_ISDIR(mode)) {
    return Status::user(Code::kFileIo,
                        fmt::format("{} is a directory; name its files, for example {}/*.jsonl", path, path));
  }
  return Status::user(Code::kFileIo, fmt::format("{} is not a regular file; pipes and devices have no position to "
                                                 "resume from",
                                                 path));
}

Status file_missing(const std::string& path, const std::string& what) {
  return Status::user(Code::kFileMissing,
                      fmt::format("{} {} (paths are relative to the working directory)", path, what));
}

Result<std::vector<std::string>> expand_pattern(const std::string& pattern) {
  glob_t matches{};
  const int error = ::glob(pattern.c_str(), GLOB_ERR | GLOB_NOSORT, nullptr, &matches);
  std::vector<std::string> paths;
  if (error == 0) paths.assign(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
  ::globfree(&matches);
  if (error != 0 && error != GLOB_NOMATCH) {
    return Status::user(Code::kFileIo, fmt::format("cannot list {}", pattern));
  }
  std::erase_if(paths, [](const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  });
  if (paths.empty()) return file_missing(pattern, "matches no file");
  if (paths.size() > kMaxFiles) {
    return Status::user(Code::kFileIo,
                        fmt::format("{} matches {} files; the limit is {}", pattern, paths.size(), kMaxFiles));
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

LineReader::Options line_options(const FileSourceSettings& settings) {
  LineReader::Options options;
  options.block_bytes = settings.block_bytes;
  options.max_record_bytes = settings.max_record_bytes;
  if (settings.format == "csv" && settings.format.csv.multiline) options.quote = settings.format.csv.quote;
  return options;
}

bool has_header(const Format& format) { return format == "csv" && format.csv.header.value_or(true); }

Result<HeaderLine> read_header_line(const FileDescriptor& file) {
  std::string bytes(kMaxHeaderBytes, '\0');
  size_t size = 0;
  HeaderLine header;
  while (size < bytes.size()) {
    const ssize_t got = ::pread(file.get(), bytes.data() + size, bytes.size() - size, static_cast<off_t>(size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_status(errno, "read", file.path());
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (bytes.find('\n') < size) break;
  }
  const size_t newline = bytes.find('\n');
  header.complete = newline < size;
  if (!header.complete && size == bytes.size())
    return Status::user(Code::kDecode, fmt::format("{}: its header line is longer than 64KiB", file.path()));
  header.bytes = static_cast<int64_t>(header.complete ? newline + 1 : size);
  bytes.resize(header.complete ? newline : size);
  if (bytes.ends_with('\r')) bytes.pop_back();
  header.text = std::move(bytes);
  return header;
}

void skip_byte_order_mark(LineReader::Lines& lines, uint32_t first) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (lines.count == first || lines.offset[first] != 0) return;
  std::string_view& line = lines.payload[first];
  if (!line.starts_with(kByteOrderMark)) return;
  line.remove_prefix(kByteOrderMark.size());
  lines.bytes -= kByteOrderMark.size();
}

}  // namespace millrace
