// Numbers as text, independent of the locale. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::expr {

// Decimal with an optional sign. nullopt: not an int, or out of range.
std::optional<int64_t> parse_int(std::string_view text);
// Decimal or scientific, NaN, Infinity, inf, with an optional sign. Too small is zero; nullopt: not a number, or too
// large.
std::optional<double> parse_double(std::string_view text);
// The shortest text that reads back as the same value: 1.5, 1e+21, NaN, Infinity; integral values have no point.
std::string format_double(double value);
// The same into a buffer of kMaxNumberText bytes; returns its length.
inline constexpr size_t kMaxNumberText = 32;
size_t write_double(double value, char* out);
size_t write_int(int64_t value, char* out);
// The double nearest to the decimal that `value` is written as, rounded to `digits` behind the point, halves away from
// zero: 1.005 to 2 digits is 1.01. Written out it has no more digits than that. Precondition: digits is 0 to
// kMaxRoundDigits.
inline constexpr int kMaxRoundDigits = 15;
double round_decimal(double value, int digits);

}  // namespace millrace::expr
