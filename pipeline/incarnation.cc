#include "pipeline/incarnation.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {
namespace {
constexpr int64_t kBehindMs = 1000;  // further behind than this, epochs may stretch
constexpr int64_t kFirstIntervalMs = 25;  // of the first epoch that processes rows
constexpr int64_t kHealthIntervalMs = 1000;
constexpr int64_t kNumbersIntervalMs = 5000;
constexpr size_t kMaxPendingMemtables = 2;  // decided deltas that wait for the store
// How old decided changes get before they are in the store: what a restart has to replay.
constexpr int64_t kStoreAgeMs = 1000;
constexpr size_t kMaxHeldMemtables = 4;     // deltas in memory, undecided ones too; then sources wait
constexpr int64_t kMaxTickMs = 10;
constexpr int64_t kMaxGatherMs = 5;  // by which sources may be late where nothing shows before a decision
}  // namespace

const char* to_string(PipelineState state) {
  switch (state) {
    case PipelineState::kStarting: return "starting";
    case PipelineState::kRestoring: return "restoring";
    case PipelineState::kRunning: return "running";
    case PipelineState::kStopping: return "stopping";
    case PipelineState::kCompleted: return "completed";
    case PipelineState::kStopped: return "stopped";
    case PipelineState::kFailed: return "failed";
    case PipelineState::kWaiting: return "waiting";
  }
  return "unknown";
}

Incarnation::Incarnation(const Plan& plan, Settings settings, std::function<void(IncarnationOutcome)> done)
    : plan_(plan), settings_(std::move(settings)), done_(std::move(done)) {
  strand_ = settings_.executor->blocking("coordinator");
  decider_ = settings_.executor->blocking("decider");
}

Incarnation::~Incarnation() {
  strand_->stop();
  for (auto& task : sources_) task->stop();
  for (auto& task : lanes_) task->stop();
  for (auto& task : sinks_) task->stop();
  decider_->stop();
  sources_.clear();
  lanes_.clear();
  sinks_.clear();
  layers_.reset();
}

void Incarnation::start() {
  strand_->post([this] { recover(); });
}

void Incarnation::stop() {
  strand_->post([this] {
    if (is_ended() || stop_requested_) return;
    stop_requested_ = true;
    if (phase_ != Phase::kRunning) return end({});
    publish();
  });
}

void Incarnation::decide_now() { wants_barrier(0); }

int64_t Incarnation::next_clock_ms() const {
  int64_t next = kEndOfTime;
  for (const auto& lane : lanes_) next = std::min(next, lane->next_clock_ms());
  return next;
}

void Incarnation::wake_timers() {
  strand_->post([this] {
    if (!is_ended()) wake_due_lanes();
  });
}

PipelineStatus Incarnation::status() const {
  std::lock_guard lock(status_mutex_);
  PipelineStatus status = status_;
  return status;
}

void Incarnation::recover() {
  {
    std::lock_guard lock(status_mutex_);
    status_.state = PipelineState::kRestoring;
  }
  log_ = settings_.make_log(settings_.recovery);
  decider_->post([this] {
    auto result = log_->recover();
    auto recovered = std::make_shared<Result<Recovered>>(std::move(result));
    strand_->post([this, recovered] {
      if (is_ended()) return;
      if (!recovered->is_ok()) return end({recovered->status()});
      recovered_ = std::move(*recovered).value();
      {
        std::lock_guard lock(status_mutex_);
        status_.epoch = recovered_.progress.epoch;
      }
      build_tasks();
      open_tasks();
    });
  });
}

void Incarnation::build_tasks() {
  size_t lanes = 0;
  const size_t per_stage = std::min<size_t>(plan_.spec->shards, settings_.executor->compute_threads());
  for (const PlannedOperator& op : plan_.operators) lanes += op.keyed() ? per_stage : 0;
  StateLayers::Options options;
  options.max_age_ms = kStoreAgeMs;
  options.memtable_bytes = plan_.spec->state.memtable_bytes;
  options.background = settings_.background_state;
  options.now_ms = [clock = settings_.clock] { return clock->monotonic_us() / 1000; };
  // A stateless pipeline has one idle lane: its progress still goes into the store.
  layers_ = std::make_unique<StateLayers>(*recovered_.store, std::max<size_t>(lanes, 1), options);
  layers_->on_ingested([this](uint64_t epoch) { log_->stored(epoch); });
  // The first epoch to process: a first start decides its positions in one of its own.
  next_epoch_ = recovered_.progress.epoch + 1;
  const bool first_decision = recovered_.first_start && settings_.recovery.mode != RecoveryMode::kNone;
  const uint64_t first_epoch = next_epoch_ + (first_decision ? 1 : 0);
  build_sources(first_epoch);
  build_lanes(first_epoch);
  build_sinks(first_epoch);
  connect();
}

