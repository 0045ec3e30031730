#include "sinks/sink_plan.h"

#include <filesystem>
#include <utility>

#include "base/check.h"

namespace millrace {
namespace {

std::string normal_path(const std::string& path) {
  std::string normal = std::filesystem::path(path).lexically_normal().string();
  while (normal.size() > 1 && normal.ends_with('/')) normal.pop_back();
  return normal;
}

bool is_inside(const std::string& path, const std::string& folder) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

}  // namespace

std::string file_conflict(const FileSinkSettings& a, const FileSinkSettings& b) {
  const std::string first = normal_path(a.path), second = normal_path(b.path);
  if (first == second) return "write to " + second;
  // What one leaves behind, a run without state of the other could take for its own.
  if (a.parts && b.parts &&
      ((a.partitioned && is_inside(second, first)) || (b.partitioned && is_inside(first, second))))
    return "write parts below " + (first.size() < second.size() ? first : second);
  return "";
}

void SinkRegistry::add(const std::string& kind, SinkFactory factory) {
  MR_CHECK(factory != nullptr);
  const bool added = factories_.emplace(kind, std::move(factory)).second;
  MR_CHECK(added);
}

const SinkFactory* SinkRegistry::find(const std::string& kind) const {
  const auto found = factories_.find(kind);
  return found == factories_.end() ? nullptr : &found->second;
}

std::vector<std::string> SinkRegistry::kinds() const {
  std::vector<std::string> kinds;
  kinds.reserve(factories_.size());
  for (const auto& [kind, factory] : factories_) kinds.push_back(kind);
  return kinds;
}

}  // namespace millrace
