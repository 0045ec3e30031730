// Plan: a checked pipeline, ready to run: names resolved, edges typed, columns that nobody reads dropped, guarantees
// checked. Made by make_plan from a PipelineSpec; immutable afterwards; any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pipeline/spec.h"

namespace millrace {

inline constexpr size_t kNoIndex = static_cast<size_t>(-1);

// Where the rows of a node go.
struct Target {
  enum class Kind { kOperator, kSink };
  Kind kind = Kind::kOperator;
  size_t index = 0;    // in Plan::operators or Plan::sinks
  uint32_t input = 0;  // which input of the operator
};

struct PlannedSource {
  SourceSpec* spec = nullptr;
  Edge edge;                  // declared columns, then the record.* columns that the pipeline mentions
  size_t declared = 0;        // how many of them are declared
  std::vector<bool> needed;   // by column of edge.schema
  ExpressionPtr event_time;   // nullptr: the record timestamp
  bool keep_payload = false;  // dead letters or pass-through
  bool canonical = false;     // pass-through: the decoder says which payloads may be written as they are
  SourceNeeds needs;
  size_t dead_letter_sink = kNoIndex;
  size_t future_sink = kNoIndex;     // watermark: {on_future: {to: SINK}}
  bool makes_watermarks = false;     // an operator behind it acts on event time
  bool rows_have_times = true;       // false: all that is said of time is the end of the input
  ExpressionPtr watermark_when;      // nullptr: every row moves the watermark
  std::vector<Target> targets;
};

struct PlannedOperator {
  OperatorSpec* spec = nullptr;
  std::vector<Target> targets;
  std::vector<Target> late_targets;  // readers of <id>.late
  std::vector<bool> needed;          // of its output
  std::vector<bool> needed_late;     // of its late output
  Schema input;                      // columns of its inputs
  std::vector<std::vector<int>>
      remap;  // per input: which of the input's columns stand where in `input`; empty: as they are
  bool keyed() const { return spec->plan->key() != nullptr; }
  // Readers of either output.
  std::vector<Target> all_targets() const {
    std::vector<Target> all = targets;
    all.insert(all.end(), late_targets.begin(), late_targets.end());
    return all;
  }
};

struct PlannedSink {
  SinkSpec* spec = nullptr;
  Edge input;
};

struct Plan {
  std::unique_ptr<PipelineSpec> spec;
  std::vector<PlannedSource> sources;
  std::vector<PlannedOperator> operators;
  std::vector<PlannedSink> sinks;
  std::vector<size_t> order;  // operators, inputs before readers

  bool has_keyed_state() const;
  bool bounded() const;  // every source ends
};

// nullptr when diagnostics has errors.
std::unique_ptr<Plan> make_plan(std::unique_ptr<PipelineSpec> spec, Diagnostics& diagnostics);

// Loads, reads and plans a file; every error of it is in diagnostics. nullptr on errors.
std::unique_ptr<Plan> load_plan(const std::string& file, const VariableLookup& variables, const Registries& registries,
                                Diagnostics& diagnostics);

// What `millrace plan` prints.
std::string describe_plan(const Plan& plan);

}  // namespace millrace
