// How a comparison of rows is shown to people. Pure functions; any thread.
#pragma once

#include <string>

#include "pipeline/testing/row_alignment.h"

namespace millrace {

// Lines, each indented by four spaces: expected rows that are missing with -, rows that came unexpectedly with +, a
// pair of both with the columns that differ below it, rows that match without a mark. Precondition: !alignment.good.
std::string describe_differences(const Expectation& expectation, const Alignment& alignment);
// "2 rows differ, 1 is missing, 1 came unexpectedly".
std::string summarize_differences(const Expectation& expectation, const Alignment& alignment);

}  // namespace millrace
