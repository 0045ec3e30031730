// aggregate: {key_by, fields, emit} — the plan. What it compiles is an AggregateProgram.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "operators/aggregate_compiler.h"
#include "operators/aggregate_operator.h"
#include "operators/key_encoder.h"
#include "operators/registration.h"

namespace millrace {
namespace {

struct AggregateConfig {
  ConfigNode body;
  std::vector<ConfigNode> key_by;  // one scalar each
  ConfigNode fields;
  EmitMode emit = EmitMode::kUpdate;
};

class AggregatePlan : public OperatorPlan {
 public:
  AggregatePlan(AggregateConfig config, std::shared_ptr<const AggregateRegistry> registry)
      : config_(std::move(config)), registry_(std::move(registry)) {}

  bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) override;
  const Edge& output() const override { return output_; }
  // Every accumulator is kept whoever reads it, so that a change of readers does not change the state.
  std::vector<bool> needed_inputs(const std::vector<bool>&) const override;
  const KeySpec* key() const override { return &key_; }
  bool enable_retractions() override {
    retractions_ = true;
    output_.type = EdgeType::kRetract;
    return true;
  }
  std::string state_descriptor() const override;
  std::string describe() const override;
  std::unique_ptr<Operator> make() const override {
    auto program = std::make_shared<AggregateProgram>(program_);
    program->gives_retractions = retractions_;
    return make_aggregate_operator(std::move(program));
  }

 private:
  bool plan_keys(Diagnostics& diagnostics);
  bool check_edge(const Edge& input, Diagnostics& diagnostics) const;
  std::vector<int> output_key_columns() const;

  AggregateConfig config_;
  std::shared_ptr<const AggregateRegistry> registry_;
  AggregateProgram program_;
  KeySpec key_;
  Edge output_;
  bool retractions_ = false;
};

bool AggregatePlan::plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) {
  const Edge input = merge_edges(inputs);
  program_ = {};
  program_.emit.mode = config_.emit;
  program_.input = input.schema;
  program_.takes_retractions = input.type == EdgeType::kRetract;
  bool ok = plan_keys(diagnostics);
  AggregateCompiler compiler(*registry_, program_, diagnostics);
  // After an error in key_by, key(F) would only repeat it.
  const bool keys_typed = ok;
  for (size_t i = 0; keys_typed && i < config_.fields.size(); i++) {
    const ConfigNode node = config_.fields.at(i);
    if (!ok && config_.fields.is_flow() && node.is_null()) continue;  // the rest of an expression that YAML has split
    ok = compiler.add_field(config_.fields.key_at(i), node) && ok;
  }
  compiler.finish();
  if (!ok || !check_edge(input, diagnostics)) return false;
  output_ = {program_.output, retractions_ ? EdgeType::kRetract : EdgeType::kUpsert, output_key_columns()};
  return true;
}

bool AggregatePlan::plan_keys(Diagnostics& diagnostics) {
  key_.parts.clear();
  Scope scope;
  scope.schema = &program_.input;
  bool ok = true;
  for (const ConfigNode& node : config_.key_by) {
    const ExpressionPtr part = compile_node(node, scope, diagnostics);
    if (!part) {
      ok = false;
      continue;
    }
    const int column = part->plain_column();
    if (column < 0) {
      diagnostics.error(LintCode::kExpressionType, node.location(), "key_by takes columns, not expressions",
                        "add the expression as a column with extend");
    } else if (!is_key_type(part->type())) {
      diagnostics.error(LintCode::kExpressionType, node.location(),
                        fmt::format("{} is {} and cannot be a key", node.text(), part->type().to_string()),
                        "keys are string, int, bool, timestamp or bytes");
    } else if (std::count(program_.keys.begin(), program_.keys.end(), column) > 0) {
      diagnostics.error(LintCode::kConflict, node.location(), fmt::format("{} stands twice in key_by", node.text()));
    } else {
      program_.keys.push_back(column);
      key_.parts.push_back(part);
      continue;
    }
    ok = false;
  }
  return ok;
}

bool AggregatePlan::check_edge(const Edge& input, Diagnostics& diagnostics) const {
  if (input.type == EdgeType::kUpsert) {
    diagnostics.error(LintCode::kEdge, config_.body.key_location(),
                      "the input replaces rows, and an aggregate needs the replaced ones taken back");
    return false;
  }
  if (input.type != EdgeType::kRetract) return true;
  bool ok = true;
  for (const AggregateCall& call : program_.calls) {
    if (call.aggregate->can_retract()) continue;
    diagnostics.error(LintCode::kEdge, config_.fields.location(),
                      call.text + " cannot take back rows that its input replaces", "only count, sum and avg can");
    ok = false;
  }
  return ok;
}

std::vector<int> AggregatePlan::output_key_columns() const {
  std::vector<int> sources;  // per output column: the key that it is, or -1
  for (const ExpressionPtr& field : program_.fields) {
    const int plain = field->plain_column();
    sources.push_back(plain < 0 ? -1 : program_.virtuals[static_cast<size_t>(plain)].key);
  }
  std::vector<int> keys(program_.keys.size());
  std::iota(keys.begin(), keys.end(), 0);
  return map_key_columns(keys, sources);
}

std::vector<bool> AggregatePlan::needed_inputs(const std::vector<bool>&) const {
  std::vector<bool> needed(program_.input.size());
  for (int column : program_.keys) needed[static_cast<size_t>(column)] = true;
  for (const AggregateInput& input : program_.inputs) {
    for (int column : input.expression->columns()) needed[static_cast<size_t>(column)] = true;
  }
  return needed;
}

