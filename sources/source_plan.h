// SourcePlan: one source of a checked pipeline, made at lint from its YAML. Immutable after plan(); any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/config_node.h"
#include "base/log.h"
#include "base/type.h"
#include "formats/format_options.h"
#include "kafka/kafka_config.h"
#include "sources/source.h"

namespace millrace {

// What a Kafka source tells the recovery modes; they commit its offsets.
struct KafkaSourceSettings {
  std::vector<std::string> topics;
  std::string group;
};

struct SourceContext {
  std::string pipeline;
  std::string source;  // name in the pipeline
  const Clock* clock = nullptr;
  Logger log;
  KafkaConfig kafka;
  bool known = false;        // the progress record has positions of this source, maybe of no partition: `start` is past
  bool keyed_state = false;  // a changed partition count is an error then
  int gather_ms = 0;  // rows may be gathered so long before they are handed on: nothing shows before the decision
  bool accept_reset = false;  // --accept-reset: go on where open() would refuse positions that mean something else now
};

// What a plan may ask at lint.
struct SourcePlanContext {
  std::string pipeline;
  std::string source;
  Format format;  // file sources cut lines for all of them
  Schema schema;       // declared columns (or those implied by the format)
  // What the sources before it read, per group: no two positions of a partition fit into one group.
  std::vector<KafkaSourceSettings> kafka_before;
};

class SourcePlan {
 public:
  virtual ~SourcePlan() = default;
  virtual bool plan(const SourcePlanContext& context, Diagnostics& diagnostics) = 0;
  virtual const KafkaSourceSettings* kafka() const { return nullptr; }
  // The source fills SourcePoll::columns itself (generator): there is no payload, format or on_error.
  virtual bool makes_columns() const { return false; }
  virtual bool bounded() const = 0;
  // The partitions are read one after the other (files): one event time for all of them.
  virtual bool sequential() const { return false; }
  // Records may lack a timestamp of their own (everything but Kafka): event time needs an expression.
  virtual bool has_record_time() const { return false; }
  virtual std::string describe() const = 0;
  virtual std::unique_ptr<Source> make(const SourceContext& context) const = 0;
};

using SourceFactory = std::function<std::unique_ptr<SourcePlan>(const ConfigNode& body, Diagnostics& diagnostics)>;

class SourceRegistry {
 public:
  void add(const std::string& kind, SourceFactory factory);  // a double name is a bug
  const SourceFactory* find(const std::string& kind) const;
  std::vector<std::string> kinds() const;

 private:
  std::map<std::string, SourceFactory> factories_;
};

}  // namespace millrace
