// From what pipelines and the process know about themselves to samples of metrics (base/metrics.h). A number that is
// not known gives no sample. Any thread.
#pragma once

#include <optional>
#include <vector>

#include "base/metrics.h"
#include "server/pipeline_view.h"

namespace millrace {

struct ProcessNumbers {
  std::optional<uint64_t> resident_bytes;
  std::optional<uint64_t> open_fds;
  double cpu_seconds = 0;
};
// Of this process, from /proc.
ProcessNumbers process_numbers();

std::vector<MetricSample> metric_samples(const std::vector<PipelineView>& pipelines, const BuildVersions& versions,
                                         const ProcessNumbers& process);

}  // namespace millrace
