#include "operators/process_compiler.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace millrace {
namespace {

constexpr size_t kMaxDepth = 16;   // steps within steps
constexpr size_t kMaxSteps = 500;  // of a handler, all depths together

const std::vector<std::string> kActions = {"set", "set_timer", "clear", "clear_timer", "emit"};

size_t max_emits(const std::vector<ProcessStep>& steps) {
  size_t emits = 0;
  for (const ProcessStep& step : steps) {
    if (step.kind == ProcessStep::Kind::kEmit) emits++;
    if (step.kind == ProcessStep::Kind::kWhen) emits += std::max(max_emits(step.then), max_emits(step.otherwise));
  }
  return emits;
}

}  // namespace

void ProcessCompiler::begin_handler(ProcessHandler& handler) {
  handler_ = &handler;
  handler.reads_columns.assign(program_.columns(), false);
  handler.sets_fields.assign(program_.fields.size(), false);
  handler.sets_timers.assign(program_.timers.size(), false);
  handler.arms_timers.assign(program_.timers.size(), false);
  handler.repeats_timers.assign(program_.timers.size(), false);
  steps_ = 0;
}

void ProcessCompiler::add_record_steps(const ConfigNode& node) {
  on_timer_ = false;
  begin_handler(program_.on_record);
  program_.on_record.steps = read_steps(node, 0);
}

void ProcessCompiler::add_timer_steps(size_t timer, const ConfigNode& node) {
  on_timer_ = true;
  program_.on_timer.resize(program_.timers.size());
  begin_handler(program_.on_timer[timer]);
  program_.on_timer[timer].steps = read_steps(node, 0);
}

std::vector<ProcessStep> ProcessCompiler::read_steps(const ConfigNode& node, size_t depth) {
  std::vector<ProcessStep> steps;
  if (depth > kMaxDepth) {
    diagnostics_.error(LintCode::kLimit, node.location(), fmt::format("steps nest at most {} deep", kMaxDepth));
    return steps;
  }
  if (!node.is_sequence()) {
    diagnostics_.error(LintCode::kWrongType, node.location(), "expected a list of steps",
                       "- emit: {column: expression}");
    return steps;
  }
  for (size_t i = 0; i < node.size(); i++) {
    if (++steps_ > kMaxSteps) {
      diagnostics_.error(LintCode::kLimit, node.at(i).location(), fmt::format("more than {} steps", kMaxSteps));
      return steps;
    }
    read_step(node.at(i), depth, steps);
  }
  return steps;
}

void ProcessCompiler::read_step(const ConfigNode& node, size_t depth, std::vector<ProcessStep>& steps) {
  MapReader map(node, diagnostics_);
  if (!node.is_mapping() && !node.is_null()) return;  // it is reported
  ProcessStep guard;
  guard.kind = ProcessStep::Kind::kWhen;
  const std::optional<ConfigNode> when = map.child("when");
  if (when) {
    guard.condition = compile(*when, Type(TypeKind::kBool), "a condition", Null::kRefused);
    if (when->is_scalar()) guard.condition_text = when->text();
  }
  std::vector<ProcessStep>& actions = when ? guard.then : steps;
  for (const std::string& action : kActions) map.child(action);
  const std::optional<ConfigNode> otherwise = map.child("else");
  map.child("do");
  bool any = false;
  for (size_t i = 0; i < node.size(); i++) {  // in the order in which they are written
    const std::string& key = node.key_at(i);
    if (key == "do") {
      for (ProcessStep& step : read_steps(node.at(i), depth + 1)) actions.push_back(std::move(step));
      any = true;
    } else if (std::find(kActions.begin(), kActions.end(), key) != kActions.end()) {
      read_action(key, node.at(i), actions);
      any = true;
    }
  }
  if (otherwise && !when) {
    diagnostics_.error(LintCode::kMissingKey, otherwise->key_location(), "else needs a when");
  } else if (otherwise) {
    guard.otherwise = read_steps(*otherwise, depth + 1);
  } else if (!any) {
    diagnostics_.error(LintCode::kMissingKey, node.location(),
                       "a step does something: set, set_timer, clear, clear_timer, emit or do");
  }
  map.finish();
  if (when) steps.push_back(std::move(guard));
}

void ProcessCompiler::read_action(const std::string& action, const ConfigNode& node, std::vector<ProcessStep>& steps) {
  ProcessStep step;
  if (action == "set") {
    read_set(node, step);
  } else if (action == "set_timer") {
    read_set_timer(node, step);
  } else if (action == "clear") {
    read_clear(node, step);
  } else if (action == "clear_timer") {
    read_clear_timer(node, step);
  } else {
    read_emit(node, step);
  }
  steps.push_back(std::move(step));
}

