// sum and avg of int, double and (sum only) duration.
#include <algorithm>

#include "operators/registration.h"
#include "operators/slot_aggregate.h"

namespace millrace {
namespace {

// int and duration; overflow is reported by can_add, so add itself cannot overflow.
struct SumIntOp {
  struct Slot {
    int64_t sum;
    int64_t n;  // values in the sum; 0: null
  };
  static constexpr bool kTrivial = true, kRetracts = true, kCanFail = true;
  static void create(Slot& slot) { slot = {0, 0}; }
  static void destroy(Slot&) {}
  static size_t extra_bytes(const Slot&) { return 0; }
  static void add(Slot& slot, const Column* column, uint32_t row) {
    slot.sum += column->ints[row];
    slot.n++;
  }
  static void retract(Slot& slot, const Column* column, uint32_t row) {
    slot.sum -= column->ints[row];
    slot.n--;
  }
  static bool can_add(const Slot& slot, const Column* column, uint32_t row) {
    int64_t sum;
    return !__builtin_add_overflow(slot.sum, column->ints[row], &sum);
  }
  static bool can_retract(const Slot& slot, const Column* column, uint32_t row) {
    int64_t sum;
    return !__builtin_sub_overflow(slot.sum, column->ints[row], &sum);
  }
  static void merge(Slot& into, const Slot& from) {
    into.sum += from.sum;
    into.n += from.n;
  }
  static bool can_merge(const Slot& into, const Slot& from) {
    int64_t sum;
    return !__builtin_add_overflow(into.sum, from.sum, &sum);
  }
  static void put(const Slot& slot, ColumnBuilder& out, uint32_t row) {
    if (slot.n == 0) return out.set_null(row);
    out.ints[row] = slot.sum;
  }
  static void encode(const Slot& slot, AccumulatorWriter& out) {
    out.zigzag(slot.n);
    out.zigzag(slot.sum);
  }
  static void decode(AccumulatorReader& in, Slot& slot) {
    slot.n = in.zigzag();
    slot.sum = in.zigzag();
  }
};

class SumInt : public SlotAggregate<SumIntOp> {
 public:
  using SlotAggregate::SlotAggregate;
  // Ors the magnitudes of all values and all sums: small enough, no order of additions overflows.
  bool cannot_fail(const AggregateRows& rows) const override {
    uint64_t values = 0;
    uint64_t sums = 0;
    for (size_t i = 0; i < rows.n; i++) {
      if (skips(rows, i)) continue;
      values |= magnitude(rows.value->ints[rows.rows[i]]);
      sums |= magnitude(slot_at(rows, i).sum);
    }
    constexpr uint64_t kSafe = uint64_t{1} << 62;
    return sums < kSafe && values < kSafe / std::max<size_t>(rows.n, 1);
  }

