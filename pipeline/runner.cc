#include "pipeline/runner.h"

#include <algorithm>
#include <random>

namespace millrace {
namespace {
constexpr int64_t kFirstBackoffMs = 200;
constexpr int64_t kMaxBackoffMs = 10'000;
constexpr int64_t kHealthyMs = 60'000;  // a life this long resets the backoff
}  // namespace

PipelineRunner::PipelineRunner(const Plan& plan, Incarnation::Settings settings, std::function<void()> ended)
    : plan_(plan), settings_(std::move(settings)), ended_(std::move(ended)) {
  strand_ = settings_.executor->blocking("runner");
  std::random_device device;
  settings_.recovery.writer = static_cast<uint64_t>(device()) << 32 | device();
}

PipelineRunner::~PipelineRunner() {
  strand_->stop();
  std::unique_ptr<Incarnation> last;
  {
    std::lock_guard lock(mutex_);
    last = std::move(incarnation_);
  }
}

void PipelineRunner::start() {
  strand_->post([this] { begin(); });
}

void PipelineRunner::begin() {
  auto incarnation = std::make_unique<Incarnation>(plan_, settings_, [this](IncarnationOutcome outcome) {
    strand_->post([this, outcome] { incarnation_ended(outcome); });
  });
  bool stopped;
  {
    std::lock_guard lock(mutex_);
    waiting_ = false;
    stopped = stop_requested_;
    if (!stopped) {
      started_ms_ = settings_.clock->monotonic_us() / 1000;
      if (first_started_ms_ == 0) first_started_ms_ = started_ms_;
      incarnation_ = std::move(incarnation);
      incarnation_->start();
    }
  }
  if (stopped) finish(PipelineState::kStopped, Status::ok());
}

void PipelineRunner::stop() {
  strand_->post([this] {
    bool waiting;
    {
      std::lock_guard lock(mutex_);
      stop_requested_ = true;
      if (incarnation_) incarnation_->stop();
      waiting = waiting_ && !final_state_;
    }
    if (waiting) finish(PipelineState::kStopped, Status::ok());
  });
}

int64_t PipelineRunner::next_backoff_ms() {
  const int64_t now = settings_.clock->monotonic_us() / 1000;
  if (now - started_ms_ > kHealthyMs) backoff_ms_ = 0;
  backoff_ms_ = backoff_ms_ == 0 ? kFirstBackoffMs : std::min(backoff_ms_ * 2, kMaxBackoffMs);
  return backoff_ms_;
}

// What a user would ask next: which brokers, which folder.
Status PipelineRunner::explained(const Status& status) const {
  if (status.code() == Code::kKafkaUnavailable && !plan_.spec->kafka.brokers.empty())
    return status.with_context("brokers " + plan_.spec->kafka.brokers);
  const RecoverySettings& recovery = settings_.recovery;
  if (status.code() == Code::kFileChanged && recovery.mode != RecoveryMode::kNone)
    return status.with_context("state " + recovery.data_directory);
  return status;
}

void PipelineRunner::incarnation_ended(IncarnationOutcome outcome) {
  std::unique_ptr<Incarnation> ended;
  bool stopped;
  {
    std::lock_guard lock(mutex_);
    ended = std::move(incarnation_);
    status_ = ended->status();
    decisions_before_ += status_.decisions;
    records_before_ += status_.records_in;
    stopped = stop_requested_;
    if (status_.epoch > 0) settings_.recovery.known_epoch = status_.epoch;
    outcome.status = explained(outcome.status);
    if (!outcome.status.is_ok()) last_error_ = outcome.status;
  }
  ended.reset();  // joins its threads; nothing of it runs any more
  if (outcome.status.is_ok())
    return finish(outcome.completed ? PipelineState::kCompleted : PipelineState::kStopped, Status::ok());
  // In mode changelog the local store is a cache: a damaged one is replaced, once in a row.
  RecoverySettings& recovery = settings_.recovery;
  const bool replaceable = outcome.status.code() == Code::kStateCorrupt && recovery.mode == RecoveryMode::kChangelog &&
                           recovery.store_damage.empty();
  recovery.store_damage = replaceable ? outcome.status.message() : "";
  if (outcome.status.retry() == Retry::kNever && !replaceable) return finish(PipelineState::kFailed, outcome.status);
  if (stopped) {
    settings_.log.warn("{}; stopped without deciding the open epoch, the next start processes it again",
                       outcome.status.to_string());
    return finish(PipelineState::kStopped, Status::ok());
  }
  const int64_t delay_ms = outcome.unknown_outcome ? 0 : next_backoff_ms();
  settings_.log.warn("{}; restarting in {} ms", outcome.status.to_string(), delay_ms);
  {
    std::lock_guard lock(mutex_);
    restarts_++;
    waiting_ = true;
  }
  strand_->post_after(delay_ms, [this] {
    bool go;
    {
      std::lock_guard lock(mutex_);
      go = waiting_ && !final_state_;
    }
    if (go) begin();
  });
}

void PipelineRunner::finish(PipelineState state, Status status) {
  {
    std::lock_guard lock(mutex_);
    if (final_state_) return;
    final_state_ = state;
    ended_ms_ = settings_.clock->monotonic_us() / 1000;
    waiting_ = false;
    if (!status.is_ok()) last_error_ = status;
  }
  if (!status.is_ok()) settings_.log.error("{}", status.to_string());
  ended_();
}

PipelineStatus PipelineRunner::status() const {
  std::lock_guard lock(mutex_);
  PipelineStatus status = incarnation_ ? incarnation_->status() : status_;
  if (incarnation_) {
    status.decisions += decisions_before_;
    status.records_in += records_before_;
  } else {
    status.decisions = decisions_before_;
    status.records_in = records_before_;
  }
  if (final_state_)
    status.state = *final_state_;
  else if (waiting_)
    status.state = PipelineState::kWaiting;
  return status;
}

uint64_t PipelineRunner::restarts() const {
  std::lock_guard lock(mutex_);
  return restarts_;
}

int64_t PipelineRunner::ran_ms() const {
  std::lock_guard lock(mutex_);
  if (first_started_ms_ == 0) return 0;
  return (ended_ms_ > 0 ? ended_ms_ : settings_.clock->monotonic_us() / 1000) - first_started_ms_;
}

Status PipelineRunner::last_error() const {
  std::lock_guard lock(mutex_);
  return last_error_;
}

bool PipelineRunner::has_ended() const {
  std::lock_guard lock(mutex_);
  return final_state_.has_value();
}

RecoverySettings recovery_settings(const Plan& plan, const std::string& data_dir, bool accept_reset) {
  const PipelineSpec& spec = *plan.spec;
  RecoverySettings settings;
  settings.pipeline = spec.name;
  settings.mode = spec.mode;
  settings.guarantee = spec.guarantee;
  bool kafka_sink = false;
  for (const PlannedSink& sink : plan.sinks) kafka_sink = kafka_sink || sink.spec->plan->kafka() != nullptr;
  // Modes without a Kafka decision connect only for sinks that need a producer.
  if (spec.mode == RecoveryMode::kChangelog || kafka_sink) settings.kafka = spec.kafka;
  settings.shards = spec.shards;
  settings.changelog_partitions = spec.changelog_partitions;
  settings.data_directory = data_dir + "/" + spec.name;
  settings.rocksdb = spec.rocksdb;
  settings.state = spec.state;
  settings.state.directory = settings.data_directory + "/state";
  settings.accept_reset = accept_reset;
  // A transaction is open for a whole epoch; the default suits intervals of up to 3 s.
  settings.transaction_timeout_ms =
      std::max(settings.transaction_timeout_ms, static_cast<int>(3 * spec.max_commit_interval_ms));
  for (const PlannedOperator& op : plan.operators)
    if (op.keyed()) settings.operators.push_back({op.spec->id, op.spec->plan->state_descriptor()});
  for (const PlannedSource& source : plan.sources)
    if (const KafkaSourceSettings* kafka = source.spec->plan->kafka())
      settings.groups.push_back({source.spec->name, kafka->group, true});
  return settings;
}

}  // namespace millrace
