// FolderProgress: what the progress record of an epoch holds for a folder of parts. A value with a versioned text form.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "sinks/marked_file.h"

namespace millrace {

// A part. Its hidden file is called after its number, which is never used again.
struct PartProgress {
  uint64_t number = 0;
  std::string folder;  // below the root; no control characters
  MarkedFile::Mark mark;
  int64_t begun_ms = 0;  // wall clock
};

struct FolderProgress {
  uint64_t epoch = 0;
  uint64_t next_number = 1;
  bool replaces = false;  // first epoch of a run without state: parts of earlier runs go when it is decided
  std::string extension;
  std::string path;                  // as configured
  std::vector<PartProgress> open;    // hidden, go on
  std::vector<PartProgress> closed;  // become visible with this epoch, in this order

  // The name under which a part becomes visible: `index` counts the closed parts, then the open ones.
  std::string part_name(size_t index) const;
  std::string encode() const;
};

// The space that one part takes in the encoding, rounded up.
inline size_t encoded_bytes(const PartProgress& part) { return part.folder.size() + 96; }

inline constexpr std::string_view kFolderProgressVersion = "folder1";
// kProgressCorrupt (user): this is no such text.
Result<FolderProgress> parse_folder_progress(std::string_view text);

}  // namespace millrace
