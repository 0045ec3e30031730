// Parts of timestamps and durations.
#include <fmt/format.h>

#include "expr/overloads.h"
#include "expr/time_text.h"
#include "expr/utf8.h"

namespace millrace::expr {
namespace {

int64_t year(int64_t t) { return civil_time(t).year; }
int64_t month(int64_t t) { return civil_time(t).month - 1; }
int64_t date(int64_t t) { return civil_time(t).day; }
int64_t day_of_month(int64_t t) { return civil_time(t).day - 1; }
int64_t day_of_week(int64_t t) { return civil_time(t).day_of_week; }
int64_t day_of_year(int64_t t) { return civil_time(t).day_of_year; }
int64_t hours(int64_t t) { return micros_of_day(t) / (3600 * kMicrosPerSecond); }
int64_t minutes(int64_t t) { return micros_of_day(t) / (60 * kMicrosPerSecond) % 60; }
int64_t seconds(int64_t t) { return micros_of_day(t) / kMicrosPerSecond % 60; }
int64_t milliseconds(int64_t t) { return micros_of_day(t) / 1000 % 1000; }

bool in_range(int64_t micros) { return micros >= kMinTimestamp && micros <= kMaxTimestamp; }

template <int64_t (*kPart)(int64_t)>
void utc_part(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const int64_t micros = args[0].ints[args[0].at(row)];
    o[row] = 0;
    if (!in_range(micros)) return frame.fail(out, row, "timestamp out of range");
    o[row] = kPart(micros);
  });
}

template <int64_t (*kPart)(int64_t)>
void zoned_part(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  std::optional<int64_t> zone;
  if (args[1].constant) zone = parse_zone(args[1].strings[0]);
  live.each([&](uint32_t row) {
    const int64_t micros = args[0].ints[args[0].at(row)];
    if (!args[1].constant) zone = parse_zone(args[1].strings[row]);
    o[row] = 0;
    if (!zone) {
      const std::string shown = shortened(args[1].strings[args[1].at(row)]);
      return frame.fail(out, row, frame.keep(fmt::format("not a fixed offset such as +02:00: \"{}\"", shown)));
    }
    if (!in_range(micros)) return frame.fail(out, row, "timestamp out of range");
    o[row] = kPart(micros + *zone);
  });
}

template <int64_t kUnit, int64_t kModulus>
void duration_part(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) { o[row] = args[0].ints[args[0].at(row)] / kUnit % kModulus; });
}

// Towards the past, so that a millisecond has 1000 microseconds before 1970 too.
void timestamp_millis(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const int64_t micros = args[0].ints[args[0].at(row)];
    o[row] = micros / 1000 - (micros % 1000 < 0 ? 1 : 0);
  });
}

template <int64_t (*kPart)(int64_t)>
void add_part(std::vector<Overload>& table, std::string_view name) {
  constexpr TypeKind t = TypeKind::kTimestamp;
  table.push_back({name, {t}, TypeKind::kInt, utc_part<kPart>, true});
  table.push_back({name, {t, TypeKind::kString}, TypeKind::kInt, zoned_part<kPart>, true});
}

}  // namespace

void add_time_functions(std::vector<Overload>& table) {
  constexpr TypeKind u = TypeKind::kDuration;
  constexpr TypeKind i = TypeKind::kInt;
  add_part<year>(table, "getFullYear");
  add_part<month>(table, "getMonth");
  add_part<date>(table, "getDate");
  add_part<day_of_month>(table, "getDayOfMonth");
  add_part<day_of_week>(table, "getDayOfWeek");
  add_part<day_of_year>(table, "getDayOfYear");
  add_part<hours>(table, "getHours");
  add_part<minutes>(table, "getMinutes");
  add_part<seconds>(table, "getSeconds");
  add_part<milliseconds>(table, "getMilliseconds");
  // Of a duration: the whole of it in that unit, but for the milliseconds, which are those within its second.
  constexpr int64_t kAll = INT64_MAX;
  table.push_back({"getHours", {u}, i, duration_part<3600 * kMicrosPerSecond, kAll>, true, true});
  table.push_back({"getMinutes", {u}, i, duration_part<60 * kMicrosPerSecond, kAll>, true, true});
  table.push_back({"getSeconds", {u}, i, duration_part<kMicrosPerSecond, kAll>, true, true});
  table.push_back({"getMilliseconds", {u}, i, duration_part<1000, 1000>, true, true});
  table.push_back({"millis", {TypeKind::kTimestamp}, i, timestamp_millis, false, true});
  table.push_back({"millis", {u}, i, duration_part<1000, kAll>, false, true});
}

}  // namespace millrace::expr
