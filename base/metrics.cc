#include "base/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <locale>
#include <set>
#include <sstream>
#include <string_view>

#include "base/check.h"

namespace millrace {
namespace {

constexpr auto kCounter = MetricKind::kCounter;
constexpr auto kGauge = MetricKind::kGauge;

constexpr std::array kSpecs = {
    MetricSpec{Metric::kBuildInfo, "millrace_build_info", kGauge, "version librdkafka rocksdb", "1",
               "Versions of the binary and of the libraries in it."},
    MetricSpec{Metric::kPipelineInfo, "millrace_pipeline_info", kGauge, "pipeline mode guarantee", "1",
               "Recovery mode and guarantee of a pipeline."},
    MetricSpec{Metric::kPipelineState, "millrace_pipeline_state", kGauge, "pipeline state", "0 or 1",
               "1 for the state that the pipeline is in, 0 for the others."},
    MetricSpec{Metric::kPipelineRestarts, "millrace_pipeline_restarts_total", kCounter, "pipeline", "restarts",
               "Restarts of the pipeline after an error."},
    MetricSpec{Metric::kRecordsIn, "millrace_records_in_total", kCounter, "pipeline source", "records",
               "Records read by the source."},
    MetricSpec{Metric::kRecordsOut, "millrace_records_out_total", kCounter, "pipeline sink", "records",
               "Records written by the sink."},
    MetricSpec{Metric::kBytesIn, "millrace_bytes_in_total", kCounter, "pipeline source", "bytes",
               "Payload bytes read by the source."},
    MetricSpec{Metric::kBytesOut, "millrace_bytes_out_total", kCounter, "pipeline sink", "bytes",
               "Payload bytes written by the sink."},
    MetricSpec{Metric::kOperatorRecordsIn, "millrace_operator_records_in_total", kCounter, "pipeline operator",
               "records", "Records that entered the operator."},
    MetricSpec{Metric::kOperatorRecordsOut, "millrace_operator_records_out_total", kCounter, "pipeline operator",
               "records", "Records that the operator emitted."},
    MetricSpec{Metric::kRecordsFiltered, "millrace_records_filtered_total", kCounter, "pipeline operator", "records",
               "Records that a condition of the operator removed."},
    MetricSpec{Metric::kRecordsAbsorbed, "millrace_records_absorbed_total", kCounter, "pipeline operator", "records",
               "Records that went into the operator's state."},
    MetricSpec{Metric::kRecordsDropped, "millrace_records_dropped_total", kCounter,
               "pipeline source operator sink reason", "records", "Faulty records dropped as on_error says."},
    MetricSpec{Metric::kDeadLetterRecords, "millrace_dead_letter_records_total", kCounter,
               "pipeline source operator sink", "records", "Faulty records sent to a dead letter sink."},
    MetricSpec{Metric::kDeadLettersTruncated, "millrace_dead_letters_truncated_total", kCounter, "pipeline sink",
               "records", "Dead letters larger than the topic takes, of which the beginning was written."},
    MetricSpec{Metric::kRecordsLate, "millrace_late_records_total", kCounter, "pipeline operator", "records",
               "Records that came too late for all their windows."},
    MetricSpec{Metric::kRecordsFuture, "millrace_future_records_total", kCounter, "pipeline source", "records",
               "Records beyond max_future that moved the watermark only up to it."},
    MetricSpec{Metric::kFired, "millrace_windows_fired_total", kCounter, "pipeline operator", "firings",
               "Windows and timers that have fired."},
    MetricSpec{Metric::kWatermark, "millrace_watermark_timestamp_seconds", kGauge, "pipeline source", "Unix seconds",
               "The source's watermark."},
    MetricSpec{Metric::kSourceIdlePartitions, "millrace_source_idle_partitions", kGauge, "pipeline source",
               "partitions", "Partitions of the source that the watermark does not wait for."},
    MetricSpec{Metric::kSourceLagRecords, "millrace_source_lag_records", kGauge, "pipeline", "records",
               "Records that the sources have yet to read."},
    MetricSpec{Metric::kSourceConnected, "millrace_source_connected", kGauge, "pipeline", "0 or 1",
               "1 if every source is connected."},
    MetricSpec{Metric::kCommits, "millrace_commits_total", kCounter, "pipeline", "epochs", "Epochs decided."},
    MetricSpec{Metric::kLastCommitDuration, "millrace_last_commit_duration_seconds", kGauge, "pipeline", "seconds",
               "How long the last decision took."},
    MetricSpec{Metric::kLastCommitTimestamp, "millrace_last_commit_timestamp_seconds", kGauge, "pipeline",
               "Unix seconds", "When the last epoch was decided."},
    MetricSpec{Metric::kLastCommittedEpoch, "millrace_last_committed_epoch", kGauge, "pipeline", "epoch number",
               "The last epoch decided."},
    MetricSpec{Metric::kStateRestoredRecords, "millrace_state_restored_records", kGauge, "pipeline", "records",
               "Log records that the last start replayed into state."},
    MetricSpec{Metric::kStateRestoreDuration, "millrace_state_restore_duration_seconds", kGauge, "pipeline", "seconds",
               "How long the last start took to restore state."},
    MetricSpec{Metric::kStateKeysEstimate, "millrace_state_keys_estimate", kGauge, "pipeline", "keys",
               "Estimated number of keys in the state store."},
    MetricSpec{Metric::kStateDiskBytes, "millrace_state_disk_bytes", kGauge, "pipeline", "bytes",
               "Size of the state store on disk."},
    MetricSpec{Metric::kStatePendingBytes, "millrace_state_pending_bytes", kGauge, "pipeline", "bytes",
               "State in memory that is not in the state store yet."},
    MetricSpec{Metric::kStateCacheHits, "millrace_state_cache_hits_total", kCounter, "pipeline operator", "lookups",
               "Keys found in the operator's cache."},
    MetricSpec{Metric::kStateCacheMisses, "millrace_state_cache_misses_total", kCounter, "pipeline operator", "lookups",
               "Keys not found in the operator's cache."},
    MetricSpec{Metric::kStateStoreReads, "millrace_state_store_reads_total", kCounter, "pipeline operator", "reads",
               "Keys that the operator looked up in the state store."},
    MetricSpec{Metric::kProcessResidentMemory, "millrace_process_resident_memory_bytes", kGauge, "", "bytes",
               "Resident memory of the process."},
    MetricSpec{Metric::kProcessCpu, "millrace_process_cpu_seconds_total", kCounter, "", "seconds",
               "User and system CPU time of the process."},
    MetricSpec{Metric::kProcessOpenFds, "millrace_process_open_fds", kGauge, "", "descriptors",
               "Open file descriptors of the process."},
};

constexpr bool specs_are_in_order() {
  for (size_t i = 0; i < kSpecs.size(); i++)
    if (static_cast<size_t>(kSpecs[i].metric) != i) return false;
  return true;
}
static_assert(specs_are_in_order());

const MetricSpec& spec_of(Metric metric) { return kSpecs[static_cast<size_t>(metric)]; }

bool has_label(const MetricSpec& spec, std::string_view name) {
  std::string_view rest = spec.labels;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    if (rest.substr(0, end) == name) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

// nullptr for a metric of the process.
const std::string* pipeline_of(const MetricLabels& labels) {
  for (const auto& [name, value] : labels)
    if (name == "pipeline") return &value;
  return nullptr;
}

using Families = std::map<Metric, prometheus::MetricFamily>;

prometheus::ClientMetric& add_series(Families& families, Metric metric, const MetricLabels& labels) {
  prometheus::MetricFamily& family = families[metric];
  if (family.metric.empty()) {
    const MetricSpec& spec = spec_of(metric);
    family.name = spec.name;
    family.help = spec.help;
    family.type = spec.kind == kCounter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  }
  prometheus::ClientMetric& series = family.metric.emplace_back();
  for (const auto& [name, value] : labels) series.label.push_back({name, value});
  return series;
}

}  // namespace

std::span<const MetricSpec> metric_specs() { return kSpecs; }

void MetricsExporter::observe(const std::vector<MetricSample>& samples) {
  gauges_.clear();
  for (auto& [series, counter] : counters_) counter.seen = false;
  std::set<std::string> pipelines;
  for (const MetricSample& sample : samples) {
    const MetricSpec& spec = spec_of(sample.metric);
    for (const auto& label : sample.labels) MR_CHECK(has_label(spec, label.first));
    if (const std::string* pipeline = pipeline_of(sample.labels)) pipelines.insert(*pipeline);
    if (spec.kind == kCounter)
      count(sample);
    else
      MR_CHECK(gauges_.emplace(Series{sample.metric, sample.labels}, sample.value).second);
  }
  std::erase_if(counters_, [&pipelines](const auto& entry) {
    const std::string* pipeline = pipeline_of(entry.first.second);
    return pipeline && !pipelines.contains(*pipeline);
  });
  for (auto& [series, counter] : counters_) {
    if (counter.seen) continue;
    counter.before += counter.last;
    counter.last = 0;
  }
}

void MetricsExporter::count(const MetricSample& sample) {
  Counter& counter = counters_[{sample.metric, sample.labels}];
  MR_CHECK(!counter.seen);
  counter.seen = true;
  if (sample.value < counter.last) counter.before += counter.last;
  counter.last = sample.value;
}

std::string MetricsExporter::text() const {
  Families families;
  for (const auto& [series, counter] : counters_)
    add_series(families, series.first, series.second).counter.value = counter.before + counter.last;
  for (const auto& [series, value] : gauges_) add_series(families, series.first, series.second).gauge.value = value;
  std::vector<prometheus::MetricFamily> list;
  for (auto& [metric, family] : families) list.push_back(std::move(family));
  std::ostringstream out;
  out.imbue(std::locale::classic());
  prometheus::TextSerializer().Serialize(out, list);
  return out.str();
}

}  // namespace millrace
