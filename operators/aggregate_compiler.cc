#include "operators/aggregate_compiler.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace {
namespace {

constexpr const char* kLaterAggregates[] = {"approx_distinct", "collect", "count_distinct", "fold", "quantile"};
// Stands for a bare column name while the rest of a field is typed; the field is refused afterwards.
constexpr int kBareName = 1 << 20;

bool is_later_aggregate(const std::string& name) {
  return std::find(std::begin(kLaterAggregates), std::end(kLaterAggregates), name) != std::end(kLaterAggregates);
}

std::string types_of(const std::vector<Type>& types) {
  std::string text;
  for (const Type& type : types) text += (text.empty() ? "" : ", ") + type.to_string();
  return text;
}

bool takes_condition(const AggregateFunction& function, size_t arguments) {
  if (function.condition == AggregateFunction::Condition::kRequired) return true;
  return function.condition == AggregateFunction::Condition::kOptional && arguments > function.max_values;
}

}  // namespace

bool AggregateCompiler::add_field(const std::string& name, const ConfigNode& node) {
  bare_names_.clear();
  more_errors_.clear();
  Scope scope;
  const Schema no_columns;
  scope.schema = &no_columns;
  scope.call_hook = [this](const Ast& call, Refusal* refusal) { return resolve_call(call, refusal); };
  scope.name_hook = [this](const std::string& dotted_name) { return resolve_name(dotted_name); };
  scope.more_names = input_names();
  const size_t errors_before = diagnostics_.error_count();
  ExpressionPtr expression = compile_node(node, scope, diagnostics_);
  if (!more_errors_.empty()) report_expression_errors(node, more_errors_, diagnostics_);
  if (!bare_names_.empty()) {
    ExpressionError error;
    if (const AstPtr ast = parse_expression(node.text(), &error)) refuse_bare_names(node, *ast);
  }
  if (!expression || diagnostics_.error_count() > errors_before) return false;
  program_.output.push_back({name, expression->type()});
  program_.fields.push_back(std::move(expression));
  return true;
}

void AggregateCompiler::finish() {
  program_.state_order.clear();
  for (size_t i = 0; i < program_.calls.size(); i++) program_.state_order.push_back(static_cast<int>(i));
  std::sort(program_.state_order.begin(), program_.state_order.end(), [this](int a, int b) {
    return program_.calls[static_cast<size_t>(a)].descriptor < program_.calls[static_cast<size_t>(b)].descriptor;
  });
}

std::optional<std::pair<int, Type>> AggregateCompiler::resolve_call(const Ast& call, Refusal* refusal) {
  if (call.member) return std::nullopt;
  if (call.name == "key") return resolve_key(call, refusal);
  if (const AggregateFunction* function = registry_.find(call.name)) return resolve_aggregate(call, *function, refusal);
  if (is_later_aggregate(call.name)) {
    *refusal = {LintCode::kUnsupported, call.offset, fmt::format("{}() is not part of this build", call.name), ""};
    return std::nullopt;
  }
  std::vector<std::string> candidates = registry_.names();
  candidates.push_back("key");
  for (const std::string& function : known_functions()) candidates.push_back(function.substr(0, function.find('(')));
  *refusal = {LintCode::kUnknownKind, call.offset, fmt::format("unknown aggregate \"{}\"", call.name),
              did_you_mean(call.name, candidates)};
  return std::nullopt;
}

std::optional<std::pair<int, Type>> AggregateCompiler::resolve_key(const Ast& call, Refusal* refusal) {
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
    for (size_t v = 0; v < program_.virtuals.size(); v++) {
      if (program_.virtuals[v].key == static_cast<int>(i)) return std::make_pair(static_cast<int>(v), field.type);
    }
    program_.virtuals.push_back({field.type, -1, static_cast<int>(i)});
    return std::make_pair(static_cast<int>(program_.virtuals.size() - 1), field.type);
  }
  if (find_column(program_.input, name) >= 0) {
    *refusal = {LintCode::kExpressionType, call.args[0]->offset, fmt::format("{} is not in key_by", name),
                fmt::format("add it to key_by, or use last({})", name)};
  } else {
    *refusal = {LintCode::kUnknownField, call.args[0]->offset, fmt::format("unknown field \"{}\"", name),
                did_you_mean(name, candidates)};
  }
  return std::nullopt;
}

std::optional<std::pair<int, Type>> AggregateCompiler::resolve_aggregate(const Ast& call,
                                                                         const AggregateFunction& function,
                                                                         Refusal* refusal) {
  const bool conditional = takes_condition(function, call.args.size());
  const size_t values = call.args.size() - (conditional && !call.args.empty() ? 1 : 0);
  if (values < function.min_values || values > function.max_values || (conditional && call.args.empty())) {
    *refusal = {LintCode::kExpressionType, call.offset,
                fmt::format("wrong number of arguments for {}(): {}", function.name, call.args.size()),
                function.signature};
    return std::nullopt;
  }
  std::vector<Type> types;
  std::vector<ExpressionPtr> arguments;
  for (const AstPtr& argument : call.args) {
    arguments.push_back(compile_argument(argument, refusal));
    if (!arguments.back()) return std::nullopt;
    types.push_back(arguments.back()->type());
  }
  if (conditional && types.back().kind() != TypeKind::kBool) {
    *refusal = {LintCode::kExpressionType, call.args.back()->offset,
                fmt::format("the condition of {}() is {}, not bool", function.name, types.back().to_string()),
                function.signature};
    return std::nullopt;
  }
  const std::vector<Type> value_types(types.begin(), types.begin() + static_cast<ptrdiff_t>(values));
  AggregateCall result;
  result.aggregate = function.make(value_types);
  if (!result.aggregate) {
    *refusal = {LintCode::kExpressionType, call.args[0]->offset,
                fmt::format("{}() does not take {}", function.name, types_of(value_types)), function.signature};
    return std::nullopt;
  }
  result.text = to_text(call);
  result.descriptor = function.name + "(";
  for (size_t i = 0; i < values; i++) result.descriptor += to_text(*call.args[i]) + ":" + types[i].to_string();
  if (conditional) result.descriptor += (values > 0 ? ", " : "") + to_text(*call.args.back());
  result.descriptor += ")";
  if (conditional) result.condition = add_input(call.args.back(), arguments.back(), -1);
  if (values > 0) result.value = add_input(call.args[0], arguments[0], result.condition);
  return add_call(std::move(result));
}

