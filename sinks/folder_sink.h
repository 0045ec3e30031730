// Folder sink: a file sink with `roll`, or with columns in its path: a folder of parts. docs/sinks/file.md is the
// user's
// page.
#pragma once

#include <memory>

#include "sinks/part_folder.h"
#include "sinks/sink_plan.h"

namespace millrace {

// Reads `file:` of a sink whose body has roll, or a path with a column in it; nullptr after an error.
std::unique_ptr<SinkPlan> read_folder_sink(const ConfigNode& body, Diagnostics& diagnostics);
bool is_folder_sink(const ConfigNode& body);

}  // namespace millrace
