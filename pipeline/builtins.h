// The list of everything a pipeline file may name. A new source, operator or sink is registered here, in order.
#pragma once

#include "pipeline/spec.h"

namespace millrace {

void register_builtins(Registries& registries);

}  // namespace millrace
