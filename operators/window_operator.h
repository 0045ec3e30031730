// The `aggregate` operator over windows that rows are assigned to (tumbling, hopping, custom, global): one state block
// per window and key, shown when the window closes, early, late, at each row or once per epoch. Without a window: an
// aggregate that needs timers (ttl, min_interval).
#pragma once

#include <memory>

#include "operators/aggregate_program.h"
#include "operators/operator.h"

namespace millrace {

std::unique_ptr<Operator> make_window_operator(std::shared_ptr<const AggregateProgram> program);

}  // namespace millrace
