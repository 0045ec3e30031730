// deduplicate: {key_by, keep: first | last, within} — the plan.
#include "operators/deduplicate.h"

#include <fmt/format.h>

#include "operators/key_by.h"
#include "operators/late_rows.h"
#include "operators/projection.h"
#include "operators/registration.h"

namespace millrace {
namespace {

struct DeduplicateConfig {
  ConfigNode body;
  std::vector<ConfigNode> key_by;
  bool keep_last = false;
  std::optional<ConfigNode> within;
  int64_t within_ms = 0;
};

class DeduplicatePlan : public OperatorPlan {
 public:
  explicit DeduplicatePlan(DeduplicateConfig config) : config_(std::move(config)) {}

  bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) override;
  const Edge& output() const override { return output_; }
  std::vector<bool> needed_inputs(const std::vector<bool>& needed_outputs) const override;
  bool uses_event_time() const override { return config_.within_ms > 0; }
  bool has_late_rows() const override { return uses_event_time(); }
  const Edge* late_output() const override { return uses_event_time() ? &late_ : nullptr; }
  void keep_late_rows() override { program_.keeps_late_rows = true; }
  const KeySpec* key() const override { return &key_.spec; }
  bool enable_retractions() override {
    if (!config_.keep_last) return false;
    program_.gives_retractions = true;
    output_.type = EdgeType::kRetract;
    return true;
  }
  std::string state_descriptor() const override;
  bool preserves_rows() const override { return !config_.keep_last; }
  std::string describe() const override;
  std::unique_ptr<Operator> make() const override {
    auto program = std::make_shared<DeduplicateProgram>(program_);
    return config_.keep_last ? make_deduplicate_last(std::move(program)) : make_deduplicate_first(std::move(program));
  }

 private:
  bool check_edges(const Edge& input, Diagnostics& diagnostics) const;
  void plan_kept_columns();

  DeduplicateConfig config_;
  DeduplicateProgram program_;
  Schema input_;
  PlannedKey key_;
  Edge output_;
  Edge late_;
};

bool DeduplicatePlan::plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) {
  const Edge input = merge_edges(inputs);
  input_ = input.schema;
  std::optional<PlannedKey> key = plan_key(config_.key_by, input_, diagnostics);
  const bool fits = check_edges(input, diagnostics);
  if (!key || !fits) return false;
  key_ = std::move(*key);
  program_.keep_last = config_.keep_last;
  program_.within_ms = config_.within_ms;
  program_.input = input_;
  late_ = LateRows::edge(input_);
  output_ = {input_, EdgeType::kAppend, {}};
  if (config_.keep_last) plan_kept_columns();
  return true;
}

bool DeduplicatePlan::check_edges(const Edge& input, Diagnostics& diagnostics) const {
  if (input.type != EdgeType::kAppend) {
    diagnostics.error(LintCode::kEdge, config_.body.key_location(),
                      "the input replaces rows, and deduplicate takes rows that are only appended",
                      "put deduplicate in front of what replaces them");
    return false;
  }
  if (program_.gives_retractions && config_.within) {
    diagnostics.error(LintCode::kEdge, config_.within->key_location(),
                      "a forgotten row could not be taken back from the filter, aggregate or top_n behind this",
                      "leave out `within`, or use keep: first");
    return false;
  }
  return true;
}

// The state holds them, whoever reads them, so that a change of readers does not change the state. What a record was
// read from is not kept.
void DeduplicatePlan::plan_kept_columns() {
  program_.columns.clear();
  program_.types.clear();
  output_.schema.clear();
  for (size_t i = 0; i < input_.size(); i++) {
    if (describes_record(input_[i])) continue;
    program_.columns.push_back(static_cast<int>(i));
    program_.types.push_back(input_[i].type);
    output_.schema.push_back(input_[i]);
  }
  output_.type = program_.gives_retractions ? EdgeType::kRetract : EdgeType::kUpsert;
  output_.key_columns = map_key_columns(key_.columns, program_.columns);
  program_.key_columns = output_.key_columns;
}

std::vector<bool> DeduplicatePlan::needed_inputs(const std::vector<bool>& needed_outputs) const {
  std::vector<bool> needed(input_.size());
  if (!config_.keep_last) needed = needed_outputs;
  needed.resize(input_.size());
  for (int column : key_.columns) needed[static_cast<size_t>(column)] = true;
  for (int column : program_.columns) needed[static_cast<size_t>(column)] = true;
  return needed;
}

std::string DeduplicatePlan::state_descriptor() const {
  std::string text = "deduplicate/1 keep=" + std::string(config_.keep_last ? "last" : "first") +
                     (config_.within_ms > 0 ? " within" : "") + " key=" + key_descriptor(key_, input_);
  if (config_.keep_last) text += " row=" + Type::structure(output_.schema).to_string();
  return text;
}

std::string DeduplicatePlan::describe() const {
  return "deduplicate by " + key_names(key_, input_) + ", keep " + (config_.keep_last ? "last" : "first") +
         (config_.within ? " within " + config_.within->text() : "") +
         (program_.gives_retractions ? " with retractions" : "");
}

std::unique_ptr<OperatorPlan> read_deduplicate(const ConfigNode& body, Diagnostics& diagnostics) {
  const size_t errors_before = diagnostics.error_count();
  DeduplicateConfig config;
  config.body = body;
  MapReader map(body, diagnostics);
  if (const std::optional<ConfigNode> node = map.required_child("key_by")) {
    if (auto keys = read_key_columns(*node, diagnostics)) {
      config.key_by = std::move(*keys);
      if (config.key_by.empty()) {
        diagnostics.error(LintCode::kBadValue, node->location(), "deduplicate needs at least one column in key_by");
      }
    }
  }
  config.keep_last = map.choice("keep", {"first", "last"}, "first") == "last";
  config.within = map.child("within");
  if (config.within) {
    config.within_ms = as_duration_ms(*config.within, diagnostics).value_or(1);
    if (config.within_ms == 0) {
      diagnostics.error(LintCode::kBadValue, config.within->location(), "within is longer than nothing",
                        "leave it out to remember keys forever");
    }
  }
  map.finish();
  if (diagnostics.error_count() > errors_before) return nullptr;
  return std::make_unique<DeduplicatePlan>(std::move(config));
}

}  // namespace

void register_deduplicate(OperatorRegistry& registry) { registry.add("deduplicate", read_deduplicate); }

}  // namespace millrace
