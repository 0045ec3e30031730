#include "expr/time_format.h"

#include <fmt/format.h>

#include <algorithm>

#include "expr/time_text.h"
#include "expr/utf8.h"

namespace millrace::expr {
namespace {

// How many of a letter may stand together, as bits: bit n for n letters.
struct Letter {
  char letter;
  uint32_t counts;
};
constexpr uint32_t kOneOrTwo = 1 << 1 | 1 << 2;
constexpr uint32_t kNames = 1 << 3 | 1 << 4;
constexpr Letter kLetters[] = {
    {'y', kOneOrTwo | 1 << 4},
    {'M', kOneOrTwo | kNames},
    {'d', kOneOrTwo},
    {'D', kOneOrTwo | 1 << 3},
    {'E', kOneOrTwo | kNames},
    {'a', 1 << 1},
    {'H', kOneOrTwo},
    {'h', kOneOrTwo},
    {'m', kOneOrTwo},
    {'s', kOneOrTwo},
    {'S', 0x3fe},  // one to nine
    {'X', 1 << 3},
};

constexpr std::string_view kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                        "July",    "August",   "September", "October", "November", "December"};
constexpr std::string_view kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

char* write_text(std::string_view text, char* out) { return std::copy(text.begin(), text.end(), out); }

// At least `digits` digits.
char* write_number(int64_t value, int digits, char* out) {
  if (digits == 2 && value < 100) {
    *out++ = static_cast<char>('0' + value / 10);
    *out++ = static_cast<char>('0' + value % 10);
    return out;
  }
  char reversed[20];
  int size = 0;
  for (; value > 0 || size < digits || size == 0; value /= 10) reversed[size++] = static_cast<char>('0' + value % 10);
  return std::reverse_copy(reversed, reversed + size, out);
}

char* write_fraction(int64_t micros, int digits, char* out) {
  int64_t unit = kMicrosPerSecond;
  for (int i = 0; i < digits; i++) {
    unit /= 10;
    *out++ = unit == 0 ? '0' : static_cast<char>('0' + micros / unit % 10);
  }
  return out;
}

char* write_offset(int64_t offset_micros, char* out) {
  if (offset_micros == 0) return write_text("Z", out);
  const int64_t minutes = std::abs(offset_micros) / (60 * kMicrosPerSecond);
  *out++ = offset_micros < 0 ? '-' : '+';
  out = write_number(minutes / 60, 2, out);
  *out++ = ':';
  return write_number(minutes % 60, 2, out);
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// The text between two quotes, taken with them from the front of pattern; '' is a quote. False: no second quote.
bool take_quoted(std::string_view& pattern, std::string& text) {
  pattern.remove_prefix(1);
  if (pattern.starts_with('\'')) {
    text += '\'';
    pattern.remove_prefix(1);
    return true;
  }
  while (!pattern.empty()) {
    if (pattern.starts_with("''")) {
      text += '\'';
      pattern.remove_prefix(2);
      continue;
    }
    const char c = pattern[0];
    pattern.remove_prefix(1);
    if (c == '\'') return true;
    text += c;
  }
  return false;
}

}  // namespace

struct TimeFormat::Moment {
  CivilTime civil;
  int64_t offset_micros = 0;
  int64_t seconds = 0;  // of the day
};

std::shared_ptr<const TimeFormat> TimeFormat::make(std::string_view pattern, std::string* error) {
  if (pattern.size() > kMaxPatternBytes) {
    *error = fmt::format("a time format is at most {} bytes long", kMaxPatternBytes);
    return nullptr;
  }
  const std::string shown = shortened(pattern);
  auto format = std::make_shared<TimeFormat>();
  std::string text;
  while (!pattern.empty()) {
    const char c = pattern[0];
    if (c == '\'') {
      if (!take_quoted(pattern, text)) {
        *error = fmt::format("a quote is not closed in the time format \"{}\"", shown);
        return nullptr;
      }
      continue;
    }
    if (!is_letter(c)) {
      text += c;
      pattern.remove_prefix(1);
      continue;
    }
    const size_t count = std::min(pattern.find_first_not_of(c), pattern.size());
    const auto* known = std::find_if(std::begin(kLetters), std::end(kLetters), [c](Letter l) { return l.letter == c; });
    if (known == std::end(kLetters) || count > 9 || !(known->counts >> count & 1)) {
      *error = fmt::format("unknown letters \"{}\" in the time format \"{}\"", pattern.substr(0, count), shown);
      return nullptr;
    }
    if (!text.empty()) format->parts_.push_back({0, 0, std::move(text)});
    text.clear();
    format->parts_.push_back({c, static_cast<int>(count), ""});
    pattern.remove_prefix(count);
  }
  if (!text.empty()) format->parts_.push_back({0, 0, std::move(text)});
  return format;
}

char* TimeFormat::write_part(const Part& part, const Moment& moment, char* out) {
  const CivilTime& civil = moment.civil;
  const int64_t hour = moment.seconds / 3600;
  switch (part.letter) {
    case 0: return write_text(part.text, out);
    case 'y':
      return part.count == 2 ? write_number(civil.year % 100, 2, out) : write_number(civil.year, part.count, out);
    case 'M': {
      const std::string_view name = kMonths[civil.month - 1];
      if (part.count <= 2) return write_number(civil.month, part.count, out);
      return write_text(part.count == 3 ? name.substr(0, 3) : name, out);
    }
    case 'd': return write_number(civil.day, part.count, out);
    case 'D': return write_number(civil.day_of_year + 1, part.count, out);
    case 'E': {
      const std::string_view name = kDays[civil.day_of_week];
      return write_text(part.count <= 3 ? name.substr(0, 3) : name, out);
    }
    case 'a': return write_text(hour < 12 ? "AM" : "PM", out);
    case 'H': return write_number(hour, part.count, out);
    case 'h': return write_number((hour + 11) % 12 + 1, part.count, out);
    case 'm': return write_number(moment.seconds / 60 % 60, part.count, out);
    case 's': return write_number(moment.seconds % 60, part.count, out);
    case 'S': return write_fraction(civil.micros_of_day % kMicrosPerSecond, part.count, out);
    default: return write_offset(moment.offset_micros, out);
  }
}

size_t TimeFormat::write(int64_t micros, int64_t offset_micros, char* out) const {
  Moment moment;
  moment.civil = civil_time(micros + offset_micros);
  moment.offset_micros = offset_micros;
  moment.seconds = moment.civil.micros_of_day / kMicrosPerSecond;
  char* at = out;
  for (const Part& part : parts_) at = write_part(part, moment, at);
  return static_cast<size_t>(at - out);
}

}  // namespace millrace::expr
