// FollowedFile: one file (not one path) that a following source reads, and where in it; and what the progress record
// holds of the files of a path. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "sources/input_file.h"
#include "sources/source.h"

namespace millrace {

struct FollowedFile {
  std::string path;  // where it was last seen
  FileId id;
  int64_t position = 0;      // of the next line
  int64_t size = 0;          // last seen
  int64_t read_size = 0;     // what was there when nothing but an unfinished line was left
  std::string head;          // the first min(4096, position) bytes
  FileDescriptor file;       // closed while nothing happens
  bool has_columns = false;  // its header line was read (csv)
  std::vector<int> columns;
  bool ended_inside = false;  // its last line was read without an end
  bool in_backlog = false;    // the last read has left lines
  int64_t grown_ms = 0;       // when it was last seen to grow, monotonic
  uint64_t seen_in = 0;       // the last scan that found `path` to be this file
  int64_t seen_ms = 0;        // when that was, or when its end was read

  bool is_at_end() const { return position == size; }
  // Nothing but an unfinished line is left.
  bool is_read() const { return size <= read_size && size >= position; }
  // Opens it if it is closed: kFileChanged (user) if the path names another file by now.
  Status open();
  // Looks at the open file; *linked: it still has a name.
  Status look(bool* linked);
  // Of the open file: why it is not the one of which `position` bytes have been read; empty: it is.
  Result<std::string> find_rewrite() const;
  // Is the byte before `position` something else than a newline?
  Result<bool> ends_inside() const;
  // Reads it from its beginning from now on.
  void start_over();
  // After reading up to `position`.
  Status advance(int64_t to);
};

// A file of a progress record.
struct KnownFile {
  FileId id;
  std::string identity;  // identity_of
  int64_t position = 0;
  bool at_end = false;
  bool done = false;  // read to its end, and another has taken its place
};

// The identity of a path with several files: that of the one that is read (none if there is none), then
// "+identity@position" for each other one, with "=" for those that wait and are empty and "!" for those that are done,
// then kReadToEnd if the first was read to its end. It is what FileSource writes if there is but one.
std::string encode_files(const std::optional<KnownFile>& current, const std::vector<KnownFile>& others);
inline constexpr char kNextFile = '+';
// All files of a position, the one that is read first; nullopt: it is no such text.
std::optional<std::vector<KnownFile>> decode_files(const SourcePosition& at);

// The files of the folder of `path`, by device and inode, with their paths. Empty if there is no such folder.
using FilesById = std::map<std::pair<dev_t, ino_t>, std::string>;
Result<FilesById> list_siblings(const std::string& path);
// The path of this file in the folder of `path`, under any name; empty if it is not there.
Result<std::string> find_renamed(const std::string& path, const FileId& id);

// Is `name` what a rotation makes of the path: the path, one of . - _ and a digit, not compressed?
bool is_rotated_name(const std::string& path, const std::string& name);
// A rotated file of `path` that was last written after the one at old_path, which has been rotated away: what another
// rotation has left in between. Empty if there is none but the known ones.
Result<std::string> find_rotated_between(const std::string& path, const std::string& old_path,
                                         const std::vector<KnownFile>& known);

}  // namespace millrace