void ProcessCompiler::read_set(const ConfigNode& node, ProcessStep& step) {
  step.kind = ProcessStep::Kind::kSet;
  if (!node.is_mapping() || node.size() == 0) {
    diagnostics_.error(LintCode::kWrongType, node.location(), "set is a map of fields of the state",
                       "set: {count: state.count + 1}");
    return;
  }
  const size_t errors_before = diagnostics_.error_count();
  for (size_t i = 0; i < node.size(); i++) {
    if (is_split_rest(node, i, errors_before)) continue;
    const int field = find_field(node.key_at(i), node.at(i).key_location());
    if (field < 0) continue;
    const auto index = static_cast<size_t>(field);
    const ProcessField& target = program_.fields[index];
    handler_->sets_fields[index] = true;
    step.values.push_back({field, compile(node.at(i), target.type, "state." + target.name, Null::kAllowed)});
  }
}

void ProcessCompiler::read_set_timer(const ConfigNode& node, ProcessStep& step) {
  step.kind = ProcessStep::Kind::kSetTimer;
  if (!node.is_mapping() || node.size() == 0) {
    diagnostics_.error(LintCode::kWrongType, node.location(), "set_timer is a map of timers and when they are due",
                       "set_timer: {timeout: event_time + duration(\"30s\")}");
    return;
  }
  const size_t errors_before = diagnostics_.error_count();
  for (size_t i = 0; i < node.size(); i++) {
    if (is_split_rest(node, i, errors_before)) continue;
    const int timer = find_timer(node.key_at(i), node.at(i).key_location());
    if (timer < 0) continue;
    const auto index = static_cast<size_t>(timer);
    handler_->sets_timers[index] = true;
    if (!program_.timers[index].processing_time) handler_->sets_event_timers = true;
    handler_->arms_timers[index] = true;
    const Type timestamp(TypeKind::kTimestamp);
    step.values.push_back({timer, compile(node.at(i), timestamp, "a due time", Null::kAllowed)});
  }
}

void ProcessCompiler::read_clear(const ConfigNode& node, ProcessStep& step) {
  step.kind = ProcessStep::Kind::kClear;
  const std::optional<std::vector<std::string>> names = as_string_list(node, diagnostics_);
  if (!names) return;
  if (node.is_scalar() && node.text() == "all") {
    for (size_t i = 0; i < program_.fields.size(); i++) step.targets.push_back(static_cast<int>(i));
  } else {
    for (size_t i = 0; i < names->size(); i++) {
      const int field = find_field((*names)[i], node.is_scalar() ? node.location() : node.at(i).location());
      if (field >= 0) step.targets.push_back(field);
    }
  }
  for (int field : step.targets) handler_->sets_fields[static_cast<size_t>(field)] = true;
}

void ProcessCompiler::read_clear_timer(const ConfigNode& node, ProcessStep& step) {
  step.kind = ProcessStep::Kind::kClearTimer;
  const std::optional<std::vector<std::string>> names = as_string_list(node, diagnostics_);
  if (!names) return;
  for (size_t i = 0; i < names->size(); i++) {
    const int timer = find_timer((*names)[i], node.is_scalar() ? node.location() : node.at(i).location());
    if (timer < 0) continue;
    handler_->sets_timers[static_cast<size_t>(timer)] = true;
    step.targets.push_back(timer);
  }
}

// The rest of an expression that YAML has split, which is reported already, looks like a key without a value.
bool ProcessCompiler::is_split_rest(const ConfigNode& map, size_t index, size_t errors_before) const {
  return map.is_flow() && map.at(index).is_null() && diagnostics_.error_count() > errors_before;
}

int ProcessCompiler::find_field(const std::string& name, const Location& at) {
  std::vector<std::string> candidates;
  for (size_t i = 0; i < program_.fields.size(); i++) {
    if (program_.fields[i].name == name) return static_cast<int>(i);
    candidates.push_back(program_.fields[i].name);
  }
  diagnostics_.error(LintCode::kUnknownField, at, fmt::format("the state has no field \"{}\"", name),
                     did_you_mean(name, candidates));
  return -1;
}

int ProcessCompiler::find_timer(const std::string& name, const Location& at) {
  std::vector<std::string> candidates;
  for (size_t i = 0; i < program_.timers.size(); i++) {
    if (program_.timers[i].name == name) return static_cast<int>(i);
    candidates.push_back(program_.timers[i].name);
  }
  const std::string meant = did_you_mean(name, candidates);
  diagnostics_.error(LintCode::kUnknownField, at, fmt::format("there is no timer \"{}\"", name),
                     meant.empty() ? fmt::format("declare it: timers: {{{}: event}}", name) : meant);
  return -1;
}

