// What the step `expect` says of one sink. Pure functions; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "base/type.h"

namespace millrace {

// Columns of a row that describe its record, beside those of the sink's input.
inline constexpr const char* kRecordKey = "record.key";
inline constexpr const char* kRecordValue = "record.value";
inline constexpr const char* kRecordDeleted = "record.deleted";
inline constexpr const char* kRecordTimestamp = "record.timestamp";

// What a sink shows.
struct TableShape {
  std::string sink;
  Schema columns;
  bool has_key = false;
  std::optional<Type> value;  // type of record.value; nullopt: the sink has no `value`
};

struct ExpectedRow {
  ConfigNode node;
  nlohmann::ordered_json columns;  // those that are named, as the sink shows them
};

struct Expectation {
  enum class Kind {
    kRows,      // exactly these, in any order
    kOrdered,   // exactly these, in this order
    kContains,  // these, and maybe others
    kLast,      // the last row of each key is one of these; keys that end deleted are absent
    kCount,     // so many
  };
  Kind kind = Kind::kRows;
  size_t sink = 0;       // in the order of the pipeline file
  Location at;           // of the sink's name
  ConfigNode list;       // of the rows; kCount: the number
  bool in_flow = false;  // the list stands in a flow map
  std::vector<ExpectedRow> rows;
  std::vector<std::string> key;  // kLast
  bool exact = false;            // columns that are not named are differences
  size_t count = 0;              // kCount
};

// `node` is the value under the sink's name, of a map in flow style if in_flow: a list of rows, or a map with one of
// rows, ordered, contains and count. nullopt after an error. The caller sets `sink`.
std::optional<Expectation> read_expectation(const ConfigNode& node, bool in_flow, const TableShape& shape,
                                            Diagnostics& diagnostics);

}  // namespace millrace
