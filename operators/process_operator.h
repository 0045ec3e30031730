// The runtime of `process`: runs the steps of a ProcessProgram on records and timers.
#pragma once

#include <memory>

#include "operators/operator.h"
#include "operators/process_program.h"

namespace millrace {

std::unique_ptr<Operator> make_process_operator(std::shared_ptr<const ProcessProgram> program);

}  // namespace millrace
