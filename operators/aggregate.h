// Aggregate: one aggregate function over values of one type: sum(int), max(string) … It owns no values: its accumulator
// is a slot of fixed size inside the state block of a key (accumulator_set.h), and every call works on many rows of
// many keys at once. What decides which block a row goes to (the key; a window) and when results are shown is not its
// business.
//
// Aggregates are immutable and shared between lanes, unless for_lane() says otherwise; a slot belongs to its lane.
// Nulls are skipped by all of them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/batch.h"
#include "base/status.h"
#include "operators/accumulator_bytes.h"

namespace millrace {

// Rows to fold, in order. The slot of row i is at states[i] + offset.
struct AggregateRows {
  size_t n = 0;
  void* const* states = nullptr;
  const uint32_t* rows = nullptr;     // physical row of each, in `value` and `condition`
  const Column* value = nullptr;      // the argument; nullptr: the function has none
  const Column* condition = nullptr;  // bool, never null on these rows; nullptr: every row counts
  const Change* changes = nullptr;    // per physical row; kRetract takes a row back; nullptr: all kInsert
  size_t offset = 0;
  const Batch* batch = nullptr;  // that the rows are of; for functions that read more columns than `value`
  // Of functions with sets (Aggregate::sets), where these may leave their slots: per row the word of its value in the
  // state, if the slot's set is outside; member_bit is this call's in it, set together with kMemberChanged.
  uint64_t* const* members = nullptr;
  uint64_t member_bit = 0;
};
inline constexpr uint64_t kMemberChanged = uint64_t{1} << 63;

// Where running values go: the value of row i's slot before and after it is folded in.
inline constexpr uint32_t kNoRow = UINT32_MAX;
struct RunningRows {
  ColumnBuilder* column = nullptr;
  const uint32_t* before = nullptr;  // row of `column`, or kNoRow; nullptr: none
  const uint32_t* after = nullptr;   // the same
};

// What the operator of an aggregate whose slots hold sets of values does with those that have grown large: it moves the
// values out of the slot, to entries of their own in the state (set_members.h).
class SetSlots {
 public:
  virtual ~SetSlots() = default;
  // All values of the slot's set are outside, and rows are counted by AggregateRows::members.
  virtual bool is_outside(const void* slot) const = 0;
  virtual bool is_large(const void* slot) const = 0;
  // Appends the bytes of a value that is not null.
  virtual void encode_value(const Column& values, uint32_t row, std::string& out) const = 0;
  // Takes all values; the slot's set is outside then.
  virtual void move_out(void* slot, const std::function<void(std::string_view value)>& take) const = 0;
};

class Aggregate;
using AggregatePtr = std::shared_ptr<const Aggregate>;

class Aggregate {
 public:
  virtual ~Aggregate() = default;
  // A copy with scratch memory of its own, for the instance of one lane; nullptr: this one serves all lanes.
  virtual AggregatePtr for_lane() const { return nullptr; }
  // Bytes of a slot, a multiple of 8; it is aligned to 8 and may be moved by memcpy.
  virtual size_t size() const = 0;
  // Of the result.
  virtual const Type& type() const = 0;
  // The slot of nothing.
  virtual void create(void* slot) const = 0;
  virtual void destroy(void* slot) const { (void)slot; }
  virtual bool trivially_destructible() const { return true; }
  // nullptr: slots hold no sets.
  virtual const SetSlots* sets() const { return nullptr; }
  // Heap memory behind a slot.
  virtual size_t extra_bytes(const void* slot) const {
    (void)slot;
    return 0;
  }

  // Folds rows in. Precondition: cannot_fail(rows), or can_fold of each row in turn.
  virtual void add(const AggregateRows& rows) const = 0;
  // The same, and writes the running values.
  virtual void add_running(const AggregateRows& rows, const RunningRows& out) const = 0;
  // True if no row of these can fail, in whatever order. Cheap; false only means: ask can_fold.
  virtual bool cannot_fail(const AggregateRows& rows) const {
    (void)rows;
    return true;
  }
  // Whether row i can be folded into its slot as it is now. Exact.
  virtual bool can_fold(const AggregateRows& rows, size_t i) const {
    (void)rows;
    (void)i;
    return true;
  }
  // Why can_fold has just returned false: "overflow".
  virtual std::string failure() const { return "overflow"; }
  // Whether rows can be taken back (kRetract). Without it, changes must hold none.
  virtual bool can_retract() const { return false; }

  // Folds what the slot `from` holds into `into`, as if its rows had come after those of `into` (first keeps into's
  // value, last takes from's). False: the result does not fit (overflow); `into` is unchanged then.
  virtual bool merge(void* into, const void* from) const = 0;
  // What merge would return.
  virtual bool can_merge(const void* into, const void* from) const {
    (void)into;
    (void)from;
    return true;
  }

  // Writes the results of n slots to rows out_rows[i] of a column of type().
  virtual void write(void* const* states, size_t offset, size_t n, const uint32_t* out_rows,
                     ColumnBuilder& out) const = 0;
  // Compact bytes of a slot and back. read: the slot was created; kStateCorrupt if malformed.
  virtual void encode(const void* slot, AccumulatorWriter& out) const = 0;
  virtual Status decode(AccumulatorReader& in, void* slot) const = 0;
};

// What stands behind the values in a call: a literal number.
struct AggregateNumber {
  double value = 0;
  bool whole = false;  // written as an int
};

struct AggregateArguments {
  std::vector<Type> types;  // of the values
  std::vector<AggregateNumber> numbers;
};

struct FoldProgram;

// An aggregate function as users call it: NAME(values …[, numbers …][, condition]).
struct AggregateFunction {
  enum class Condition { kNone, kOptional, kRequired };
  std::string name;
  std::string signature;  // shown as a hint: sum(int | double | duration[, bool])
  size_t min_values = 0;  // value arguments
  size_t max_values = 0;
  Condition condition = Condition::kOptional;  // a last argument of type bool; only rows where it is true count
  // The aggregate for these arguments; nullptr: not for these, with *refusal set, or for the types of the values.
  std::function<AggregatePtr(const AggregateArguments& arguments, std::string* refusal)> make;
  // Literal numbers behind the values. A function that takes any has a fixed number of values.
  size_t min_numbers = 0;
  size_t max_numbers = 0;
  // Instead of `make`: the function's arguments are (init, add, merge, result). nullptr: not for accumulators of this
  // type.
  std::function<AggregatePtr(FoldProgram program)> make_fold = nullptr;
};

class AggregateRegistry {
 public:
  void add(AggregateFunction function);  // a double name is a bug
  const AggregateFunction* find(const std::string& name) const;
  std::vector<std::string> names() const;

 private:
  std::map<std::string, AggregateFunction> functions_;
};

}  // namespace millrace
