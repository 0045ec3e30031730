// count_distinct(x[, condition]): exact. Sets that grow large leave their accumulators where the operator can take them
// (set_members.h); elsewhere they are bounded.
#include <algorithm>
#include <cmath>
#include <limits>

#include "operators/member_set.h"
#include "operators/member_table.h"
#include "operators/registration.h"
#include "operators/slot_aggregate.h"

namespace millrace {
namespace {

// A set inside its accumulator is encoded with every epoch that changes it, and stands in one changelog record.
constexpr size_t kMaxBytes = 256 * 1024;
constexpr size_t kLargeBytes = 64 * 1024;
// In memory only: what windows that share slices merge to be shown; a set that a batch has made large before it moves
// out.
constexpr size_t kMaxMergedBytes = 16 * 1024 * 1024;
constexpr size_t kMaxValueBytes = MemberTable::kMaxValueBytes;

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
  struct Slot {
    MemberSet<Value> set;
    int64_t outside;  // values that have left the slot; then the set is empty
  };
  static constexpr bool kTrivial = false, kRetracts = false, kCanFail = true;
  static void create(Slot& slot) {
    slot.set.create();
    slot.outside = 0;
  }
  static void destroy(Slot& slot) { slot.set.destroy(); }
  static size_t extra_bytes(const Slot& slot) { return slot.set.heap_bytes(); }
  static bool can_add(const Slot& slot, const Column* column, uint32_t row) {
    const typename Value::View value = Value::get(*column, row);
    const size_t bytes = MemberSet<Value>::bytes_of(value);
    return bytes <= kMaxValueBytes && (slot.set.bytes().size() + bytes <= kMaxBytes || slot.set.contains(value));
  }
  static bool can_retract(const Slot&, const Column*, uint32_t) { return false; }
  static std::string failure() { return "a value of more than 4 KiB or a set of more than 256 KiB"; }
  static void add(Slot& slot, const Column* column, uint32_t row) {
    MR_CHECK(slot.outside == 0);
    slot.set.insert(Value::get(*column, row));
  }
  static bool can_merge(const Slot& into, const Slot& from) {
    if (into.outside > 0 || from.outside > 0) return false;
    size_t bytes = into.set.bytes().size() + from.set.bytes().size();
    if (bytes <= kMaxMergedBytes) return true;
    from.set.for_each([&](typename Value::View value) {
      if (into.set.contains(value)) bytes -= MemberSet<Value>::bytes_of(value);
    });
    return bytes <= kMaxMergedBytes;
  }
  static void merge(Slot& into, const Slot& from) {
    from.set.for_each([&into](typename Value::View value) { into.set.insert(value); });
  }
  static void put(const Slot& slot, ColumnBuilder& out, uint32_t row) {
    out.ints[row] = slot.outside + int64_t{slot.set.size()};
  }
  static void encode(const Slot& slot, AccumulatorWriter& out) {
    out.varint(static_cast<uint64_t>(slot.outside));
    slot.set.encode(out);
  }
  static bool decode(AccumulatorReader& in, Slot& slot) {
    const uint64_t outside = in.varint();
    slot.outside = static_cast<int64_t>(outside);
    return outside >> 63 == 0 && slot.set.decode(in) && (outside == 0 || slot.set.size() == 0);
  }
};

template <class Value>
class CountDistinct : public SlotAggregate<CountDistinctOp<Value>>, public SetSlots {
 public:
  using Base = SlotAggregate<CountDistinctOp<Value>>;
  using Slot = typename Base::Slot;
  CountDistinct() : Base(Type(TypeKind::kInt)) {}

  // Even if all rows went to one set, it would fit.
  bool cannot_fail(const AggregateRows& rows) const override {
    size_t largest_set = 0;
    size_t largest_value = 0;
    size_t more = 0;
    for (size_t i = 0; i < rows.n; i++) {
      if (Base::skips(rows, i)) continue;
      const size_t bytes = Value::kHeadBytes + Value::tail(Value::get(*rows.value, rows.rows[i])).size();
      largest_value = std::max(largest_value, bytes);
      largest_set = std::max(largest_set, Base::slot_at(rows, i).set.bytes().size());
      more += bytes;
    }
    const size_t limit = rows.members != nullptr ? kMaxMergedBytes : kMaxBytes;
    return largest_value <= kMaxValueBytes && largest_set + more <= limit;
  }
  bool can_fold(const AggregateRows& rows, size_t i) const override {
    if (rows.members == nullptr) return Base::can_fold(rows, i);
    if (Base::skips(rows, i)) return true;
    const size_t bytes = MemberSet<Value>::bytes_of(Value::get(*rows.value, rows.rows[i]));
    return bytes <= kMaxValueBytes && Base::slot_at(rows, i).set.bytes().size() + bytes <= kMaxMergedBytes;
  }
  void add(const AggregateRows& rows) const override {
    if (rows.members == nullptr) return Base::add(rows);
    for (size_t i = 0; i < rows.n; i++) count(rows, i);
  }
  void add_running(const AggregateRows& rows, const RunningRows& out) const override {
    if (rows.members == nullptr) return Base::add_running(rows, out);
    for (size_t i = 0; i < rows.n; i++) {
      const Slot& slot = Base::slot_at(rows, i);
      if (out.before != nullptr && out.before[i] != kNoRow) Base::Operations::put(slot, *out.column, out.before[i]);
      count(rows, i);
      if (out.after[i] != kNoRow) Base::Operations::put(slot, *out.column, out.after[i]);
    }
  }

  const SetSlots* sets() const override { return this; }
  bool is_outside(const void* slot) const override { return static_cast<const Slot*>(slot)->outside > 0; }
  bool is_large(const void* slot) const override {
    return static_cast<const Slot*>(slot)->set.bytes().size() > kLargeBytes;
  }
  void encode_value(const Column& values, uint32_t row, std::string& out) const override {
    append(Value::get(values, row), out);
  }
  void move_out(void* slot, const std::function<void(std::string_view)>& take) const override {
    Slot& moved = *static_cast<Slot*>(slot);
    std::string bytes;
    moved.set.for_each([&](typename Value::View value) {
      bytes.clear();
      append(value, bytes);
      take(bytes);
    });
    moved.outside += moved.set.size();
    moved.set.clear();
  }

 private:
  static void append(typename Value::View value, std::string& out) {
    char head[Value::kHeadBytes];
    out.append(head, Value::head(value, head));
    out.append(Value::tail(value));
  }
  static void count(const AggregateRows& rows, size_t i) {
    if (Base::skips(rows, i)) return;
    Slot& slot = Base::slot_at(rows, i);
    if (slot.outside == 0) {
      slot.set.insert(Value::get(*rows.value, rows.rows[i]));
      return;
    }
    uint64_t* word = rows.members[i];
    MR_CHECK(word != nullptr);
    if ((*word & rows.member_bit) != 0) return;
    *word |= rows.member_bit | kMemberChanged;
    slot.outside++;
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
