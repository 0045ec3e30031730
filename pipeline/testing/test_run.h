// Runs one test of a TestFile. Deterministic: the same file gives the same result.
#pragma once

#include <string>
#include <vector>

#include "pipeline/testing/row_alignment.h"
#include "pipeline/testing/test_file.h"

namespace millrace {

// Rows that are not as expected.
struct Mismatch {
  const Expectation* expectation = nullptr;  // of the test
  Alignment alignment;
};

// Anything else: the pipeline stopped, or did not stop.
struct TestFailure {
  Location at;
  std::string message;
};

struct TestResult {
  std::vector<Mismatch> mismatches;
  std::vector<TestFailure> failures;
  bool passed() const { return mismatches.empty() && failures.empty(); }
};

// A mismatch does not end the test; a pipeline that stops does, unless the test expects it. State lives in a temporary
// folder that is gone afterwards. Precondition: file was read with the same registries.
TestResult run_test(const TestFile& file, const TestCase& test, const Registries& registries);

}  // namespace millrace