void ProcessCompiler::read_emit(const ConfigNode& node, ProcessStep& step) {
  step.kind = ProcessStep::Kind::kEmit;
  if (!node.is_mapping() || node.size() == 0) {
    diagnostics_.error(LintCode::kWrongType, node.location(), "emit is a map of output columns",
                       "emit: {column: expression}");
    return;
  }
  std::vector<ExpressionPtr> columns;
  for (size_t i = 0; i < node.size(); i++) columns.push_back(compile(node.at(i)));
  if (std::count(columns.begin(), columns.end(), nullptr) > 0) {
    for (size_t i = 0; !has_output_ && i < node.size(); i++)
      program_.output.push_back({node.key_at(i), columns[i] ? columns[i]->type() : Type::unknown()});
    output_failed_ = output_failed_ || !has_output_;
    has_output_ = true;
    return;
  }
  if (output_failed_) return;
  if (!has_output_) {
    has_output_ = true;
    first_emit_ = node.key_location();
    for (size_t i = 0; i < node.size(); i++) program_.output.push_back({node.key_at(i), columns[i]->type()});
  }
  step.values.resize(program_.output.size());
  for (size_t i = 0; i < node.size(); i++) {
    const int column = find_column(program_.output, node.key_at(i));
    if (column < 0) {
      diagnostics_.error(LintCode::kUnionMismatch, node.at(i).key_location(),
                         fmt::format("column \"{}\" is not in the emit at line {}", node.key_at(i), first_emit_.line),
                         "every emit has the same columns");
      continue;
    }
    unify_column(node.at(i), columns[i], program_.output[static_cast<size_t>(column)]);
    step.values[static_cast<size_t>(column)] = {column, columns[i]};
  }
  for (const Field& field : program_.output) {
    if (node.find(field.name)) continue;
    diagnostics_.error(LintCode::kUnionMismatch, node.key_location(),
                       fmt::format("column \"{}\" is missing, the emit at line {} has it", field.name,
                                   first_emit_.line),
                       fmt::format("{}: null", field.name));
  }
}

// The literal null is of every type.
void ProcessCompiler::unify_column(const ConfigNode& node, const ExpressionPtr& expression, Field& column) {
  if (expression->type() == column.type) return;
  if (expression->type().kind() == TypeKind::kNull) return;
  if (column.type.kind() == TypeKind::kNull) {
    column.type = expression->type();
    return;
  }
  diagnostics_.error(LintCode::kUnionMismatch, node.location(),
                     fmt::format("column \"{}\" is {} here and {} in the emit at line {}", column.name,
                                 expression->type().to_string(), column.type.to_string(), first_emit_.line));
}

ExpressionPtr ProcessCompiler::compile(const ConfigNode& node, const Type& wanted, const std::string& what,
                                       Null null) {
  ExpressionPtr expression = compile(node);
  if (!expression || expression->type() == wanted) return expression;
  if (null == Null::kAllowed && expression->type().kind() == TypeKind::kNull) return expression;
  diagnostics_.error(
      LintCode::kExpressionType, node.location(),
      fmt::format("{} is {}, the expression is {}", what, wanted.to_string(), expression->type().to_string()));
  return nullptr;
}

ExpressionPtr ProcessCompiler::compile(const ConfigNode& node) {
  record_columns_.clear();
  Scope scope;
  if (node.is_null()) return compile_expression(parse_expression("null", nullptr), scope, nullptr);
  scope.schema = on_timer_ ? &no_columns_ : &program_.input;
  scope.name_hook = [this](const std::string& dotted_name) { return resolve_name(dotted_name); };
  scope.call_hook = [this](const Ast& call, Refusal* refusal) { return resolve_call(call, refusal); };
  scope.more_names = names();
  ExpressionPtr expression = compile_node(node, scope, diagnostics_);
  if (!record_columns_.empty()) {
    ExpressionError error;
    if (const AstPtr ast = parse_expression(node.text(), &error)) refuse_record_columns(node, *ast);
    return nullptr;
  }
  if (!expression) return nullptr;
  for (int column : expression->columns()) handler_->reads_columns[static_cast<size_t>(column)] = true;
  return expression;
}

