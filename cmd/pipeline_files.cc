#include "cmd/pipeline_files.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>

namespace millrace {

std::vector<std::string> expand_paths(const std::vector<std::string>& paths, Diagnostics& diagnostics) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      if (!std::filesystem::exists(path, error))
        diagnostics.error(LintCode::kFile, Location{path, 0, 0}, "no such file or folder");
      else
        files.push_back(path);
      continue;
    }
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".yaml" || extension == ".yml") found.push_back(entry.path().string());
    }
    std::sort(found.begin(), found.end());
    if (found.empty()) diagnostics.error(LintCode::kFile, Location{path, 0, 0}, "no *.yaml in this folder");
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

std::vector<std::string> expand_globs(const std::vector<std::string>& globs) {
  std::vector<std::string> files;
  for (const std::string& pattern : globs) {
    glob_t matches{};
    if (::glob(pattern.c_str(), 0, nullptr, &matches) == 0)
      for (size_t i = 0; i < matches.gl_pathc; i++) files.emplace_back(matches.gl_pathv[i]);
    ::globfree(&matches);
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

}  // namespace millrace
