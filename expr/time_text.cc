#include "expr/time_text.h"

#include <fmt/format.h>

namespace millrace::expr {
namespace {

bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

// Days before 1 January of a year >= 1, counted from 1 January of year 1.
int64_t days_before_year(int64_t year) {
  const int64_t y = year - 1;
  return y * 365 + y / 4 - y / 100 + y / 400;
}

constexpr int64_t kDaysToEpoch = 719'162;  // 0001-01-01 to 1970-01-01

// Reads text from the left; every step fails for good once one has.
struct Reader {
  std::string_view text;
  bool ok = true;

  int64_t number(size_t digits) {
    if (text.size() < digits) ok = false;
    int64_t value = 0;
    for (size_t i = 0; ok && i < digits; i++) {
      if (text[i] < '0' || text[i] > '9') ok = false;
      value = value * 10 + (text[i] - '0');
    }
    if (ok) text.remove_prefix(digits);
    return ok ? value : 0;
  }
  void symbol(char a, char b) {
    ok = ok && !text.empty() && (text[0] == a || text[0] == b);
    if (ok) text.remove_prefix(1);
  }
  bool starts(char c) const { return ok && !text.empty() && text[0] == c; }
  // .123456789 -> 123456
  int64_t fraction() {
    if (!starts('.')) return 0;
    text.remove_prefix(1);
    int64_t micros = 0;
    int64_t unit = kMicrosPerSecond / 10;
    size_t digits = 0;
    for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; digits++) {
      micros += (text[digits] - '0') * unit;
      unit /= 10;
    }
    ok = digits > 0;
    text.remove_prefix(digits);
    return micros;
  }
};

}  // namespace

int days_in_month(int64_t year, int month) {
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && is_leap(year) ? 29 : kDays[month - 1];
}

std::optional<int64_t> parse_zone_offset(std::string_view text) {
  if (text == "Z" || text == "z" || text == "UTC") return 0;
  int64_t sign = 1;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    sign = text[0] == '-' ? -1 : 1;
    text.remove_prefix(1);
  }
  Reader reader{text};
  const int64_t hours = reader.number(2);
  reader.symbol(':', ':');
  const int64_t minutes = reader.number(2);
  if (!reader.ok || !reader.text.empty() || hours > 23 || minutes > 59) return std::nullopt;
  return sign * (hours * 60 + minutes) * 60 * kMicrosPerSecond;
}

std::optional<int64_t> parse_rfc3339(std::string_view text) {
  Reader reader{text};
  const int64_t year = reader.number(4);
  reader.symbol('-', '-');
  const auto month = static_cast<int>(reader.number(2));
  reader.symbol('-', '-');
  const int64_t day = reader.number(2);
  reader.symbol('T', 't');
  const int64_t hour = reader.number(2);
  reader.symbol(':', ':');
  const int64_t minute = reader.number(2);
  reader.symbol(':', ':');
  const int64_t second = reader.number(2);
  const int64_t fraction = reader.fraction();
  if (!reader.ok || reader.text.empty()) return std::nullopt;
  // A zone has a sign here, and no name but Z.
  const char zone_start = reader.text[0];
  if (zone_start != '+' && zone_start != '-' && reader.text != "Z" && reader.text != "z") return std::nullopt;
  const auto zone = parse_zone_offset(reader.text);
  if (!zone || year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month)) return std::nullopt;
  if (hour > 23 || minute > 59 || second > 59) return std::nullopt;
  const int64_t micros = days_since_epoch(year, month, static_cast<int>(day)) * kMicrosPerDay +
                         ((hour * 60 + minute) * 60 + second) * kMicrosPerSecond + fraction - *zone;
  if (micros < kMinTimestamp || micros > kMaxTimestamp) return std::nullopt;
  return micros;
}

int64_t days_since_epoch(int64_t year, int month, int day) {
  int64_t days = days_before_year(year) - kDaysToEpoch + day - 1;
  for (int m = 1; m < month; m++) days += days_in_month(year, m);
  return days;
}

