#include "cmd/pipeline_files.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>

namespace millrace {
namespace {

constexpr const char* kTestSuffixes[] = {".test.yaml", ".test.yml"};

// The test that belongs to a pipeline file.
std::string test_beside(const std::string& path) {
  const size_t dot = path.rfind('.');
  return dot == std::string::npos ? path + ".test.yaml" : path.substr(0, dot) + ".test" + path.substr(dot);
}

}  // namespace

bool is_test_file(const std::string& path) {
  return std::any_of(std::begin(kTestSuffixes), std::end(kTestSuffixes),
                     [&path](const char* suffix) { return path.ends_with(suffix); });
}

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
      const bool yaml = extension == ".yaml" || extension == ".yml";
      if (yaml && !is_test_file(entry.path().string())) found.push_back(entry.path().string());
    }
    std::sort(found.begin(), found.end());
    if (found.empty()) diagnostics.error(LintCode::kFile, Location{path, 0, 0}, "no *.yaml in this folder");
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

std::vector<std::string> expand_test_paths(const std::vector<std::string>& paths, Diagnostics& diagnostics) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      const std::string test = is_test_file(path) ? path : test_beside(path);
      if (std::filesystem::exists(test, error)) {
        files.push_back(test);
      } else {
        diagnostics.error(LintCode::kFile, Location{test, 0, 0}, "no such file");
      }
      continue;
    }
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path, error))
      if (is_test_file(entry.path().string())) found.push_back(entry.path().string());
    std::sort(found.begin(), found.end());
    if (found.empty()) diagnostics.error(LintCode::kFile, Location{path, 0, 0}, "no *.test.yaml in this folder");
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

std::vector<std::string> expand_globs(const std::vector<std::string>& globs, const std::string& daemon_file,
                                      Diagnostics& diagnostics) {
  std::vector<std::string> files;
  for (const std::string& pattern : globs) {
    const size_t before = files.size();
    glob_t matches{};
    if (::glob(pattern.c_str(), 0, nullptr, &matches) == 0)
      for (size_t i = 0; i < matches.gl_pathc; i++)
        if (!is_test_file(matches.gl_pathv[i])) files.emplace_back(matches.gl_pathv[i]);
    ::globfree(&matches);
    if (files.size() == before)
      diagnostics.warning(LintCode::kUnused, Location{daemon_file, 0, 0},
                          "pipelines: \"" + pattern + "\" matches no pipeline file",
                          "a pattern such as /etc/millrace/*.yaml; files are read at start");
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

}  // namespace millrace
