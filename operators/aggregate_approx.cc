// approx_distinct(x[, condition]): a HyperLogLog of the values.
#include <cmath>
#include <limits>

#include "operators/hyper_log_log.h"
#include "operators/registration.h"
#include "operators/slot_aggregate.h"
#include "operators/stable_hash.h"

namespace millrace {
namespace {

// -0.0 equals 0.0, and every NaN is the same value.
uint64_t hash_of_double(double value) {
  if (value == 0) value = 0;
  if (std::isnan(value)) value = std::numeric_limits<double>::quiet_NaN();
  return stable_hash(std::bit_cast<uint64_t>(value));
}

enum class Kind { kInt, kBool, kDouble, kText };

template <Kind kind>
struct ApproxDistinctOp {
  using Slot = HyperLogLog;
  static constexpr bool kTrivial = false, kRetracts = false, kCanFail = false;
  static void create(Slot& slot) { slot.create(); }
  static void destroy(Slot& slot) { slot.destroy(); }
  static size_t extra_bytes(const Slot& slot) { return slot.heap_bytes(); }
  static void add(Slot& slot, const Column* column, uint32_t row) {
    if constexpr (kind == Kind::kInt) slot.insert(stable_hash(static_cast<uint64_t>(column->ints[row])));
    if constexpr (kind == Kind::kBool) slot.insert(stable_hash(uint64_t{column->bools[row]}));
    if constexpr (kind == Kind::kDouble) slot.insert(hash_of_double(column->doubles[row]));
    if constexpr (kind == Kind::kText) slot.insert(stable_hash(column->strings[row]));
  }
  static void merge(Slot& into, const Slot& from) { into.merge(from); }
  static void put(const Slot& slot, ColumnBuilder& out, uint32_t row) { out.ints[row] = slot.estimate(); }
  static void encode(const Slot& slot, AccumulatorWriter& out) { slot.encode(out); }
  static bool decode(AccumulatorReader& in, Slot& slot) { return slot.decode(in); }
};

AggregatePtr make_approx_distinct(const AggregateArguments& arguments, std::string*) {
  const Type result(TypeKind::kInt);
  switch (arguments.types[0].kind()) {
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: return std::make_shared<SlotAggregate<ApproxDistinctOp<Kind::kInt>>>(result);
    case TypeKind::kBool: return std::make_shared<SlotAggregate<ApproxDistinctOp<Kind::kBool>>>(result);
    case TypeKind::kDouble: return std::make_shared<SlotAggregate<ApproxDistinctOp<Kind::kDouble>>>(result);
    case TypeKind::kString:
    case TypeKind::kBytes: return std::make_shared<SlotAggregate<ApproxDistinctOp<Kind::kText>>>(result);
    default: return nullptr;
  }
}

}  // namespace

void register_approx_distinct(AggregateRegistry& registry) {
  registry.add({"approx_distinct",
                "approx_distinct(int | double | bool | string | bytes | timestamp | duration[, condition])", 1, 1,
                AggregateFunction::Condition::kOptional, make_approx_distinct});
}

}  // namespace millrace
