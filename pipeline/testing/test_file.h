// TestFile: a NAME.test.yaml, read and checked against the pipeline that it tests: names of sources and sinks, columns
// and types are right before anything runs. docs/testing.md is the user's page. Values; immutable after reading.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/config_node.h"
#include "pipeline/plan.h"
#include "pipeline/testing/stepped_pipeline.h"
#include "pipeline/testing/test_expectation.h"

namespace millrace {

struct TestRecord {
  size_t source = 0;           // in the order of the pipeline file
  bool has_timestamp = false;  // else a Kafka record gets that of the moment
  MemoryRecord record;
};

struct TestStep {
  enum class Kind { kSend, kWatermark, kAdvanceTime, kCommit, kCrash, kEnd, kExpect, kExpectFailure };
  Kind kind = Kind::kCommit;
  Location at;
  std::vector<TestRecord> records;                     // kSend
  std::vector<std::pair<size_t, int64_t>> watermarks;  // kWatermark: source, milliseconds
  int64_t advance_ms = 0;                              // kAdvanceTime
  std::vector<Expectation> expectations;               // kExpect
  std::string failure_code;                            // kExpectFailure: MRnnnn
};
const char* to_string(TestStep::Kind kind);

struct TestCase {
  std::string name;
  Location at;
  uint64_t seed = 1;
  uint32_t batch_rows = 1024;
  size_t lanes = 1;
  int64_t start_time_ms = 0;
  TestPlanOptions plan;  // the partitions of its sources
  std::vector<TestStep> steps;
};

struct TestFile {
  std::string path;
  ConfigNode pipeline;  // the document of the pipeline
  std::vector<TableShape> sinks;
  std::vector<bool> kafka_sources;  // by source
  std::vector<TestCase> tests;
};

// Reads a file and its pipeline; every error of both goes to diagnostics. nullopt after one.
std::optional<TestFile> read_test_file(const std::string& path, const VariableLookup& environment,
                                       const Registries& registries, Diagnostics& diagnostics);

}  // namespace millrace
