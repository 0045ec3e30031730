// SlotAggregate: the loops of an aggregate around what it does to one slot. The branches that depend on the batch
// (nulls, condition, changes, running values) are taken once per batch; the loop calls Op inline.
//
// An Op is a struct of functions over its Slot (plain memory, a multiple of 8 bytes), static ones unless the call has
// parameters, which are the Op's members:
//   kTrivial, kRetracts; create(Slot&), destroy(Slot&), extra_bytes(const Slot&)
//   add(Slot&, const Column*, row), retract(Slot&, const Column*, row)    never called with a null value
//   can_add(const Slot&, const Column*, row), can_retract(…)              if kCanFail
//   merge(Slot& into, const Slot& from); can_merge(const Slot&, const Slot&) if kCanFail
//   put(const Slot&, ColumnBuilder&, row)
//   encode(const Slot&, AccumulatorWriter&), decode(AccumulatorReader&, Slot&), which may return false: malformed
//   failure(): why can_add or can_retract say no; optional
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include "operators/aggregate.h"

namespace millrace {

template <class Op>
class SlotAggregate : public Aggregate {
 public:
  using Slot = typename Op::Slot;
  using Operations = Op;
  static_assert(sizeof(Slot) % 8 == 0 && alignof(Slot) <= 8);

  explicit SlotAggregate(Type type, Op op = {}) : type_(std::move(type)), op_(op) {}
  size_t size() const override { return sizeof(Slot); }
  const Type& type() const override { return type_; }
  void create(void* slot) const override { op_.create(*static_cast<Slot*>(slot)); }
  void destroy(void* slot) const override { op_.destroy(*static_cast<Slot*>(slot)); }
  bool trivially_destructible() const override { return Op::kTrivial; }
  size_t extra_bytes(const void* slot) const override { return op_.extra_bytes(*static_cast<const Slot*>(slot)); }
  bool can_retract() const override { return Op::kRetracts; }

  void add(const AggregateRows& rows) const override {
    if (is_plain(rows)) {
      for (size_t i = 0; i < rows.n; i++) op_.add(slot_at(rows, i), rows.value, rows.rows[i]);
    } else {
      for (size_t i = 0; i < rows.n; i++) fold(rows, i);
    }
  }

  void add_running(const AggregateRows& rows, const RunningRows& out) const override {
    for (size_t i = 0; i < rows.n; i++) {
      Slot& slot = slot_at(rows, i);
      if (out.before != nullptr && out.before[i] != kNoRow) op_.put(slot, *out.column, out.before[i]);
      fold(rows, i);
      if (out.after[i] != kNoRow) op_.put(slot, *out.column, out.after[i]);
    }
  }

  bool cannot_fail(const AggregateRows&) const override { return !Op::kCanFail; }
  bool can_fold(const AggregateRows& rows, size_t i) const override {
    if constexpr (Op::kCanFail) {
      if (skips(rows, i)) return true;
      const uint32_t row = rows.rows[i];
      return retracts(rows, row) ? op_.can_retract(slot_at(rows, i), rows.value, row)
                                 : op_.can_add(slot_at(rows, i), rows.value, row);
    } else {
      return Aggregate::can_fold(rows, i);
    }
  }

  bool merge(void* into, const void* from) const override {
    if (!can_merge(into, from)) return false;
    op_.merge(*static_cast<Slot*>(into), *static_cast<const Slot*>(from));
    return true;
  }
  bool can_merge(const void* into, const void* from) const override {
    if constexpr (Op::kCanFail) {
      return op_.can_merge(*static_cast<const Slot*>(into), *static_cast<const Slot*>(from));
    } else {
      return true;
    }
  }

  std::string failure() const override {
    if constexpr (requires(const Op& op) { op.failure(); }) {
      return op_.failure();
    } else {
      return Aggregate::failure();
    }
  }

  void write(void* const* states, size_t offset, size_t n, const uint32_t* out_rows,
             ColumnBuilder& out) const override {
    for (size_t i = 0; i < n; i++) {
      op_.put(*reinterpret_cast<const Slot*>(static_cast<const char*>(states[i]) + offset), out, out_rows[i]);
    }
  }

  void encode(const void* slot, AccumulatorWriter& out) const override {
    op_.encode(*static_cast<const Slot*>(slot), out);
  }
  Status decode(AccumulatorReader& in, void* slot) const override {
    bool formed = true;
    if constexpr (std::is_void_v<decltype(op_.decode(in, *static_cast<Slot*>(slot)))>) {
      op_.decode(in, *static_cast<Slot*>(slot));
    } else {
      formed = op_.decode(in, *static_cast<Slot*>(slot));
    }
    return formed && in.ok() ? Status::ok() : Status::terminal(Code::kStateCorrupt, "an accumulator does not decode");
  }

 protected:
  static Slot& slot_at(const AggregateRows& rows, size_t i) {
    return *reinterpret_cast<Slot*>(static_cast<char*>(rows.states[i]) + rows.offset);
  }
  static bool is_plain(const AggregateRows& rows) {
    return rows.condition == nullptr && rows.changes == nullptr &&
           (rows.value == nullptr || rows.value->nulls == nullptr);
  }
  static bool skips(const AggregateRows& rows, size_t i) {
    const uint32_t row = rows.rows[i];
    return (rows.condition != nullptr && rows.condition->bools[row] == 0) ||
           (rows.value != nullptr && rows.value->is_null(row));
  }
  static bool retracts(const AggregateRows& rows, uint32_t row) {
    return rows.changes != nullptr && rows.changes[row] == Change::kRetract;
  }

 private:
  void fold(const AggregateRows& rows, size_t i) const {
    if (skips(rows, i)) return;
    const uint32_t row = rows.rows[i];
    if constexpr (Op::kRetracts) {
      if (retracts(rows, row)) return op_.retract(slot_at(rows, i), rows.value, row);
    }
    op_.add(slot_at(rows, i), rows.value, row);
  }

  Type type_;
  [[no_unique_address]] Op op_;
};

}  // namespace millrace
