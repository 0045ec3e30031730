// AggregateProgram: a checked `aggregate` operator, compiled: what is evaluated per batch, what is folded into which
// slot, and how output columns come out of slots and keys. Immutable; shared by the instances of all lanes.
//
// Output rows are made in two steps. First the virtual columns: one per distinct aggregate call, one per key(F), and
// the bounds of the window. Then the fields, expressions over the virtual columns.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/type.h"
#include "expr/expression.h"
#include "operators/aggregate.h"
#include "operators/window.h"

namespace millrace {

// An expression over the input's columns, evaluated once per batch however many calls use it. With a condition it is
// evaluated only on the rows where that holds.
struct AggregateInput {
  std::string text;
  ExpressionPtr expression;
  int condition = -1;  // index of an earlier AggregateInput of type bool
};

// A distinct call, such as sum(amount, status == "paid").
struct AggregateCall {
  std::string text;        // canonical
  std::string descriptor;  // with types: what its slot holds
  AggregatePtr aggregate;
  int value = -1;      // index in inputs; -1: none
  int condition = -1;  // index in inputs; -1: none
};

// One of the three is set.
struct VirtualColumn {
  enum class Bound { kNone, kStart, kEnd };
  Type type;
  int call = -1;               // index in calls, or -1
  int key = -1;                // index in keys, or -1
  Bound bound = Bound::kNone;  // window.start, window.end
};

struct AggregateProgram {
  EmitSpec emit;
  WindowSpec window;
  int64_t ttl_ms = 0;      // without a window: a key leaves when its newest event time is this far behind; 0: never
  bool keep_late = false;  // somebody reads <id>.late
  Schema input;
  std::vector<int> keys;  // columns of the input
  std::vector<AggregateInput> inputs;
  std::vector<AggregateCall> calls;  // in order of appearance
  std::vector<int> state_order;  // calls in the order of their slots: by descriptor, so that fields may be reordered
  std::vector<VirtualColumn> virtuals;
  Schema output;
  std::vector<ExpressionPtr> fields;  // one per output column, over the virtual columns
  bool takes_retractions = false;     // the input retracts rows
  bool gives_retractions = false;     // the output announces old versions
};

}  // namespace millrace
