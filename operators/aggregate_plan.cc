// aggregate: {key_by, window, fields, emit} — the plan. What it compiles is an AggregateProgram.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "operators/aggregate_compiler.h"
#include "operators/aggregate_config.h"
#include "operators/aggregate_operator.h"
#include "operators/key_by.h"
#include "operators/late_rows.h"
#include "operators/projection.h"
#include "operators/registration.h"
#include "operators/set_members.h"
#include "operators/window_plan.h"

namespace millrace {
namespace {

class AggregatePlan : public OperatorPlan {
 public:
  AggregatePlan(AggregateConfig config, std::shared_ptr<const AggregateRegistry> registry)
      : config_(std::move(config)), registry_(std::move(registry)) {}

  bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) override;
  const Edge& output() const override { return output_; }
  // Every accumulator is kept whoever reads it, so that a change of readers does not change the state.
  std::vector<bool> needed_inputs(const std::vector<bool>&) const override;
  bool uses_event_time() const override {
    return config_.ttl_ms > 0 || (config_.window && config_.window->spec.uses_event_time());
  }
  bool needs_row_times() const override { return config_.ttl_ms > 0 || has_late_rows(); }
  bool has_late_rows() const override {
    return config_.window && config_.window->spec.uses_event_time() && config_.window->spec.has_bounds();
  }
  const Edge* late_output() const override { return has_late_rows() ? &late_output_ : nullptr; }
  void keep_late_rows() override { keep_late_ = true; }
  const KeySpec* key() const override { return &key_.spec; }
  bool enable_retractions() override {
    retractions_ = true;
    if (output_.type == EdgeType::kUpsert) output_.type = EdgeType::kRetract;
    return true;
  }
  std::string state_descriptor() const override;
  std::string describe() const override;
  std::unique_ptr<Operator> make() const override;

 private:
  bool plan_time(Diagnostics& diagnostics);
  bool plan_keys(Diagnostics& diagnostics);
  bool check_edge(const Edge& input, Diagnostics& diagnostics) const;
  bool appends() const { return millrace::appends(program_.window, program_.emit); }
  std::vector<int> output_key_columns() const;
  // The operator without windows and timers, whose state has one table.
  bool is_plain() const { return !program_.window.any() && program_.ttl_ms == 0 && program_.emit.min_interval_ms == 0; }
  bool announces() const { return retractions_ && !appends(); }

  AggregateConfig config_;
  std::shared_ptr<const AggregateRegistry> registry_;
  AggregateProgram program_;
  PlannedKey key_;
  Edge output_;
  Edge late_output_;
  bool retractions_ = false;
  bool keep_late_ = false;
};

bool AggregatePlan::plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) {
  const Edge input = merge_edges(inputs);
  program_ = {};
  program_.input = input.schema;
  program_.takes_retractions = input.type == EdgeType::kRetract;
  bool ok = plan_keys(diagnostics);
  // After an error in key_by, key(F) would only repeat it.
  const bool keys_typed = ok;
  ok = plan_time(diagnostics) && ok;
  AggregateCompiler compiler(*registry_, program_, diagnostics);
  bool fields_typed = true;
  for (size_t i = 0; keys_typed && i < config_.fields.size(); i++) {
    const ConfigNode node = config_.fields.at(i);
    if (!(ok && fields_typed) && config_.fields.is_flow() && node.is_null()) {
      ok = false;  // the rest of an expression that YAML has split is no column
      continue;
    }
    fields_typed = compiler.add_field(config_.fields.key_at(i), node) && fields_typed;
  }
  compiler.finish();
  if (!ok || !check_edge(input, diagnostics)) return false;
  const EdgeType replacing = retractions_ ? EdgeType::kRetract : EdgeType::kUpsert;
  output_ = {program_.output, appends() ? EdgeType::kAppend : replacing, {}};
  if (!appends()) output_.key_columns = output_key_columns();
  if (has_late_rows()) late_output_ = LateRows::edge(input.schema);
  return true;
}

bool AggregatePlan::plan_time(Diagnostics& diagnostics) {
  program_.ttl_ms = config_.ttl_ms;
  bool ok = !config_.window || compile_window(*config_.window, program_.input, program_.window, diagnostics);
  if (!compile_emit(config_.emit, program_.input, program_.emit, diagnostics) || !ok) return false;
  return !config_.window || check_emit(program_.window, program_.emit, config_.window->at, diagnostics);
}

bool AggregatePlan::plan_keys(Diagnostics& diagnostics) {
  std::optional<PlannedKey> key = plan_key(config_.key_by, program_.input, diagnostics);
  if (!key) return false;
  key_ = std::move(*key);
  program_.keys = key_.columns;
  return true;
}

