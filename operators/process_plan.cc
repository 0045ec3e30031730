// process: {key_by, state, ttl, timers, on_record, on_timer} — the plan. What it compiles is a ProcessProgram.
#include <fmt/format.h>

#include <algorithm>

#include "operators/key_by.h"
#include "operators/process_compiler.h"
#include "operators/process_operator.h"
#include "operators/process_state.h"
#include "operators/projection.h"
#include "operators/registration.h"

namespace millrace {
namespace {

constexpr size_t kMaxTimers = 32;
constexpr int kMaxTypeDepth = 16;

struct ProcessConfig {
  ConfigNode body;
  std::vector<ConfigNode> key_by;  // one scalar each
  std::vector<ProcessField> fields;
  std::vector<ProcessTimer> timers;
  int64_t ttl_ms = 0;
  ConfigNode on_record;
  std::vector<ConfigNode> on_timer;  // by timer
};

class ProcessPlan : public OperatorPlan {
 public:
  explicit ProcessPlan(ProcessConfig config) : config_(std::move(config)) {}

  bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) override;
  const Edge& output() const override { return output_; }
  // What is kept does not depend on who reads the output.
  std::vector<bool> needed_inputs(const std::vector<bool>&) const override;
  bool uses_event_time() const override {
    if (!program_) return false;
    for (const ProcessTimer& timer : program_->timers)
      if (!timer.processing_time) return true;
    return program_->reads_event_time || program_->ttl_ms > 0;
  }
  const KeySpec* key() const override { return &key_.spec; }
  std::string state_descriptor() const override;
  std::string describe() const override;
  std::unique_ptr<Operator> make() const override { return make_process_operator(program_); }

 private:
  ProcessConfig config_;
  std::shared_ptr<const ProcessProgram> program_;
  PlannedKey key_;
  Edge output_;
};

bool ProcessPlan::plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) {
  const size_t errors_before = diagnostics.error_count();
  auto program = std::make_shared<ProcessProgram>();
  program->input = merge_edges(inputs).schema;
  program->fields = config_.fields;
  program->timers = config_.timers;
  program->ttl_ms = config_.ttl_ms;
  // After an error in key_by, key(F) would only repeat it.
  const std::optional<PlannedKey> key = plan_key(config_.key_by, program->input, diagnostics);
  if (!key) return false;
  key_ = *key;
  program->keys = key->columns;
  ProcessCompiler compiler(*program, diagnostics);
  compiler.add_record_steps(config_.on_record);
  for (size_t i = 0; i < config_.timers.size(); i++) compiler.add_timer_steps(i, config_.on_timer[i]);
  compiler.finish();
  if (diagnostics.error_count() > errors_before) return false;
  if (program->output.empty()) {
    diagnostics.error(LintCode::kMissingKey, config_.body.key_location(), "no step emits anything",
                      "- emit: {column: expression}");
    return false;
  }
  output_ = {program->output, EdgeType::kAppend, {}};
  program_ = std::move(program);
  return true;
}

std::vector<bool> ProcessPlan::needed_inputs(const std::vector<bool>&) const {
  const std::vector<bool>& reads = program_->on_record.reads_columns;
  std::vector<bool> needed(reads.begin(), reads.begin() + static_cast<ptrdiff_t>(program_->input.size()));
  for (int column : program_->keys) needed[static_cast<size_t>(column)] = true;
  return needed;
}

// Initial values are no part of it: a key that has them is not stored.
std::string ProcessPlan::state_descriptor() const {
  std::string fields;
  for (const ProcessField& field : program_->fields) {
    fields += (fields.empty() ? "" : ",") + field.name + ":" + field.type.to_string();
  }
  std::string timers;
  for (const ProcessTimer& timer : program_->timers) {
    timers += (timers.empty() ? "" : ",") + timer.name + (timer.processing_time ? ":processing" : ":event");
  }
  return fmt::format("process/1 key={} state=[{}] timers=[{}]{}", key_descriptor(key_, program_->input), fields, timers,
                     program_->ttl_ms > 0 ? " ttl" : "");
}

std::string ProcessPlan::describe() const {
  std::string text = "process";
  if (!program_->keys.empty()) text += " by " + key_names(key_, program_->input);
  for (size_t i = 0; i < program_->fields.size(); i++) {
    text += (i > 0 ? ", " : "; state ") + program_->fields[i].name;
  }
  for (size_t i = 0; i < program_->timers.size(); i++) {
    text += (i > 0 ? ", " : "; timers ") + program_->timers[i].name;
  }
  return text;
}

