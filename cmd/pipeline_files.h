// Which files a path on the command line or a glob of the daemon file means.
#pragma once

#include <string>
#include <vector>

#include "base/diagnostics.h"

namespace millrace {

// NAME.test.yaml: the tests of a pipeline, not a pipeline.
bool is_test_file(const std::string& path);
// Files as they are, folders as their *.yaml and *.yml (sorted, not recursive) that are no tests. A path that does not
// exist, or a folder without pipelines, is an error (kFile).
std::vector<std::string> expand_paths(const std::vector<std::string>& paths, Diagnostics& diagnostics);
// The same for tests: NAME.test.yaml as it is, another file as the test beside it, folders as their *.test.yaml, those
// of their subfolders included.
std::vector<std::string> expand_test_paths(const std::vector<std::string>& paths, Diagnostics& diagnostics);
// Files that the patterns of a daemon file match and that are no tests, sorted. A pattern that matches none is a
// warning: its folder may be filled later.
std::vector<std::string> expand_globs(const std::vector<std::string>& globs, const std::string& daemon_file,
                                      Diagnostics& diagnostics);

}  // namespace millrace
