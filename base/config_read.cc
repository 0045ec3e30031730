// Typed reads of ConfigNodes: scalars and MapReader.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "base/config_node.h"
#include "base/config_tree.h"

namespace millrace {
namespace {

constexpr size_t kMaxShownBytes = 60;
constexpr size_t kMaxNameBytes = 100;

std::string shortened(std::string_view text) {
  if (text.size() <= kMaxShownBytes) return std::string(text);
  size_t end = kMaxShownBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) end--;
  return std::string(text.substr(0, end)) + "…";
}

std::string found(const ConfigNode& node) {
  switch (node.kind()) {
    case ConfigNode::Kind::kNull: return "nothing";
    case ConfigNode::Kind::kSequence: return "a list";
    case ConfigNode::Kind::kMapping: return "a map";
    case ConfigNode::Kind::kScalar: break;
  }
  return fmt::format("\"{}\"", shortened(node.text()));
}

void report_type(const ConfigNode& node, std::string_view wanted, Diagnostics& diagnostics, std::string hint = "") {
  diagnostics.error(LintCode::kWrongType, node.location(), fmt::format("expected {}, found {}", wanted, found(node)),
                    std::move(hint));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

enum class NumberError { kNone, kSyntax, kRange };

// Decimal digits, with a sign if `sign`.
NumberError read_integer(std::string_view text, bool sign, int64_t& value) {
  if (sign && text.starts_with('+')) text.remove_prefix(1);
  size_t digits = sign && text.starts_with('-') ? 1 : 0;
  if (digits == text.size() || !std::all_of(text.begin() + static_cast<std::ptrdiff_t>(digits), text.end(), is_digit)) {
    return NumberError::kSyntax;
  }
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? NumberError::kNone : NumberError::kRange;
}

// An integer with one of the units behind it. `plain` units: what the number without a unit means (0: refused, unless
// 0).
struct Unit {
  std::string_view name;
  int64_t factor;
};
constexpr Unit kDurations[] = {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
constexpr Unit kSizes[] = {{"B", 1},
                           {"KiB", int64_t{1} << 10},
                           {"MiB", int64_t{1} << 20},
                           {"GiB", int64_t{1} << 30},
                           {"TiB", int64_t{1} << 40}};
// So that a duration also fits microseconds.
constexpr int64_t kMaxDurationMs = INT64_MAX / 1000;

template <size_t N>
NumberError read_quantity(std::string_view text, const Unit (&units)[N], int64_t plain_factor, int64_t max,
                          int64_t& value) {
  size_t digits = 0;
  while (digits < text.size() && is_digit(text[digits])) digits++;
  std::string_view unit_name = text.substr(digits);
  int64_t number = 0;
  NumberError error = read_integer(text.substr(0, digits), false, number);
  if (error == NumberError::kSyntax) return error;
  int64_t factor = 0;
  if (unit_name.empty()) {
    factor = error == NumberError::kNone && number == 0 ? 1 : plain_factor;
  } else {
    for (const Unit& unit : units) {
      if (unit.name == unit_name) factor = unit.factor;
    }
  }
  if (factor == 0) return NumberError::kSyntax;
  if (error != NumberError::kNone || number > max / factor) return NumberError::kRange;
  value = number * factor;
  return NumberError::kNone;
}

NumberError read_duration(std::string_view text, int64_t& ms) {
  return read_quantity(text, kDurations, 0, kMaxDurationMs, ms);
}
NumberError read_size(std::string_view text, int64_t& bytes) {
  return read_quantity(text, kSizes, 1, INT64_MAX, bytes);
}

std::string duration_hint(std::string_view text) {
  int64_t number = 0;
  if (read_integer(text, false, number) == NumberError::kNone)
    return fmt::format("add a unit: {}ms or {}s", text, text);
  // 5 minutes, 5min, 30 sec: what the first letters mean.
  size_t digits = 0;
  while (digits < text.size() && is_digit(text[digits])) digits++;
  const size_t word_at = text.find_first_not_of(' ', digits);
  if (digits == 0 || digits > 18 || word_at == std::string_view::npos) return "";
  const std::string_view word = text.substr(word_at);
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"mil", "ms"}, {"ms", "ms"}, {"s", "s"}, {"mi", "m"}, {"m", "m"}, {"h", "h"}, {"d", "d"}};
  for (const auto& [begin, unit] : kWords) {
    const bool spelt = word.size() <= begin.size() || std::islower(static_cast<unsigned char>(word[1]));
    if (word.starts_with(begin) && spelt && word != "mo" && !word.starts_with("mon"))
      return fmt::format("write {}{}", text.substr(0, digits), unit);
  }
  return "";
}

// 64KB, 64k, 64M: powers of ten and of two are not guessed.
std::string size_hint(std::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && is_digit(text[digits])) digits++;
  if (digits == 0 || digits == text.size()) return "";
  char unit = static_cast<char>(text[digits] & ~0x20);
  std::string_view rest = text.substr(digits + 1);
  bool byte_unit =
      rest.empty() || rest == "B" || rest == "b" || rest == "i" || rest == "ib" || rest == "iB" || rest == "IB";
  if (!byte_unit || std::string_view("KMGT").find(unit) == std::string_view::npos) return "";
  return fmt::format("use {}iB", unit);
}

