// The `aggregate` operator over windows that depend on the rows of their key: session, sliding, count. Rows are folded
// in one by one, since each may move the windows; timers stand per key and are not moved when a session grows: one that
// comes too early is set again.
#pragma once

#include <memory>

#include "operators/aggregate_program.h"
#include "operators/operator.h"

namespace millrace {

std::unique_ptr<Operator> make_key_window_operator(std::shared_ptr<const AggregateProgram> program);

}  // namespace millrace
