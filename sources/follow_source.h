// The file source with `follow: true`: goes on reading what is appended, through rotation. docs/sources/file.md is the
// user's page.
#pragma once

#include <memory>

#include "sources/file_source.h"

namespace millrace {

// Unbounded. Each path is a partition named {path, 0}; a path that names another file later (rotation) goes on with that
// file once the one before was read to its end. Looks for changes by asking (stat), at intervals that cost little.
//
// Positions: as of FileSource; kReadToEnd says that nothing was left to read, kFileGone that the file had been removed.
std::unique_ptr<Source> make_follow_source(FileSourceSettings settings, const SourceContext& context);

inline constexpr std::string_view kFileGone = ":gone";
// A file that was replaced or removed is done once it has not grown for this long.
inline constexpr int64_t kQuietMs = 1000;
// Paths are looked at this often.
inline constexpr int64_t kScanMs = 100;
// A file that has not grown for this long is closed, and opened again when it does.
inline constexpr int64_t kIdleCloseMs = 600'000;
inline constexpr size_t kMaxOpenFiles = 256;

}  // namespace millrace
