#include "pipeline/testing/test_expectation.h"

#include <fmt/format.h>

#include "pipeline/testing/test_values.h"

namespace millrace {
namespace {

class ExpectationReader {
 public:
  ExpectationReader(const TableShape& shape, Diagnostics& diagnostics) : shape_(shape), diagnostics_(diagnostics) {
    for (const Field& field : shape.columns) names_.push_back(field.name);
    if (shape.has_key) names_.push_back(kRecordKey);
    if (shape.value) names_.push_back(kRecordValue);
    names_.push_back(kRecordDeleted);
    names_.push_back(kRecordTimestamp);
  }

  Expectation read(const ConfigNode& node, bool in_flow) {
    result_.at = node.key_location();
    result_.list = node;
    result_.in_flow = in_flow || (node.is_mapping() && node.is_flow());
    if (node.is_sequence()) {
      read_rows(node);
    } else if (node.is_mapping()) {
      read_map(node);
    } else {
      diagnostics_.error(LintCode::kWrongType, node.is_null() ? node.key_location() : node.location(),
                         fmt::format("expected the rows of sink \"{}\" as a list", shape_.sink), "[] means no rows");
    }
    return std::move(result_);
  }

 private:
  void read_map(const ConfigNode& node) {
    MapReader map(node, diagnostics_);
    static constexpr std::pair<const char*, Expectation::Kind> kKinds[] = {{"rows", Expectation::Kind::kRows},
                                                                           {"ordered", Expectation::Kind::kOrdered},
                                                                           {"contains", Expectation::Kind::kContains},
                                                                           {"count", Expectation::Kind::kCount}};
    std::string found;
    for (const auto& [key, kind] : kKinds) {
      const auto list = map.child(key);
      if (!list) continue;
      if (!found.empty())
        diagnostics_.error(LintCode::kConflict, list->key_location(),
                           fmt::format("{} and {} exclude each other", found, key));
      found = key;
      result_.kind = kind;
      result_.list = *list;
    }
    result_.exact = map.bool_or("exact", false);
    const auto last = map.child("last");
    map.finish();
    if (found.empty()) {
      diagnostics_.error(LintCode::kMissingKey, node.key_location(),
                         fmt::format("what is expected of sink \"{}\" is missing", shape_.sink),
                         "one of rows, ordered, contains, count");
      return;
    }
    if (last) read_key(*last, found);
    if (result_.kind == Expectation::Kind::kCount) {
      const auto count = as_int(result_.list, 0, INT64_MAX, diagnostics_);
      result_.count = static_cast<size_t>(count.value_or(0));
    } else {
      read_rows(result_.list);
    }
  }

  void read_key(const ConfigNode& node, const std::string& found) {
    if (found != "rows")
      diagnostics_.error(LintCode::kConflict, node.key_location(),
                         fmt::format("last goes with rows, not with {}", found));
    result_.kind = Expectation::Kind::kLast;
    const auto key = as_string_list(node, diagnostics_);
    if (!key) return;
    if (key->empty()) diagnostics_.error(LintCode::kBadValue, node.location(), "last lists the columns of the key");
    for (const std::string& name : *key) column(name, node.location());
    result_.key = *key;
  }

  void read_rows(const ConfigNode& list) {
    if (!list.is_sequence()) {
      diagnostics_.error(LintCode::kWrongType, list.is_null() ? list.key_location() : list.location(),
                         "expected a list of rows", "[] means no rows");
      return;
    }
    for (size_t i = 0; i < list.size(); i++) read_row(list.at(i));
  }

  void read_row(const ConfigNode& node) {
    if (!node.is_mapping()) {
      diagnostics_.error(LintCode::kWrongType, node.location(), "expected a row as a map of columns");
      return;
    }
    ExpectedRow row;
    row.node = node;
    row.columns = nlohmann::ordered_json::object();
    for (size_t i = 0; i < node.size(); i++) {
      const auto type = column(node.key_at(i), node.at(i).key_location());
      if (!type) continue;
      auto value = read_typed(node.at(i), *type, false, diagnostics_);
      if (value) row.columns[node.key_at(i)] = std::move(*value);
    }
    result_.rows.push_back(std::move(row));
  }

  // The type of a column; nullopt and an error if there is none.
  std::optional<Type> column(const std::string& name, const Location& at) {
    if (const int index = find_column(shape_.columns, name); index >= 0)
      return shape_.columns[static_cast<size_t>(index)].type;
    if (name == kRecordKey && shape_.has_key) return Type(TypeKind::kString);
    if (name == kRecordValue && shape_.value) return *shape_.value;
    if (name == kRecordDeleted) return Type(TypeKind::kBool);
    if (name == kRecordTimestamp) return Type::timestamp(TimestampUnit::kMillis);
    diagnostics_.error(LintCode::kUnknownField, at, fmt::format("sink \"{}\" has no column \"{}\"", shape_.sink, name),
                       did_you_mean(name, names_));
    return std::nullopt;
  }

  const TableShape& shape_;
  Diagnostics& diagnostics_;
  std::vector<std::string> names_;
  Expectation result_;
};

}  // namespace

std::optional<Expectation> read_expectation(const ConfigNode& node, bool in_flow, const TableShape& shape,
                                            Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  Expectation result = ExpectationReader(shape, diagnostics).read(node, in_flow);
  if (diagnostics.error_count() != errors) return std::nullopt;
  return result;
}

}  // namespace millrace
