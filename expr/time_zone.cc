#include "expr/time_zone.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "expr/time_text.h"
#include "expr/utf8.h"

namespace millrace::expr {
namespace {

constexpr size_t kMaxZoneFileBytes = 64 * 1024;
constexpr size_t kMaxNameBytes = 64;
constexpr size_t kHeaderBytes = 44;
constexpr int64_t kSecondsPerDay = 86'400;
constexpr int64_t kMaxOffset = 26 * 3600;  // of RFC 8536

int64_t big_endian(std::string_view bytes, size_t size) {
  uint64_t value = static_cast<signed char>(bytes[0]) < 0 ? ~uint64_t{0} : 0;
  for (size_t i = 0; i < size; i++) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return static_cast<int64_t>(value);
}

// The counts in the header of one of the two data blocks of a zone file.
struct Counts {
  size_t is_utc = 0;
  size_t is_standard = 0;
  size_t leaps = 0;
  size_t transitions = 0;
  size_t types = 0;
  size_t characters = 0;

  // Bytes of the block behind its header, with times of time_bytes.
  size_t block_bytes(size_t time_bytes) const {
    return transitions * (time_bytes + 1) + types * 6 + characters + leaps * (time_bytes + 4) + is_standard + is_utc;
  }
};

std::optional<Counts> read_header(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes || bytes.substr(0, 4) != "TZif" || bytes[4] < '2') return std::nullopt;
  size_t count[6];
  for (size_t i = 0; i < 6; i++) {
    const int64_t value = big_endian(bytes.substr(20 + 4 * i), 4);
    if (value < 0 || value > static_cast<int64_t>(kMaxZoneFileBytes)) return std::nullopt;
    count[i] = static_cast<size_t>(value);
  }
  return Counts{count[0], count[1], count[2], count[3], count[4], count[5]};
}

// A name has no dots, so that it cannot lead out of the directory.
bool is_zone_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '+' || c == '/';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && name[0] != '/' &&
         std::all_of(name.begin(), name.end(), allowed);
}

}  // namespace

int64_t TimeZone::ChangeDay::local_seconds(int64_t year) const {
  int64_t days = 0;
  if (form == Form::kMonthWeekDay) {
    const int64_t first = days_since_epoch(year, month, 1);
    const int64_t weekday = civil_time(first * kMicrosPerDay).day_of_week;
    int64_t in_month = (day - weekday + 7) % 7 + (week - 1) * 7;
    while (in_month >= days_in_month(year, month)) in_month -= 7;
    days = first + in_month;
  } else {
    days = days_since_epoch(year, 1, 1) + day;
    // Julian days count from 1 and never count the leap day.
    if (form == Form::kJulian) days += (days_in_month(year, 2) == 29 && day >= 60 ? 1 : 0) - 1;
  }
  return days * kSecondsPerDay + time_s;
}

// Reads the rule at the end of a zone file: a POSIX TZ value such as CET-1CEST,M3.5.0,M10.5.0/3. Every step fails for
// good once one has.
class TimeZone::Footer {
 public:
  explicit Footer(std::string_view text) : text_(text) {}

  std::optional<Rule> read() {
    Rule rule;
    name();
    rule.standard_s = -seconds();
    if (ok_ && !text_.empty()) {
      rule.has_summer = true;
      name();
      rule.summer_s = rule.standard_s + 3600;
      if (ok_ && !text_.empty() && text_[0] != ',') rule.summer_s = -seconds();
      symbol(',');
      rule.begins = change();
      symbol(',');
      rule.ends = change();
    }
    if (!ok_ || !text_.empty()) return std::nullopt;
    if (std::abs(rule.standard_s) > kMaxOffset || std::abs(rule.summer_s) > kMaxOffset) return std::nullopt;
    return rule;
  }

