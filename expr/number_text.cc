#include "expr/number_text.h"

#include <fmt/format.h>

#include <algorithm>
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

namespace {

constexpr double kPowersOfTen[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
static_assert(std::size(kPowersOfTen) == kMaxRoundDigits + 1);

// The same by way of the digits that the value is written with; magnitude is finite and above zero.
double round_digits(double magnitude, int digits) {
  // d.ddde-xx: the shortest digits, and the power of ten of the first.
  char text[kMaxNumberText];
  const auto end = std::to_chars(text, text + sizeof text, magnitude, std::chars_format::scientific).ptr;
  const char* const e = std::find(text, end, 'e');
  int exponent = 0;
  std::from_chars(e[1] == '+' ? e + 2 : e + 1, end, exponent);
  char significant[kMaxNumberText];
  int count = 0;
  for (const char* c = text; c != e; c++)
    if (*c != '.') significant[count++] = *c;
  // Digits in front of the place that is cut.
  const int kept = exponent + 1 + digits;
  if (kept >= count) return magnitude;
  if (kept < 0) return 0;
  uint64_t whole = 0;
  for (int i = 0; i < kept; i++) whole = whole * 10 + static_cast<uint64_t>(significant[i] - '0');
  if (significant[kept] >= '5') whole++;
  // At most 17 digits: exact in text, which is what decides the last bit.
  const auto rounded = fmt::format_to(text, "{}e-{}", whole, digits);
  double value = 0;
  std::from_chars(text, rounded, value);
  return value;
}

}  // namespace

double round_decimal(double value, int digits) {
  const double scale = kPowersOfTen[digits];
  const double magnitude = std::fabs(value);
  const double scaled = magnitude * scale;
  if (!(scaled < 0x1p52)) {  // NaN too
    if (!(magnitude < 0x1p53)) return value;
    return std::copysign(round_digits(magnitude, digits), value);
  }
  const double below = std::floor(scaled);
  const double rest = scaled - below;
  // The product differs from the decimal by less than its distance to the next doubles: that matters near a half only.
  if (std::fabs(rest - 0.5) > scaled * 0x1p-50) return std::copysign((rest > 0.5 ? below + 1 : below) / scale, value);
  return std::copysign(round_digits(magnitude, digits), value);
}

std::string format_double(double value) {
  char text[kMaxNumberText];
  return std::string(text, write_double(value, text));
}

}  // namespace millrace::expr