void Incarnation::build_sources(uint64_t) {
  alignment_ = std::make_unique<SourceAlignment>(plan_.sources.size());
  for (size_t i = 0; i < plan_.sources.size(); i++) {
    SourceTask::Settings settings;
    settings.context.pipeline = plan_.spec->name;
    settings.context.source = plan_.sources[i].spec->name;
    settings.context.clock = settings_.clock;
    settings.context.log = settings_.log;
    settings.context.kafka = plan_.spec->kafka;
    settings.context.keyed_state = plan_.has_keyed_state();
    for (const SourceProgress& known : recovered_.progress.sources)
      if (known.source == plan_.sources[i].spec->name) settings.context.known = true;
    if (plan_.spec->mode == RecoveryMode::kChangelog && plan_.spec->guarantee == Guarantee::kExactlyOnce)
      settings.context.gather_ms = static_cast<int>(std::min(plan_.spec->commit_interval_ms / 20, kMaxGatherMs));
    settings.context.accept_reset = settings_.recovery.accept_reset;
    settings.limits.max_rows = settings_.max_batch_rows;
    settings.waits_between_polls = !settings_.background_state;
    settings.alignment = alignment_.get();
    settings.held_back = &sources_held_back_;
    sources_.push_back(std::make_unique<SourceTask>(tasks_++, settings_.executor->blocking("source"),
                                                    static_cast<TaskEvents&>(*this), plan_, i, settings));
  }
  positions_.resize(sources_.size());
}

void Incarnation::build_lanes(uint64_t first_epoch) {
  const size_t per_stage = std::min<size_t>(plan_.spec->shards, settings_.executor->compute_threads());
  const size_t channel_bytes = std::clamp<size_t>(plan_.spec->buffer_bytes / 8, 64 << 10, 4 << 20);
  size_t keyed = 0;
  for (const PlannedOperator& op : plan_.operators) keyed += op.keyed() ? 1 : 0;
  for (size_t index = 0; index < plan_.operators.size(); index++) {
    const PlannedOperator& op = plan_.operators[index];
    if (!op.keyed()) continue;
    for (size_t lane = 0; lane < per_stage; lane++) {
      LaneTask::Settings settings;
      settings.op = index;
      settings.lane = lane;
      settings.lanes = per_stage;
      settings.clock = settings_.clock;
      for (const OperatorProgress& known : recovered_.progress.operators)
        if (known.id == op.spec->id) settings.operator_number = known.number;
      settings.cache_bytes = plan_.spec->state.cache_bytes / (keyed * per_stage);
      settings.channel_bytes = channel_bytes;
      settings.first_epoch = first_epoch;
      settings.emit_per_batch =
          settings_.recovery.mode != RecoveryMode::kNone && plan_.spec->guarantee == Guarantee::kAtLeastOnce;
      lanes_of_[index].push_back(lanes_.size());
      lanes_.push_back(std::make_unique<LaneTask>(tasks_++, settings_.executor->compute(),
                                                  static_cast<TaskEvents&>(*this), plan_, layers_->lane(lanes_.size()),
                                                  settings));
    }
  }
}

void Incarnation::build_sinks(uint64_t first_epoch) {
  const size_t channel_bytes = std::clamp<size_t>(plan_.spec->buffer_bytes / 8, 64 << 10, 4 << 20);
  for (size_t i = 0; i < plan_.sinks.size(); i++) {
    SinkTask::Settings settings;
    settings.sink = i;
    settings.channel_bytes = channel_bytes;
    settings.first_epoch = first_epoch;
    settings.log = settings_.log;
    settings.producer = log_->sink_producer();
    const bool transactional = plan_.sinks[i].spec->plan->guarantee() == SinkGuarantee::kTransaction;
    settings.open_epoch = [log = log_.get(), transactional] { return transactional ? log->open_epoch() : UINT64_MAX; };
    sinks_.push_back(std::make_unique<SinkTask>(tasks_++, settings_.executor->blocking("sink"),
                                                static_cast<TaskEvents&>(*this), plan_, settings));
  }
  log_->on_open([this] {
    for (auto& sink : sinks_) sink->wake();
  });
}

