// Conversions between types, by cel-spec's rules and ranges.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "expr/number_text.h"
#include "expr/overloads.h"
#include "expr/time_text.h"
#include "expr/utf8.h"

namespace millrace::expr {
namespace {

using std::string_view;

// out[row] = convert(value) for conversions that cannot fail.
template <class From, class To, To (*kConvert)(From)>
void convert(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  To* o = frame.output<To>(out);
  const From* in = values<From>(args[0]);
  live.each([&](uint32_t row) { o[row] = kConvert(in[args[0].at(row)]); });
}

// The value itself. Copied: the argument may lie in scratch memory. The checker drops conversions to the same type.
template <class T>
void identity(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  T* o = frame.output<T>(out);
  const T* in = values<T>(args[0]);
  live.each([&](uint32_t row) { o[row] = in[args[0].at(row)]; });
}

// Text to a value; a text that does not parse fails with "not <what>: "text"".
template <class To, std::optional<To> (*kParse)(string_view), const char* kWhat>
void parse_text(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  To* o = frame.output<To>(out);
  live.each([&](uint32_t row) {
    const string_view text = args[0].strings[args[0].at(row)];
    const std::optional<To> value = kParse(text);
    o[row] = value.value_or(To{});
    if (!value) frame.fail(out, row, frame.keep(fmt::format("not {}: \"{}\"", kWhat, shortened(text))));
  });
}

// Room for the text of any number, timestamp or duration.
constexpr size_t kMaxText = std::max(kMaxNumberText, kMaxTimeText);

template <class From, size_t (*kWrite)(From, char*)>
void format_value(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  const From* in = values<From>(args[0]);
  live.each([&](uint32_t row) {
    char text[kMaxText];
    const size_t size = kWrite(in[args[0].at(row)], text);
    o[row] = frame.result->copy({text, size});
  });
}

void bool_to_string(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  live.each(
      [&](uint32_t row) { o[row] = args[0].bools[args[0].at(row)] ? string_view("true") : string_view("false"); });
}

double int_to_double(int64_t value) { return static_cast<double>(value); }
int64_t floor_seconds(int64_t micros) { return micros / kMicrosPerSecond - (micros % kMicrosPerSecond < 0 ? 1 : 0); }

// The ends of the range are errors too: they are doubles that other values round to.
void double_to_int(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const double value = args[0].doubles[args[0].at(row)];
    const bool fits = value > -0x1p63 && value < 0x1p63;  // false for NaN
    o[row] = fits ? static_cast<int64_t>(value) : 0;
    if (!fits) frame.fail(out, row, "double out of the range of int");
  });
}

void int_to_timestamp(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const int64_t seconds = args[0].ints[args[0].at(row)];
    const bool fits = seconds >= kMinTimestamp / kMicrosPerSecond && seconds <= kMaxTimestamp / kMicrosPerSecond;
    o[row] = fits ? seconds * kMicrosPerSecond : 0;
    if (!fits) frame.fail(out, row, "timestamp out of range");
  });
}

void timestamp_to_string(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  live.each([&](uint32_t row) {
    const int64_t micros = args[0].ints[args[0].at(row)];
    if (micros < kMinTimestamp || micros > kMaxTimestamp) {
      frame.fail(out, row, "timestamp out of range");
      return;
    }
    char text[kMaxText];
    const size_t size = write_rfc3339(micros, text);
    o[row] = frame.result->copy({text, size});
  });
}

void bytes_to_string(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  live.each([&](uint32_t row) {
    o[row] = args[0].strings[args[0].at(row)];
    if (!is_valid_utf8(o[row])) frame.fail(out, row, "bytes are not valid UTF-8");
  });
}

std::optional<uint8_t> parse_bool(string_view text) {
  for (string_view yes : {"1", "t", "T", "true", "TRUE", "True"})
    if (text == yes) return uint8_t{1};
  for (string_view no : {"0", "f", "F", "false", "FALSE", "False"})
    if (text == no) return uint8_t{0};
  return std::nullopt;
}

constexpr char kAnInt[] = "an int";
constexpr char kADouble[] = "a double";
constexpr char kABool[] = "a bool";
constexpr char kATimestamp[] = "an RFC 3339 timestamp with a zone";
constexpr char kADuration[] = "a duration such as 1h30m10.5s";

}  // namespace

void add_conversions(std::vector<Overload>& table) {
  constexpr TypeKind i = TypeKind::kInt;
  constexpr TypeKind d = TypeKind::kDouble;
  constexpr TypeKind s = TypeKind::kString;
  constexpr TypeKind b = TypeKind::kBytes;
  constexpr TypeKind t = TypeKind::kTimestamp;
  constexpr TypeKind u = TypeKind::kDuration;
  constexpr TypeKind o = TypeKind::kBool;
  table.push_back({"int", {i}, i, identity<int64_t>, false, true});
  table.push_back({"int", {d}, i, double_to_int, false, true});
  table.push_back({"int", {s}, i, parse_text<int64_t, parse_int, kAnInt>});
  table.push_back({"int", {t}, i, convert<int64_t, int64_t, floor_seconds>, false, true});
  table.push_back({"double", {d}, d, identity<double>, false, true});
  table.push_back({"double", {i}, d, convert<int64_t, double, int_to_double>, false, true});
  table.push_back({"double", {s}, d, parse_text<double, parse_double, kADouble>});
  table.push_back({"bool", {o}, o, identity<uint8_t>, false, true});
  table.push_back({"bool", {s}, o, parse_text<uint8_t, parse_bool, kABool>});
  table.push_back({"string", {s}, s, identity<string_view>, false, true});
  table.push_back({"string", {i}, s, format_value<int64_t, write_int>});
  table.push_back({"string", {d}, s, format_value<double, write_double>});
  table.push_back({"string", {o}, s, bool_to_string});
  table.push_back({"string", {b}, s, bytes_to_string});
  table.push_back({"string", {t}, s, timestamp_to_string});
  table.push_back({"string", {u}, s, format_value<int64_t, write_duration>});
  table.push_back({"bytes", {b}, b, identity<string_view>, false, true});
  table.push_back({"bytes", {s}, b, identity<string_view>, false, true});
  table.push_back({"timestamp", {t}, t, identity<int64_t>, false, true});
  table.push_back({"timestamp", {i}, t, int_to_timestamp, false, true});
  table.push_back({"timestamp", {s}, t, parse_text<int64_t, parse_rfc3339, kATimestamp>});
  table.push_back({"duration", {u}, u, identity<int64_t>, false, true});
  table.push_back({"duration", {s}, u, parse_text<int64_t, parse_duration, kADuration>});
}

}  // namespace millrace::expr
