#include "expr/number_text.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <random>

namespace millrace::expr {
namespace {

// Digits behind the point of the shortest text of a value without an exponent.
size_t decimals(double value) {
  const std::string text = format_double(value);
  const size_t point = text.find('.');
  return point == std::string::npos ? 0 : text.size() - point - 1;
}

}  // namespace

// Decimals of at most four digits, times ten thousand, are ints: rounding them is exact int arithmetic.
TEST_CASE("rounding decimals agrees with integer arithmetic") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200'000; round++) {
    const auto whole = static_cast<int64_t>(random() >> (14 + random() % 40));  // up to 2^50
    const double value = static_cast<double>(whole) / 10'000.0;
    const int64_t expected = (whole + 50) / 100;
    const double rounded = round_decimal(value, 2);
    if (whole < (int64_t{1} << 49) && rounded != static_cast<double>(expected) / 100.0) FAIL(fmt::format("{}", value));
    if (round_decimal(-value, 2) != -rounded) FAIL(fmt::format("-{}", value));
    if (decimals(rounded) > 2) FAIL(fmt::format("{} -> {}", value, rounded));
  }
}

TEST_CASE("a rounded double is stable and near") {
  std::mt19937_64 random(8);
  for (int round = 0; round < 200'000; round++) {
    const double value = std::ldexp(static_cast<double>(random() >> 11), static_cast<int>(random() % 80) - 80);
    const int digits = static_cast<int>(random() % (kMaxRoundDigits + 1));
    const double rounded = round_decimal(value, digits);
    if (round_decimal(rounded, digits) != rounded) FAIL(fmt::format("{} to {}", value, digits));
    const double unit = std::pow(10.0, -digits);
    if (std::fabs(rounded - value) > 0.5000001 * unit + value * 1e-15) FAIL(fmt::format("{} to {}", value, digits));
  }
}

}  // namespace millrace::expr