TaskRoutes Incarnation::route(const std::vector<Target>& targets, TaskOutputs& outputs, std::function<void()> on_room) {
  TaskRoutes routes;
  const Reach reach = reach_of(plan_, targets);
  for (size_t op : reach.keyed)
    for (size_t lane : lanes_of_.at(op))
      routes.lanes[op].push_back(
          outputs.add({&lanes_[lane]->inbox(), lanes_[lane]->inbox().add_channel(on_room), true}));
  std::vector<size_t> sinks = reach.sinks;
  for (size_t sink : dead_letter_sinks(plan_))
    if (std::find(sinks.begin(), sinks.end(), sink) == sinks.end()) sinks.push_back(sink);
  for (size_t sink : sinks)
    routes.sinks[sink] = outputs.add({&sinks_[sink]->inbox(), sinks_[sink]->inbox().add_channel(on_room)});
  return routes;
}

void Incarnation::connect() {
  for (size_t i = 0; i < sources_.size(); i++) {
    SourceTask* task = sources_[i].get();
    task->connect(route(plan_.sources[i].targets, task->outputs(), [task] { task->wake(); }));
  }
  for (const auto& [op, lanes] : lanes_of_) {
    for (size_t lane : lanes) {
      LaneTask* task = lanes_[lane].get();
      task->connect(route(plan_.operators[op].all_targets(), task->outputs(), [task] { task->wake(); }));
    }
  }
  const std::vector<size_t> letters = dead_letter_sinks(plan_);
  for (size_t i = 0; i < sinks_.size(); i++) {
    if (std::find(letters.begin(), letters.end(), i) != letters.end()) continue;
    std::map<size_t, size_t> channels;
    for (size_t letter : letters)
      channels[letter] = sinks_[i]->outputs().add(
          {&sinks_[letter]->inbox(), sinks_[letter]->inbox().add_channel([task = sinks_[i].get()] { task->wake(); })});
    sinks_[i]->connect(std::move(channels));
  }
}

void Incarnation::open_tasks() {
  phase_ = Phase::kOpening;
  opening_ = tasks_;
  open_sinks();
  for (auto& lane : lanes_) lane->open();
  for (size_t i = 0; i < sources_.size(); i++) {
    std::vector<PartitionProgress> resume;
    for (const SourceProgress& known : recovered_.progress.sources)
      if (known.source == plan_.sources[i].spec->name) resume = known.partitions;
    sources_[i]->open(std::move(resume));
  }
}

// A sink goes on where the one of its name stood, or one that wrote to the same place before it was renamed: what is
// committed there is neither replaced nor repeated. What sinks that are gone have committed stays in the record, for
// the day they come back.
void Incarnation::open_sinks() {
  std::vector<SinkProgress>& known = recovered_.progress.sinks;
  const auto take = [&known](const auto& matches) {
    std::optional<SinkProgress> progress;
    const auto found = std::find_if(known.begin(), known.end(), matches);
    if (found == known.end()) return progress;
    progress = std::move(*found);
    known.erase(found);
    return progress;
  };
  std::vector<std::optional<SinkProgress>> progress;
  for (const PlannedSink& sink : plan_.sinks)
    progress.push_back(take([&sink](const SinkProgress& one) { return one.sink == sink.spec->name; }));
  for (size_t i = 0; i < sinks_.size(); i++) {
    const SinkSpec& spec = *plan_.sinks[i].spec;
    if (!progress[i])
      progress[i] = take([&spec](const SinkProgress& one) { return spec.plan->continues(one.bytes); });
    if (progress[i] && progress[i]->sink != spec.name)
      settings_.log.warn("sink {}: goes on where sink {} stood, which wrote to the same place", spec.name,
                         progress[i]->sink);
    sinks_[i]->open(recovered_.first_start, progress[i]);
  }
}

