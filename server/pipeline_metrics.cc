#include "server/pipeline_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

namespace millrace {
namespace {

constexpr PipelineState kStates[] = {PipelineState::kStarting, PipelineState::kRestoring, PipelineState::kRunning,
                                     PipelineState::kStopping, PipelineState::kCompleted, PipelineState::kStopped,
                                     PipelineState::kFailed,   PipelineState::kWaiting};

double seconds(int64_t ms) { return static_cast<double>(ms) / 1000; }

// The samples of one pipeline.
class PipelineSamples {
 public:
  PipelineSamples(const PipelineView& view, std::vector<MetricSample>& samples) : view_(view), samples_(samples) {}

  void add_all() {
    MetricLabels info = {{"mode", view_.mode}};
    if (!view_.guarantee.empty()) info.emplace_back("guarantee", view_.guarantee);
    add(Metric::kPipelineInfo, 1, info);
    for (const PipelineState state : kStates)
      add(Metric::kPipelineState, state == view_.status.state ? 1 : 0, {{"state", to_string(state)}});
    add(Metric::kPipelineRestarts, view_.restarts);
    add_progress();
    add_state();
    for (const auto& [node, counts] : view_.status.counts) add_node(node, counts);
  }

 private:
  template <class Number>
  void add(Metric metric, Number value, const MetricLabels& more = {}) {
    MetricLabels labels = {{"pipeline", view_.name}};
    labels.insert(labels.end(), more.begin(), more.end());
    samples_.push_back({metric, static_cast<double>(value), std::move(labels)});
  }

  void add_progress() {
    const PipelineStatus& status = view_.status;
    add(Metric::kCommits, status.decisions);
    if (status.epoch > 0) add(Metric::kLastCommittedEpoch, status.epoch);
    if (status.last_decision_wall_ms > 0) {
      add(Metric::kLastCommitDuration, static_cast<double>(status.last_decision_us) / 1e6);
      add(Metric::kLastCommitTimestamp, seconds(status.last_decision_wall_ms));
    }
    if (!is_processing()) return;
    if (status.lag_records >= 0) add(Metric::kSourceLagRecords, status.lag_records);
    add(Metric::kSourceConnected, status.sources_connected ? 1 : 0);
    for (const SourceTime& source : status.source_times) {
      if (source.watermark_ms != kNoTime && source.watermark_ms != kEndOfTime)
        add(Metric::kWatermark, seconds(source.watermark_ms), {{"source", source.source}});
      add(Metric::kSourceIdlePartitions, source.idle_partitions, {{"source", source.source}});
    }
  }

  void add_state() {
    const PipelineStatus& status = view_.status;
    if (!status.restored_from.empty()) {
      add(Metric::kStateRestoredRecords, status.replayed_records);
      add(Metric::kStateRestoreDuration, seconds(status.restore_ms));
    }
    const StateStore::Numbers& numbers = status.state_numbers;
    if (numbers.keys_estimate > 0 || numbers.disk_bytes > 0) {
      add(Metric::kStateKeysEstimate, numbers.keys_estimate);
      add(Metric::kStateDiskBytes, numbers.disk_bytes);
    }
    if (is_processing()) add(Metric::kStatePendingBytes, status.pending_state_bytes);
  }

  // node: "source/orders". Counters start with 0, so that a rate sees their first step.
  void add_node(const std::string& node, const NodeCounts& counts) {
    const size_t slash = node.find('/');
    MR_CHECK(slash != std::string::npos);
    const std::string kind = node.substr(0, slash);
    const MetricLabels label = {{kind, node.substr(slash + 1)}};
    if (kind == "source") {
      add(Metric::kRecordsIn, counts.in, label);
      add(Metric::kBytesIn, counts.bytes, label);
      if (counts.future > 0) add(Metric::kRecordsFuture, counts.future, label);
      add_dropped("future", counts.dropped_future, false, label);
    } else if (kind == "sink") {
      add(Metric::kRecordsOut, counts.out, label);
      add(Metric::kBytesOut, counts.bytes, label);
      if (counts.dead_letters_cut > 0) add(Metric::kDeadLettersTruncated, counts.dead_letters_cut, label);
    } else {
      add_operator(counts, label);
    }
    add(Metric::kDeadLetterRecords, counts.dead_letters, label);
    add_dropped("decode", counts.dropped_decode, kind == "source", label);
    add_dropped("evaluation", counts.dropped_evaluation, kind == "operator", label);
    add_dropped("too_large", counts.dropped_too_large, kind != "operator", label);
  }

  void add_operator(const NodeCounts& counts, const MetricLabels& label) {
    add(Metric::kOperatorRecordsIn, counts.in, label);
    add(Metric::kOperatorRecordsOut, counts.out, label);
    add(Metric::kRecordsFiltered, counts.filtered, label);
    add(Metric::kRecordsAbsorbed, counts.absorbed, label);
    if (counts.cache_hits + counts.cache_misses + counts.store_reads == 0) return;  // stateless
    add(Metric::kRecordsLate, counts.late, label);
    add_dropped("late", counts.dropped_late, false, label);
    add(Metric::kFired, counts.fired, label);
    add(Metric::kStateCacheHits, counts.cache_hits, label);
    add(Metric::kStateCacheMisses, counts.cache_misses, label);
    add(Metric::kStateStoreReads, counts.store_reads, label);
  }

  void add_dropped(const char* reason, uint64_t count, bool usual, MetricLabels label) {
    if (!usual && count == 0) return;
    label.emplace_back("reason", reason);
    add(Metric::kRecordsDropped, count, label);
  }

  bool is_processing() const {
    return view_.status.state == PipelineState::kRunning || view_.status.state == PipelineState::kStopping;
  }

  const PipelineView& view_;
  std::vector<MetricSample>& samples_;
};

std::optional<uint64_t> resident_bytes() {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/proc/self/statm", "re"), std::fclose);
  unsigned long long total = 0, resident = 0;
  if (!file || std::fscanf(file.get(), "%llu %llu", &total, &resident) != 2) return std::nullopt;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::optional<uint64_t> open_fds() {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/fd"), closedir);
  if (!directory) return std::nullopt;
  uint64_t count = 0;
  while (const dirent* entry = readdir(directory.get()))
    if (entry->d_name[0] != '.') count++;
  return count - 1;  // without the directory's own
}

}  // namespace

ProcessNumbers process_numbers() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const auto in_seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return {resident_bytes(), open_fds(), in_seconds(use.ru_utime) + in_seconds(use.ru_stime)};
}

std::vector<MetricSample> metric_samples(const std::vector<PipelineView>& pipelines, const BuildVersions& versions,
                                         const ProcessNumbers& process) {
  std::vector<MetricSample> samples;
  samples.push_back(
      {Metric::kBuildInfo,
       1,
       {{"version", versions.millrace}, {"librdkafka", versions.librdkafka}, {"rocksdb", versions.rocksdb}}});
  for (const PipelineView& pipeline : pipelines) PipelineSamples(pipeline, samples).add_all();
  if (process.resident_bytes)
    samples.push_back({Metric::kProcessResidentMemory, static_cast<double>(*process.resident_bytes), {}});
  if (process.open_fds) samples.push_back({Metric::kProcessOpenFds, static_cast<double>(*process.open_fds), {}});
  samples.push_back({Metric::kProcessCpu, process.cpu_seconds, {}});
  return samples;
}

}  // namespace millrace
