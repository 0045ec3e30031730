// top_n: {key_by, order_by, n, ties, rank, window, allowed_lateness, emit} — the plan.
#include "operators/top_n.h"

#include <fmt/format.h>

#include <numeric>

#include "operators/key_by.h"
#include "operators/late_rows.h"
#include "operators/order_key.h"
#include "operators/projection.h"
#include "operators/registration.h"
#include "operators/top_n_windows.h"
#include "operators/window_plan.h"

namespace millrace {
namespace {

constexpr int64_t kMaxN = 1000;

struct TopConfig {
  ConfigNode body;
  std::vector<ConfigNode> key_by;
  std::vector<ConfigNode> order_by;
  TopRule rule;
  std::optional<ConfigNode> rank;
  std::optional<WindowConfig> window;
  EmitConfig emit;
};

// "price desc" -> "price", descending.
struct OrderText {
  std::string expression;
  bool descending = false;
};

OrderText split_order(const std::string& text) {
  for (const auto& [word, descending] : {std::pair{" desc", true}, std::pair{" asc", false}}) {
    const std::string_view suffix(word);
    if (text.size() > suffix.size() && text.ends_with(suffix)) {
      return {text.substr(0, text.size() - suffix.size()), descending};
    }
  }
  return {text, false};
}

class TopNPlan : public OperatorPlan {
 public:
  explicit TopNPlan(TopConfig config) : config_(std::move(config)) {}

  bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) override;
  const Edge& output() const override { return output_; }
  // The state holds them, whoever reads them, so that a change of readers does not change the state.
  std::vector<bool> needed_inputs(const std::vector<bool>&) const override;
  const KeySpec* key() const override { return &key_.spec; }
  bool uses_event_time() const override { return config_.window && config_.window->spec.uses_event_time(); }
  bool needs_row_times() const override { return has_late_rows(); }
  bool has_late_rows() const override { return uses_event_time() && config_.window->spec.has_bounds(); }
  const Edge* late_output() const override { return has_late_rows() ? &late_ : nullptr; }
  void keep_late_rows() override { keep_late_ = true; }
  // Rows that enter and leave take themselves back already.
  bool enable_retractions() override {
    program_.gives_retractions = true;
    if (program_.output == TopProgram::Output::kRanks) output_.type = EdgeType::kRetract;
    return true;
  }
  std::string state_descriptor() const override;
  std::string describe() const override;
  std::unique_ptr<Operator> make() const override;

 private:
  bool plan_order(Diagnostics& diagnostics);
  bool check(const Edge& input, Diagnostics& diagnostics) const;
  void plan_output();
  bool plan_windows(Diagnostics& diagnostics);
  AggregateProgram window_program() const;
  bool has_window() const { return config_.window.has_value(); }

  TopConfig config_;
  TopProgram program_;
  AggregateProgram windows_;  // with a window
  Schema input_;
  PlannedKey key_;
  Edge output_;
  Edge late_;
  bool keep_late_ = false;
};

bool TopNPlan::plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) {
  const Edge input = merge_edges(inputs);
  input_ = input.schema;
  std::optional<PlannedKey> key = plan_key(config_.key_by, input_, diagnostics);
  const bool ordered = plan_order(diagnostics);
  const bool timed = !has_window() || plan_windows(diagnostics);
  if (!check(input, diagnostics) || !key || !ordered || !timed) return false;
  key_ = std::move(*key);
  program_.rule = config_.rule;
  program_.rule.keeps_all = input.type == EdgeType::kRetract;
  program_.with_rank = config_.rank.has_value();
  program_.emits_each = config_.emit.spec.mode == EmitMode::kEach;
  plan_output();
  // (Two inputs may have a row each under one key.)
  program_.identity.clear();
  if (inputs.size() == 1) program_.identity = map_key_columns(input.key_columns, program_.columns);
  return true;
}

bool TopNPlan::plan_windows(Diagnostics& diagnostics) {
  late_ = LateRows::edge(input_);
  windows_ = {};
  return compile_window(*config_.window, input_, windows_.window, diagnostics) &&
         compile_emit(config_.emit, input_, windows_.emit, diagnostics) &&
         check_emit(windows_.window, windows_.emit, config_.window->at, diagnostics);
}

