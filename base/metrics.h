// Metrics: the fixed names of everything millrace measures, and the Prometheus text of one scrape. The only user of
// prometheus-cpp. Whoever knows the numbers (server/pipeline_metrics.h) hands over samples; nothing on the path of a
// record touches a metric.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

enum class Metric : uint8_t {
  kBuildInfo,
  kPipelineInfo,
  kPipelineState,
  kPipelineRestarts,
  kRecordsIn,
  kRecordsOut,
  kBytesIn,
  kBytesOut,
  kOperatorRecordsIn,
  kOperatorRecordsOut,
  kRecordsFiltered,
  kRecordsAbsorbed,
  kRecordsDropped,
  kDeadLetterRecords,
  kDeadLettersTruncated,
  kRecordsLate,
  kRecordsFuture,
  kFired,
  kWatermark,
  kSourceIdlePartitions,
  kSourceLagRecords,
  kSourceConnected,
  kCommits,
  kLastCommitDuration,
  kLastCommitTimestamp,
  kLastCommittedEpoch,
  kStateRestoredRecords,
  kStateRestoreDuration,
  kStateKeysEstimate,
  kStateDiskBytes,
  kStatePendingBytes,
  kStateCacheHits,
  kStateCacheMisses,
  kStateStoreReads,
  kProcessResidentMemory,
  kProcessCpu,
  kProcessOpenFds,
};

enum class MetricKind : uint8_t { kCounter, kGauge };

// What docs/metrics.md says about a metric; a test compares the two.
struct MetricSpec {
  Metric metric;
  const char* name;  // with the prefix
  MetricKind kind;
  const char* labels;  // names a series may have, separated by spaces
  const char* unit;
  const char* help;
};

// Every metric, indexed by its enumerator. Any thread.
std::span<const MetricSpec> metric_specs();

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

struct MetricSample {
  Metric metric;
  double value;
  MetricLabels labels;  // only names of the metric's spec (MR_CHECK), always in the same order
};

// Remembers counters between observations, so that what it shows never goes back: an incarnation of a pipeline counts
// from 0 again, and when a counter falls or is missing, its former total is added from then on. What was counted
// between the last observation and the fall is not seen, so observe more often than anybody scrapes. A pipeline's
// counters are forgotten by the first observation that has no sample with its label. One thread at a time.
class MetricsExporter {
 public:
  // Replaces what text() shows; every series at most once.
  void observe(const std::vector<MetricSample>& samples);
  // The exposition format 0.0.4 of the last observation: only metrics that have a series.
  std::string text() const;

 private:
  struct Counter {
    double before = 0;  // total of earlier incarnations
    double last = 0;
    bool seen = false;
  };
  using Series = std::pair<Metric, MetricLabels>;
  void count(const MetricSample& sample);

  std::map<Series, Counter> counters_;
  std::map<Series, double> gauges_;
};

}  // namespace millrace
