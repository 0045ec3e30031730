// Arithmetic. Overflow is found by a flag that a whole loop collects; only when it is set is the loop walked again for
// the rows that failed.
#include <cmath>

#include "expr/map_rows.h"
#include "expr/overloads.h"
#include "expr/time_text.h"

namespace millrace::expr {
namespace {

constexpr uint64_t kSignBit = uint64_t{1} << 63;

struct Add {
  static int64_t apply(int64_t a, int64_t b, uint64_t& bad) {
    const uint64_t r = static_cast<uint64_t>(a) + static_cast<uint64_t>(b);
    bad |= (static_cast<uint64_t>(a) ^ r) & (static_cast<uint64_t>(b) ^ r);
    return static_cast<int64_t>(r);
  }
};

struct Subtract {
  static int64_t apply(int64_t a, int64_t b, uint64_t& bad) {
    const uint64_t r = static_cast<uint64_t>(a) - static_cast<uint64_t>(b);
    bad |= (static_cast<uint64_t>(a) ^ static_cast<uint64_t>(b)) & (static_cast<uint64_t>(a) ^ r);
    return static_cast<int64_t>(r);
  }
};

struct Multiply {
  static int64_t apply(int64_t a, int64_t b, uint64_t& bad) {
    int64_t r;
    bad |= static_cast<uint64_t>(__builtin_mul_overflow(a, b, &r)) << 63;
    return r;
  }
};

// Op within [min, max].
template <class Op, int64_t kMin, int64_t kMax>
struct Ranged {
  static int64_t apply(int64_t a, int64_t b, uint64_t& bad) {
    const int64_t r = Op::apply(a, b, bad);
    bad |= static_cast<uint64_t>(r < kMin || r > kMax) << 63;
    return r;
  }
};
template <class Op>
using AsTimestamp = Ranged<Op, kMinTimestamp, kMaxTimestamp>;
template <class Op>
using AsDuration = Ranged<Op, -kMaxDuration, kMaxDuration>;

constexpr char kIntAdd[] = "integer overflow in _+_";
constexpr char kIntSubtract[] = "integer overflow in _-_";
constexpr char kIntMultiply[] = "integer overflow in _*_";
constexpr char kIntDivide[] = "integer overflow in _/_";
constexpr char kIntModulus[] = "integer overflow in _%_";
constexpr char kIntNegate[] = "integer overflow in -_";
constexpr char kTimestampRange[] = "timestamp out of range";
constexpr char kDurationRange[] = "duration out of range";
constexpr char kDivisionByZero[] = "division by zero";
constexpr char kModulusByZero[] = "modulus by zero";

template <class Op, const char* kMessage>
void checked(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  uint64_t bad = 0;
  map_two<int64_t, int64_t>(live, frame.output<int64_t>(out), args[0], args[1],
                            [&bad](int64_t a, int64_t b) { return Op::apply(a, b, bad); });
  if (!(bad & kSignBit)) return;
  live.each([&](uint32_t row) {
    uint64_t failed = 0;
    Op::apply(args[0].ints[args[0].at(row)], args[1].ints[args[1].at(row)], failed);
    if (failed & kSignBit) frame.fail(out, row, kMessage);
  });
}

template <bool kModulus>
void divide_ints(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  const auto compute = [](int64_t a, int64_t b) { return kModulus ? a % b : a / b; };
  if (args[1].constant && !args[0].constant && args[1].ints[0] != 0 && args[1].ints[0] != -1) {
    map_two<int64_t, int64_t>(live, o, args[0], args[1], compute);
    return;
  }
  live.each([&](uint32_t row) {
    const int64_t a = args[0].ints[args[0].at(row)];
    const int64_t b = args[1].ints[args[1].at(row)];
    o[row] = 0;
    if (b == 0) {
      frame.fail(out, row, kModulus ? kModulusByZero : kDivisionByZero);
    } else if (b == -1 && a == INT64_MIN) {
      frame.fail(out, row, kModulus ? kIntModulus : kIntDivide);
    } else {
      o[row] = compute(a, b);
    }
  });
}

void negate_int(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const int64_t a = args[0].ints[args[0].at(row)];
    o[row] = static_cast<int64_t>(0 - static_cast<uint64_t>(a));
    if (a == INT64_MIN) frame.fail(out, row, kIntNegate);
  });
}

