#include "expr/time_text.h"

#include <doctest/doctest.h>

namespace millrace::expr {

TEST_CASE("the calendar agrees with day by day counting over 800 years") {
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int64_t day = -(1970 - 1600) * 365 - (1970 - 1600) / 4 + 3 - 1;  // 1600-01-01: 1700, 1800, 1900 were common years
  if (civil_time(day * kMicrosPerDay).day != 1) day++;
  REQUIRE(civil_time(day * kMicrosPerDay).year == 1600);
  for (int64_t year = 1600; year < 2400; year++) {
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    int day_of_year = 0;
    for (int month = 1; month <= 12; month++) {
      const int days = month == 2 && leap ? 29 : kDays[month - 1];
      for (int date = 1; date <= days; date++, day++, day_of_year++) {
        const CivilTime civil = civil_time(day * kMicrosPerDay + kMicrosPerDay - 1);
        if (civil.year != year || civil.month != month || civil.day != date || civil.day_of_year != day_of_year)
          FAIL("day " << day << " is " << civil.year << "-" << civil.month << "-" << civil.day);
        if (civil.day_of_week != (day % 7 + 11) % 7) FAIL("weekday of day " << day);
      }
    }
  }
}

TEST_CASE("RFC 3339 reads back what it writes") {
  uint64_t state = 7;
  for (int i = 0; i < 20'000; i++) {
    state = state * 6364136223846793005 + 1442695040888963407;
    const auto range = static_cast<uint64_t>(kMaxTimestamp - kMinTimestamp);
    const int64_t micros = kMinTimestamp + static_cast<int64_t>(state % range);
    REQUIRE(parse_rfc3339(format_rfc3339(micros)) == micros);
  }
  for (const int64_t micros : {kMinTimestamp, kMaxTimestamp, int64_t{0}, int64_t{-1}, int64_t{1}})
    CHECK(parse_rfc3339(format_rfc3339(micros)) == micros);
}

TEST_CASE("RFC 3339 of known instants") {
  CHECK(format_rfc3339(0) == "1970-01-01T00:00:00Z");
  CHECK(format_rfc3339(-1) == "1969-12-31T23:59:59.999999Z");
  CHECK(parse_rfc3339("1985-04-12T23:20:50.52Z") == 482196050520000);
  CHECK(parse_rfc3339("1996-12-19T16:39:57-08:00") == 851042397000000);
  CHECK(parse_rfc3339("1937-01-01T12:00:27.87+00:20") == -1041337172130000);
  CHECK(parse_rfc3339("2000-01-01t00:00:00z") == 946684800000000);
  for (const char* bad :
       {"", "Z", "2000-01-01T00:00:00UTC", "2000-01-01T00:00:00+2:00", "2000-01-01T00:00:00+0200",
        "2000-01-01T00:00:00+24:00", "2000-1-01T00:00:00Z", "2000-01-01T00:00:00ZZ", "2000-04-31T00:00:00Z",
        "2000-00-01T00:00:00Z", "0000-01-01T00:00:00Z", "-001-01-01T00:00:00Z"})
    CHECK_MESSAGE(!parse_rfc3339(bad), bad);
}

TEST_CASE("durations read back what they write") {
  uint64_t state = 11;
  for (int i = 0; i < 20'000; i++) {
    state = state * 6364136223846793005 + 1442695040888963407;
    const int64_t micros = static_cast<int64_t>(state % (2 * static_cast<uint64_t>(kMaxDuration))) - kMaxDuration;
    REQUIRE(parse_duration(format_duration(micros)) == micros);
  }
  CHECK(parse_duration("1h1m1s1ms1us") == 3661001001);
  CHECK(parse_duration("1\u00b5s") == 1);
  CHECK(parse_duration(".5s") == 500'000);
  CHECK(parse_duration("1.s") == 1'000'000);
  CHECK(parse_duration("+5m") == 300'000'000);
  CHECK(parse_duration("0.000000000000000000000000000000000001h") == 0);
  for (const char* bad : {"s", ".s", "1", "--1s", "1x", "1 s", "1s ", "1h.m", "-"})
    CHECK_MESSAGE(!parse_duration(bad), bad);
}

}  // namespace millrace::expr
