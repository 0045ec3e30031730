// What the YAML of an `aggregate` says, checked as far as that goes without the columns of its input. Value.
#pragma once

#include <optional>
#include <vector>

#include "base/config_node.h"
#include "operators/window.h"

namespace millrace {

struct AggregateConfig {
  ConfigNode body;
  std::vector<ConfigNode> key_by;  // one scalar each
  ConfigNode fields;
  std::optional<WindowConfig> window;
  EmitConfig emit;
  int64_t ttl_ms = 0;  // 0: none
};

// nullopt after an error.
std::optional<AggregateConfig> read_aggregate_config(const ConfigNode& body, Diagnostics& diagnostics);

}  // namespace millrace
