#include "expr/time_zone.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <random>

#include "expr/time_format.h"
#include "expr/time_text.h"

namespace millrace::expr {
namespace {

std::shared_ptr<const TimeZone> zone(const std::string& name) {
  std::string error;
  return TimeZone::make(name, &error);
}

void append_number(std::string& out, int64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; i--) out += static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xff);
}

std::string header(char version, int transitions, int types, int characters) {
  std::string out = "TZif";
  out += version;
  out.append(15, '\0');
  for (const int count : {0, 0, 0, transitions, types, characters}) append_number(out, count, 4);
  return out;
}

// A zone file of one type of UTC+1 and a footer.
std::string zone_file(const std::string& footer) {
  std::string out = header('2', 0, 0, 0) + header('2', 0, 1, 4);
  append_number(out, 3600, 4);
  out += std::string("\0\0", 2) + std::string("ABC\0", 4);
  return out + "\n" + footer + "\n";
}

int64_t at(const char* text) { return *parse_rfc3339(text); }

int64_t hours(const std::shared_ptr<const TimeZone>& zone, const char* text) {
  return zone->offset_micros(at(text)) / (3600 * kMicrosPerSecond);
}

}  // namespace

TEST_CASE("named zones agree with the C library") {
  std::mt19937_64 random(11);
  const char* const old = std::getenv("TZ");
  const std::string kept = old ? old : "";
  for (const char* name : {"Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Sao_Paulo", "America/Godthab",
                           "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "Asia/Tehran",
                           "America/St_Johns", "EST5EDT", "Asia/Gaza", "Antarctica/Troll", "UTC", "Etc/GMT+12"}) {
    CAPTURE(name);
    const auto found = zone(name);
    REQUIRE(found);
    setenv("TZ", name, 1);
    tzset();
    for (int i = 0; i < 3000; i++) {
      // 1930 to 2100
      const auto seconds = static_cast<int64_t>(random() % 5'365'000'000) - 1'262'304'000;
      std::tm local{};
      const std::time_t time = seconds;
      REQUIRE(localtime_r(&time, &local));
      const int64_t offset = found->offset_micros(seconds * kMicrosPerSecond + 999'999);
      if (offset != local.tm_gmtoff * kMicrosPerSecond)
        FAIL(fmt::format("{} at {}: {} and {}", name, seconds, offset / kMicrosPerSecond, local.tm_gmtoff));
    }
  }
  if (old) {
    setenv("TZ", kept.c_str(), 1);
  } else {
    unsetenv("TZ");
  }
  tzset();
}

TEST_CASE("the rule behind the last transition") {
  const auto berlin = TimeZone::from_file(zone_file("CET-1CEST,M3.5.0,M10.5.0/3"));
  REQUIRE(berlin);
  CHECK(hours(berlin, "2100-03-28T00:59:59Z") == 1);
  CHECK(hours(berlin, "2100-03-28T01:00:00Z") == 2);
  CHECK(hours(berlin, "2100-10-31T00:59:59Z") == 2);
  CHECK(hours(berlin, "2100-10-31T01:00:00Z") == 1);
  const auto sydney = TimeZone::from_file(zone_file("AEST-10AEDT,M10.1.0,M4.1.0/3"));
  REQUIRE(sydney);
  CHECK(hours(sydney, "2100-01-01T00:00:00Z") == 11);
  CHECK(hours(sydney, "2100-07-01T00:00:00Z") == 10);
  CHECK(hours(sydney, "2100-12-31T23:00:00Z") == 11);
  const auto julian = TimeZone::from_file(zone_file("<-03>3<-02>2,J60/0,300/-1"));
  REQUIRE(julian);
  CHECK(hours(julian, "2104-03-01T02:59:59Z") == -3);  // J60 is 1 March in leap years too
  CHECK(hours(julian, "2104-03-01T03:00:00Z") == -2);
  CHECK(hours(julian, "2103-10-28T00:59:59Z") == -2);  // the 301st day of 2103, an hour before midnight, at UTC-2
  CHECK(hours(julian, "2103-10-28T01:00:00Z") == -3);
  CHECK(hours(TimeZone::from_file(zone_file("IST-5:30")), "2100-01-01T00:00:00Z") == 5);
  CHECK(hours(TimeZone::from_file(zone_file("")), "2100-01-01T00:00:00Z") == 1);
}

TEST_CASE("broken zone files are refused") {
  const std::string good = zone_file("CET-1CEST,M3.5.0,M10.5.0/3");
  REQUIRE(TimeZone::from_file(good));
  for (size_t size = 0; size < good.size(); size++) CHECK(!TimeZone::from_file(good.substr(0, size)));
  for (const char* footer :
       {"CE-1", "CET", "CET-1CEST", "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0", "CET-1CEST,M0.5.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0", "CET-1CEST,M3.5.0,M10.5.0/3x", "<CET-1", "CET-99", "CET-1CEST,J999,J1"}) {
    CAPTURE(footer);
    CHECK(!TimeZone::from_file(zone_file(footer)));
  }
  std::mt19937_64 random(3);
  for (int round = 0; round < 20'000; round++) {
    std::string bytes = good;
    for (int i = 0; i < 3; i++) bytes[random() % bytes.size()] = static_cast<char>(random());
    const auto found = TimeZone::from_file(bytes);
    if (found) found->offset_micros(static_cast<int64_t>(random() >> 10));
  }
}

TEST_CASE("names that are not zones") {
  for (const char* name : {"", "/", "Europe", "Europe/", "../etc/passwd", "/etc/localtime", "zone.tab", "leapseconds",
                           "Europe/Berlin\n", "europe berlin", "Z+1", "+1:00", "24:00"}) {
    CAPTURE(name);
    CHECK(!zone(name));
  }
  CHECK(!zone(std::string(100, 'A')));
  CHECK(zone("Z")->offset_micros(0) == 0);
  CHECK(zone("-00:30")->offset_micros(0) == -30 * 60 * kMicrosPerSecond);
}

TEST_CASE("formats agree with the C library") {
  std::string error;
  const auto format = TimeFormat::make("yyyy-MM-dd HH:mm:ss hh a EEE MMM DDD EEEE MMMM yy", &error);
  REQUIRE(format);
  std::mt19937_64 random(5);
  for (int i = 0; i < 20'000; i++) {
    const auto seconds = static_cast<int64_t>(random() % 315'000'000'000) - 62'000'000'000;
    std::tm utc{};
    const std::time_t time = seconds;
    gmtime_r(&time, &utc);
    char expected[200];
    std::strftime(expected, sizeof expected, "%m-%d %H:%M:%S %I %p %a %b %j %A %B", &utc);
    char text[TimeFormat::kMaxBytes];
    const size_t size = format->write(seconds * kMicrosPerSecond, 0, text);
    const std::string wanted = fmt::format("{:04}-{} {:02}", utc.tm_year + 1900, expected, utc.tm_year % 100);
    if (utc.tm_year >= 0 && std::string(text, size) != wanted) FAIL(std::string(text, size) << " and " << wanted);
  }
}

TEST_CASE("the longest text of a format fits") {
  std::string error;
  for (const char* unit : {"y-", "EEEE ", "MMMM ", "XXX ", "E-", "a-", "D-", "S-"}) {
    std::string pattern;
    while (pattern.size() + 8 < TimeFormat::kMaxPatternBytes) pattern += unit;
    const auto format = TimeFormat::make(pattern, &error);
    REQUIRE(format);
    char text[TimeFormat::kMaxBytes];
    CHECK(format->write(kMaxTimestamp, 14 * 3600 * kMicrosPerSecond, text) <= TimeFormat::kMaxBytes);
    CHECK(format->write(kMinTimestamp, -14 * 3600 * kMicrosPerSecond, text) <= TimeFormat::kMaxBytes);
  }
  CHECK(!TimeFormat::make(std::string(TimeFormat::kMaxPatternBytes + 1, ' '), &error));
  CHECK(error == "a time format is at most 128 bytes long");
}

}  // namespace millrace::expr
