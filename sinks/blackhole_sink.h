// Blackhole sink: takes rows and drops them. docs/sinks/blackhole.md is the user's page.
#pragma once

#include "sinks/sink_plan.h"

namespace millrace {

void register_blackhole_sink(SinkRegistry& registry);

}  // namespace millrace
