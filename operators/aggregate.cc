#include "operators/aggregate.h"

#include "base/check.h"
#include "operators/registration.h"

namespace millrace {

void AggregateRegistry::add(AggregateFunction function) {
  const std::string name = function.name;
  const bool added = functions_.emplace(name, std::move(function)).second;
  MR_CHECK(added);
}

const AggregateFunction* AggregateRegistry::find(const std::string& name) const {
  const auto found = functions_.find(name);
  return found == functions_.end() ? nullptr : &found->second;
}

std::vector<std::string> AggregateRegistry::names() const {
  std::vector<std::string> names;
  for (const auto& [name, function] : functions_) names.push_back(name);
  return names;
}

std::shared_ptr<const AggregateRegistry> builtin_aggregates() {
  auto registry = std::make_shared<AggregateRegistry>();
  register_approx_distinct(*registry);
  register_avg(*registry);
  register_collect(*registry);
  register_count(*registry);
  register_count_distinct(*registry);
  register_first_last(*registry);
  register_fold(*registry);
  register_min_max(*registry);
  register_quantile(*registry);
  register_sum(*registry);
  return registry;
}

}  // namespace millrace