void Incarnation::opened(size_t task, std::vector<PartitionProgress> positions) {
  strand_->post([this, task, positions = std::move(positions)]() mutable {
    if (is_ended()) return;
    if (task < sources_.size()) positions_[task] = {plan_.sources[task].spec->name, std::move(positions)};
    if (--opening_ == 0) all_opened();
  });
}

void Incarnation::all_opened() {
  phase_ = Phase::kFirstDecision;
  const uint64_t first = next_epoch_;
  decider_->post([this, first] {
    Status status = log_->begin(first);
    strand_->post([this, status] {
      if (is_ended()) return;
      if (!status.is_ok()) return end({status});
      if (recovered_.first_start && settings_.recovery.mode != RecoveryMode::kNone) {
        decide_first_positions();
      } else {
        run();
      }
    });
  });
}

// The positions that `start` resolved to are durable before the first record is processed.
void Incarnation::decide_first_positions() {
  epoch_ = Epoch{};
  epoch_.number = next_epoch_++;
  epoch_.decision.epoch = epoch_.number;
  epoch_.decision.progress.sources = positions_;
  decide();
}

void Incarnation::run() {
  phase_ = Phase::kRunning;
  barrier_at_ms_ = settings_.clock->monotonic_us() / 1000;
  {
    std::lock_guard lock(status_mutex_);
    status_.state = PipelineState::kRunning;
    status_.restored_from = recovered_.restored_from;
    status_.replayed_records = recovered_.replayed_records;
    status_.restore_ms = recovered_.restore_ms;
  }
  for (auto& source : sources_) source->start();
  for (auto& sink : sinks_) sink->wake();
  tick();
}

uint64_t Incarnation::rows_read() const {
  uint64_t rows = 0;
  for (const auto& source : sources_) rows += source->rows_read();
  return rows;
}

uint64_t Incarnation::activity() const {
  uint64_t count = rows_read();
  for (const auto& source : sources_) count += source->activity();
  for (const auto& lane : lanes_) count += lane->activity();
  return count;
}

void Incarnation::wake_due_lanes() {
  const int64_t now = settings_.clock->wall_ms();
  for (auto& lane : lanes_)
    if (lane->next_clock_ms() <= now) lane->wake();
}

void Incarnation::tick() {
  if (is_ended()) return;
  wake_due_lanes();
  publish();
  // A slow decision must not let the changes behind it grow without a bound.
  const bool full = layers_->held_bytes() > kMaxHeldMemtables * plan_.spec->state.memtable_bytes;
  sources_held_back_.store(full, std::memory_order_relaxed);
  barrier_wanted_ = barrier_wanted_ || full;
  if (barrier_due()) inject(sources_ended_ == sources_.size() && !stop_requested_);
  const int64_t now = settings_.clock->monotonic_us() / 1000;
  if (now - health_at_ms_ >= kHealthIntervalMs) check_health(now);
  const int64_t left = barrier_at_ms_ + plan_.spec->commit_interval_ms - now;
  strand_->post_after(std::clamp<int64_t>(left, 1, kMaxTickMs), [this] { tick(); });
}

// Finds out between decisions that the producer was fenced or has failed, or that the store cannot be written.
void Incarnation::check_health(int64_t now_ms) {
  health_at_ms_ = now_ms;
  decider_->post([this] {
    if (!layers_) return;
    // Dirty state that cannot be written holds barriers back, so nobody else would hear of it.
    Status status = layers_->error();
    if (status.is_ok()) status = log_->health();
    if (status.is_ok()) return;
    strand_->post([this, status] {
      if (!is_ended()) end({status});
    });
  });
}

bool Incarnation::barrier_due() {
  if (phase_ != Phase::kRunning || epoch_.waiting > 0 || epoch_.undecided || epoch_.committing > 0) return false;
  if (stop_requested_ || sources_ended_ == sources_.size()) return true;
  // Dirty state has nowhere to go while this much of it waits for the store.
  if (layers_->pending_bytes() > kMaxPendingMemtables * plan_.spec->state.memtable_bytes) return false;
  if (barrier_wanted_) return true;
  const int64_t now = settings_.clock->monotonic_us() / 1000;
  int64_t interval = plan_.spec->commit_interval_ms;
  if (plan_.spec->mode == RecoveryMode::kChangelog) {
    // The first results come soon, however far behind the sources are.
    if (processed_epochs_ == 0) interval = std::min(interval, kFirstIntervalMs);
    for (const auto& source : sources_)
      if (processed_epochs_ > 0 && source->behind_ms() > kBehindMs) interval = plan_.spec->max_commit_interval_ms;
  }
  if (now - barrier_at_ms_ < interval) return false;
  return activity() != activity_at_barrier_ || log_->wants_decision(now);
}

