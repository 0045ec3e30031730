#include "pipeline/testing/test_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "formats/rfc3339.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kRelativeError = 1e-9;  // of doubles that count as the same

bool is_integer(const std::string& text) {
  const size_t digits = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  return text.size() > digits && text.find_first_not_of("0123456789", digits) == std::string::npos;
}

// Microseconds of a scalar in RFC 3339; nullopt if it is none.
std::optional<int64_t> rfc3339_of(const ConfigNode& node) {
  int64_t micros = 0;
  if (!node.is_scalar() || !parse_rfc3339(node.text(), &micros)) return std::nullopt;
  return micros;
}

void report_time(const ConfigNode& node, const char* wanted, Diagnostics& diagnostics) {
  const std::string found = node.is_scalar() ? fmt::format("\"{}\"", node.text()) : "no scalar";
  diagnostics.error(LintCode::kWrongType, node.location(), fmt::format("expected {}, found {}", wanted, found));
}

std::optional<Json> read_timestamp(const ConfigNode& node, const Type& type, bool for_payload,
                                   Diagnostics& diagnostics) {
  if (!for_payload) {
    const auto ms = read_time_ms(node, diagnostics);
    return ms ? std::optional<Json>(*ms) : std::nullopt;
  }
  const std::optional<int64_t> micros = rfc3339_of(node);
  if (type.unit() == TimestampUnit::kRfc3339) {
    if (micros) return Json(node.text());
    report_time(node, "a time in RFC 3339", diagnostics);
    return std::nullopt;
  }
  const int64_t unit_us = type.unit() == TimestampUnit::kSeconds  ? 1'000'000
                          : type.unit() == TimestampUnit::kMillis ? 1000
                                                                  : 1;
  if (micros && *micros % unit_us == 0) return Json(*micros / unit_us);
  if (micros) return Json(static_cast<double>(*micros) / static_cast<double>(unit_us));
  if (type.unit() == TimestampUnit::kSeconds && node.is_scalar() && !is_integer(node.text())) {
    const auto seconds = as_double(node, diagnostics);
    return seconds ? std::optional<Json>(*seconds) : std::nullopt;
  }
  if (node.is_scalar() && !is_integer(node.text())) {
    report_time(node, "an integer or a time in RFC 3339", diagnostics);
    return std::nullopt;
  }
  const auto number = as_int(node, INT64_MIN, INT64_MAX, diagnostics);
  return number ? std::optional<Json>(*number) : std::nullopt;
}

std::optional<Json> read_duration(const ConfigNode& node, Diagnostics& diagnostics) {
  const bool number = node.is_scalar() && is_integer(node.text());
  const auto ms = number ? as_int(node, INT64_MIN, INT64_MAX, diagnostics) : as_duration_ms(node, diagnostics);
  return ms ? std::optional<Json>(*ms) : std::nullopt;
}

std::optional<Json> read_list(const ConfigNode& node, const Type& type, bool for_payload, Diagnostics& diagnostics) {
  if (!node.is_sequence()) {
    diagnostics.error(LintCode::kWrongType, node.location(), fmt::format("expected a list, {}", type.to_string()));
    return std::nullopt;
  }
  Json list = Json::array();
  bool good = true;
  for (size_t i = 0; i < node.size(); i++) {
    auto element = read_typed(node.at(i), type.element(), for_payload, diagnostics);
    good = good && element.has_value();
    if (element) list.push_back(std::move(*element));
  }
  return good ? std::optional<Json>(std::move(list)) : std::nullopt;
}

std::optional<Json> read_struct(const ConfigNode& node, const Type& type, bool for_payload, Diagnostics& diagnostics) {
  if (!node.is_mapping()) {
    diagnostics.error(LintCode::kWrongType, node.location(), fmt::format("expected a map, {}", type.to_string()));
    return std::nullopt;
  }
  std::vector<std::string> names;
  for (const Field& field : type.fields()) names.push_back(field.name);
  Json object = Json::object();
  bool good = true;
  for (size_t i = 0; i < node.size(); i++) {
    const int index = type.field_index(node.key_at(i));
    if (index < 0) {
      diagnostics.error(LintCode::kUnknownField, node.at(i).key_location(),
                        fmt::format("there is no field \"{}\" in {}", node.key_at(i), type.to_string()),
                        did_you_mean(node.key_at(i), names));
      good = false;
      continue;
    }
    auto value = read_typed(node.at(i), type.fields()[static_cast<size_t>(index)].type, for_payload, diagnostics);
    good = good && value.has_value();
    if (value) object[node.key_at(i)] = std::move(*value);
  }
  return good ? std::optional<Json>(std::move(object)) : std::nullopt;
}

