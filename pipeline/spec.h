// PipelineSpec: one pipeline file, read and typed but not yet connected: what DESIGN section 5 says, with its defaults.
// read_spec collects every error; the planner (plan.h) goes on from here. Values; immutable after reading.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "base/type.h"
#include "formats/format_options.h"
#include "kafka/kafka_config.h"
#include "operators/operator_plan.h"
#include "pipeline/watermark.h"
#include "recovery/decision_log.h"
#include "sinks/sink_plan.h"
#include "sources/source_plan.h"

namespace millrace {

struct Registries {
  SourceRegistry sources;
  OperatorRegistry operators;
  SinkRegistry sinks;
};

// What happens to records that do not decode or on which an expression fails.
struct ErrorPolicy {
  enum class Kind { kFail, kDrop, kDeadLetter };
  Kind kind = Kind::kFail;
  std::string sink;  // kDeadLetter
  Location at;
};

struct SourceSpec {
  std::string name;
  Location at;  // of the name
  std::string kind;
  Format format;
  Location format_at;
  Schema schema;
  ErrorPolicy on_error;
  ConfigNode event_time;  // null: the record timestamp
  WatermarkSpec watermark;
  std::unique_ptr<SourcePlan> plan;
};

struct OperatorSpec {
  std::string id;
  Location at;
  std::string kind;
  std::vector<std::string> inputs;  // names of sources, operators or side outputs; never empty
  std::vector<Location> inputs_at;
  std::unique_ptr<OperatorPlan> plan;
};

struct SinkSpec {
  std::string name;
  Location at;
  std::string kind;
  std::string input;  // empty: dead letters only
  Location input_at;
  SinkPlanContext context;
  std::unique_ptr<SinkPlan> plan;
};

struct PipelineSpec {
  std::string file;
  std::string name;
  KafkaConfig kafka;
  RecoveryMode mode = RecoveryMode::kNone;
  Guarantee guarantee = Guarantee::kExactlyOnce;
  int64_t commit_interval_ms = 100;
  int64_t max_commit_interval_ms = 1000;
  int changelog_partitions = 4;
  Location changelog_at;
  bool rocksdb = true;
  StateOptions state;
  uint32_t shards = 16;
  size_t buffer_bytes = 16u << 20;     // byte budget of the queues between tasks
  std::set<std::string> record_names;  // record.* columns that the document mentions
  std::vector<SourceSpec> sources;
  std::vector<OperatorSpec> operators;
  std::vector<SinkSpec> sinks;
};

// The columns that describe a record, in the order in which they stand behind the declared ones.
Schema record_columns();

// Reads a parsed document. nullptr only when there is nothing to read; check diagnostics.has_errors().
std::unique_ptr<PipelineSpec> read_spec(const ConfigNode& document, const Registries& registries,
                                        Diagnostics& diagnostics);

}  // namespace millrace
