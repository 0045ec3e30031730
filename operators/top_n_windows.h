// top_n with a window: the list of a key and window is the only slot of an aggregate over windows, so that everything
// that windows can do is done by them; what comes out, lists as bytes, is made rows again. The plan (top_n.cc) makes
// both programs.
#pragma once

#include <memory>

#include "operators/aggregate_program.h"
#include "operators/operator.h"
#include "operators/top_n.h"

namespace millrace {

// Completes the program of the windows, in which input, keys, window and emit are set (and whether rows replace others,
// gives_retractions): the input gets one column more, which holds what an arriving row is to the list.
void add_top_list(const TopProgram& top, AggregateProgram& windows);

std::unique_ptr<Operator> make_top_n_windows(std::shared_ptr<const TopProgram> top,
                                             std::shared_ptr<const AggregateProgram> windows);

}  // namespace millrace
