// What operators over windows (aggregate, top_n) decide alike when they are planned. Any thread.
#pragma once

#include <memory>
#include <string>

#include "base/diagnostics.h"
#include "operators/aggregate_program.h"
#include "operators/operator.h"

namespace millrace {

// Windows whose bounds depend on the rows of their key: session, sliding, count.
bool depends_on_rows(const WindowSpec& window);
// Whether the window can be shown as `emit` says; an error at `window_at` if not.
bool check_emit(const WindowSpec& window, const EmitSpec& emit, const Location& window_at, Diagnostics& diagnostics);
// Each row of the output stands for itself: no later one takes its place.
bool appends(const WindowSpec& window, const EmitSpec& emit);
// What blocks of the state hold besides the aggregates, for state descriptors; "" or words that begin with a blank.
std::string own_slots_descriptor(const AggregateProgram& program);
// The operator of a program with a window, or without one but with timers (ttl, min_interval).
std::unique_ptr<Operator> make_windowed_operator(std::shared_ptr<const AggregateProgram> program);

}  // namespace millrace
