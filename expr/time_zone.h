// Time zones: fixed offsets, and the named zones of the system's zone files (the tz database, read once per zone).
// Immutable once made; any thread. Internal to expr/.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::expr {

inline constexpr char kZoneDirectory[] = "/usr/share/zoneinfo";

class TimeZone {
 public:
  // "UTC", an offset such as "+02:00", or a name such as "Europe/Berlin". nullptr with *error: none of these.
  static std::shared_ptr<const TimeZone> make(std::string_view name, std::string* error);
  // From the bytes of a zone file (RFC 8536, version 2 or later); nullptr: not such a file.
  static std::shared_ptr<const TimeZone> from_file(std::string_view bytes);

  // Microseconds east of UTC at an instant.
  int64_t offset_micros(int64_t micros) const;

  static constexpr size_t kMaxCached = 64;

 private:
  // A day of the year on which the clock changes, and when: what stands behind the last transition of a zone file.
  struct ChangeDay {
    enum class Form { kMonthWeekDay, kJulian, kDayOfYear };
    Form form = Form::kMonthWeekDay;
    int month = 0;
    int week = 0;  // 5: the last
    int day = 0;   // of the week, 0: Sunday; or of the year
    int64_t time_s = 2 * 3600;
    // Seconds since 1970, local time, of the change in a year.
    int64_t local_seconds(int64_t year) const;
  };
  struct Rule {
    int64_t standard_s = 0;
    int64_t summer_s = 0;
    bool has_summer = false;
    ChangeDay begins;
    ChangeDay ends;
  };
  class Footer;

  int64_t offset_by_rule(int64_t seconds) const;

  int64_t first_s_ = 0;               // before the first transition; the offset of a fixed zone
  std::vector<int64_t> transitions_;  // seconds since 1970, ascending
  std::vector<int64_t> offsets_s_;    // from the transition on
  std::optional<Rule> rule_;          // behind the last transition
};

}  // namespace millrace::expr
