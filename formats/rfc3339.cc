#include "formats/rfc3339.h"

#include <cstddef>

namespace millrace {
namespace {

// n decimal digits at text[at]; -1 if there are not n.
int digits(std::string_view text, size_t at, size_t n) {
  if (at + n > text.size()) return -1;
  int value = 0;
  for (size_t i = at; i < at + n; i++) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

bool is_at(std::string_view text, size_t at, char c) { return at < text.size() && text[at] == c; }

// Days since 1970-01-01 in the proleptic Gregorian calendar; years are counted from March so that the leap day is last.
int64_t days_from_civil(int year, int month, int day) {
  const int64_t y = month <= 2 ? year - 1 : year;
  const int64_t era = (y >= 0 ? y : y - 399) / 400;
  const int64_t year_of_era = y - era * 400;
  const int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

int days_in_month(int year, int month) {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

// "Z" or "+hh:mm" up to the end of the text, in seconds east of UTC.
bool parse_zone(std::string_view zone, int64_t* offset_s) {
  *offset_s = 0;
  if (zone == "Z" || zone == "z") return true;
  if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':') return false;
  const int hours = digits(zone, 1, 2), minutes = digits(zone, 4, 2);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return false;
  *offset_s = (zone[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
  return true;
}

}  // namespace

bool parse_rfc3339(std::string_view text, int64_t* epoch_us) {
  const int year = digits(text, 0, 4), month = digits(text, 5, 2), day = digits(text, 8, 2);
  const int hour = digits(text, 11, 2), minute = digits(text, 14, 2), second = digits(text, 17, 2);
  if (year < 0 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month)) return false;
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) return false;
  if (!is_at(text, 4, '-') || !is_at(text, 7, '-') || !is_at(text, 13, ':') || !is_at(text, 16, ':')) return false;
  if (!is_at(text, 10, 'T') && !is_at(text, 10, 't') && !is_at(text, 10, ' ')) return false;

  size_t at = 19;
  int64_t micros = 0;
  if (is_at(text, at, '.')) {
    const size_t first = ++at;
    int64_t scale = 100000;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; at++) {
      micros += (text[at] - '0') * scale;
      scale /= 10;
    }
    if (at == first || at - first > 9) return false;
  }
  int64_t offset_s = 0;
  if (!parse_zone(text.substr(at), &offset_s)) return false;
  const int64_t seconds = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset_s;
  *epoch_us = seconds * 1000000 + micros;
  return *epoch_us >= kMinTimestampUs && *epoch_us <= kMaxTimestampUs;
}

}  // namespace millrace
