// ExpressionFold: the aggregate behind fold(init, add, merge, result): its accumulator is one value, its steps are
// expressions. What `result` does with the accumulator is the business of the field that the call stands in.
//
// Rows of different blocks are evaluated together; the rows of one block follow one another. A row for which `add`
// gives null leaves the accumulator as it is; one for which it fails does not fit, like a sum that overflows.
#pragma once

#include <vector>

#include "expr/expression.h"
#include "operators/aggregate.h"

namespace millrace {

struct FoldProgram {
  ColumnPtr init;       // the value of nothing: one row, not null, of the accumulator's type (a scalar)
  ExpressionPtr add;    // over the input's columns, and behind them the accumulator
  int accumulator = 0;  // its column in the scope of `add`
  ExpressionPtr merge;  // over two columns: the accumulator of earlier rows, and that of later ones
};

// nullptr: accumulators cannot be of this type. Aggregates made from it work for one lane each (Aggregate::for_lane).
AggregatePtr make_expression_fold(FoldProgram program);

}  // namespace millrace