std::string range_text(int64_t min, int64_t max) {
  if (min == INT64_MIN && max == INT64_MAX) return "an integer of 64 bits";
  if (max == INT64_MAX) return fmt::format("an integer of at least {}", min);
  if (min == INT64_MIN) return fmt::format("an integer of at most {}", max);
  return min == max ? std::to_string(min) : fmt::format("an integer from {} to {}", min, max);
}

}  // namespace

std::optional<std::string> as_string(const ConfigNode& node, Diagnostics& diagnostics) {
  if (node.is_scalar()) return node.text();
  report_type(node, "a string", diagnostics);
  return std::nullopt;
}

std::optional<int64_t> as_int(const ConfigNode& node, int64_t min, int64_t max, Diagnostics& diagnostics) {
  int64_t value = 0;
  NumberError error = node.is_scalar() ? read_integer(node.text(), true, value) : NumberError::kSyntax;
  if (error == NumberError::kSyntax) {
    report_type(node, "an integer", diagnostics);
    return std::nullopt;
  }
  if (error == NumberError::kRange || value < min || value > max) {
    diagnostics.error(LintCode::kBadValue, node.location(),
                      fmt::format("expected {}, found {}", range_text(min, max), shortened(node.text())));
    return std::nullopt;
  }
  return value;
}

std::optional<double> as_double(const ConfigNode& node, Diagnostics& diagnostics) {
  if (node.is_scalar()) {
    std::string_view text = node.text();
    if (text.starts_with('+')) text.remove_prefix(1);
    double value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && std::isfinite(value)) return value;
    if (error == std::errc::result_out_of_range && end == text.data() + text.size()) {
      diagnostics.error(LintCode::kBadValue, node.location(),
                        fmt::format("{} does not fit a double", shortened(node.text())));
      return std::nullopt;
    }
  }
  report_type(node, "a number", diagnostics);
  return std::nullopt;
}

std::optional<bool> as_bool(const ConfigNode& node, Diagnostics& diagnostics) {
  std::string hint;
  if (node.is_scalar()) {
    const std::string& text = node.text();
    if (text == "true") return true;
    if (text == "false") return false;
    for (const char* word : {"yes", "Yes", "YES", "on", "On", "ON", "True", "TRUE", "y", "1"}) {
      if (text == word) hint = "write true";
    }
    for (const char* word : {"no", "No", "NO", "off", "Off", "OFF", "False", "FALSE", "n", "0"}) {
      if (text == word) hint = "write false";
    }
  }
  report_type(node, "true or false", diagnostics, hint);
  return std::nullopt;
}

std::optional<int64_t> as_duration_ms(const ConfigNode& node, Diagnostics& diagnostics) {
  int64_t ms = 0;
  NumberError error = node.is_scalar() ? read_duration(node.text(), ms) : NumberError::kSyntax;
  if (error == NumberError::kNone) return ms;
  if (error == NumberError::kRange) {
    diagnostics.error(LintCode::kBadValue, node.location(), fmt::format("{} is too long", shortened(node.text())));
  } else {
    report_type(node, "a duration such as 100ms or 5m", diagnostics,
                node.is_scalar() ? duration_hint(node.text()) : "");
  }
  return std::nullopt;
}

std::optional<int64_t> as_size_bytes(const ConfigNode& node, Diagnostics& diagnostics) {
  int64_t bytes = 0;
  NumberError error = node.is_scalar() ? read_size(node.text(), bytes) : NumberError::kSyntax;
  if (error == NumberError::kNone) return bytes;
  if (error == NumberError::kRange) {
    diagnostics.error(LintCode::kBadValue, node.location(), fmt::format("{} is too large", shortened(node.text())));
  } else {
    report_type(node, "a size such as 64KiB or 1GiB", diagnostics, node.is_scalar() ? size_hint(node.text()) : "");
  }
  return std::nullopt;
}

