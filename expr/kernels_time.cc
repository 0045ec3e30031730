// Parts, texts and units of timestamps and durations.
#include "expr/argument_cache.h"
#include "expr/overloads.h"
#include "expr/time_text.h"

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

constexpr char kOutOfRange[] = "timestamp out of range";
constexpr char kDurationOutOfRange[] = "duration out of range";

bool in_range(int64_t micros) { return micros >= kMinTimestamp && micros <= kMaxTimestamp; }

template <int64_t (*kPart)(int64_t)>
void utc_part(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const int64_t micros = args[0].ints[args[0].at(row)];
    o[row] = 0;
    if (!in_range(micros)) return frame.fail(out, row, kOutOfRange);
    o[row] = kPart(micros);
  });
}

template <int64_t (*kPart)(int64_t)>
void zoned_part(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  TextArgument<TimeZone> zones(frame, node.zone, frame.arguments.zones, args[1]);
  live.each([&](uint32_t row) {
    const int64_t micros = args[0].ints[args[0].at(row)];
    o[row] = 0;
    const TimeZone* zone = zones.of(row, out);
    if (!zone) return;
    if (!in_range(micros)) return frame.fail(out, row, kOutOfRange);
    o[row] = kPart(micros + zone->offset_micros(micros));
  });
}

// format(t, pattern) and format(t, pattern, zone).
template <bool kZoned>
void format_time(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  std::string_view* o = frame.output<std::string_view>(out);
  TextArgument<TimeFormat> formats(frame, node.time_format, frame.arguments.time_formats, args[1]);
  TextArgument<TimeZone> zones(frame, node.zone, frame.arguments.zones, args[kZoned ? 2 : 1]);
  char text[TimeFormat::kMaxBytes];
  live.each([&](uint32_t row) {
    const int64_t micros = args[0].ints[args[0].at(row)];
    o[row] = {};
    const TimeFormat* format = formats.of(row, out);
    const TimeZone* zone = kZoned ? zones.of(row, out) : nullptr;
    if (!format || (kZoned && !zone)) return;
    if (!in_range(micros)) return frame.fail(out, row, kOutOfRange);
    o[row] = frame.result->copy({text, format->write(micros, zone ? zone->offset_micros(micros) : 0, text)});
  });
}

// The start of the multiple of a duration, counted from 1970, that holds a time.
void truncate(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const int64_t micros = args[0].ints[args[0].at(row)];
    const int64_t unit = args[1].ints[args[1].at(row)];
    o[row] = 0;
    if (unit <= 0) return frame.fail(out, row, "truncate needs a duration above zero");
    const int64_t into = micros % unit;
    const int64_t past = into < 0 ? into + unit : into;
    // A time near the first may lie in a multiple that began before it.
    if (!in_range(micros) || micros - past < kMinTimestamp) return frame.fail(out, row, kOutOfRange);
    o[row] = micros - past;
  });
}

// An int of a unit as a timestamp or duration.
template <int64_t kUnit, int64_t kMin, int64_t kMax, const char* kMessage>
void from_units(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const int64_t value = args[0].ints[args[0].at(row)];
    const bool fits = value >= floor_divide(kMin, kUnit) && value <= kMax / kUnit;
    o[row] = fits ? value * kUnit : 0;
    if (!fits) frame.fail(out, row, kMessage);
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

constexpr OverloadType kZoneText(TypeKind::kString, OverloadType::Text::kZone);
constexpr OverloadType kFormatText(TypeKind::kString, OverloadType::Text::kTimeFormat);

template <int64_t (*kPart)(int64_t)>
void add_part(std::vector<Overload>& table, std::string_view name) {
  constexpr TypeKind t = TypeKind::kTimestamp;
  table.push_back({name, {t}, TypeKind::kInt, utc_part<kPart>, true});
  table.push_back({name, {t, kZoneText}, TypeKind::kInt, zoned_part<kPart>, true});
}

}  // namespace

void add_time_functions(std::vector<Overload>& table) {
  constexpr TypeKind t = TypeKind::kTimestamp;
  constexpr TypeKind u = TypeKind::kDuration;
  constexpr TypeKind i = TypeKind::kInt;
  constexpr TypeKind s = TypeKind::kString;
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
  table.push_back({"millis", {t}, i, timestamp_millis, false, true});
  table.push_back({"millis", {u}, i, duration_part<1000, kAll>, false, true});
  table.push_back({"timestamp_ms", {i}, t, from_units<1000, kMinTimestamp, kMaxTimestamp, kOutOfRange>, false, true});
  table.push_back({"timestamp_us", {i}, t, from_units<1, kMinTimestamp, kMaxTimestamp, kOutOfRange>, false, true});
  table.push_back(
      {"duration_ms", {i}, u, from_units<1000, -kMaxDuration, kMaxDuration, kDurationOutOfRange>, false, true});
  table.push_back({"truncate", {t, u}, t, truncate});
  table.push_back({"format", {t, kFormatText}, s, format_time<false>});
  table.push_back({"format", {t, kFormatText, kZoneText}, s, format_time<true>});
}

}  // namespace millrace::expr
