// OperatorPlan: one operator of a checked pipeline. Made once at lint from its YAML, then asked by the planner
// (schemas, edges, projection) and by the runtime (instances per lane). Immutable after plan(); any thread.
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
#include "operators/operator.h"

namespace millrace {

// How rows find their shard: the exchange in front of a keyed operator evaluates these.
struct KeySpec {
  std::vector<ExpressionPtr> parts;  // one per key_by entry, over the input's schema
};

class OperatorPlan {
 public:
  virtual ~OperatorPlan() = default;
  // Types the operator against its inputs (all have the same schema; the planner has checked). Reports to diagnostics;
  // false when not even the output's columns are known: what is behind cannot be checked then. Columns whose expression
  // is in error are of unknown type.
  virtual bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) = 0;
  virtual const Edge& output() const = 0;
  // Columns of the input that are needed when `needed` of the output are read (projection pushdown).
  virtual std::vector<bool> needed_inputs(const std::vector<bool>& needed_outputs) const = 0;
  // Acts on event time: the planner has the sources of its rows make watermarks.
  virtual bool uses_event_time() const { return false; }
  // Acts on the times of rows, not only on the end of the input (a window that never ends): rows must have one.
  virtual bool needs_row_times() const { return uses_event_time(); }
  // Whether <id>.late exists; known before plan().
  virtual bool has_late_rows() const { return false; }
  // The output <id>.late: the input's columns, then window_start, window_end and watermark; nullptr: rows are never
  // late. Valid after plan().
  virtual const Edge* late_output() const { return nullptr; }
  // Called before make() when somebody reads <id>.late.
  virtual void keep_late_rows() {}
  // Keyed operators: the key; nullptr: stateless.
  virtual const KeySpec* key() const { return nullptr; }
  // A filter behind an upsert edge needs old versions; the planner asks the keyed operator in front of it to announce
  // them. False: cannot.
  virtual bool enable_retractions() { return false; }
  // What identifies the layout of its state: kind, key types, aggregates. A change resets or refuses the state
  // (progress record).
  virtual std::string state_descriptor() const { return ""; }
  // Rows are the input's own (only the selection changes): the payload may be passed through.
  virtual bool preserves_rows() const { return false; }
  // Words for `plan`: "filter status == \"paid\"".
  virtual std::string describe() const = 0;
  virtual std::unique_ptr<Operator> make() const = 0;
};

// Reads the YAML of one operator: `body` is the value of its kind (`filter:`, `aggregate:` …). nullptr after an error.
using OperatorFactory = std::function<std::unique_ptr<OperatorPlan>(const ConfigNode& body, Diagnostics& diagnostics)>;

class OperatorRegistry {
 public:
  void add(const std::string& kind, OperatorFactory factory);  // a double name is a bug
  const OperatorFactory* find(const std::string& kind) const;
  std::vector<std::string> kinds() const;

 private:
  std::map<std::string, OperatorFactory> factories_;
};

}  // namespace millrace