bool AggregatePlan::check_edge(const Edge& input, Diagnostics& diagnostics) const {
  if (input.type == EdgeType::kUpsert) {
    diagnostics.error(LintCode::kEdge, config_.body.key_location(),
                      "the input replaces rows, and an aggregate needs the replaced ones taken back");
    return false;
  }
  if (input.type != EdgeType::kRetract) return true;
  if (depends_on_rows(program_.window)) {
    diagnostics.error(LintCode::kEdge, config_.window->at,
                      "this kind of window cannot take back rows that its input replaces",
                      "tumbling and hopping windows can");
    return false;
  }
  bool ok = true;
  for (const AggregateCall& call : program_.calls) {
    if (call.aggregate->can_retract()) continue;
    diagnostics.error(LintCode::kEdge, config_.fields.location(),
                      call.text + " cannot take back rows that its input replaces",
                      "only count, sum, avg and quantile can");
    ok = false;
  }
  return ok;
}

// The fields that are keys, and what is shown of the window. Empty if they do not identify a row.
std::vector<int> AggregatePlan::output_key_columns() const {
  std::vector<int> sources;  // per output column: the key that it is, or -1
  std::vector<int> bounds;
  bool start = false, end = false;
  for (const ExpressionPtr& field : program_.fields) {
    const int plain = field ? field->plain_column() : -1;  // null: in error, and reported
    const VirtualColumn none;
    const VirtualColumn& column = plain < 0 ? none : program_.virtuals[static_cast<size_t>(plain)];
    if (column.bound != VirtualColumn::Bound::kNone) bounds.push_back(static_cast<int>(sources.size()));
    start = start || column.bound == VirtualColumn::Bound::kStart;
    end = end || column.bound == VirtualColumn::Bound::kEnd;
    sources.push_back(column.key);
  }
  const bool fixed_size = program_.window.size_ms > 0;
  if (program_.window.has_bounds() && !(fixed_size ? start || end : start && end)) return {};
  std::vector<int> keys(program_.keys.size());
  std::iota(keys.begin(), keys.end(), 0);
  std::vector<int> columns = map_key_columns(keys, sources);
  if (columns.size() < keys.size()) return {};
  columns.insert(columns.end(), bounds.begin(), bounds.end());
  return columns;
}

std::vector<bool> AggregatePlan::needed_inputs(const std::vector<bool>&) const {
  std::vector<bool> needed(program_.input.size());
  for (int column : program_.keys) needed[static_cast<size_t>(column)] = true;
  const auto add = [&](const ExpressionPtr& expression) {
    if (!expression) return;
    for (int column : expression->columns()) needed[static_cast<size_t>(column)] = true;
  };
  for (const AggregateInput& input : program_.inputs) add(input.expression);
  add(program_.window.gap);
  add(program_.window.assign);
  add(program_.emit.early_when);
  return needed;
}

std::string AggregatePlan::state_descriptor() const {
  std::string text = "aggregate/1 key=" + key_descriptor(key_, program_.input) + " aggs=[";
  for (size_t i = 0; i < program_.state_order.size(); i++) {
    text += (i > 0 ? "," : "") + program_.calls[static_cast<size_t>(program_.state_order[i])].descriptor;
  }
  text += "]";
  if (is_plain()) return text + (SetMembers::needed(program_) ? " tables=2" : "");
  text += " window=" + (program_.window.any() ? descriptor(program_.window) : "none");
  AggregateProgram program = program_;
  program.gives_retractions = announces();
  text += own_slots_descriptor(program);
  // Keys that were there before would never leave. (With neither a window nor a trigger there is always a ttl.)
  if (program_.ttl_ms > 0 && program_.emit.min_interval_ms > 0) text += " ttl";
  // Windows that start anew cannot take over sets that have left their blocks.
  const bool in_blocks = program_.emit.discarding && !depends_on_rows(program_.window);
  return text + (in_blocks && SetMembers::needed(program_) ? " sets=inside" : "");
}

std::string AggregatePlan::describe() const {
  std::string text = "aggregate";
  for (size_t i = 0; i < program_.calls.size(); i++) text += (i > 0 ? ", " : " ") + program_.calls[i].text;
  if (!program_.keys.empty()) text += " by " + key_names(key_, program_.input);
  if (program_.window.any()) text += ", " + millrace::describe(program_.window);
  if (program_.ttl_ms > 0) text += ", keys live " + duration_text(program_.ttl_ms);
  return text + ", " + millrace::describe(program_.emit) + (announces() ? " with retractions" : "");
}

std::unique_ptr<Operator> AggregatePlan::make() const {
  auto program = std::make_shared<AggregateProgram>(program_);
  program->gives_retractions = announces();
  program->keep_late = keep_late_ && has_late_rows();
  if (is_plain()) return make_aggregate_operator(std::move(program));
  return make_windowed_operator(std::move(program));
}

}  // namespace

void register_aggregate(OperatorRegistry& registry, std::shared_ptr<const AggregateRegistry> aggregates) {
  registry.add("aggregate", [aggregates = std::move(aggregates)](const ConfigNode& body, Diagnostics& diagnostics) {
    std::optional<AggregateConfig> config = read_aggregate_config(body, diagnostics);
    return config ? std::make_unique<AggregatePlan>(std::move(*config), aggregates) : nullptr;
  });
}

}  // namespace millrace
