// The `aggregate` operator over hopping windows that are shown when they close: a row is folded once, into the slice
// that all its windows share, and a window is put together from its slices when it fires. (Windows that have to be
// shown before are kept one by one: window_operator.h.)
#pragma once

#include <memory>

#include "operators/aggregate_program.h"
#include "operators/operator.h"

namespace millrace {

// Whether this operator is the one for the program.
bool is_sliced(const AggregateProgram& program);
std::unique_ptr<Operator> make_hopping_operator(std::shared_ptr<const AggregateProgram> program);

}  // namespace millrace