std::optional<std::string> as_name(const ConfigNode& node, Diagnostics& diagnostics) {
  if (!node.is_scalar()) {
    report_type(node, "a name", diagnostics);
    return std::nullopt;
  }
  const std::string& text = node.text();
  bool plain = std::all_of(text.begin(), text.end(),
                           [](char c) { return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_' || c == '-'; });
  if (plain && !text.empty() && text.size() <= kMaxNameBytes) return text;
  diagnostics.error(LintCode::kBadValue, node.location(),
                    fmt::format("expected a name of a-z, 0-9, _ and -, at most {} characters, found \"{}\"",
                                kMaxNameBytes, shortened(text)));
  return std::nullopt;
}

std::optional<std::vector<std::string>> as_string_list(const ConfigNode& node, Diagnostics& diagnostics) {
  if (node.is_scalar()) return std::vector<std::string>{node.text()};
  if (!node.is_sequence()) {
    report_type(node, "a string or a list of strings", diagnostics);
    return std::nullopt;
  }
  std::vector<std::string> items;
  bool good = true;
  for (size_t i = 0; i < node.size(); i++) {
    std::optional<std::string> item = as_string(node.at(i), diagnostics);
    good = good && item;
    if (item) items.push_back(std::move(*item));
  }
  if (!good) return std::nullopt;
  return items;
}

std::optional<int64_t> parse_duration_ms(std::string_view text) {
  int64_t ms = 0;
  if (read_duration(text, ms) != NumberError::kNone) return std::nullopt;
  return ms;
}

std::optional<int64_t> parse_size_bytes(std::string_view text) {
  int64_t bytes = 0;
  if (read_size(text, bytes) != NumberError::kNone) return std::nullopt;
  return bytes;
}

MapReader::MapReader(ConfigNode node, Diagnostics& diagnostics) : node_(std::move(node)), diagnostics_(diagnostics) {
  if (!node_.is_mapping() && !node_.is_null()) report_type(node_, "a map", diagnostics);
}

std::optional<ConfigNode> MapReader::child(std::string_view key) {
  if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) asked_.emplace_back(key);
  return node_.find(key);
}

bool MapReader::has(std::string_view key) { return child(key).has_value(); }

std::optional<ConfigNode> MapReader::required_child(std::string_view key) {
  std::optional<ConfigNode> value = child(key);
  if (!value && (node_.is_mapping() || node_.is_null())) {
    diagnostics_.error(LintCode::kMissingKey, node_.key_location(),
                       node_.path().empty() ? fmt::format("missing key \"{}\"", key)
                                            : fmt::format("missing key \"{}\" in {}", key, node_.path()));
  }
  return value;
}

std::string MapReader::required_string(std::string_view key) {
  std::optional<ConfigNode> value = required_child(key);
  return value ? as_string(*value, diagnostics_).value_or("") : "";
}

std::string MapReader::string_or(std::string_view key, std::string fallback) {
  std::optional<ConfigNode> value = child(key);
  if (!value || value->is_null()) return fallback;
  return as_string(*value, diagnostics_).value_or(std::move(fallback));
}

int64_t MapReader::int_or(std::string_view key, int64_t fallback, int64_t min, int64_t max) {
  std::optional<ConfigNode> value = child(key);
  if (!value || value->is_null()) return fallback;
  return as_int(*value, min, max, diagnostics_).value_or(fallback);
}

double MapReader::double_or(std::string_view key, double fallback) {
  std::optional<ConfigNode> value = child(key);
  if (!value || value->is_null()) return fallback;
  return as_double(*value, diagnostics_).value_or(fallback);
}

bool MapReader::bool_or(std::string_view key, bool fallback) {
  std::optional<ConfigNode> value = child(key);
  if (!value || value->is_null()) return fallback;
  return as_bool(*value, diagnostics_).value_or(fallback);
}

int64_t MapReader::duration_ms_or(std::string_view key, int64_t fallback_ms) {
  std::optional<ConfigNode> value = child(key);
  if (!value || value->is_null()) return fallback_ms;
  return as_duration_ms(*value, diagnostics_).value_or(fallback_ms);
}

int64_t MapReader::size_bytes_or(std::string_view key, int64_t fallback_bytes) {
  std::optional<ConfigNode> value = child(key);
  if (!value || value->is_null()) return fallback_bytes;
  return as_size_bytes(*value, diagnostics_).value_or(fallback_bytes);
}

std::string MapReader::choice(std::string_view key, const std::vector<std::string>& allowed, std::string fallback) {
  std::optional<ConfigNode> value = child(key);
  if (!value || value->is_null()) return fallback;
  std::optional<std::string> text = as_string(*value, diagnostics_);
  if (!text) return fallback;
  if (std::find(allowed.begin(), allowed.end(), *text) != allowed.end()) return *text;
  diagnostics_.error(LintCode::kBadValue, value->location(),
                     fmt::format("expected {}, found \"{}\"", fmt::join(allowed, " or "), shortened(*text)),
                     did_you_mean(*text, allowed));
  return fallback;
}

void MapReader::finish() {
  if (!node_.is_mapping()) return;
  for (size_t i = 0; i < node_.size(); i++) {
    const std::string& key = node_.key_at(i);
    if (std::find(asked_.begin(), asked_.end(), key) != asked_.end()) continue;
    diagnostics_.error(LintCode::kUnknownKey, node_.at(i).key_location(),
                       node_.path().empty() ? fmt::format("unknown key \"{}\"", shortened(key))
                                            : fmt::format("unknown key \"{}\" in {}", shortened(key), node_.path()),
                       did_you_mean(key, asked_));
  }
}

}  // namespace millrace
