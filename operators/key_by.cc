#include "operators/key_by.h"

#include <fmt/format.h>

#include <algorithm>

#include "operators/key_encoder.h"

namespace millrace {

std::optional<std::vector<ConfigNode>> read_key_columns(const ConfigNode& node, Diagnostics& diagnostics) {
  std::vector<ConfigNode> keys;
  if (node.is_null()) return keys;
  if (node.is_scalar()) {
    keys.push_back(node);
    return keys;
  }
  for (size_t i = 0; node.is_sequence() && i < node.size(); i++) keys.push_back(node.at(i));
  const bool scalars = std::all_of(keys.begin(), keys.end(), [](const ConfigNode& key) { return key.is_scalar(); });
  if (node.is_sequence() && scalars) return keys;
  diagnostics.error(LintCode::kWrongType, node.location(), "key_by is a column or a list of columns",
                    "add expressions as columns with extend");
  return std::nullopt;
}

std::optional<PlannedKey> plan_key(const std::vector<ConfigNode>& nodes, const Schema& input,
                                   Diagnostics& diagnostics) {
  PlannedKey key;
  Scope scope;
  scope.schema = &input;
  bool ok = true;
  for (const ConfigNode& node : nodes) {
    const ExpressionPtr part = compile_node(node, scope, diagnostics);
    if (!part) {
      ok = false;
      continue;
    }
    const int column = part->plain_column();
    if (column < 0) {
      diagnostics.error(LintCode::kExpressionType, node.location(), "key_by takes columns, not expressions",
                        "add the expression as a column with extend");
    } else if (!is_key_type(part->type())) {
      diagnostics.error(LintCode::kExpressionType, node.location(),
                        fmt::format("{} is {} and cannot be a key", node.text(), part->type().to_string()),
                        "keys are string, int, bool, timestamp or bytes");
    } else if (std::count(key.columns.begin(), key.columns.end(), column) > 0) {
      diagnostics.error(LintCode::kConflict, node.location(), fmt::format("{} stands twice in key_by", node.text()));
    } else {
      key.columns.push_back(column);
      key.spec.parts.push_back(part);
      continue;
    }
    ok = false;
  }
  if (!ok) return std::nullopt;
  return key;
}

std::string key_descriptor(const PlannedKey& key, const Schema& input) {
  std::string text = "[";
  for (size_t i = 0; i < key.columns.size(); i++) {
    const Field& field = input[static_cast<size_t>(key.columns[i])];
    text += (i > 0 ? "," : "") + field.name + ":" + field.type.to_string();
  }
  return text + "]";
}

std::string key_names(const PlannedKey& key, const Schema& input) {
  std::string text;
  for (size_t i = 0; i < key.columns.size(); i++) {
    text += (i > 0 ? ", " : "") + input[static_cast<size_t>(key.columns[i])].name;
  }
  return text;
}

}  // namespace millrace