bool TopNPlan::plan_order(Diagnostics& diagnostics) {
  program_.order.clear();
  program_.descending.clear();
  Scope scope;
  scope.schema = &input_;
  bool ok = true;
  for (const ConfigNode& node : config_.order_by) {
    const OrderText text = split_order(node.text());
    ExpressionError error;
    const AstPtr ast = parse_expression(text.expression, &error);
    std::vector<ExpressionError> errors;
    if (!ast) errors.push_back(error);
    const ExpressionPtr expression = ast ? compile_expression(ast, scope, &errors) : nullptr;
    if (!expression) {
      report_expression_errors(node, errors, diagnostics);
      ok = false;
    } else if (!is_order_type(expression->type())) {
      diagnostics.error(LintCode::kExpressionType, node.location(),
                        fmt::format("{} is {} and has no order", text.expression, expression->type().to_string()));
      ok = false;
    } else {
      program_.order.push_back(expression);
      program_.descending.push_back(text.descending);
    }
  }
  return ok;
}

bool TopNPlan::check(const Edge& input, Diagnostics& diagnostics) const {
  bool ok = true;
  if (config_.rank && find_column(input_, config_.rank->text()) >= 0) {
    diagnostics.error(LintCode::kConflict, config_.rank->location(),
                      "column \"" + config_.rank->text() + "\" exists already", "use another name for the rank");
    ok = false;
  }
  if (input.type == EdgeType::kUpsert) {
    diagnostics.error(LintCode::kEdge, config_.body.key_location(),
                      "the input replaces rows, and top_n needs the replaced ones taken back");
    ok = false;
  } else if (input.type == EdgeType::kRetract && has_window()) {
    diagnostics.error(LintCode::kEdge, config_.window->at,
                      "the input replaces rows, and the lists of windows cannot take back the replaced ones",
                      "leave out `window`, or read rows that are only appended, such as those of an aggregate with "
                      "emit: final");
    ok = false;
  }
  return ok;
}

void TopNPlan::plan_output() {
  program_.columns.clear();
  program_.types.clear();
  output_ = {};
  for (size_t i = 0; i < input_.size(); i++) {
    if (describes_record(input_[i])) continue;
    program_.columns.push_back(static_cast<int>(i));
    program_.types.push_back(input_[i].type);
    output_.schema.push_back(input_[i]);
  }
  const int rank = static_cast<int>(output_.schema.size());
  if (config_.rank) output_.schema.push_back({config_.rank->text(), Type(TypeKind::kInt)});
  // With ties several rows have one rank, and without ranks nothing tells the rows of a key apart but themselves.
  // (Windows are not among the columns.)
  const bool by_rank = !has_window() && !config_.rule.ties && (config_.rank || config_.rule.n == 1);
  program_.output = by_rank ? TopProgram::Output::kRanks : TopProgram::Output::kRows;
  if (by_rank) {
    output_.type = program_.gives_retractions ? EdgeType::kRetract : EdgeType::kUpsert;
    output_.key_columns = map_key_columns(key_.columns, program_.columns);
    if (config_.rank) output_.key_columns.push_back(rank);
  } else if (!has_window() || !appends(windows_.window, windows_.emit)) {
    output_.type = EdgeType::kRetract;
    output_.key_columns.resize(output_.schema.size());
    std::iota(output_.key_columns.begin(), output_.key_columns.end(), 0);
  }
  program_.key_columns = output_.key_columns;
}

std::vector<bool> TopNPlan::needed_inputs(const std::vector<bool>&) const {
  std::vector<bool> needed(input_.size());
  for (int column : program_.columns) needed[static_cast<size_t>(column)] = true;
  for (int column : key_.columns) needed[static_cast<size_t>(column)] = true;
  const auto add = [&](const ExpressionPtr& expression) {
    if (!expression) return;
    for (int column : expression->columns()) needed[static_cast<size_t>(column)] = true;
  };
  for (const ExpressionPtr& part : program_.order) add(part);
  add(windows_.window.gap);
  add(windows_.window.assign);
  add(windows_.emit.early_when);
  return needed;
}

std::string TopNPlan::state_descriptor() const {
  std::string order;
  for (const ConfigNode& node : config_.order_by) {
    const OrderText text = split_order(node.text());
    const AstPtr ast = parse_expression(text.expression, nullptr);
    order += (order.empty() ? "" : ",") + to_text(*ast) + (text.descending ? " desc" : "");
  }
  Schema row = output_.schema;
  if (config_.rank) row.pop_back();
  const TopRule& rule = program_.rule;
  std::string text = fmt::format("top_n/1 n={}{}{} key={} order=[{}] row={}", rule.n, rule.ties ? " ties" : "",
                                 rule.keeps_all ? " all" : "", key_descriptor(key_, input_), order,
                                 Type::structure(row).to_string());
  if (has_window()) text += " window=" + descriptor(windows_.window) + own_slots_descriptor(window_program());
  return text;
}