std::pair<int, Type> AggregateCompiler::add_call(AggregateCall call) {
  const Type type = call.aggregate->type();
  for (size_t v = 0; v < program_.virtuals.size(); v++) {
    const int existing = program_.virtuals[v].call;
    if (existing >= 0 && program_.calls[static_cast<size_t>(existing)].text == call.text) {
      return {static_cast<int>(v), type};
    }
  }
  program_.calls.push_back(std::move(call));
  program_.virtuals.push_back({type, static_cast<int>(program_.calls.size() - 1), -1});
  return {static_cast<int>(program_.virtuals.size() - 1), type};
}

// Returns nullptr with the first error in *refusal; further ones are kept for later.
ExpressionPtr AggregateCompiler::compile_argument(const AstPtr& argument, Refusal* refusal) {
  Scope scope;
  scope.schema = &program_.input;
  scope.call_hook = [this](const Ast& call, Refusal* inner) -> std::optional<std::pair<int, Type>> {
    if (!call.member && (registry_.find(call.name) != nullptr || call.name == "key")) {
      *inner = {LintCode::kExpressionType, call.offset, fmt::format("{}() inside an aggregate call", call.name),
                "aggregates do not nest"};
    }
    return std::nullopt;
  };
  std::vector<ExpressionError> errors;
  ExpressionPtr expression = compile_expression(argument, scope, &errors);
  if (expression) return expression;
  MR_CHECK(!errors.empty());
  *refusal = errors.front();
  more_errors_.insert(more_errors_.end(), errors.begin() + 1, errors.end());
  return nullptr;
}

// The same expression under the same condition is evaluated once. A plain column needs no condition.
int AggregateCompiler::add_input(const AstPtr& argument, ExpressionPtr expression, int condition) {
  if (expression->plain_column() >= 0) condition = -1;
  const std::string text = to_text(*argument);
  for (size_t i = 0; i < program_.inputs.size(); i++) {
    if (program_.inputs[i].text == text && program_.inputs[i].condition == condition) return static_cast<int>(i);
  }
  program_.inputs.push_back({text, std::move(expression), condition});
  return static_cast<int>(program_.inputs.size() - 1);
}

std::optional<std::pair<int, Type>> AggregateCompiler::resolve_name(const std::string& dotted_name) {
  if (dotted_name == "window.start" || dotted_name == "window.end") {
    if (program_.window.has_bounds()) return add_bound(dotted_name == "window.start");
    bare_names_.emplace(dotted_name, 0);
    return std::make_pair(kBareName, Type(TypeKind::kTimestamp));
  }
  const int column = find_column(program_.input, dotted_name);
  if (column < 0) return std::nullopt;
  bare_names_.emplace(dotted_name, 0);
  return std::make_pair(kBareName, program_.input[static_cast<size_t>(column)].type);
}

std::pair<int, Type> AggregateCompiler::add_bound(bool start) {
  const Type timestamp(TypeKind::kTimestamp);
  const auto bound = start ? VirtualColumn::Bound::kStart : VirtualColumn::Bound::kEnd;
  for (size_t v = 0; v < program_.virtuals.size(); v++) {
    if (program_.virtuals[v].bound == bound) return {static_cast<int>(v), timestamp};
  }
  program_.virtuals.push_back({timestamp, -1, -1, bound});
  return {static_cast<int>(program_.virtuals.size() - 1), timestamp};
}

void AggregateCompiler::refuse_bare_names(const ConfigNode& node, const Ast& ast) {
  if (ast.kind == Ast::Kind::kCall && !ast.member && (ast.name == "key" || registry_.find(ast.name) != nullptr)) return;
  if (ast.kind == Ast::Kind::kName || ast.kind == Ast::Kind::kField) {
    const std::string name = to_text(ast);
    if (bare_names_.count(name) > 0) {
      const Ast* root = &ast;
      while (root->kind == Ast::Kind::kField) root = root->args[0].get();
      const Location at = node.location_of(root->offset);
      if (name.rfind("window.", 0) == 0 && find_column(program_.input, name) < 0) {
        return diagnostics_.error(LintCode::kExpressionType, at, name + " needs a window that starts and ends in time");
      }
      const bool key = std::any_of(program_.keys.begin(), program_.keys.end(), [&](int column) {
        return program_.input[static_cast<size_t>(column)].name == name;
      });
      return diagnostics_.error(LintCode::kExpressionType, at, fmt::format("{} stands outside an aggregate call", name),
                                fmt::format("use {}({})", key ? "key" : "last", name));
    }
  }
  for (const AstPtr& argument : ast.args) refuse_bare_names(node, *argument);
}

std::vector<std::string> AggregateCompiler::input_names() const {
  std::vector<std::string> names;
  for (const Field& field : program_.input) names.push_back(field.name);
  return names;
}

}  // namespace millrace
