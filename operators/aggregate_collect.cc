// collect(x[, n][, condition]): the values, or the last n of them, in order of arrival.
#include <algorithm>

#include "operators/list_output.h"
#include "operators/registration.h"
#include "operators/slot_aggregate.h"
#include "operators/value_list.h"

namespace millrace {
namespace {

// A list is encoded with every epoch that changes it, and stands in one changelog record.
constexpr uint32_t kMaxValues = 10'000;
constexpr size_t kMaxBytes = 256 * 1024;

template <class Value>
struct CollectOp {
  uint32_t last;  // how many to keep; 0: all

  using Slot = ValueList<Value>;
  static constexpr bool kTrivial = false, kRetracts = false, kCanFail = true;
  static void create(Slot& slot) { slot.create(); }
  static void destroy(Slot& slot) { slot.destroy(); }
  static size_t extra_bytes(const Slot& slot) { return slot.heap_bytes(); }

  bool can_add(const Slot& slot, const Column* column, uint32_t row) const {
    size_t held = slot.bytes().size();
    if (last > 0 && slot.size() == last) {
      held -= slot.first_bytes();
    } else if (slot.size() == kMaxValues) {
      return false;
    }
    return held + Slot::bytes_of(Value::get(*column, row)) <= kMaxBytes;
  }
  static bool can_retract(const Slot&, const Column*, uint32_t) { return false; }
  static std::string failure() { return "more than 10000 values or 256 KiB of them"; }
  void add(Slot& slot, const Column* column, uint32_t row) const {
    if (last > 0 && slot.size() == last) slot.pop();
    slot.push(Value::get(*column, row));
  }
  bool can_merge(const Slot& into, const Slot& from) const {
    if (last == 0) {
      return into.size() + from.size() <= kMaxValues && into.bytes().size() + from.bytes().size() <= kMaxBytes;
    }
    size_t bytes = from.bytes().size();
    size_t dropped = into.size() + from.size() - std::min<size_t>(into.size() + from.size(), last);
    into.for_each([&](typename Value::View value) {
      if (dropped > 0) {
        dropped--;
      } else {
        bytes += Slot::bytes_of(value);
      }
    });
    return bytes <= kMaxBytes;
  }
  void merge(Slot& into, const Slot& from) const {
    from.for_each([&](typename Value::View value) {
      if (last > 0 && into.size() == last) into.pop();
      into.push(value);
    });
  }
  static void put(const Slot& slot, ColumnBuilder& out, uint32_t row) {
    ListOutput list(out);
    list.begin(row);
    slot.for_each([&list](typename Value::View value) { list.append(value); });
  }
  static void encode(const Slot& slot, AccumulatorWriter& out) { slot.encode(out); }
  static bool decode(AccumulatorReader& in, Slot& slot) { return slot.decode(in); }
};

template <class Value>
class Collect : public SlotAggregate<CollectOp<Value>> {
 public:
  using Base = SlotAggregate<CollectOp<Value>>;
  using Base::Base;
  // Even if all rows went to one list, it would fit.
  bool cannot_fail(const AggregateRows& rows) const override {
    size_t largest_bytes = 0;
    size_t most_values = 0;
    size_t more = 0;
    for (size_t i = 0; i < rows.n; i++) {
      if (Base::skips(rows, i)) continue;
      const ValueList<Value>& list = Base::slot_at(rows, i);
      largest_bytes = std::max(largest_bytes, list.bytes().size());
      most_values = std::max<size_t>(most_values, list.size());
      more += Value::kHeadBytes + Value::tail(Value::get(*rows.value, rows.rows[i])).size();
    }
    return largest_bytes + more <= kMaxBytes && most_values + rows.n <= kMaxValues;
  }
};

template <class Value>
AggregatePtr make_list(const Type& type, uint32_t last) {
  return std::make_shared<Collect<Value>>(Type::list(type), CollectOp<Value>{last});
}

AggregatePtr make_collect(const AggregateArguments& arguments, std::string* refusal) {
  uint32_t last = 0;
  if (!arguments.numbers.empty()) {
    const double n = arguments.numbers[0].value;
    if (!arguments.numbers[0].whole || n < 1 || n > kMaxValues) {
      *refusal = "the second argument of collect() is a whole number from 1 to 10000";
      return nullptr;
    }
    last = static_cast<uint32_t>(n);
  }
  const Type& type = arguments.types[0];
  switch (type.kind()) {
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: return make_list<IntBytes>(type, last);
    case TypeKind::kBool: return make_list<BoolBytes>(type, last);
    case TypeKind::kDouble: return make_list<DoubleBytes>(type, last);
    case TypeKind::kString:
    case TypeKind::kBytes: return make_list<TextBytes>(type, last);
    default: return nullptr;
  }
}

}  // namespace

void register_collect(AggregateRegistry& registry) {
  AggregateFunction function{
      "collect",
      "collect(int | double | bool | string | bytes | timestamp | duration[, n][, condition]) with a whole number n",
      1,
      1,
      AggregateFunction::Condition::kOptional,
      make_collect};
  function.max_numbers = 1;
  registry.add(std::move(function));
}

}  // namespace millrace
