// Timestamps and durations in microseconds: their text, their ranges and the calendar. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::expr {

inline constexpr int64_t kMicrosPerSecond = 1'000'000;
inline constexpr int64_t kMicrosPerDay = 86'400 * kMicrosPerSecond;
// 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z, and the duration between them: CEL's ranges.
inline constexpr int64_t kMinTimestamp = -62'135'596'800 * kMicrosPerSecond;
inline constexpr int64_t kMaxTimestamp = 253'402'300'800 * kMicrosPerSecond - 1;
inline constexpr int64_t kMaxDuration = 315'576'000'000 * kMicrosPerSecond;

// RFC 3339 with a zone; digits beyond microseconds are cut. nullopt: malformed, not in the calendar, out of range.
std::optional<int64_t> parse_rfc3339(std::string_view text);
// In UTC, with as many digits of the second as needed. Precondition: in range.
std::string format_rfc3339(int64_t micros);
// The same into a buffer of kMaxTimeText bytes; returns its length.
inline constexpr size_t kMaxTimeText = 40;
size_t write_rfc3339(int64_t micros, char* out);
// 1h30m10.5s: numbers with h m s ms us µs ns in any order, an optional sign in front; 0. Cut to microseconds.
std::optional<int64_t> parse_duration(std::string_view text);
// In seconds: 5410.5s.
std::string format_duration(int64_t micros);
size_t write_duration(int64_t micros, char* out);
// +02:00, -08:00, 02:00, Z, UTC -> microseconds east of UTC. time_zone.h knows named zones.
std::optional<int64_t> parse_zone_offset(std::string_view text);

struct CivilTime {
  int64_t year = 0;
  int month = 0;        // 1..12
  int day = 0;          // 1..31
  int day_of_week = 0;  // 0: Sunday
  int day_of_year = 0;  // 0..365
  int64_t micros_of_day = 0;
};
CivilTime civil_time(int64_t micros);
int64_t micros_of_day(int64_t micros);
// Days from 1970-01-01 to a date of year 1 or later.
int64_t days_since_epoch(int64_t year, int month, int day);
int days_in_month(int64_t year, int month);
// Division that rounds towards the past, so that times before 1970 fall into the right unit. Precondition: by > 0.
inline int64_t floor_divide(int64_t value, int64_t by) { return value / by - (value % by < 0 ? 1 : 0); }

}  // namespace millrace::expr
