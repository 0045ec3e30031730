// Rounding, magnitudes and extremes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "expr/map_rows.h"
#include "expr/number_text.h"
#include "expr/overloads.h"

namespace millrace::expr {
namespace {

template <double (*kRound)(double)>
void whole(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  double* o = frame.output<double>(out);
  live.each([&](uint32_t row) { o[row] = kRound(args[0].doubles[args[0].at(row)]); });
}

double floor_of(double value) { return std::floor(value); }
double ceil_of(double value) { return std::ceil(value); }
double round_of(double value) { return std::round(value); }  // halves away from zero

void round_to_digits(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  double* o = frame.output<double>(out);
  live.each([&](uint32_t row) {
    const int64_t digits = args[1].ints[args[1].at(row)];
    o[row] = 0;
    if (digits < 0 || digits > kMaxRoundDigits)
      return frame.fail(out, row,
                        frame.keep(fmt::format("round to {} digits; 0 to {} are possible", digits, kMaxRoundDigits)));
    o[row] = round_decimal(args[0].doubles[args[0].at(row)], static_cast<int>(digits));
  });
}

template <const char* kMessage>
void magnitude_of_int(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const int64_t value = args[0].ints[args[0].at(row)];
    const bool fits = value != std::numeric_limits<int64_t>::min();
    o[row] = !fits ? 0 : value < 0 ? -value : value;
    if (!fits) frame.fail(out, row, kMessage);
  });
}

void magnitude_of_double(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  double* o = frame.output<double>(out);
  live.each([&](uint32_t row) { o[row] = std::fabs(args[0].doubles[args[0].at(row)]); });
}

// NaN wins, as it does in arithmetic.
template <class T>
bool is_unordered(T) {
  return false;
}
bool is_unordered(double value) { return std::isnan(value); }

template <class T>
void least(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  map_two<T, T>(live, frame.output<T>(out), args[0], args[1],
                [](T a, T b) { return is_unordered(b) || b < a ? b : a; });
}

template <class T>
void greatest(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  map_two<T, T>(live, frame.output<T>(out), args[0], args[1],
                [](T a, T b) { return is_unordered(b) || a < b ? b : a; });
}

constexpr char kAbsOverflow[] = "integer overflow in abs";
constexpr char kAbsRange[] = "duration out of range";

template <class T>
void add_extremes(std::vector<Overload>& table, TypeKind kind) {
  table.push_back({"least", {kind, kind}, kind, least<T>, false, true});
  table.push_back({"greatest", {kind, kind}, kind, greatest<T>, false, true});
}

}  // namespace

void add_number_functions(std::vector<Overload>& table) {
  constexpr TypeKind i = TypeKind::kInt;
  constexpr TypeKind d = TypeKind::kDouble;
  constexpr TypeKind u = TypeKind::kDuration;
  table.push_back({"floor", {d}, d, whole<floor_of>, false, true});
  table.push_back({"ceil", {d}, d, whole<ceil_of>, false, true});
  table.push_back({"round", {d}, d, whole<round_of>, false, true});
  table.push_back({"round", {d, i}, d, round_to_digits});
  table.push_back({"abs", {i}, i, magnitude_of_int<kAbsOverflow>, false, true});
  table.push_back({"abs", {u}, u, magnitude_of_int<kAbsRange>, false, true});
  table.push_back({"abs", {d}, d, magnitude_of_double, false, true});
  add_extremes<int64_t>(table, i);
  add_extremes<double>(table, d);
  add_extremes<int64_t>(table, TypeKind::kTimestamp);
  add_extremes<int64_t>(table, u);
  add_extremes<std::string_view>(table, TypeKind::kString);
}

}  // namespace millrace::expr
