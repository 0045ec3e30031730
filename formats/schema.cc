#include <array>

#include "formats/format.h"

namespace millrace {
namespace {

constexpr size_t kMaxColumns = 1000;  // nested fields included
constexpr int kMaxNesting = 16;

struct NamedType {
  const char* name;
  Type type;
};

const std::vector<NamedType>& scalar_types() {
  static const std::vector<NamedType> types = {
      {"string", Type(TypeKind::kString)},
      {"int", Type(TypeKind::kInt)},
      {"double", Type(TypeKind::kDouble)},
      {"bool", Type(TypeKind::kBool)},
      {"bytes", Type(TypeKind::kBytes)},
      {"timestamp_ms", Type::timestamp(TimestampUnit::kMillis)},
      {"timestamp_us", Type::timestamp(TimestampUnit::kMicros)},
      {"timestamp_s", Type::timestamp(TimestampUnit::kSeconds)},
      {"timestamp_rfc3339", Type::timestamp(TimestampUnit::kRfc3339)},
  };
  return types;
}

// What other systems call our types.
std::string type_hint(const std::string& name) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kForeign = {{
      {"int64", "int"},
      {"int32", "int"},
      {"long", "int"},
      {"integer", "int"},
      {"bigint", "int"},
      {"float", "double"},
      {"float64", "double"},
      {"number", "double"},
      {"boolean", "bool"},
      {"text", "string"},
      {"varchar", "string"},
      {"binary", "bytes"},
      {"timestamp", "timestamp_ms"},
      {"datetime", "timestamp_rfc3339"},
  }};
  for (const auto& [foreign, ours] : kForeign)
    if (name == foreign) return "did you mean \"" + std::string(ours) + "\"?";
  std::vector<std::string> candidates;
  std::string all;
  for (const NamedType& type : scalar_types()) {
    candidates.emplace_back(type.name);
    all += (all.empty() ? "" : " ") + candidates.back();
  }
  std::string hint = did_you_mean(name, candidates);
  return hint.empty() ? "types are: " + all + " [T] {f: T}" : hint;
}

bool is_column_name(const std::string& name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (name.empty() || !letter(name[0])) return false;
  for (char c : name)
    if (!letter(c) && (c < '0' || c > '9')) return false;
  return true;
}

class SchemaReader {
 public:
  explicit SchemaReader(Diagnostics& diagnostics) : diagnostics_(diagnostics) {}

  std::vector<Field> read_fields(const ConfigNode& node, int depth) {
    std::vector<Field> fields;
    if (node.size() == 0) diagnostics_.error(LintCode::kBadValue, node.location(), "a schema needs at least one field");
    for (size_t i = 0; i < node.size() && !too_many_; i++) {
      const ConfigNode child = node.at(i);
      const std::string& name = node.key_at(i);
      if (++columns_ > kMaxColumns) {
        too_many_ = true;
        diagnostics_.error(LintCode::kLimit, child.key_location(), "a schema has at most 1000 fields");
        break;
      }
      if (!is_column_name(name)) {
        diagnostics_.error(LintCode::kBadValue, child.key_location(), "invalid field name \"" + name + "\"",
                           "names are letters, digits and _, and start with no digit");
      } else if (depth == 1 && name == "record") {
        diagnostics_.error(LintCode::kBadValue, child.key_location(), "\"record\" is a reserved name",
                           "record.key, record.topic … describe the record itself");
      }
      fields.push_back({name, read_type(child, depth)});
    }
    return fields;
  }

 private:
  // depth: of the mapping or list that this type stands in; the top-level mapping is 1. Unknown after an error, also
  // one inside of it.
  Type read_type(const ConfigNode& node, int depth) {
    if (node.is_scalar()) {
      for (const NamedType& type : scalar_types())
        if (node.text() == type.name) return type.type;
      diagnostics_.error(LintCode::kBadValue, node.location(), "unknown type \"" + node.text() + "\"",
                         type_hint(node.text()));
      return Type::unknown();
    }
    if (node.is_null()) {
      diagnostics_.error(LintCode::kWrongType, node.key_location(), "expected a type");
      return Type::unknown();
    }
    if (depth >= kMaxNesting) {
      diagnostics_.error(LintCode::kLimit, node.location(), "types nest at most 16 deep");
      return Type::unknown();
    }
    if (node.is_mapping()) {
      std::vector<Field> fields = read_fields(node, depth + 1);
      return fields.empty() || has_unknown(fields) ? Type::unknown() : Type::structure(std::move(fields));
    }
    if (node.size() != 1) {
      diagnostics_.error(LintCode::kBadValue, node.location(), "a list type has exactly one element type",
                         "write [string]");
      return Type::unknown();
    }
    Type element = read_type(node.at(0), depth + 1);
    return element.is_unknown() ? element : Type::list(std::move(element));
  }

  Diagnostics& diagnostics_;
  size_t columns_ = 0;
  bool too_many_ = false;
};

}  // namespace

Schema read_schema(const ConfigNode& node, Diagnostics& diagnostics) {
  if (!node.is_mapping()) {
    diagnostics.error(LintCode::kWrongType, node.location(), "expected a mapping of fields to types",
                      "write {amount: int, status: string}");
    return {};
  }
  return SchemaReader(diagnostics).read_fields(node, 1);
}

}  // namespace millrace