// Letters, digits and a few marks that mean nothing to YAML, in a text that reads as nothing but text.
bool is_plain(std::string_view text) {
  static constexpr std::string_view kWords[] = {"null",  "Null",  "NULL", "true", "True", "TRUE", "false",
                                                "False", "FALSE", "yes",  "Yes",  "YES",  "no",   "No",
                                                "NO",    "on",    "On",   "ON",   "off",  "Off",  "OFF"};
  if (text.empty() || std::find(std::begin(kWords), std::end(kWords), text) != std::end(kWords)) return false;
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (!letter(text[0])) return false;
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '/'; });
}

bool same_double(double a, double b) {
  return a == b || std::abs(a - b) <= kRelativeError * std::max(std::abs(a), std::abs(b));
}

}  // namespace

std::optional<int64_t> read_time_ms(const ConfigNode& node, Diagnostics& diagnostics) {
  if (const auto micros = rfc3339_of(node)) return *micros >= 0 ? *micros / 1000 : -((999 - *micros) / 1000);
  if (node.is_scalar() && is_integer(node.text())) return as_int(node, INT64_MIN + 1, INT64_MAX - 1, diagnostics);
  report_time(node, "a time: milliseconds, or RFC 3339", diagnostics);
  return std::nullopt;
}

std::optional<Json> read_typed(const ConfigNode& node, const Type& type, bool for_payload, Diagnostics& diagnostics) {
  if (node.is_null()) return Json();
  switch (type.kind()) {
    case TypeKind::kBool: {
      const auto value = as_bool(node, diagnostics);
      return value ? std::optional<Json>(*value) : std::nullopt;
    }
    case TypeKind::kInt: {
      const auto value = as_int(node, INT64_MIN, INT64_MAX, diagnostics);
      return value ? std::optional<Json>(*value) : std::nullopt;
    }
    case TypeKind::kDouble: {
      const auto value = as_double(node, diagnostics);
      return value ? std::optional<Json>(*value) : std::nullopt;
    }
    case TypeKind::kTimestamp: return read_timestamp(node, type, for_payload, diagnostics);
    case TypeKind::kDuration: return read_duration(node, diagnostics);
    case TypeKind::kList: return read_list(node, type, for_payload, diagnostics);
    case TypeKind::kStruct: return read_struct(node, type, for_payload, diagnostics);
    case TypeKind::kMap: {
      if (!node.is_mapping()) {
        diagnostics.error(LintCode::kWrongType, node.location(), "expected a map");
        return std::nullopt;
      }
      Json object = Json::object();
      for (size_t i = 0; i < node.size(); i++) {
        auto value = read_typed(node.at(i), type.element(), for_payload, diagnostics);
        if (!value) return std::nullopt;
        object[node.key_at(i)] = std::move(*value);
      }
      return object;
    }
    case TypeKind::kNull:
    case TypeKind::kString:
    case TypeKind::kBytes: break;
  }
  const auto text = as_string(node, diagnostics);
  return text ? std::optional<Json>(*text) : std::nullopt;
}

std::string yaml_text(const Json& value) {
  if (value.is_object() || value.is_array()) {
    std::string text = value.is_object() ? "{" : "[";
    bool first = true;
    for (const auto& [name, element] : value.items()) {
      if (!first) text += ", ";
      first = false;
      if (value.is_object()) text += (is_plain(name) ? name : Json(name).dump()) + ": ";
      text += yaml_text(element);
    }
    return text + (value.is_object() ? "}" : "]");
  }
  if (value.is_string() && is_plain(value.get_ref<const std::string&>())) return value.get<std::string>();
  // JSON strings are YAML strings in double quotes.
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.find("${") == std::string::npos && text.find("$$") == std::string::npos) return text;
  std::string escaped;  // $$ is what reads back as $ where variables are substituted
  for (char c : text) escaped += c == '$' ? "$$" : std::string(1, c);
  return escaped;
}

bool same_value(const Json& wanted, const Json& found, bool partial) {
  if (wanted.is_number() && found.is_number()) {
    if (wanted.is_number_float() || found.is_number_float())
      return same_double(wanted.get<double>(), found.get<double>());
    return wanted == found;
  }
  if (wanted.is_array() && found.is_array()) {
    if (wanted.size() != found.size()) return false;
    for (size_t i = 0; i < wanted.size(); i++)
      if (!same_value(wanted[i], found[i], partial)) return false;
    return true;
  }
  if (wanted.is_object() && found.is_object()) {
    if (!partial && wanted.size() != found.size()) return false;
    for (const auto& [name, value] : wanted.items()) {
      const auto at = found.find(name);
      if (at == found.end() || !same_value(value, *at, partial)) return false;
    }
    return true;
  }
  return wanted == found;
}

}  // namespace millrace
