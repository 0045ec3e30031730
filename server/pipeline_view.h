// What the admin port knows about a pipeline and about the binary: copies, made for each request. Values.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "pipeline/incarnation.h"

namespace millrace {

struct PipelineView {
  std::string name;
  PipelineStatus status;
  uint64_t restarts = 0;
  Status last_error;
  std::string mode;       // none, local, changelog
  std::string guarantee;  // exactly_once, at_least_once; empty for mode none
};

// Names are unique. Called from the server's thread; must not block.
using PipelineViews = std::function<std::vector<PipelineView>()>;

struct BuildVersions {
  std::string millrace;
  std::string librdkafka;
  std::string rocksdb;
};

}  // namespace millrace
