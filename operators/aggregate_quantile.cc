// quantile(x, q[, condition]): of a sketch with a relative error of 1 %.
#include <cmath>
#include <limits>

#include "operators/quantile_sketch.h"
#include "operators/registration.h"
#include "operators/slot_aggregate.h"

namespace millrace {
namespace {

struct SketchOp {
  double q;

  using Slot = QuantileSketch;
  static constexpr bool kTrivial = false, kRetracts = true, kCanFail = false;
  static void create(Slot& slot) { slot.create(); }
  static void destroy(Slot& slot) { slot.destroy(); }
  static size_t extra_bytes(const Slot& slot) { return slot.heap_bytes(); }
  static void merge(Slot& into, const Slot& from) { into.merge(from); }
  static void encode(const Slot& slot, AccumulatorWriter& out) { slot.encode(out); }
  static bool decode(AccumulatorReader& in, Slot& slot) { return slot.decode(in); }
};

// int and duration. Rounded to a whole number, which makes results below 50 exact.
struct IntQuantileOp : SketchOp {
  static void add(Slot& slot, const Column* column, uint32_t row) {
    slot.insert(static_cast<double>(column->ints[row]));
  }
  static void retract(Slot& slot, const Column* column, uint32_t row) {
    slot.remove(static_cast<double>(column->ints[row]));
  }
  void put(const Slot& slot, ColumnBuilder& out, uint32_t row) const {
    if (slot.values() == 0) return out.set_null(row);
    constexpr double kLimit = 9223372036854775808.0;  // 2^63
    const double value = slot.quantile(q);
    if (value >= kLimit) {
      out.ints[row] = std::numeric_limits<int64_t>::max();
    } else {
      out.ints[row] = value <= -kLimit ? std::numeric_limits<int64_t>::min() : std::llround(value);
    }
  }
};

// NaN has no rank: it is skipped.
struct DoubleQuantileOp : SketchOp {
  static void add(Slot& slot, const Column* column, uint32_t row) {
    if (!std::isnan(column->doubles[row])) slot.insert(column->doubles[row]);
  }
  static void retract(Slot& slot, const Column* column, uint32_t row) {
    if (!std::isnan(column->doubles[row])) slot.remove(column->doubles[row]);
  }
  void put(const Slot& slot, ColumnBuilder& out, uint32_t row) const {
    if (slot.values() == 0) return out.set_null(row);
    out.doubles[row] = slot.quantile(q);
  }
};

AggregatePtr make_quantile(const AggregateArguments& arguments, std::string* refusal) {
  const double q = arguments.numbers[0].value;
  if (!(q >= 0 && q <= 1)) {
    *refusal = "the second argument of quantile() is between 0 and 1";
    return nullptr;
  }
  const Type& type = arguments.types[0];
  switch (type.kind()) {
    case TypeKind::kInt:
    case TypeKind::kDuration: return std::make_shared<SlotAggregate<IntQuantileOp>>(type, IntQuantileOp{q});
    case TypeKind::kDouble: return std::make_shared<SlotAggregate<DoubleQuantileOp>>(type, DoubleQuantileOp{q});
    default: return nullptr;
  }
}

}  // namespace

void register_quantile(AggregateRegistry& registry) {
  AggregateFunction function{"quantile",
                             "quantile(int | double | duration, q[, condition]) with a number q from 0 to 1",
                             1,
                             1,
                             AggregateFunction::Condition::kOptional,
                             make_quantile};
  function.min_numbers = 1;
  function.max_numbers = 1;
  registry.add(std::move(function));
}

}  // namespace millrace