std::string TopNPlan::describe() const {
  std::string text = fmt::format("top {}", config_.rule.n);
  for (size_t i = 0; i < config_.order_by.size(); i++) text += (i > 0 ? ", " : " by ") + config_.order_by[i].text();
  if (config_.rule.ties) text += " with ties";
  if (!key_.columns.empty()) text += " per " + key_names(key_, input_);
  if (has_window()) text += ", " + millrace::describe(windows_.window);
  text += ", " + millrace::describe(config_.emit.spec);
  return text + (output_.type == EdgeType::kRetract ? " with retractions" : "");
}

AggregateProgram TopNPlan::window_program() const {
  AggregateProgram program = windows_;
  program.input = input_;
  program.keys = key_.columns;
  program.keep_late = keep_late_ && has_late_rows();
  // What a list was before says which rows have left it.
  program.gives_retractions = output_.type == EdgeType::kRetract;
  add_top_list(program_, program);
  return program;
}

std::unique_ptr<Operator> TopNPlan::make() const {
  auto program = std::make_shared<TopProgram>(program_);
  if (!has_window()) return make_top_n_operator(std::move(program));
  return make_top_n_windows(std::move(program), std::make_shared<AggregateProgram>(window_program()));
}

// The entries of order_by; nullopt after an error.
std::optional<std::vector<ConfigNode>> read_order(const ConfigNode& node, Diagnostics& diagnostics) {
  std::vector<ConfigNode> entries;
  if (node.is_scalar()) entries.push_back(node);
  bool ok = node.is_scalar() || (node.is_sequence() && node.size() > 0);
  for (size_t i = 0; node.is_sequence() && i < node.size(); i++) {
    ok = ok && node.at(i).is_scalar();
    entries.push_back(node.at(i));
  }
  if (ok) return entries;
  diagnostics.error(LintCode::kWrongType, node.location(), "order_by is an expression or a list of them",
                    "order_by: [price desc, date_time]");
  return std::nullopt;
}

// What an operator without windows does not have.
void refuse_window_modes(const ConfigNode& node, const EmitSpec& emit, Diagnostics& diagnostics) {
  if (emit.min_interval_ms == 0 && !emit.discarding) return;
  diagnostics.error(LintCode::kUnsupported, node.location(),
                    "top_n without a window has neither min_interval nor accumulation", "emit: update or each");
}

void read_time(MapReader& map, TopConfig& config) {
  Diagnostics& diagnostics = map.diagnostics();
  const std::optional<ConfigNode> window = map.child("window");
  if (window) config.window = read_window(*window, diagnostics);
  // After an error in the window, what needs one would only repeat it.
  const bool broken = window && !config.window;
  if (const std::optional<ConfigNode> node = map.child("allowed_lateness"); node && !broken) {
    read_allowed_lateness(*node, config.window ? &*config.window : nullptr, diagnostics);
  }
  const WindowSpec spec = config.window ? config.window->spec : WindowSpec();
  config.emit.spec.mode = default_emit_mode(spec);
  const std::optional<ConfigNode> node = map.child("emit");
  if (!node || broken) return;
  if (const std::optional<EmitConfig> emit = read_emit(*node, spec, diagnostics)) config.emit = *emit;
  if (!window) refuse_window_modes(*node, config.emit.spec, diagnostics);
}

void read_rank(const ConfigNode& node, TopConfig& config, Diagnostics& diagnostics) {
  const std::optional<std::string> name = as_string(node, diagnostics);
  if (name && (name->empty() || name->find('.') != std::string::npos)) {
    diagnostics.error(LintCode::kBadValue, node.location(), "\"" + *name + "\" is not the name of a column");
  }
  config.rank = node;
}

std::unique_ptr<OperatorPlan> read_top_n(const ConfigNode& body, Diagnostics& diagnostics) {
  const size_t errors_before = diagnostics.error_count();
  TopConfig config;
  config.body = body;
  MapReader map(body, diagnostics);
  if (const std::optional<ConfigNode> node = map.child("key_by")) {
    config.key_by = read_key_columns(*node, diagnostics).value_or(std::vector<ConfigNode>());
  }
  if (const std::optional<ConfigNode> node = map.required_child("order_by")) {
    config.order_by = read_order(*node, diagnostics).value_or(std::vector<ConfigNode>());
  }
  if (const std::optional<ConfigNode> node = map.required_child("n")) {
    config.rule.n = static_cast<uint32_t>(as_int(*node, 1, kMaxN, diagnostics).value_or(1));
  }
  config.rule.ties = map.choice("ties", {"first", "all"}, "first") == "all";
  if (const std::optional<ConfigNode> node = map.child("rank")) read_rank(*node, config, diagnostics);
  read_time(map, config);
  map.finish();
  if (diagnostics.error_count() > errors_before) return nullptr;
  return std::make_unique<TopNPlan>(std::move(config));
}

}  // namespace

void register_top_n(OperatorRegistry& registry) { registry.add("top_n", read_top_n); }

}  // namespace millrace
