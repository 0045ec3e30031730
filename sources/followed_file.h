// FollowedFile: one file (not one path) that a following source reads, and where in it. One thread.
#pragma once

#include <cstdint>
#include <string>
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
  int64_t grown_ms = 0;      // when it was last seen to grow, monotonic
  uint64_t seen_in = 0;      // the last scan that found `path` to be this file

  bool is_at_end() const { return position == size; }
  // For the progress record.
  std::string identity() const;
  // Opens it if it is closed: kFileChanged (user) if the path names another file by now.
  Status open();
  // Looks at the open file; *linked: it still has a name.
  Status look(bool* linked);
  // After reading up to `position`.
  Status advance(int64_t to);
};

// The path of this file in the folder of `path`, under any name; empty if it is not there.
Result<std::string> find_renamed(const std::string& path, const FileId& id);
// A file beside `path` whose name begins with the path's and that was written after the one at old_path, which has been
// rotated away: what another rotation has left in between. Empty if there is none.
Result<std::string> find_rotated_between(const std::string& path, const std::string& old_path);

}  // namespace millrace
