// SteppedPipeline: a pipeline that moves only when it is told to: its connectors are in memory
// (sources/memory_source.h, sinks/memory_sink.h), its threads are a SimulatedExecutor, its clock is manual. Between two
// calls nothing happens. An epoch is decided by commit() and at the end of input, never because time has passed. One
// thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "pipeline/incarnation.h"
#include "pipeline/plan.h"
#include "pipeline/testing/simulated_executor.h"
#include "sinks/memory_sink.h"
#include "sources/memory_source.h"

namespace millrace {

// A plan whose connectors have been replaced by memory. Sources and sinks are in the order of the file.
struct TestPlan {
  std::unique_ptr<Plan> plan;
  std::vector<std::shared_ptr<MemoryFeed>> feeds;
  std::vector<std::shared_ptr<MemoryTable>> tables;
  std::vector<const MemorySinkPlan*> sinks;  // owned by the plan
};

struct TestPlanOptions {
  // By source: its partitions. Empty, or none for a source: one partition.
  std::vector<std::vector<PartitionName>> partitions;
};

// Replaces the connectors of a pipeline that lint has found right. What it promises stays: under exactly_once a sink
// shows what was decided (a file always does), under at_least_once a Kafka sink shows rows as they leave; recovery mode
// changelog becomes local. nullptr plan: diagnostics has errors.
TestPlan make_test_plan(const ConfigNode& document, const Registries& registries, const TestPlanOptions& options,
                        Diagnostics& diagnostics);

// The name that the partitions of a source go by when nobody names a topic.
std::string default_topic(const SourceSpec& source);

class SteppedPipeline {
 public:
  struct Options {
    uint64_t seed = 1;  // of the order in which strands run
    uint32_t max_batch_rows = 1024;
    size_t lanes = 1;
    int64_t start_wall_ms = 0;
    std::string data_dir;  // an empty folder
  };
  // test_plan outlives the pipeline.
  SteppedPipeline(const TestPlan& test_plan, Options options);
  ~SteppedPipeline();
  SteppedPipeline(const SteppedPipeline&) = delete;

  // All of these run the pipeline until nothing more can happen. The status is the pipeline's: once it is an error, the
  // pipeline has stopped, and only crash() starts it again.
  Status start();
  Status settle();
  // Processing time passes; timers fire at the moment at which they are due.
  Status advance(int64_t ms);
  // Decides the open epoch. After the end: nothing.
  Status commit();
  // kill -9 and a new start: everything undecided is lost. After the end of input: nothing happens.
  Status crash();

  // All input has ended and was decided.
  bool has_completed() const { return completed_; }
  int64_t wall_ms() const { return clock_.wall_ms(); }

 private:
  Status begin();
  Status run_all();
  bool feeds_drained() const;
  std::vector<size_t> feed_positions() const;

  const TestPlan& test_plan_;
  const Options options_;
  ManualClock clock_;
  SimulatedExecutor executor_;
  std::unique_ptr<Incarnation> incarnation_;
  std::optional<IncarnationOutcome> outcome_;
  bool completed_ = false;
};

}  // namespace millrace
