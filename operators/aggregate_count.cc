// count(), count(x[, condition]), count_if(condition).
#include "operators/registration.h"
#include "operators/slot_aggregate.h"

namespace millrace {
namespace {

struct CountOp {
  struct Slot {
    int64_t n;
  };
  static constexpr bool kTrivial = true, kRetracts = true, kCanFail = false;
  static void create(Slot& slot) { slot.n = 0; }
  static void destroy(Slot&) {}
  static size_t extra_bytes(const Slot&) { return 0; }
  static void add(Slot& slot, const Column*, uint32_t) { slot.n++; }
  static void retract(Slot& slot, const Column*, uint32_t) { slot.n--; }
  static void merge(Slot& into, const Slot& from) { into.n += from.n; }
  static void put(const Slot& slot, ColumnBuilder& out, uint32_t row) { out.ints[row] = slot.n; }
  static void encode(const Slot& slot, AccumulatorWriter& out) { out.zigzag(slot.n); }
  static void decode(AccumulatorReader& in, Slot& slot) { slot.n = in.zigzag(); }
};

AggregatePtr make_count(const AggregateArguments&, std::string*) {
  return std::make_shared<SlotAggregate<CountOp>>(Type(TypeKind::kInt));
}

}  // namespace

void register_count(AggregateRegistry& registry) {
  registry.add(
      {"count", "count() or count(x[, condition])", 0, 1, AggregateFunction::Condition::kOptional, make_count});
  registry.add({"count_if", "count_if(condition)", 0, 0, AggregateFunction::Condition::kRequired, make_count});
}

}  // namespace millrace