bool is_identifier(const std::string& name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && letter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

bool check_name(const std::string& what, const std::string& name, const Location& at, Diagnostics& diagnostics) {
  if (is_identifier(name)) return true;
  diagnostics.error(LintCode::kBadValue, at, fmt::format("invalid name of a {}: \"{}\"", what, name),
                    "names are letters, digits and _, and start with no digit");
  return false;
}

std::optional<Type> read_type(const ConfigNode& node, int depth, Diagnostics& diagnostics);

std::optional<Type> read_scalar_type(const ConfigNode& node, Diagnostics& diagnostics) {
  static const std::vector<std::pair<std::string, TypeKind>> kTypes = {
      {"string", TypeKind::kString}, {"int", TypeKind::kInt},     {"double", TypeKind::kDouble},
      {"bool", TypeKind::kBool},     {"bytes", TypeKind::kBytes}, {"timestamp", TypeKind::kTimestamp},
      {"duration", TypeKind::kDuration}};
  std::vector<std::string> names;
  for (const auto& [name, kind] : kTypes) {
    if (node.text() == name) return Type(kind);
    names.push_back(name);
  }
  std::string hint = node.text().rfind("timestamp", 0) == 0 ? "did you mean \"timestamp\"?"
                                                             : did_you_mean(node.text(), names);
  if (hint.empty()) hint = "types are: string int double bool bytes timestamp duration [T] {f: T}";
  diagnostics.error(LintCode::kBadValue, node.location(), fmt::format("unknown type \"{}\"", node.text()), hint);
  return std::nullopt;
}

std::optional<Type> read_struct_type(const ConfigNode& node, int depth, Diagnostics& diagnostics) {
  std::vector<Field> fields;
  bool ok = node.size() > 0;
  if (!ok) diagnostics.error(LintCode::kBadValue, node.location(), "a struct needs at least one field");
  for (size_t i = 0; i < node.size(); i++) {
    ok = check_name("field", node.key_at(i), node.at(i).key_location(), diagnostics) && ok;
    const std::optional<Type> type = read_type(node.at(i), depth + 1, diagnostics);
    ok = ok && type.has_value();
    fields.push_back({node.key_at(i), type.value_or(Type())});
  }
  if (!ok) return std::nullopt;
  return Type::structure(std::move(fields));
}

std::optional<Type> read_type(const ConfigNode& node, int depth, Diagnostics& diagnostics) {
  if (node.is_scalar()) return read_scalar_type(node, diagnostics);
  if (depth >= kMaxTypeDepth) {
    diagnostics.error(LintCode::kLimit, node.location(), fmt::format("types nest at most {} deep", kMaxTypeDepth));
    return std::nullopt;
  }
  if (node.is_mapping()) return read_struct_type(node, depth, diagnostics);
  if (node.is_sequence() && node.size() == 1) {
    const std::optional<Type> element = read_type(node.at(0), depth + 1, diagnostics);
    if (!element) return std::nullopt;
    return Type::list(*element);
  }
  diagnostics.error(LintCode::kWrongType, node.location(), "expected a type",
                    node.is_sequence() ? "a list type has one element type: [string]" : "count: int");
  return std::nullopt;
}

// The value of a constant expression; nullptr: null, or after an error.
ColumnPtr read_initial(const ConfigNode& node, const Type& type, Diagnostics& diagnostics) {
  const Schema no_columns;
  Scope scope;
  scope.schema = &no_columns;
  const ExpressionPtr expression = compile_node(node, scope, diagnostics);
  if (!expression || expression->type().kind() == TypeKind::kNull) return nullptr;
  if (!(expression->type() == type)) {
    diagnostics.error(LintCode::kExpressionType, node.location(),
                      fmt::format("the field is {}, its initial value is {}", type.to_string(),
                                  expression->type().to_string()));
    return nullptr;
  }
  const int64_t time_ms = 0;
  Batch row;
  row.rows = 1;
  row.event_time_ms = &time_ms;
  RowErrors errors;
  ColumnPtr value = make_evaluator(expression)->evaluate(row, std::make_shared<Arena>(256), errors);
  if (errors.empty()) return value;
  diagnostics.error(LintCode::kExpressionType, node.location(), "always fails: " + errors.entries.front().message);
  return nullptr;
}

bool is_long_form(const ConfigNode& node) {
  if (!node.is_mapping() || !node.find("type")) return false;
  for (size_t i = 0; i < node.size(); i++) {
    if (node.key_at(i) != "type" && node.key_at(i) != "initial") return false;
  }
  return true;
}

void read_state(const ConfigNode& node, ProcessConfig& config, Diagnostics& diagnostics) {
  if (!node.is_mapping()) {
    diagnostics.error(LintCode::kWrongType, node.location(), "state is a map of fields and their types",
                      "state: {count: int}");
    return;
  }
  if (node.size() > ProcessState::kMaxFields) {
    diagnostics.error(LintCode::kLimit, node.key_location(),
                      fmt::format("a state has at most {} fields", ProcessState::kMaxFields));
    return;
  }
  for (size_t i = 0; i < node.size(); i++) {
    const ConfigNode child = node.at(i);
    check_name("field", node.key_at(i), child.key_location(), diagnostics);
    const bool long_form = is_long_form(child);
    const std::optional<Type> type = read_type(long_form ? *child.find("type") : child, 1, diagnostics);
    if (!type) continue;
    ProcessField field{node.key_at(i), *type, nullptr};
    const std::optional<ConfigNode> initial = long_form ? child.find("initial") : std::nullopt;
    if (initial) field.initial = read_initial(*initial, *type, diagnostics);
    config.fields.push_back(std::move(field));
  }
  std::sort(config.fields.begin(), config.fields.end(),
            [](const ProcessField& a, const ProcessField& b) { return a.name < b.name; });
}

void read_timers(const ConfigNode& node, ProcessConfig& config, Diagnostics& diagnostics) {
  if (!node.is_mapping()) {
    diagnostics.error(LintCode::kWrongType, node.location(), "timers is a map of timers and their time",
                      "timers: {timeout: event}");
    return;
  }
  if (node.size() > kMaxTimers) {
    diagnostics.error(LintCode::kLimit, node.key_location(), fmt::format("at most {} timers", kMaxTimers));
    return;
  }
  MapReader map(node, diagnostics);
  for (size_t i = 0; i < node.size(); i++) {
    const std::string& name = node.key_at(i);
    check_name("timer", name, node.at(i).key_location(), diagnostics);
    if (node.at(i).is_null()) {
      diagnostics.error(LintCode::kBadValue, node.at(i).key_location(), "expected event or processing");
    }
    config.timers.push_back({name, map.choice(name, {"event", "processing"}, "event") == "processing"});
  }
  std::sort(config.timers.begin(), config.timers.end(),
            [](const ProcessTimer& a, const ProcessTimer& b) { return a.name < b.name; });
}

void read_on_timer(const std::optional<ConfigNode>& node, const Location& timers, ProcessConfig& config,
                   Diagnostics& diagnostics) {
  if (node && !node->is_mapping()) {
    diagnostics.error(LintCode::kWrongType, node->location(), "on_timer is a map of timers and their steps",
                      "on_timer: {timeout: [...]}");
    return;
  }
  std::vector<std::string> names;
  for (const ProcessTimer& timer : config.timers) {
    names.push_back(timer.name);
    const std::optional<ConfigNode> steps = node ? node->find(timer.name) : std::nullopt;
    config.on_timer.push_back(steps.value_or(ConfigNode()));
    if (!steps) {
      diagnostics.error(LintCode::kMissingKey, node ? node->key_location() : timers,
                        fmt::format("there are no steps for the timer \"{}\" in on_timer", timer.name));
    }
  }
  for (size_t i = 0; node && i < node->size(); i++) {
    if (std::find(names.begin(), names.end(), node->key_at(i)) != names.end()) continue;
    const std::string meant = did_you_mean(node->key_at(i), names);
    diagnostics.error(LintCode::kUnknownField, node->at(i).key_location(),
                      fmt::format("there is no timer \"{}\"", node->key_at(i)),
                      meant.empty() ? fmt::format("declare it: timers: {{{}: event}}", node->key_at(i)) : meant);
  }
}

std::unique_ptr<OperatorPlan> read_process(const ConfigNode& body, Diagnostics& diagnostics) {
  const size_t errors_before = diagnostics.error_count();
  ProcessConfig config;
  config.body = body;
  MapReader map(body, diagnostics);
  if (const std::optional<ConfigNode> node = map.child("key_by")) {
    if (auto keys = read_key_columns(*node, diagnostics)) config.key_by = std::move(*keys);
  }
  if (const std::optional<ConfigNode> node = map.child("state")) read_state(*node, config, diagnostics);
  if (const std::optional<ConfigNode> node = map.child("ttl")) {
    const std::optional<int64_t> ttl_ms = as_duration_ms(*node, diagnostics);
    if (ttl_ms == 0) diagnostics.error(LintCode::kBadValue, node->location(), "ttl must be longer than 0");
    config.ttl_ms = ttl_ms.value_or(0);
  }
  const std::optional<ConfigNode> timers = map.child("timers");
  if (timers) read_timers(*timers, config, diagnostics);
  if (const std::optional<ConfigNode> node = map.required_child("on_record")) config.on_record = *node;
  read_on_timer(map.child("on_timer"), timers ? timers->key_location() : body.location(), config, diagnostics);
  map.finish();
  if (diagnostics.error_count() > errors_before) return nullptr;
  return std::make_unique<ProcessPlan>(std::move(config));
}

}  // namespace

void register_process(OperatorRegistry& registry) {
  registry.add("process", [](const ConfigNode& body, Diagnostics& diagnostics) {
    return read_process(body, diagnostics);
  });
}

}  // namespace millrace
