// ConfigNode: a parsed YAML document with the position of everything in it; MapReader: strict, typed access that
// collects every error. The only user of yaml-cpp is config_node.cc.
//
// Tags, merge keys and keys that are not scalars are refused, anchors are ignored. An unquoted scalar of variables that
// come out empty is null. Values whose type is wrong are shown in messages, variables substituted.
//
// Parsing: YAML first, then ${VAR}, ${VAR:-default}, ${VAR:?message} and $$ are substituted inside scalars (never in
// keys); a lone $ stays. Aliases are refused at the first use of each anchor, so are documents deeper than 64, larger
// than 1 MiB or of more than 100,000 nodes, and duplicate keys (at the second). Top-level `x-*` keys are dropped.
// Values; not thread-safe while parsing, then read-only.
//
// What readers report at an alias, or inside an unquoted expression that YAML has split
// (`fields: {paid: sum(amount, status == "paid")}`) or cut off at ` #`, is reported as that instead, once
// (Diagnostics::explain).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/diagnostics.h"

namespace millrace {

// Looks a variable up; nullopt: undefined. Injected so that tests need no environment.
using VariableLookup = std::function<std::optional<std::string>(const std::string& name)>;
VariableLookup environment_variables();

class ConfigNode {
 public:
  enum class Kind { kNull, kScalar, kSequence, kMapping };

  ConfigNode() = default;
  // Parses text; errors go to diagnostics, and what could be read is returned (a null node if nothing).
  static ConfigNode parse(const std::string& file, const std::string& text, const VariableLookup& variables,
                          Diagnostics& diagnostics);
  // The same from a file.
  static ConfigNode load(const std::string& file, const VariableLookup& variables, Diagnostics& diagnostics);

  Kind kind() const;
  bool is_null() const { return kind() == Kind::kNull; }
  bool is_scalar() const { return kind() == Kind::kScalar; }
  bool is_sequence() const { return kind() == Kind::kSequence; }
  bool is_mapping() const { return kind() == Kind::kMapping; }
  // Where the value starts; for the value of a mapping, key_location() is where its key stands.
  const Location& location() const;
  const Location& key_location() const;
  // Precondition: kScalar. The text after interpolation; quoted() says whether it stood in quotes.
  const std::string& text() const;
  bool quoted() const;
  // The position of byte `offset` of text() in the file (as exact as quoting and interpolation allow).
  Location location_of(size_t offset) const;
  // Flow style ({…} or […]), or, for a scalar, inside a flow collection.
  bool is_flow() const;
  // Of the top: false if an error kept the parser from reading the rest, so that what is missing may stand there.
  bool is_complete() const;

  // kSequence: items; kMapping: values in file order, with their keys.
  size_t size() const;
  ConfigNode at(size_t index) const;
  const std::string& key_at(size_t index) const;
  // kMapping: the value of `key`; nullopt if absent.
  std::optional<ConfigNode> find(std::string_view key) const;
  // "operators[1].aggregate.fields", for messages; "" at the top.
  const std::string& path() const;

  struct Data;

 private:
  explicit ConfigNode(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  friend class ConfigTreeBuilder;
  std::shared_ptr<const Data> data_;
};

// Typed reads of one scalar. Each reports kWrongType / kBadValue at the scalar and returns nullopt.
std::optional<std::string> as_string(const ConfigNode& node, Diagnostics& diagnostics);
std::optional<int64_t> as_int(const ConfigNode& node, int64_t min, int64_t max, Diagnostics& diagnostics);
std::optional<double> as_double(const ConfigNode& node, Diagnostics& diagnostics);
std::optional<bool> as_bool(const ConfigNode& node, Diagnostics& diagnostics);
// 100ms 30s 5m 1h 1d -> milliseconds, ≥ 0.
std::optional<int64_t> as_duration_ms(const ConfigNode& node, Diagnostics& diagnostics);
// 64KiB 128MiB 1GiB 512B, or a plain number of bytes.
std::optional<int64_t> as_size_bytes(const ConfigNode& node, Diagnostics& diagnostics);
// A name: [a-z0-9_-]+, at most 100 bytes.
std::optional<std::string> as_name(const ConfigNode& node, Diagnostics& diagnostics);
// A scalar, or a list of scalars.
std::optional<std::vector<std::string>> as_string_list(const ConfigNode& node, Diagnostics& diagnostics);

std::optional<int64_t> parse_duration_ms(std::string_view text);
std::optional<int64_t> parse_size_bytes(std::string_view text);

// Reads a mapping key by key; finish() reports every key that nobody asked for, with the nearest that somebody did. A
// node that is not a mapping is reported by the constructor and then reads as empty; null reads as an empty mapping.
// The *_or functions and choice() return the fallback for an absent key, for `key:` without a value, after an error.
//
//   MapReader map(node, diagnostics);
//   config.topic = map.required_string("topic");
//   config.start = map.choice("start", {"earliest", "latest"}, "earliest");
//   map.finish();
class MapReader {
 public:
  MapReader(ConfigNode node, Diagnostics& diagnostics);
  bool has(std::string_view key);
  std::optional<ConfigNode> child(std::string_view key);           // marks the key as known
  std::optional<ConfigNode> required_child(std::string_view key);  // kMissingKey at the parent
  std::string required_string(std::string_view key);               // "" after an error
  std::string string_or(std::string_view key, std::string fallback);
  int64_t int_or(std::string_view key, int64_t fallback, int64_t min, int64_t max);
  double double_or(std::string_view key, double fallback);
  bool bool_or(std::string_view key, bool fallback);
  int64_t duration_ms_or(std::string_view key, int64_t fallback_ms);
  int64_t size_bytes_or(std::string_view key, int64_t fallback_bytes);
  std::string choice(std::string_view key, const std::vector<std::string>& allowed, std::string fallback);
  // Keys nobody asked for are errors from here on.
  void finish();
  const ConfigNode& node() const { return node_; }
  Diagnostics& diagnostics() { return diagnostics_; }

 private:
  ConfigNode node_;
  Diagnostics& diagnostics_;
  std::vector<std::string> asked_;
};

}  // namespace millrace
