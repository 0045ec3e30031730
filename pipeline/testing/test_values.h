// Values of a test file: YAML as the types of columns, JSON as a sink shows it, and rows as YAML text. Pure functions;
// any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/config_node.h"
#include "base/type.h"

namespace millrace {

// A value as a sink's row holds it (timestamps and durations: epoch milliseconds, bytes: base64) or, for_payload, as a
// json source expects it (timestamps in the unit of their type). Timestamps may be written in RFC 3339, durations with
// a unit. nullopt after an error.
std::optional<nlohmann::ordered_json> read_typed(const ConfigNode& node, const Type& type, bool for_payload,
                                                 Diagnostics& diagnostics);
// Epoch milliseconds: an integer, or RFC 3339.
std::optional<int64_t> read_time_ms(const ConfigNode& node, Diagnostics& diagnostics);

// One line of flow YAML that reads back as the same value.
std::string yaml_text(const nlohmann::ordered_json& value);

// The same value; doubles may differ in the last digits. partial: objects may have more fields than are wanted.
bool same_value(const nlohmann::ordered_json& wanted, const nlohmann::ordered_json& found, bool partial);

}  // namespace millrace
