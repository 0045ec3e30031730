#include "tests/sim/pipeline_driver.h"

#include "pipeline/runner.h"

namespace millrace {

DriverResult PipelineTestDriver::run() {
  DriverResult result;
  std::mt19937_64 random(options_.seed);
  for (uint64_t life = 0;; life++) {
    uint64_t crash_at = 0;
    const bool may_crash = result.crashes < options_.max_crashes;
    if (options_.crash_every_steps > 0 && may_crash) crash_at = 1 + random() % (2 * options_.crash_every_steps);
    if (live(options_.seed * 1000 + life, crash_at, &result)) return result;
    result.crashes++;
  }
}

bool PipelineTestDriver::live(uint64_t seed, uint64_t crash_at_step, DriverResult* result) {
  ManualClock clock(1'700'000'000'000);
  SimulatedExecutor executor(seed, clock, options_.lanes);
  Incarnation::Settings settings;
  settings.recovery = recovery_settings(plan_, options_.data_dir, false);
  settings.clock = &clock;
  settings.executor = &executor;
  settings.background_state = false;
  settings.max_batch_rows = options_.max_batch_rows;
  settings.make_log = [&clock](const RecoverySettings& recovery) {
    return make_decision_log(recovery, clock, Logger());
  };
  bool ended = false;
  IncarnationOutcome outcome;
  Incarnation incarnation(plan_, settings, [&](IncarnationOutcome reported) {
    ended = true;
    outcome = std::move(reported);
  });
  incarnation.start();
  const bool epoch_crashes = options_.crash_every_epochs > 0 && result->crashes < options_.max_crashes;
  for (uint64_t step = 1; !ended; step++) {
    if (!executor.step() || step > options_.max_steps) {
      result->status = Status::internal("the pipeline does not end (seed " + std::to_string(seed) + ")");
      return true;
    }
    if (crash_at_step > 0 && step >= crash_at_step) return false;
    if (epoch_crashes && incarnation.status().decisions >= options_.crash_every_epochs + 1) return false;
  }
  result->status = outcome.status;
  result->completed = outcome.completed;
  result->last = incarnation.status();
  return true;
}

}  // namespace millrace
