// Generator source: rows computed from their index. docs/sources/generator.md is the user's page.
#pragma once

#include "sources/source_plan.h"

namespace millrace {

void register_generator_source(SourceRegistry& registry);

}  // namespace millrace
