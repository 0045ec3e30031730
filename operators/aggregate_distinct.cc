// count_distinct(x[, condition]): exact.
#include <algorithm>
#include <cmath>
#include <limits>

#include "operators/member_set.h"
#include "operators/registration.h"
#include "operators/slot_aggregate.h"

namespace millrace {
namespace {

// A set inside its accumulator is encoded with every epoch that changes it, and stands in one changelog record.
constexpr size_t kMaxBytes = 256 * 1024;

struct DistinctDouble : DoubleBytes {
  // -0.0 equals 0.0, and every NaN is the same value.
  static double get(const Column& column, uint32_t row) {
    const double value = column.doubles[row];
    if (value == 0) return 0;
    return std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value;
  }
};

template <class Value>
struct CountDistinctOp {
  using Slot = MemberSet<Value>;
  static constexpr bool kTrivial = false, kRetracts = false, kCanFail = true;
  static void create(Slot& slot) { slot.create(); }
  static void destroy(Slot& slot) { slot.destroy(); }
  static size_t extra_bytes(const Slot& slot) { return slot.heap_bytes(); }
  static bool can_add(const Slot& slot, const Column* column, uint32_t row) {
    const typename Value::View value = Value::get(*column, row);
    return slot.bytes().size() + Slot::bytes_of(value) <= kMaxBytes || slot.contains(value);
  }
  static bool can_retract(const Slot&, const Column*, uint32_t) { return false; }
  static std::string failure() { return "more than 256 KiB of values"; }
  static void add(Slot& slot, const Column* column, uint32_t row) { slot.insert(Value::get(*column, row)); }
  static bool can_merge(const Slot& into, const Slot& from) {
    size_t bytes = into.bytes().size() + from.bytes().size();
    if (bytes <= kMaxBytes) return true;
    from.for_each([&](typename Value::View value) {
      if (into.contains(value)) bytes -= Slot::bytes_of(value);
    });
    return bytes <= kMaxBytes;
  }
  static void merge(Slot& into, const Slot& from) {
    from.for_each([&into](typename Value::View value) { into.insert(value); });
  }
  static void put(const Slot& slot, ColumnBuilder& out, uint32_t row) { out.ints[row] = slot.size(); }
  static void encode(const Slot& slot, AccumulatorWriter& out) { slot.encode(out); }
  static bool decode(AccumulatorReader& in, Slot& slot) { return slot.decode(in); }
};

template <class Value>
class CountDistinct : public SlotAggregate<CountDistinctOp<Value>> {
 public:
  using Base = SlotAggregate<CountDistinctOp<Value>>;
  CountDistinct() : Base(Type(TypeKind::kInt)) {}
  // Even if all rows went to one set, it would fit.
  bool cannot_fail(const AggregateRows& rows) const override {
    size_t largest = 0;
    size_t more = 0;
    for (size_t i = 0; i < rows.n; i++) {
      if (Base::skips(rows, i)) continue;
      largest = std::max(largest, Base::slot_at(rows, i).bytes().size());
      more += Value::kHeadBytes + Value::tail(Value::get(*rows.value, rows.rows[i])).size();
    }
    return largest + more <= kMaxBytes;
  }
};

AggregatePtr make_count_distinct(const AggregateArguments& arguments, std::string*) {
  switch (arguments.types[0].kind()) {
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: return std::make_shared<CountDistinct<IntBytes>>();
    case TypeKind::kBool: return std::make_shared<CountDistinct<BoolBytes>>();
    case TypeKind::kDouble: return std::make_shared<CountDistinct<DistinctDouble>>();
    case TypeKind::kString:
    case TypeKind::kBytes: return std::make_shared<CountDistinct<TextBytes>>();
    default: return nullptr;
  }
}

}  // namespace

void register_count_distinct(AggregateRegistry& registry) {
  registry.add({"count_distinct",
                "count_distinct(int | double | bool | string | bytes | timestamp | duration[, condition])", 1, 1,
                AggregateFunction::Condition::kOptional, make_count_distinct});
}

}  // namespace millrace