void Incarnation::inject(bool final) {
  epoch_ = Epoch{};
  epoch_.number = next_epoch_++;
  epoch_.final = final;
  epoch_.last = stop_requested_;
  epoch_.waiting = tasks_;
  epoch_.decision.epoch = epoch_.number;
  const uint64_t rows = rows_read();
  epoch_.rows_moved = rows != rows_at_barrier_;
  epoch_.decision.offsets_moved = epoch_.rows_moved;
  rows_at_barrier_ = rows;
  activity_at_barrier_ = activity();
  barrier_wanted_ = false;
  barrier_at_ms_ = settings_.clock->monotonic_us() / 1000;
  for (auto& source : sources_) source->inject({epoch_.number, final});
}

void Incarnation::passed(size_t, EpochReport report) {
  strand_->post([this, report = std::move(report)]() mutable {
    if (!is_ended()) passed_now(std::move(report));
  });
}

void Incarnation::passed_now(EpochReport report) {
  MR_CHECK(report.epoch == epoch_.number && epoch_.waiting > 0);
  if (report.source) {
    for (SourceProgress& known : positions_)
      if (known.source == report.source->source) known = *report.source;
  }
  if (report.delta && report.delta->size() > 0) epoch_.decision.deltas.push_back(std::move(report.delta));
  if (report.sink) epoch_.decision.progress.sinks.push_back(std::move(*report.sink));
  for (auto& [name, counts] : report.counts) epoch_.counts[name] += counts;
  if (--epoch_.waiting > 0) return;
  epoch_.decision.progress.sources = positions_;
  for (const SinkProgress& gone : recovered_.progress.sinks) epoch_.decision.progress.sinks.push_back(gone);
  epoch_.decision.progress.finished = epoch_.final;
  {
    std::lock_guard lock(status_mutex_);
    status_.counts = epoch_.counts;
  }
  decide();
}

void Incarnation::decide() {
  epoch_.undecided = true;
  decide_started_us_ = settings_.clock->monotonic_us();
  auto decision = std::make_shared<Decision>(std::move(epoch_.decision));
  decider_->post([this, decision] {
    std::string record;
    auto outcome = log_->decide(*decision, &record);
    Status status = outcome.is_ok() ? Status::ok() : outcome.status();
    if (status.is_ok() && *outcome == DecisionOutcome::kDecided)
      status = layers_->decide(decision->epoch, std::move(record));
    note_state_numbers();
    const DecisionOutcome known = outcome.is_ok() ? *outcome : DecisionOutcome::kUnknown;
    strand_->post([this, status, known] {
      if (is_ended()) return;
      if (!status.is_ok()) return end({status});
      decided(known, settings_.clock->monotonic_us() - decide_started_us_);
    });
  });
}

// On the decider's strand: asking RocksDB takes a moment.
void Incarnation::note_state_numbers() {
  const int64_t now = settings_.clock->monotonic_us() / 1000;
  if (numbers_at_ms_ != 0 && now - numbers_at_ms_ < kNumbersIntervalMs) return;
  numbers_at_ms_ = now;
  const StateStore::Numbers numbers = recovered_.store->numbers();
  std::lock_guard lock(status_mutex_);
  status_.state_numbers = numbers;
}

void Incarnation::decided(DecisionOutcome outcome, int64_t took_us) {
  if (outcome == DecisionOutcome::kUnknown) {
    IncarnationOutcome unknown;
    unknown.status = Status::external(Code::kUnknownOutcome, "the outcome of epoch " + std::to_string(epoch_.number) +
                                                                 " is unknown; the progress record decides");
    unknown.unknown_outcome = true;
    return end(unknown);
  }
  epoch_.undecided = false;
  {
    std::lock_guard lock(status_mutex_);
    status_.epoch = epoch_.number;
    status_.decisions++;
    status_.last_decision_us = took_us;
    status_.last_decision_wall_ms = settings_.clock->wall_ms();
  }
  if (phase_ == Phase::kFirstDecision) return run();
  processed_epochs_++;
  release();
}

