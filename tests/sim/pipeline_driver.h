// PipelineTestDriver: a whole pipeline, as it would run, on a SimulatedExecutor: real sources, operators, sinks, state
// and decision log, no threads, no broker. A crash is simulated by dropping every object between two steps; what was
// written to files stays, as after kill -9.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "pipeline/incarnation.h"
#include "pipeline/plan.h"
#include "pipeline/testing/simulated_executor.h"

namespace millrace {

struct DriverOptions {
  uint64_t seed = 1;
  uint32_t max_batch_rows = 1024;
  size_t lanes = 2;
  uint64_t crash_every_epochs = 0;  // 0: never; n: a crash after every n-th decided epoch
  uint64_t crash_every_steps = 0;   // 0: never; n: a crash after about n steps, again and again (up to max_crashes)
  size_t max_crashes = 50;
  uint64_t max_steps = 2'000'000;  // of one life; a pipeline that does not end by then fails
  std::string data_dir;
};

struct DriverResult {
  Status status;
  bool completed = false;
  size_t crashes = 0;
  PipelineStatus last;  // of the last life
};

class PipelineTestDriver {
 public:
  PipelineTestDriver(const Plan& plan, DriverOptions options) : plan_(plan), options_(std::move(options)) {}
  // Runs a bounded pipeline to its end, with crashes as asked.
  DriverResult run();

 private:
  // One life; true when the pipeline has ended, false when it crashed.
  bool live(uint64_t seed, uint64_t crash_at_step, DriverResult* result);
  const Plan& plan_;
  DriverOptions options_;
};

}  // namespace millrace