CivilTime civil_time(int64_t micros) {
  const int64_t days = floor_divide(micros, kMicrosPerDay);
  CivilTime civil;
  civil.micros_of_day = micros - days * kMicrosPerDay;
  civil.day_of_week = static_cast<int>(((days % 7) + 11) % 7);  // 1970-01-01 was a Thursday
  // Gregorian cycles of 400 years, from 1 March of year 0, so that the leap day ends a year.
  const int64_t shifted = days + kDaysToEpoch + 306;
  const int64_t cycle = floor_divide(shifted, 146'097);
  const int64_t day_of_cycle = shifted - cycle * 146'097;
  const int64_t year_of_cycle =
      (day_of_cycle - day_of_cycle / 1'460 + day_of_cycle / 36'524 - day_of_cycle / 146'096) / 365;
  const int64_t day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
  const int64_t month_from_march = (5 * day_of_year + 2) / 153;
  civil.day = static_cast<int>(day_of_year - (153 * month_from_march + 2) / 5 + 1);
  civil.month = static_cast<int>(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
  civil.year = year_of_cycle + cycle * 400 + (civil.month <= 2 ? 1 : 0);
  const int64_t march = is_leap(civil.year) ? 60 : 59;
  civil.day_of_year = static_cast<int>(civil.month > 2 ? day_of_year + march : day_of_year - 306);
  return civil;
}

int64_t micros_of_day(int64_t micros) { return micros - floor_divide(micros, kMicrosPerDay) * kMicrosPerDay; }

namespace {

char* write_digits(char* out, uint64_t value, int digits) {
  for (int i = digits; i > 0; i--, value /= 10) out[i - 1] = static_cast<char>('0' + value % 10);
  return out + digits;
}

// .123 for 123000 microseconds, nothing for 0.
char* write_fraction(char* out, uint64_t micros) {
  if (micros == 0) return out;
  *out++ = '.';
  out = write_digits(out, micros, 6);
  while (out[-1] == '0') out--;
  return out;
}

}  // namespace

size_t write_rfc3339(int64_t micros, char* out) {
  const CivilTime civil = civil_time(micros);
  const auto seconds = static_cast<uint64_t>(civil.micros_of_day / kMicrosPerSecond);
  char* at = write_digits(out, static_cast<uint64_t>(civil.year), 4);
  *at++ = '-';
  at = write_digits(at, static_cast<uint64_t>(civil.month), 2);
  *at++ = '-';
  at = write_digits(at, static_cast<uint64_t>(civil.day), 2);
  *at++ = 'T';
  at = write_digits(at, seconds / 3600, 2);
  *at++ = ':';
  at = write_digits(at, seconds / 60 % 60, 2);
  *at++ = ':';
  at = write_digits(at, seconds % 60, 2);
  at = write_fraction(at, static_cast<uint64_t>(civil.micros_of_day % kMicrosPerSecond));
  *at++ = 'Z';
  return static_cast<size_t>(at - out);
}

std::string format_rfc3339(int64_t micros) {
  char text[kMaxTimeText];
  return std::string(text, write_rfc3339(micros, text));
}

size_t write_duration(int64_t micros, char* out) {
  const uint64_t magnitude = micros < 0 ? 0 - static_cast<uint64_t>(micros) : static_cast<uint64_t>(micros);
  char* at = out;
  if (micros < 0) *at++ = '-';
  at = fmt::format_to(at, "{}", magnitude / kMicrosPerSecond);
  at = write_fraction(at, magnitude % kMicrosPerSecond);
  *at++ = 's';
  return static_cast<size_t>(at - out);
}

std::string format_duration(int64_t micros) {
  char text[kMaxTimeText];
  return std::string(text, write_duration(micros, text));
}

namespace {

// Nanoseconds of a unit, longest name first where one is the start of another.
struct DurationUnit {
  std::string_view name;
  __int128 nanos;
};
constexpr DurationUnit kUnits[] = {
    {"ns", 1},         {"us", 1'000},        {"\u00b5s", 1'000},    {"\u03bcs", 1'000},
    {"ms", 1'000'000}, {"s", 1'000'000'000}, {"m", 60'000'000'000}, {"h", 3'600'000'000'000}};
constexpr __int128 kMaxNanos = static_cast<__int128>(kMaxDuration) * 1000;

// One number with its unit, taken from the front of text; false: malformed or too large.
bool take_part(std::string_view& text, __int128& nanos) {
  __int128 whole = 0;
  size_t at = 0;
  size_t digits = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; at++, digits++) {
    whole = whole * 10 + (text[at] - '0');
    if (whole > kMaxNanos) return false;
  }
  __int128 fraction = 0;
  __int128 scale = 1;
  if (at < text.size() && text[at] == '.') {
    for (at++; at < text.size() && text[at] >= '0' && text[at] <= '9'; at++, digits++) {
      if (scale >= 1'000'000'000'000'000) continue;  // below a nanosecond, whatever the unit
      fraction = fraction * 10 + (text[at] - '0');
      scale *= 10;
    }
  }
  if (digits == 0) return false;
  text.remove_prefix(at);
  for (const DurationUnit& unit : kUnits) {
    if (text.substr(0, unit.name.size()) != unit.name) continue;
    text.remove_prefix(unit.name.size());
    nanos += whole * unit.nanos + fraction * unit.nanos / scale;
    return nanos <= kMaxNanos;
  }
  return false;
}

}  // namespace

std::optional<int64_t> parse_duration(std::string_view text) {
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  __int128 nanos = 0;
  while (!text.empty())
    if (!take_part(text, nanos)) return std::nullopt;
  const auto micros = static_cast<int64_t>(nanos / 1000);
  return negative ? -micros : micros;
}

}  // namespace millrace::expr