void Incarnation::release() {
  epoch_.committing = sinks_.size();
  // An orderly stop is the end of a run too: files become visible (and are continued by the next run).
  for (auto& sink : sinks_) sink->commit(epoch_.number, epoch_.final || epoch_.last);
  if (settings_.recovery.mode == RecoveryMode::kChangelog) return;
  for (size_t i = 0; i < sources_.size(); i++) {
    std::vector<SourcePosition> positions;
    for (const PartitionProgress& partition : positions_[i].partitions) positions.push_back(partition.at);
    sources_[i]->released(std::move(positions));
  }
}

void Incarnation::committed(size_t, uint64_t epoch) {
  strand_->post([this, epoch] {
    if (is_ended() || epoch != epoch_.number || epoch_.committing == 0) return;
    if (--epoch_.committing == 0) epoch_done();
  });
}

void Incarnation::epoch_done() {
  if (epoch_.final) {
    IncarnationOutcome outcome;
    outcome.completed = true;
    return end(outcome);
  }
  if (epoch_.last) return end({});
  // No waiting for the next tick when something is due already (end of input, a full cache).
  if (barrier_due()) inject(sources_ended_ == sources_.size() && !stop_requested_);
}

void Incarnation::source_ended(size_t) {
  strand_->post([this] {
    if (is_ended()) return;
    sources_ended_++;
    if (barrier_due()) inject(sources_ended_ == sources_.size() && !stop_requested_);
  });
}

void Incarnation::wants_barrier(size_t) {
  strand_->post([this] {
    if (is_ended()) return;
    barrier_wanted_ = true;
    if (barrier_due()) inject(sources_ended_ == sources_.size() && !stop_requested_);
  });
}

void Incarnation::failed(size_t, Status status) {
  strand_->post([this, status] {
    if (!is_ended()) end({status});
  });
}

void Incarnation::publish() {
  std::lock_guard lock(status_mutex_);
  if (stop_requested_ && status_.state == PipelineState::kRunning) status_.state = PipelineState::kStopping;
  status_.records_in = rows_read();
  status_.records_behind_epoch = status_.records_in;
  for (const SourceSpec& source : plan_.spec->sources) {
    const auto known = status_.counts.find("source/" + source.name);
    if (known != status_.counts.end())
      status_.records_behind_epoch -= std::min(known->second.in, status_.records_behind_epoch);
  }
  status_.records_out = 0;
  for (const auto& sink : sinks_) status_.records_out += sink->rows_written();
  status_.lag_records = -1;
  status_.sources_connected = true;
  status_.source_times.clear();
  for (size_t i = 0; i < sources_.size(); i++) {
    const SourceTask& source = *sources_[i];
    if (plan_.sources[i].makes_watermarks)
      status_.source_times.push_back(
          {plan_.sources[i].spec->name, source.watermark_ms(), source.idle_partitions()});
  }
  for (const auto& source : sources_) {
    if (source->lag_records() >= 0)
      status_.lag_records = std::max<int64_t>(status_.lag_records, 0) + source->lag_records();
    status_.sources_connected = status_.sources_connected && source->connected();
  }
  status_.pending_state_bytes = layers_ ? layers_->pending_bytes() : 0;
}

void Incarnation::end(IncarnationOutcome outcome) {
  MR_CHECK(!is_ended());
  phase_ = Phase::kEnded;
  for (auto& task : sources_) task->stop();
  for (auto& task : lanes_) task->stop();
  for (auto& task : sinks_) task->stop();
  if (layers_) publish();
  decider_->post([this, outcome]() mutable {
    // What is decided goes into the store, so that the next start replays nothing; after an error that is the next
    // start's work.
    if (outcome.status.is_ok() && layers_) outcome.status = layers_->flush();
    // An aborted transaction may be what a sink sees of being fenced; that is terminal.
    if (outcome.status.code() == Code::kTransactionAborted) {
      const Status health = log_->health();
      if (health.code() == Code::kFenced) outcome.status = health;
    }
    layers_.reset();
    if (log_) log_->close();
    recovered_.store.reset();
    strand_->post([this, outcome] { done_(outcome); });
  });
}

}  // namespace millrace
