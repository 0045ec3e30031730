// Edge: what flows between two nodes of a plan: its columns, and what its rows mean. Value; any thread.
#pragma once

#include <vector>

#include "base/type.h"

namespace millrace {

enum class EdgeType { kAppend, kUpsert, kRetract };

// For upsert and retract edges key_columns says which columns identify a row.
struct Edge {
  Schema schema;
  EdgeType type = EdgeType::kAppend;
  std::vector<int> key_columns;  // indexes in schema; empty if the key is not among the columns
};

}  // namespace millrace
