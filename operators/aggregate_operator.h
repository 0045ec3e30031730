// The keyed `aggregate` operator without windows: one state block per key, results as running values (emit: each) or
// once per key and epoch (emit: update).
#pragma once

#include <memory>

#include "operators/aggregate_program.h"
#include "operators/operator.h"

namespace millrace {

std::unique_ptr<Operator> make_aggregate_operator(std::shared_ptr<const AggregateProgram> program);

}  // namespace millrace
