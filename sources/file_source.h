// File source: lines of files as records. docs/sources/file.md is the user's page.
#pragma once

#include <memory>
#include <string>

#include "sources/source_plan.h"

namespace millrace {

void register_file_source(SourceRegistry& registry);

inline constexpr size_t kMaxFileRecordBytes = 64 << 20;

struct FileSourceSettings {
  std::string path;  // a path, or a glob if it has one of * ? [
  size_t max_record_bytes = 16 << 20;
  size_t block_bytes = 256 << 10;  // one read; larger ones leave the cache
  Format format = {};
  Schema schema = {};  // declared columns; csv finds them in header lines
  bool follow = false;
  bool restart_truncated = true;  // follow: a file that was cut is read from its beginning; false: an error
};

// Reads every file of the glob, one after the other in byte order of their paths; each is a partition named {path, 0}.
// Used by the registered kind and where lines of a file stand in for another source.
std::unique_ptr<Source> make_file_source(FileSourceSettings settings, const SourceContext& context);

}  // namespace millrace