 private:
  static uint64_t magnitude(int64_t value) { return static_cast<uint64_t>(value ^ (value >> 63)); }
};

struct SumDoubleOp {
  struct Slot {
    double sum;
    int64_t n;
  };
  static constexpr bool kTrivial = true, kRetracts = true, kCanFail = false;
  static void create(Slot& slot) { slot = {0, 0}; }
  static void destroy(Slot&) {}
  static size_t extra_bytes(const Slot&) { return 0; }
  static void add(Slot& slot, const Column* column, uint32_t row) {
    slot.sum += column->doubles[row];
    slot.n++;
  }
  static void retract(Slot& slot, const Column* column, uint32_t row) {
    slot.sum -= column->doubles[row];
    // An empty sum starts afresh: what rounding left, or an infinity, goes with its last value.
    if (--slot.n == 0) slot.sum = 0;
  }
  static void merge(Slot& into, const Slot& from) {
    into.sum += from.sum;
    into.n += from.n;
  }
  static void put(const Slot& slot, ColumnBuilder& out, uint32_t row) {
    if (slot.n == 0) return out.set_null(row);
    out.doubles[row] = slot.sum;
  }
  static void encode(const Slot& slot, AccumulatorWriter& out) {
    out.zigzag(slot.n);
    out.fixed(slot.sum);
  }
  static void decode(AccumulatorReader& in, Slot& slot) {
    slot.n = in.zigzag();
    slot.sum = in.fixed();
  }
};

struct AvgDoubleOp : SumDoubleOp {
  static void put(const Slot& slot, ColumnBuilder& out, uint32_t row) {
    if (slot.n == 0) return out.set_null(row);
    out.doubles[row] = slot.sum / static_cast<double>(slot.n);
  }
};

// The sum is exact in 128 bits, so the average is off by the rounding of the division only.
struct AvgIntOp {
  struct Slot {
    uint64_t low;
    int64_t high;
    int64_t n;
  };
  static constexpr bool kTrivial = true, kRetracts = true, kCanFail = false;
  static void create(Slot& slot) { slot = {0, 0, 0}; }
  static void destroy(Slot&) {}
  static size_t extra_bytes(const Slot&) { return 0; }
  __extension__ using Wide = __int128;
  static Wide sum_of(const Slot& slot) { return Wide{slot.high} * (Wide{1} << 64) + Wide{slot.low}; }
  static void set_sum(Slot& slot, Wide sum) {
    slot.low = static_cast<uint64_t>(sum);
    slot.high = static_cast<int64_t>(sum >> 64);
  }
  static void add(Slot& slot, const Column* column, uint32_t row) {
    set_sum(slot, sum_of(slot) + column->ints[row]);
    slot.n++;
  }
  static void retract(Slot& slot, const Column* column, uint32_t row) {
    set_sum(slot, sum_of(slot) - column->ints[row]);
    slot.n--;
  }
  static void merge(Slot& into, const Slot& from) {
    set_sum(into, sum_of(into) + sum_of(from));
    into.n += from.n;
  }
  static void put(const Slot& slot, ColumnBuilder& out, uint32_t row) {
    if (slot.n == 0) return out.set_null(row);
    out.doubles[row] = static_cast<double>(sum_of(slot)) / static_cast<double>(slot.n);
  }
  // The common sum fits 64 bits: then `high` is the sign of `low` and is left out.
  static void encode(const Slot& slot, AccumulatorWriter& out) {
    out.zigzag(slot.n);
    const auto low = static_cast<int64_t>(slot.low);
    const bool wide = slot.high != low >> 63;
    out.byte(wide ? 1 : 0);
    out.zigzag(low);
    if (wide) out.zigzag(slot.high);
  }
  static void decode(AccumulatorReader& in, Slot& slot) {
    slot.n = in.zigzag();
    const bool wide = in.boolean();
    const int64_t low = in.zigzag();
    slot.low = static_cast<uint64_t>(low);
    slot.high = wide ? in.zigzag() : low >> 63;
  }
};

AggregatePtr make_sum(const AggregateArguments& arguments, std::string*) {
  switch (arguments.types[0].kind()) {
    case TypeKind::kInt:
    case TypeKind::kDuration: return std::make_shared<SumInt>(arguments.types[0]);
    case TypeKind::kDouble: return std::make_shared<SlotAggregate<SumDoubleOp>>(arguments.types[0]);
    default: return nullptr;
  }
}

AggregatePtr make_avg(const AggregateArguments& arguments, std::string*) {
  const Type result(TypeKind::kDouble);
  switch (arguments.types[0].kind()) {
    case TypeKind::kInt: return std::make_shared<SlotAggregate<AvgIntOp>>(result);
    case TypeKind::kDouble: return std::make_shared<SlotAggregate<AvgDoubleOp>>(result);
    default: return nullptr;
  }
}

}  // namespace

void register_sum(AggregateRegistry& registry) {
  registry.add(
      {"sum", "sum(int | double | duration[, condition])", 1, 1, AggregateFunction::Condition::kOptional, make_sum});
}

void register_avg(AggregateRegistry& registry) {
  registry.add({"avg", "avg(int | double[, condition])", 1, 1, AggregateFunction::Condition::kOptional, make_avg});
}

}  // namespace millrace