std::string AggregatePlan::state_descriptor() const {
  std::string text = "aggregate/1 key=[";
  for (size_t i = 0; i < program_.keys.size(); i++) {
    const Field& field = program_.input[static_cast<size_t>(program_.keys[i])];
    text += (i > 0 ? "," : "") + field.name + ":" + field.type.to_string();
  }
  text += "] aggs=[";
  for (size_t i = 0; i < program_.state_order.size(); i++) {
    text += (i > 0 ? "," : "") + program_.calls[static_cast<size_t>(program_.state_order[i])].descriptor;
  }
  return text + "]";
}

std::string AggregatePlan::describe() const {
  std::string text = "aggregate";
  for (size_t i = 0; i < program_.calls.size(); i++) text += (i > 0 ? ", " : " ") + program_.calls[i].text;
  for (size_t i = 0; i < program_.keys.size(); i++) {
    text += (i > 0 ? ", " : " by ") + program_.input[static_cast<size_t>(program_.keys[i])].name;
  }
  return text + (program_.emit.mode == EmitMode::kEach ? ", emit each" : ", emit update") +
         (retractions_ ? " with retractions" : "");
}

// Keys of the design that this build does not have.
bool refuse_unsupported(MapReader& map, const std::vector<std::string>& keys) {
  bool ok = true;
  for (const std::string& key : keys) {
    const std::optional<ConfigNode> node = map.child(key);
    if (!node) continue;
    map.diagnostics().error(LintCode::kUnsupported, node->key_location(), key + " is not part of this build");
    ok = false;
  }
  return ok;
}

std::optional<EmitMode> read_emit_mode(const ConfigNode& node, Diagnostics& diagnostics) {
  const std::optional<std::string> mode = as_string(node, diagnostics);
  if (!mode) return std::nullopt;
  if (*mode == "update") return EmitMode::kUpdate;
  if (*mode == "each") return EmitMode::kEach;
  if (*mode == "close" || *mode == "final") {
    diagnostics.error(LintCode::kUnsupported, node.location(),
                      "emit: " + *mode + " needs a window, and windows are not part of this build",
                      "use update or each");
  } else {
    const std::string meant = did_you_mean(*mode, {"update", "each"});
    diagnostics.error(LintCode::kBadValue, node.location(), "unknown emit mode \"" + *mode + "\"",
                      meant.empty() ? "update or each" : meant);
  }
  return std::nullopt;
}

std::optional<EmitMode> read_plain_emit(const ConfigNode& node, Diagnostics& diagnostics) {
  if (!node.is_mapping()) return read_emit_mode(node, diagnostics);
  MapReader map(node, diagnostics);
  std::optional<EmitMode> mode = EmitMode::kUpdate;
  if (const std::optional<ConfigNode> child = map.child("mode")) mode = read_emit_mode(*child, diagnostics);
  if (!refuse_unsupported(map, {"min_interval", "early", "late"})) mode = std::nullopt;
  map.finish();
  return mode;
}

// The scalars of key_by; nullopt after an error.
std::optional<std::vector<ConfigNode>> read_key_by(const ConfigNode& node, Diagnostics& diagnostics) {
  std::vector<ConfigNode> keys;
  if (node.is_null()) return keys;
  if (node.is_scalar()) {
    keys.push_back(node);
    return keys;
  }
  for (size_t i = 0; node.is_sequence() && i < node.size(); i++) keys.push_back(node.at(i));
  const bool scalars = std::all_of(keys.begin(), keys.end(), [](const ConfigNode& key) { return key.is_scalar(); });
  if (node.is_sequence() && scalars) return keys;
  diagnostics.error(LintCode::kWrongType, node.location(), "key_by is a column or a list of columns",
                    "add expressions as columns with extend");
  return std::nullopt;
}

std::unique_ptr<OperatorPlan> read_aggregate(const ConfigNode& body, Diagnostics& diagnostics,
                                             std::shared_ptr<const AggregateRegistry> registry) {
  const size_t errors_before = diagnostics.error_count();
  AggregateConfig config;
  config.body = body;
  MapReader map(body, diagnostics);
  if (const std::optional<ConfigNode> node = map.child("key_by")) {
    if (auto keys = read_key_by(*node, diagnostics)) config.key_by = std::move(*keys);
  }
  if (const std::optional<ConfigNode> node = map.required_child("fields")) {
    config.fields = *node;
    if (!node->is_mapping() || node->size() == 0) {
      diagnostics.error(LintCode::kWrongType, node->location(), "fields is a map of output columns",
                        "fields: {orders: count()}");
    }
  }
  if (const std::optional<ConfigNode> node = map.child("emit")) {
    config.emit = read_plain_emit(*node, diagnostics).value_or(EmitMode::kUpdate);
  }
  refuse_unsupported(map, {"window", "allowed_lateness"});
  map.finish();
  if (diagnostics.error_count() > errors_before) return nullptr;
  return std::make_unique<AggregatePlan>(std::move(config), std::move(registry));
}

}  // namespace

void register_aggregate(OperatorRegistry& registry, std::shared_ptr<const AggregateRegistry> aggregates) {
  registry.add("aggregate", [aggregates = std::move(aggregates)](const ConfigNode& body, Diagnostics& diagnostics) {
    return read_aggregate(body, diagnostics, aggregates);
  });
}

}  // namespace millrace
