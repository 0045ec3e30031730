// deduplicate: which rows of a key pass. The plan (deduplicate.cc) makes a program; `keep: first` and `keep: last` are
// operators of their own.
#pragma once

#include <memory>
#include <vector>

#include "operators/operator.h"

namespace millrace {

struct DeduplicateProgram {
  bool keep_last = false;
  // Rows further apart than this in event time are not duplicates; 0: whatever the time between them.
  int64_t within_ms = 0;
  bool keeps_late_rows = false;  // somebody reads them
  Schema input;
  // keep: last
  std::vector<int> columns;      // of the input, those that are kept
  std::vector<Type> types;       // of these
  std::vector<int> key_columns;  // in the output
  bool gives_retractions = false;
};

std::unique_ptr<Operator> make_deduplicate_first(std::shared_ptr<const DeduplicateProgram> program);
std::unique_ptr<Operator> make_deduplicate_last(std::shared_ptr<const DeduplicateProgram> program);

}  // namespace millrace
