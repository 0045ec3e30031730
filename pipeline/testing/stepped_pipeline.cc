#include "pipeline/testing/stepped_pipeline.h"

#include <algorithm>

#include "pipeline/runner.h"

namespace millrace {
namespace {

// Epochs are decided on demand only. Half of what a clock can show, so that sums of it do not overflow.
constexpr int64_t kNeverMs = INT64_MAX / 4000;
constexpr uint64_t kMaxSteps = 20'000'000;  // between two calls
// What has no timer (partitions that fall idle) is looked at so often while time passes.
constexpr int64_t kMaxClockSteps = 1000;
constexpr int64_t kUptimeMs = 1000;  // what the monotonic clock shows at first; 0 would look like "not yet"

// The connector keeps its rows apart until their epoch is decided.
bool is_staged(const PipelineSpec& spec, const SinkPlan& plan) {
  if (plan.guarantee() == SinkGuarantee::kPrepared) return true;
  return plan.guarantee() == SinkGuarantee::kTransaction && spec.mode != RecoveryMode::kNone &&
         spec.guarantee == Guarantee::kExactlyOnce;
}

void replace_source(SourceSpec& source, std::vector<PartitionName> partitions, TestPlan& result) {
  if (partitions.empty()) partitions.push_back({default_topic(source), 0});
  auto feed = std::make_shared<MemoryFeed>(std::move(partitions));
  MemorySourceSettings settings;
  settings.keeps_offsets = source.plan->kafka() != nullptr;
  // A generator has no payloads; its columns come as JSON.
  if (source.plan->makes_columns()) source.format = "json";
  source.plan = make_memory_source_plan(std::move(source.plan), feed, settings);
  result.feeds.push_back(std::move(feed));
}

void replace_sink(const PipelineSpec& spec, const ConfigNode& document, SinkSpec& sink, TestPlan& result) {
  MemorySinkSettings settings;
  settings.staged = is_staged(spec, *sink.plan);
  if (sink.plan->kafka() != nullptr) {
    const auto sinks = document.find("sinks");
    const auto body = sinks ? sinks->find(sink.name) : std::nullopt;
    const auto kafka = body ? body->find(sink.kind) : std::nullopt;
    if (const auto key = kafka ? kafka->find("key") : std::nullopt) settings.key = *key;
  }
  auto table = std::make_shared<MemoryTable>(settings.staged);
  auto plan = std::make_unique<MemorySinkPlan>(std::move(sink.plan), table, std::move(settings));
  result.sinks.push_back(plan.get());
  result.tables.push_back(std::move(table));
  sink.plan = std::move(plan);
}

}  // namespace

std::string default_topic(const SourceSpec& source) {
  const KafkaSourceSettings* kafka = source.plan->kafka();
  return kafka != nullptr && !kafka->topics.empty() ? kafka->topics[0] : source.name;
}

TestPlan make_test_plan(const ConfigNode& document, const Registries& registries, const TestPlanOptions& options,
                        Diagnostics& diagnostics) {
  TestPlan result;
  auto spec = read_spec(document, registries, diagnostics);
  if (!spec || diagnostics.has_errors()) return result;
  for (size_t i = 0; i < spec->sources.size(); i++) {
    std::vector<PartitionName> partitions;
    if (i < options.partitions.size()) partitions = options.partitions[i];
    replace_source(spec->sources[i], std::move(partitions), result);
  }
  for (SinkSpec& sink : spec->sinks) replace_sink(*spec, document, sink, result);
  if (spec->mode == RecoveryMode::kChangelog) spec->mode = RecoveryMode::kLocal;
  spec->rocksdb = spec->mode == RecoveryMode::kLocal;  // its epoch log is there
  spec->commit_interval_ms = kNeverMs;
  result.plan = make_plan(std::move(spec), diagnostics);
  return result;
}

SteppedPipeline::SteppedPipeline(const TestPlan& test_plan, Options options)
    : test_plan_(test_plan),
      options_(std::move(options)),
      clock_(options_.start_wall_ms - kUptimeMs),
      executor_(options_.seed, clock_, options_.lanes) {
  clock_.advance_ms(kUptimeMs);
}

SteppedPipeline::~SteppedPipeline() = default;

Status SteppedPipeline::start() { return begin(); }

Status SteppedPipeline::begin() {
  outcome_.reset();
  Incarnation::Settings settings;
  settings.recovery = recovery_settings(*test_plan_.plan, options_.data_dir, false);
  settings.clock = &clock_;
  settings.executor = &executor_;
  settings.background_state = false;
  settings.max_batch_rows = options_.max_batch_rows;
  settings.make_log = [this](const RecoverySettings& recovery) {
    return make_decision_log(recovery, clock_, Logger());
  };
  incarnation_ = std::make_unique<Incarnation>(*test_plan_.plan, settings, [this](IncarnationOutcome outcome) {
    outcome_ = std::move(outcome);
    completed_ = outcome_->completed;
  });
  incarnation_->start();
  return run_all();
}

std::vector<size_t> SteppedPipeline::feed_positions() const {
  std::vector<size_t> positions;
  for (const auto& feed : test_plan_.feeds) positions.push_back(feed->position());
  return positions;
}

bool SteppedPipeline::feeds_drained() const {
  return std::all_of(test_plan_.feeds.begin(), test_plan_.feeds.end(),
                     [](const auto& feed) { return feed->is_drained(); });
}

// At rest: nothing is due now, and a source that has not handed out everything waits for something else than a poll.
Status SteppedPipeline::run_all() {
  for (uint64_t step = 0; !outcome_; step++) {
    if (step > kMaxSteps) return Status::internal("the pipeline does not come to rest");
    if (executor_.step_now()) continue;
    if (feeds_drained()) return Status::ok();
    executor_.wake_sources();
    const std::vector<size_t> before = feed_positions();
    while (!outcome_ && executor_.step_now()) step++;
    if (!outcome_ && feed_positions() == before) return Status::ok();
  }
  return outcome_->status;
}

Status SteppedPipeline::settle() {
  if (outcome_) return outcome_->status;
  executor_.wake_sources();
  return run_all();
}

Status SteppedPipeline::advance(int64_t ms) {
  const int64_t end_ms = clock_.wall_ms() + ms;
  const int64_t max_step_ms = std::max<int64_t>(ms / kMaxClockSteps, 1);
  while (!outcome_ && clock_.wall_ms() < end_ms) {
    const int64_t now_ms = clock_.wall_ms();
    int64_t next_ms = std::min(now_ms + max_step_ms, end_ms);
    // A timer finds the clock where it is due.
    const int64_t due_ms = incarnation_->next_clock_ms();
    if (due_ms > now_ms && due_ms < next_ms) next_ms = due_ms;
    clock_.advance_ms(next_ms - now_ms);
    incarnation_->wake_timers();
    MR_RETURN_IF_ERROR(settle());
  }
  return outcome_ ? outcome_->status : Status::ok();
}

Status SteppedPipeline::commit() {
  if (outcome_) return outcome_->status;
  const uint64_t before = incarnation_->status().decisions;
  incarnation_->decide_now();
  MR_RETURN_IF_ERROR(settle());
  if (!outcome_ && incarnation_->status().decisions == before)
    return Status::internal("the open epoch cannot be decided");
  return Status::ok();
}

Status SteppedPipeline::crash() {
  if (completed_) return Status::ok();
  incarnation_.reset();
  return begin();
}

}  // namespace millrace
