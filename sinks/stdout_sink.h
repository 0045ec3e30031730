// Stdout sink: rows as lines on a descriptor. docs/sinks/stdout.md is the user's page.
#pragma once

#include <memory>

#include "sinks/line_encoder.h"
#include "sinks/sink_plan.h"

namespace millrace {

// descriptor: where the rows go; it must stay open. The process must ignore SIGPIPE to see a closed pipe as an error.
void register_stdout_sink(SinkRegistry& registry, int descriptor = 1);

std::unique_ptr<Sink> make_stdout_sink(const std::string& name, int descriptor, std::unique_ptr<LineEncoder> encoder);

}  // namespace millrace
