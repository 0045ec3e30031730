// The file source with `follow: true`: goes on reading what is appended, through rotation. docs/sources/file.md is the
// user's page.
#pragma once

#include <memory>

#include "sources/file_source.h"

namespace millrace {

// Unbounded. A file is known by device and inode. It belongs to the partition {path, 0} of the path under which it was
// first found, whatever it is called later; a path that names another file (rotation) goes on with that file once the
// one before was read to its end. Looks for changes by asking (stat), at intervals that cost little.
//
// poll() waits for at most its timeout and never for a file. The clock of the context says when to look again; it may
// stand still.
//
// Positions: of the file that is being read, as of FileSource. `identity` names the other files of the path too
// (followed_file.h).
std::unique_ptr<Source> make_follow_source(FileSourceSettings settings, const SourceContext& context);

// A file that was replaced or removed is done once it has not grown for this long.
inline constexpr int64_t kQuietMs = 1000;
// One that is done and not found any more is looked at for this long, for lines of a writer that is late.
inline constexpr int64_t kLateMs = 60'000;
// Paths are looked at this often.
inline constexpr int64_t kScanMs = 100;
// A file that has not grown for this long is closed, and opened again when it does; one that no path names is done.
inline constexpr int64_t kIdleCloseMs = 600'000;
inline constexpr size_t kMaxOpenFiles = 256;

}  // namespace millrace
