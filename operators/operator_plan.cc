#include "operators/operator_plan.h"

#include "base/check.h"

namespace millrace {

void OperatorRegistry::add(const std::string& kind, OperatorFactory factory) {
  const bool added = factories_.emplace(kind, std::move(factory)).second;
  MR_CHECK(added);
}

const OperatorFactory* OperatorRegistry::find(const std::string& kind) const {
  const auto found = factories_.find(kind);
  return found == factories_.end() ? nullptr : &found->second;
}

std::vector<std::string> OperatorRegistry::kinds() const {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories_) names.push_back(name);
  return names;
}

}  // namespace millrace
