// File sink: rows as lines of one file that holds committed rows only. docs/sinks/file.md is the user's page.
#pragma once

#include <memory>
#include <string>

#include "sinks/line_encoder.h"
#include "sinks/sink_plan.h"

namespace millrace {

void register_file_sink(SinkRegistry& registry);

// The sink behind the registered kind. Its progress is text: "file1 LENGTH CHECKSUM PATH".
std::unique_ptr<Sink> make_file_sink(const std::string& name, const std::string& path,
                                     std::unique_ptr<LineEncoder> encoder);

}  // namespace millrace
