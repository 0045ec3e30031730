// SinkPlan: one sink of a checked pipeline, made at lint from its YAML. Immutable after plan(); any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "base/edge.h"
#include "expr/expression.h"
#include "formats/format_options.h"
#include "kafka/kafka_config.h"
#include "sinks/sink.h"

namespace millrace {

// How a sink can take part in a decision.
enum class SinkGuarantee {
  kTransaction,  // Kafka: in the transaction of the decision
  kPrepared,     // file: durable at prepare, visible at commit
  kNone,         // stdout: written at once, repeats after a crash
  kNothing,      // blackhole: no output, so nothing to repeat
};

struct KafkaSinkSettings {
  std::string topic;
  int create_partitions = 0;  // 0: the topic must exist
};

// Where a sink writes on disk.
struct FileSinkSettings {
  std::string path;         // of the file, or of the folder that holds the parts
  bool parts = false;       // a folder of parts
  bool partitioned = false;  // in folders that are named by columns
};
// Why two sinks of one pipeline cannot write there both; empty if they can. Paths are compared as they are written.
std::string file_conflict(const FileSinkSettings& a, const FileSinkSettings& b);

// The keys that all sinks share, beside their kind: format, value, key_format (nodes are null when absent).
struct SinkPlanContext {
  std::string pipeline;
  std::string sink;
  Format format;
  Location format_at;
  ConfigNode value;
  ConfigNode key_format;
  bool dead_letters = false;  // the sink is named by an on_error; its rows have dead_letter_schema()
  bool dead_letters_only = false;
};

class SinkPlan {
 public:
  virtual ~SinkPlan() = default;
  virtual bool plan(const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) = 0;
  virtual std::vector<bool> needed_inputs() const = 0;  // columns of the input that it reads
  virtual SinkGuarantee guarantee() const = 0;
  virtual const KafkaSinkSettings* kafka() const { return nullptr; }
  virtual const FileSinkSettings* file() const { return nullptr; }
  // The bytes of a SinkProgress are of a sink that wrote to the same place under another name.
  virtual bool continues(const std::string& progress) const {
    (void)progress;
    return false;
  }
  // The sink can write the payload of a source's row as it is (json, all columns).
  virtual bool takes_payload() const { return false; }
  virtual void use_payload() {}  // the planner: rows come unchanged from a json source
  virtual std::string describe() const = 0;
  virtual std::unique_ptr<Sink> make() const = 0;
};

using SinkFactory = std::function<std::unique_ptr<SinkPlan>(const ConfigNode& body, Diagnostics& diagnostics)>;

class SinkRegistry {
 public:
  void add(const std::string& kind, SinkFactory factory);  // a double name is a bug
  const SinkFactory* find(const std::string& kind) const;
  std::vector<std::string> kinds() const;

 private:
  std::map<std::string, SinkFactory> factories_;
};

}  // namespace millrace
