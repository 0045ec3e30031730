#include "formats/format_options.h"

#include "formats/csv_decoder.h"
#include "formats/format.h"

namespace millrace {
namespace {

// One ASCII character that ends no line; nullopt after an error.
std::optional<char> as_character(const ConfigNode& node, bool may_be_empty, Diagnostics& diagnostics) {
  const std::optional<std::string> text = as_string(node, diagnostics);
  if (!text) return std::nullopt;
  if (text->empty() && may_be_empty) return '\0';
  if (text->size() == 1) {
    const char c = (*text)[0];
    if (c == '\t' || (c >= ' ' && c <= '~')) return c;
  }
  diagnostics.error(LintCode::kBadValue, node.location(), "expected one ASCII character, found \"" + *text + "\"",
                    *text == "\\t" ? "write \"\\t\" in double quotes" : "");
  return std::nullopt;
}

CsvOptions read_csv_options(const ConfigNode& body, Diagnostics& diagnostics) {
  CsvOptions options;
  MapReader map(body, diagnostics);
  if (const auto node = map.child("delimiter"))
    options.delimiter = as_character(*node, false, diagnostics).value_or(options.delimiter);
  if (const auto node = map.child("quote")) {
    options.quote = as_character(*node, true, diagnostics).value_or(options.quote);
    if (options.quote == options.delimiter)
      diagnostics.error(LintCode::kConflict, node->location(), "quote and delimiter are the same character");
  }
  if (const auto node = map.child("header")) {
    options.header_at = node->location();
    options.header = as_bool(*node, diagnostics);
  }
  options.null_text = map.string_or("null_text", "");
  const std::string special{options.delimiter, options.quote == 0 ? options.delimiter : options.quote, '\n', '\r'};
  if (options.null_text.find_first_of(special) != std::string::npos) {
    diagnostics.error(LintCode::kBadValue, map.child("null_text")->location(),
                      "null_text has a delimiter, a quote or a line break in it");
  }
  options.multiline = map.bool_or("multiline", false);
  map.finish();
  return options;
}

}  // namespace

Format read_format(const ConfigNode& node, Diagnostics& diagnostics) {
  Format format;
  Location at = node.location();
  ConfigNode body;
  if (node.is_mapping()) {
    if (node.size() != 1) {
      diagnostics.error(LintCode::kBadValue, at, "format is one name, with or without options",
                        "write format: {csv: {header: true}}");
      return format;
    }
    format.name = node.key_at(0);
    body = node.at(0);
    at = body.key_location();
  } else if (const auto name = as_string(node, diagnostics)) {
    format.name = *name;
  }
  if (!is_known_format(format.name)) {
    diagnostics.error(LintCode::kUnknownKind, at, "unknown format \"" + format.name + "\"",
                      did_you_mean(format.name, known_formats()));
    return Format();
  }
  if (format == "csv") {
    format.csv = read_csv_options(body, diagnostics);
    format.csv_columns = std::make_shared<CsvColumns>();
  } else {
    MapReader(body, diagnostics).finish();
  }
  return format;
}

void check_schema(const Format& format, const Schema& schema, const ConfigNode& node, Diagnostics& diagnostics) {
  if (format.name != "csv") return;
  for (const Field& field : schema) {
    const std::string error = csv_type_error(field.type);
    const auto at = node.find(field.name);
    if (!error.empty() && at) diagnostics.error(LintCode::kBadValue, at->location(), error);
  }
}

}  // namespace millrace
