// Rewrites the expectations of a test file to what came, leaving everything else as it is written: rows that match stay
// untouched, in a row that differs only the values that differ change, comments stay.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pipeline/testing/test_run.h"

namespace millrace {

struct ExpectationUpdate {
  std::string text;         // of the file
  size_t expectations = 0;  // that were rewritten
};

// `text` is that of the file from which the expectations were read. The result is YAML again, or else a Status that
// says that it could not be made.
Result<ExpectationUpdate> update_expectations(const std::string& file, std::string_view text,
                                              const std::vector<Mismatch>& mismatches);

}  // namespace millrace
