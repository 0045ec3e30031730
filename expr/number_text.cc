#include "expr/number_text.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace millrace::expr {
namespace {

std::string_view without_plus(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  return text;
}

}  // namespace

std::optional<int64_t> parse_int(std::string_view text) {
  text = without_plus(text);
  int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_double(std::string_view text) {
  text = without_plus(text);
  double value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (code == std::errc()) return value;
  if (code != std::errc::result_out_of_range) return std::nullopt;
  // from_chars does not say in which direction the value left the range.
  const bool negative = text[0] == '-';
  if (negative) text.remove_prefix(1);
  const bool small = text[0] == '0' || text[0] == '.' || text.find("e-") != text.npos || text.find("E-") != text.npos;
  if (!small) return std::nullopt;
  return negative ? -0.0 : 0.0;
}

size_t write_double(double value, char* out) {
  if (std::isnan(value)) return static_cast<size_t>(fmt::format_to(out, "NaN") - out);
  if (std::isinf(value)) return static_cast<size_t>(fmt::format_to(out, "{}Infinity", value < 0 ? "-" : "") - out);
  return static_cast<size_t>(fmt::format_to(out, "{}", value) - out);
}

size_t write_int(int64_t value, char* out) {
  return static_cast<size_t>(std::to_chars(out, out + kMaxNumberText, value).ptr - out);
}

std::string format_double(double value) {
  char text[kMaxNumberText];
  return std::string(text, write_double(value, text));
}

}  // namespace millrace::expr
