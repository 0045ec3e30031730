#include "sinks/sink_plan.h"

#include <utility>

#include "base/check.h"

namespace millrace {

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
