// key_by: the columns that say which rows belong together. What every keyed operator reads, checks and describes alike.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "operators/operator_plan.h"

namespace millrace {

// The scalars of a `key_by:`: one, a list, or none. nullopt after an error.
std::optional<std::vector<ConfigNode>> read_key_columns(const ConfigNode& node, Diagnostics& diagnostics);

struct PlannedKey {
  std::vector<int> columns;  // of the input
  KeySpec spec;
};
// Each is a column of a type that can be a key, and stands there once. nullopt after an error.
std::optional<PlannedKey> plan_key(const std::vector<ConfigNode>& nodes, const Schema& input,
                                   Diagnostics& diagnostics);

// "[a:string,b:int]", for state descriptors.
std::string key_descriptor(const PlannedKey& key, const Schema& input);
// "a, b", for people; "" without a key.
std::string key_names(const PlannedKey& key, const Schema& input);

}  // namespace millrace