ProcessCompiler::Resolved ProcessCompiler::resolve_name(const std::string& dotted_name) {
  const auto column = [](size_t index, const Type& type) {
    return std::make_pair(static_cast<int>(index), type);
  };
  const Type timestamp(TypeKind::kTimestamp);
  if (dotted_name == "event_time" || dotted_name == "watermark") program_.reads_event_time = true;
  if (dotted_name == "event_time") return column(program_.event_time_column(), timestamp);
  if (dotted_name == "watermark") return column(program_.watermark_column(), timestamp);
  if (dotted_name == "now") return column(program_.now_column(), timestamp);
  for (size_t i = 0; i < program_.fields.size(); i++) {
    const ProcessField& field = program_.fields[i];
    if (dotted_name == "state." + field.name) return column(program_.field_column(i), field.type);
  }
  for (size_t i = 0; i < program_.timers.size(); i++) {
    if (dotted_name == "timer." + program_.timers[i].name) return column(program_.timer_column(i), timestamp);
  }
  const int input = find_column(program_.input, dotted_name);
  if (!on_timer_ || input < 0) return std::nullopt;
  record_columns_.push_back(dotted_name);
  return std::make_pair(input, program_.input[static_cast<size_t>(input)].type);
}

ProcessCompiler::Resolved ProcessCompiler::resolve_call(const Ast& call, Refusal* refusal) {
  if (call.name != "key" || call.member) return std::nullopt;
  if (call.args.size() != 1) {
    *refusal = {LintCode::kExpressionType, call.offset, "key() takes one field of key_by", "key(field)"};
    return std::nullopt;
  }
  const std::string name = to_text(*call.args[0]);
  std::vector<std::string> candidates;
  for (size_t i = 0; i < program_.keys.size(); i++) {
    const Field& field = program_.input[static_cast<size_t>(program_.keys[i])];
    candidates.push_back(field.name);
    if (field.name != name) continue;
    const size_t column = on_timer_ ? program_.key_column(i) : static_cast<size_t>(program_.keys[i]);
    return std::make_pair(static_cast<int>(column), field.type);
  }
  if (find_column(program_.input, name) >= 0) {
    *refusal = {LintCode::kExpressionType, call.args[0]->offset, fmt::format("{} is not in key_by", name), ""};
  } else {
    *refusal = {LintCode::kUnknownField, call.args[0]->offset, fmt::format("unknown field \"{}\"", name),
                did_you_mean(name, candidates)};
  }
  return std::nullopt;
}

// Reports the first of the columns that an expression on a timer names.
bool ProcessCompiler::refuse_record_columns(const ConfigNode& node, const Ast& ast) {
  if (ast.kind == Ast::Kind::kCall && !ast.member && ast.name == "key") return false;
  if (ast.kind == Ast::Kind::kName || ast.kind == Ast::Kind::kField) {
    const std::string name = to_text(ast);
    if (std::find(record_columns_.begin(), record_columns_.end(), name) != record_columns_.end()) {
      const Ast* root = &ast;
      while (root->kind == Ast::Kind::kField) root = root->args[0].get();
      const bool key = std::any_of(program_.keys.begin(), program_.keys.end(), [&](int column) {
        return program_.input[static_cast<size_t>(column)].name == name;
      });
      diagnostics_.error(LintCode::kExpressionType, node.location_of(root->offset),
                         fmt::format("a timer has no record, and {} is a column of it", name),
                         key ? fmt::format("use key({})", name) : "keep what the timer needs in the state");
      return true;
    }
  }
  return std::any_of(ast.args.begin(), ast.args.end(),
                     [&](const AstPtr& argument) { return refuse_record_columns(node, *argument); });
}

std::vector<std::string> ProcessCompiler::names() const {
  std::vector<std::string> names = {"event_time", "watermark", "now"};
  for (const ProcessField& field : program_.fields) names.push_back("state." + field.name);
  for (const ProcessTimer& timer : program_.timers) names.push_back("timer." + timer.name);
  return names;
}

void ProcessCompiler::finish() {
  program_.on_timer.resize(program_.timers.size());
  for (ProcessHandler& handler : program_.on_timer) {
    if (handler.reads_columns.empty()) begin_handler(handler);
  }
  program_.on_record.max_emits = max_emits(program_.on_record.steps);
  for (ProcessHandler& handler : program_.on_timer) handler.max_emits = max_emits(handler.steps);
  find_repeats();
}

// Timer i repeats j when its steps may set j and those of j, or of timers that they set, may set i.
void ProcessCompiler::find_repeats() {
  const size_t n = program_.timers.size();
  std::vector<std::vector<bool>> reaches(n);
  for (size_t i = 0; i < n; i++) reaches[i] = program_.on_timer[i].arms_timers;
  for (size_t via = 0; via < n; via++) {
    for (size_t from = 0; from < n; from++) {
      for (size_t to = 0; to < n; to++) {
        if (reaches[from][via] && reaches[via][to]) reaches[from][to] = true;
      }
    }
  }
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < n; j++) {
      ProcessHandler& handler = program_.on_timer[i];
      handler.repeats_timers[j] = handler.arms_timers[j] && (j == i || reaches[j][i]);
    }
  }
}

}  // namespace millrace