void negate_double(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  double* o = frame.output<double>(out);
  live.each([&](uint32_t row) { o[row] = -args[0].doubles[args[0].at(row)]; });
}

template <class F>
void doubles(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  map_two<double, double>(live, frame.output<double>(out), args[0], args[1], F{});
}

struct AddDoubles {
  double operator()(double a, double b) const { return a + b; }
};
struct SubtractDoubles {
  double operator()(double a, double b) const { return a - b; }
};
struct MultiplyDoubles {
  double operator()(double a, double b) const { return a * b; }
};
struct DivideDoubles {
  // IEEE: x / 0.0 is an infinity or NaN, not an error.
#if defined(__clang__) || defined(__GNUC__)
  __attribute__((no_sanitize("undefined")))
#endif
  double
  operator()(double a, double b) const {
    return a / b;
  }
};

}  // namespace

void add_arithmetic(std::vector<Overload>& table) {
  constexpr TypeKind i = TypeKind::kInt;
  constexpr TypeKind d = TypeKind::kDouble;
  constexpr TypeKind t = TypeKind::kTimestamp;
  constexpr TypeKind u = TypeKind::kDuration;
  const auto add = [&table](std::string_view name, std::vector<OverloadType> args, TypeKind result, Kernel kernel) {
    const bool cheap = kernel != divide_ints<false> && kernel != divide_ints<true>;
    table.push_back({name, std::move(args), result, kernel, false, cheap, false});
  };
  add("_+_", {i, i}, i, checked<Add, kIntAdd>);
  add("_-_", {i, i}, i, checked<Subtract, kIntSubtract>);
  add("_*_", {i, i}, i, checked<Multiply, kIntMultiply>);
  add("_/_", {i, i}, i, divide_ints<false>);
  add("_%_", {i, i}, i, divide_ints<true>);
  add("-_", {i}, i, negate_int);
  add("_+_", {d, d}, d, doubles<AddDoubles>);
  add("_-_", {d, d}, d, doubles<SubtractDoubles>);
  add("_*_", {d, d}, d, doubles<MultiplyDoubles>);
  add("_/_", {d, d}, d, doubles<DivideDoubles>);
  add("-_", {d}, d, negate_double);
  add("_+_", {t, u}, t, checked<AsTimestamp<Add>, kTimestampRange>);
  add("_+_", {u, t}, t, checked<AsTimestamp<Add>, kTimestampRange>);
  add("_-_", {t, u}, t, checked<AsTimestamp<Subtract>, kTimestampRange>);
  add("_-_", {t, t}, u, checked<AsDuration<Subtract>, kDurationRange>);
  add("_+_", {u, u}, u, checked<AsDuration<Add>, kDurationRange>);
  add("_-_", {u, u}, u, checked<AsDuration<Subtract>, kDurationRange>);
}

namespace kernels {

// splitmix64's finaliser over the index and what tells calls apart; the high half of a product maps it into the range.
void random_int(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  const auto mix = [](uint64_t z) {
    z += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  };
  live.each([&](uint32_t row) {
    const int64_t lo = args[0].ints[args[0].at(row)];
    const int64_t hi = args[1].ints[args[1].at(row)];
    o[row] = 0;
    if (lo >= hi) {
      frame.fail(out, row, "empty range in random(lo, hi): lo must be less than hi");
      return;
    }
    const uint64_t bits =
        mix(mix(static_cast<uint64_t>(args[2].ints[args[2].at(row)])) ^ static_cast<uint64_t>(node.number));
    const uint64_t range = static_cast<uint64_t>(hi) - static_cast<uint64_t>(lo);
    const auto scaled = static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * range) >> 64);
    o[row] = static_cast<int64_t>(static_cast<uint64_t>(lo) + scaled);
  });
}

}  // namespace kernels
}  // namespace millrace::expr
