// Aggregates that keep one of the values: min, max, first, last.
#include "operators/held_value.h"
#include "operators/registration.h"
#include "operators/slot_aggregate.h"

namespace millrace {
namespace {

template <class Cell>
struct HeldOp {
  using Slot = typename Cell::Held;
  static constexpr bool kTrivial = Slot::kTrivial, kRetracts = false, kCanFail = false;
  static void create(Slot& slot) { slot.create(); }
  static void destroy(Slot& slot) { slot.destroy(); }
  static size_t extra_bytes(const Slot& slot) { return slot.extra_bytes(); }
  static void put(const Slot& slot, ColumnBuilder& out, uint32_t row) {
    if (slot.empty()) return out.set_null(row);
    Cell::put(out, row, slot.view());
  }
  static void encode(const Slot& slot, AccumulatorWriter& out) {
    out.byte(slot.empty() ? 0 : 1);
    if (!slot.empty()) Cell::encode(slot.view(), out);
  }
  static void decode(AccumulatorReader& in, Slot& slot) {
    if (!in.boolean()) return;
    const typename Cell::View value = Cell::decode(in);
    if (in.ok()) slot.set(value);
  }
};

template <class Cell>
struct MinOp : HeldOp<Cell> {
  static void merge(typename Cell::Held& into, const typename Cell::Held& from) {
    if (!from.empty() && (into.empty() || Cell::less(from.view(), into.view()))) into.set(from.view());
  }
  static void add(typename Cell::Held& slot, const Column* column, uint32_t row) {
    const auto value = Cell::get(*column, row);
    if (slot.empty() || Cell::less(value, slot.view())) slot.set(value);
  }
};

template <class Cell>
struct MaxOp : HeldOp<Cell> {
  static void merge(typename Cell::Held& into, const typename Cell::Held& from) {
    if (!from.empty() && (into.empty() || Cell::less(into.view(), from.view()))) into.set(from.view());
  }
  static void add(typename Cell::Held& slot, const Column* column, uint32_t row) {
    const auto value = Cell::get(*column, row);
    if (slot.empty() || Cell::less(slot.view(), value)) slot.set(value);
  }
};

template <class Cell>
struct FirstOp : HeldOp<Cell> {
  static void merge(typename Cell::Held& into, const typename Cell::Held& from) {
    if (into.empty() && !from.empty()) into.set(from.view());
  }
  static void add(typename Cell::Held& slot, const Column* column, uint32_t row) {
    if (slot.empty()) slot.set(Cell::get(*column, row));
  }
};

template <class Cell>
struct LastOp : HeldOp<Cell> {
  static void merge(typename Cell::Held& into, const typename Cell::Held& from) {
    if (!from.empty()) into.set(from.view());
  }
  static void add(typename Cell::Held& slot, const Column* column, uint32_t row) { slot.set(Cell::get(*column, row)); }
};

template <template <class> class Op, bool kBool>
AggregatePtr make_held(const AggregateArguments& arguments, std::string*) {
  const Type& type = arguments.types[0];
  switch (type.kind()) {
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: return std::make_shared<SlotAggregate<Op<IntCell>>>(type);
    case TypeKind::kDouble: return std::make_shared<SlotAggregate<Op<DoubleCell>>>(type);
    case TypeKind::kString:
    case TypeKind::kBytes: return std::make_shared<SlotAggregate<Op<TextCell>>>(type);
    case TypeKind::kBool:
      if constexpr (kBool) return std::make_shared<SlotAggregate<Op<BoolCell>>>(type);
      return nullptr;
    default: return nullptr;
  }
}

constexpr auto kOptional = AggregateFunction::Condition::kOptional;

}  // namespace

void register_min_max(AggregateRegistry& registry) {
  const std::string types = "(int | double | string | bytes | timestamp | duration[, condition])";
  registry.add({"min", "min" + types, 1, 1, kOptional, make_held<MinOp, false>});
  registry.add({"max", "max" + types, 1, 1, kOptional, make_held<MaxOp, false>});
}

void register_first_last(AggregateRegistry& registry) {
  const std::string types = "(int | double | bool | string | bytes | timestamp | duration[, condition])";
  registry.add({"first", "first" + types, 1, 1, kOptional, make_held<FirstOp, true>});
  registry.add({"last", "last" + types, 1, 1, kOptional, make_held<LastOp, true>});
}

}  // namespace millrace
