#include "sources/source_plan.h"

#include <utility>

#include "base/check.h"

namespace millrace {

void SourceRegistry::add(const std::string& kind, SourceFactory factory) {
  MR_CHECK(factory != nullptr);
  const bool added = factories_.emplace(kind, std::move(factory)).second;
  MR_CHECK(added);
}

const SourceFactory* SourceRegistry::find(const std::string& kind) const {
  const auto found = factories_.find(kind);
  return found == factories_.end() ? nullptr : &found->second;
}

std::vector<std::string> SourceRegistry::kinds() const {
  std::vector<std::string> kinds;
  kinds.reserve(factories_.size());
  for (const auto& [kind, factory] : factories_) kinds.push_back(kind);
  return kinds;
}

}  // namespace millrace
