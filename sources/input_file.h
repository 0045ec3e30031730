// What the ways to read files share: which file is which, what a path names, header lines. Functions: any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "sources/file_source.h"
#include "sources/line_reader.h"

namespace millrace {

struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const FileId&, const FileId&) = default;
};

// What SourcePosition::identity holds for a file: "device:inode:checksum of the first min(4096, position) bytes".
// kReadToEnd is appended once the file was read to its end. head: at least those bytes, or {} for position 0.
std::string identity_of(const FileId& id, int64_t position, std::string_view head);
inline constexpr std::string_view kReadToEnd = ":end";
// The first min(4096, position) bytes; less if the file has less.
Result<std::string> read_head(const FileDescriptor& file, int64_t position);

// The device and inode of an identity; false: it is none.
bool parse_file_id(const std::string& identity, FileId* id);

inline constexpr size_t kMaxFiles = 100'000;
bool is_pattern(const std::string& path);
// Paths of a pattern in byte order; directories that it matches are left out. kFileMissing (user): nothing matches.
Result<std::vector<std::string>> expand_pattern(const std::string& pattern);

Status not_a_file(const std::string& path, mode_t mode);
Status file_changed(const std::string& path, const std::string& why);
Status file_missing(const std::string& path, const std::string& what);

LineReader::Options line_options(const FileSourceSettings& settings);

// Files of this format begin with a line of column names.
bool has_header(const Format& format);
inline constexpr size_t kMaxHeaderBytes = 64 << 10;
// The first line. bytes: with its end, 0 for an empty file; complete: it has an end.
struct HeaderLine {
  std::string text;
  int64_t bytes = 0;
  bool complete = false;
};
Result<HeaderLine> read_header_line(const FileDescriptor& file);

// Takes a UTF-8 byte order mark off the line at byte 0, if it is among lines[first..).
void skip_byte_order_mark(LineReader::Lines& lines, uint32_t first);

}  // namespace millrace
