// Which files a path on the command line or a glob of the daemon file means.
#pragma once

#include <string>
#include <vector>

#include "base/diagnostics.h"

namespace millrace {

// Files as they are, folders as their *.yaml and *.yml (sorted, not recursive). A path that does not exist, or a folder
// without pipelines, is an error (kFile).
std::vector<std::string> expand_paths(const std::vector<std::string>& paths, Diagnostics& diagnostics);
// Files that the globs match, sorted; none is not an error.
std::vector<std::string> expand_globs(const std::vector<std::string>& globs);

}  // namespace millrace