 private:
  bool take(char c) {
    if (!ok_ || text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  void symbol(char c) { ok_ = take(c); }

  void name() {
    const bool quoted = take('<');
    size_t size = 0;
    const auto part = [&](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
             (quoted && ((c >= '0' && c <= '9') || c == '+' || c == '-'));
    };
    while (size < text_.size() && part(text_[size])) size++;
    ok_ = ok_ && size >= 3;
    text_.remove_prefix(size);
    if (quoted) symbol('>');
  }

  int number(int max) {
    size_t digits = 0;
    int value = 0;
    for (; digits < text_.size() && digits < 3 && text_[digits] >= '0' && text_[digits] <= '9'; digits++)
      value = value * 10 + (text_[digits] - '0');
    ok_ = ok_ && digits > 0 && value <= max;
    text_.remove_prefix(digits);
    return ok_ ? value : 0;
  }

  // [+-]h[h[h]][:mm[:ss]]
  int64_t seconds() {
    const int64_t sign = take('-') ? -1 : 1;
    if (sign == 1) take('+');
    int64_t value = int64_t{3600} * number(167);
    if (take(':')) value += 60 * number(59);
    if (take(':')) value += number(59);
    return sign * value;
  }

  ChangeDay change() {
    ChangeDay day;
    if (take('M')) {
      day.month = number(12);
      symbol('.');
      day.week = number(5);
      symbol('.');
      day.day = number(6);
      ok_ = ok_ && day.month >= 1 && day.week >= 1;
    } else {
      day.form = take('J') ? ChangeDay::Form::kJulian : ChangeDay::Form::kDayOfYear;
      day.day = number(365);
    }
    if (take('/')) day.time_s = seconds();
    return day;
  }

  std::string_view text_;
  bool ok_ = true;
};

std::shared_ptr<const TimeZone> TimeZone::from_file(std::string_view bytes) {
  if (bytes.size() > kMaxZoneFileBytes) return nullptr;
  const auto old = read_header(bytes);
  if (!old || bytes.size() < kHeaderBytes + old->block_bytes(4)) return nullptr;
  bytes.remove_prefix(kHeaderBytes + old->block_bytes(4));
  const auto counts = read_header(bytes);
  if (!counts || counts->types == 0 || bytes.size() < kHeaderBytes + counts->block_bytes(8)) return nullptr;
  bytes.remove_prefix(kHeaderBytes);
  const std::string_view times = bytes;
  const std::string_view types = bytes.substr(counts->transitions * 8);
  const std::string_view infos = types.substr(counts->transitions);
  const auto offset_of = [&](size_t type) { return big_endian(infos.substr(type * 6), 4); };

  auto zone = std::make_shared<TimeZone>();
  zone->first_s_ = offset_of(0);
  for (size_t i = 0; i < counts->transitions; i++) {
    const auto type = static_cast<unsigned char>(types[i]);
    if (type >= counts->types) return nullptr;
    zone->transitions_.push_back(big_endian(times.substr(i * 8), 8));
    zone->offsets_s_.push_back(offset_of(type));
  }
  if (!std::is_sorted(zone->transitions_.begin(), zone->transitions_.end())) return nullptr;
  for (size_t type = 0; type < counts->types; type++)
    if (std::abs(offset_of(type)) > kMaxOffset) return nullptr;
  std::string_view footer = bytes.substr(counts->block_bytes(8));
  if (footer.size() < 2 || footer.front() != '\n' || footer.back() != '\n') return nullptr;
  footer = footer.substr(1, footer.size() - 2);
  if (footer.empty()) return zone;
  zone->rule_ = Footer(footer).read();
  return zone->rule_ ? zone : nullptr;
}

std::shared_ptr<const TimeZone> TimeZone::make(std::string_view name, std::string* error) {
  if (const auto offset = parse_zone_offset(name)) {
    auto zone = std::make_shared<TimeZone>();
    zone->first_s_ = *offset / kMicrosPerSecond;
    return zone;
  }
  if (is_zone_name(name)) {
    const auto bytes = read_file(fmt::format("{}/{}", kZoneDirectory, name), kMaxZoneFileBytes);
    if (bytes.is_ok())
      if (auto zone = from_file(bytes.value())) return zone;
  }
  *error = fmt::format("unknown time zone \"{}\"", shortened(name));
  return nullptr;
}

int64_t TimeZone::offset_by_rule(int64_t seconds) const {
  if (!rule_->has_summer) return rule_->standard_s;
  const int64_t year = civil_time((seconds + rule_->standard_s) * kMicrosPerSecond).year;
  const int64_t begins = rule_->begins.local_seconds(year) - rule_->standard_s;
  const int64_t ends = rule_->ends.local_seconds(year) - rule_->summer_s;
  // In the south summer spans the new year.
  const bool summer = begins < ends ? seconds >= begins && seconds < ends : seconds >= begins || seconds < ends;
  return summer ? rule_->summer_s : rule_->standard_s;
}

int64_t TimeZone::offset_micros(int64_t micros) const {
  if (transitions_.empty() && !rule_) return first_s_ * kMicrosPerSecond;
  const int64_t seconds = floor_divide(micros, kMicrosPerSecond);
  const auto next = std::upper_bound(transitions_.begin(), transitions_.end(), seconds);
  int64_t offset_s = first_s_;
  if (next == transitions_.end() && rule_) {
    offset_s = offset_by_rule(seconds);
  } else if (next != transitions_.begin()) {
    offset_s = offsets_s_[static_cast<size_t>(next - transitions_.begin()) - 1];
  }
  return offset_s * kMicrosPerSecond;
}

}  // namespace millrace::expr
