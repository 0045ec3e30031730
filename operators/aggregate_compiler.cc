#include "operators/aggregate_compiler.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace {
namespace {

// Stands for a bare column name while the rest of a field is typed; the field is refused afterwards.
constexpr int kBareName = 1 << 20;

std::string types_of(const std::vector<Type>& types) {
  std::string text;
  for (const Type& type : types) text += (text.empty() ? "" : ", ") + type.to_string();
  return text;
}

bool is_number(const Ast& ast) {
  return ast.kind == Ast::Kind::kLiteral && (ast.type.kind() == TypeKind::kInt || ast.type.kind() == TypeKind::kDouble);
}

// How many arguments of a call are what.
struct Arguments {
  size_t values = 0;
  size_t numbers = 0;
  bool conditional = false;
};

// What a call yields whose argument does not compile: the refusal, or nothing to report.
std::optional<std::pair<int, Type>> failed_argument(const std::optional<ExpressionError>& refusal) {
  if (refusal) return std::nullopt;
  return std::make_pair(0, Type::unknown());
}

std::optional<Arguments> split_arguments(const Ast& call, const AggregateFunction& function,
                                         std::optional<ExpressionError>* refusal) {
  using Condition = AggregateFunction::Condition;
  const size_t size = call.args.size();
  Arguments parts;
  const auto number_at = [&] { return function.max_values + parts.numbers; };
  while (parts.numbers < function.max_numbers && number_at() < size && is_number(*call.args[number_at()])) {
    parts.numbers++;
  }
  if (parts.numbers < function.min_numbers && number_at() < size) {
    *refusal = {LintCode::kExpressionType, call.args[number_at()]->offset,
                fmt::format("argument {} of {}() is a literal number", number_at() + 1, function.name),
                function.signature};
    return std::nullopt;
  }
  parts.conditional = function.condition == Condition::kRequired ||
                      (function.condition == Condition::kOptional && size > number_at());
  const size_t others = parts.numbers + (parts.conditional ? 1 : 0);
  parts.values = size - std::min(size, others);
  if (size < others || parts.values < function.min_values || parts.values > function.max_values ||
      parts.numbers < function.min_numbers) {
    *refusal = {LintCode::kExpressionType, call.offset,
                fmt::format("wrong number of arguments for {}(): {}", function.name, size), function.signature};
    return std::nullopt;
  }
  return parts;
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
  AstPtr ast;
  ExpressionPtr expression = compile_field(node, scope, &ast);
  if (!more_errors_.empty()) report_expression_errors(node, more_errors_, diagnostics_);
  if (!bare_names_.empty() && ast) refuse_bare_names(node, *ast);
  const bool ok = expression && diagnostics_.error_count() == errors_before;
  program_.output.push_back({name, ok ? expression->type() : Type::unknown()});
  program_.fields.push_back(ok ? std::move(expression) : nullptr);
  return ok;
}

ExpressionPtr AggregateCompiler::compile_field(const ConfigNode& node, const Scope& scope, AstPtr* ast) {
  ExpressionError error;
  const AstPtr written = node.is_scalar() ? parse_expression(node.text(), &error) : nullptr;
  *ast = written ? with_fold_results(written) : nullptr;
  if (*ast == written) return compile_node(node, scope, diagnostics_);
  std::vector<ExpressionError> errors;
  ExpressionPtr expression = compile_expression(*ast, scope, &errors);
  report_expression_errors(node, errors, diagnostics_);
  return expression;
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
  std::vector<std::string> candidates = registry_.names();
  candidates.push_back("key");
  for (const std::string& function : known_functions()) candidates.push_back(function.substr(0, function.find('(')));
  *refusal = {LintCode::kUnknownKind, call.offset, fmt::format("unknown aggregate \"{}\"", call.name),
              function_hint(call.name, candidates)};
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
  if (function.make_fold) return resolve_fold(call, function, refusal);
  const std::optional<Arguments> parts = split_arguments(call, function, refusal);
  if (!parts) return std::nullopt;
  AggregateCall result;
  result.text = to_text(call);
  result.descriptor = function.name + "(";
  AggregateArguments arguments;
  std::vector<ExpressionPtr> values;
  for (size_t i = 0; i < parts->values; i++) {
    values.push_back(compile_argument(call.args[i], program_.input, refusal));
    if (!values.back()) return failed_argument(*refusal);
    arguments.types.push_back(values.back()->type());
    result.descriptor += to_text(*call.args[i]) + ":" + arguments.types.back().to_string();
  }
  for (size_t i = parts->values; i < parts->values + parts->numbers; i++) {
    const Ast& number = *call.args[i];
    const bool whole = number.type.kind() == TypeKind::kInt;
    arguments.numbers.push_back({whole ? static_cast<double>(number.int_value) : number.double_value, whole});
    result.descriptor += ", " + to_text(number);
  }
  if (parts->conditional) {
    const ExpressionPtr condition = compile_condition(call.args.back(), function, refusal);
    if (!condition) return failed_argument(*refusal);
    result.condition = add_input(call.args.back(), condition, -1);
    result.descriptor += (parts->values > 0 ? ", " : "") + to_text(*call.args.back());
  }
  result.descriptor += ")";
  std::string reason;
  result.aggregate = function.make(arguments, &reason);
  if (!result.aggregate) {
    if (reason.empty()) reason = fmt::format("{}() does not take {}", function.name, types_of(arguments.types));
    *refusal = {LintCode::kExpressionType, call.args[0]->offset, reason, function.signature};
    return std::nullopt;
  }
  if (parts->values > 0) result.value = add_input(call.args[0], values[0], result.condition);
  return add_call(std::move(result));
}

ExpressionPtr AggregateCompiler::compile_condition(const AstPtr& argument, const AggregateFunction& function,
                                                   Refusal* refusal) {
  ExpressionPtr condition = compile_argument(argument, program_.input, refusal);
  if (!condition || condition->type().kind() == TypeKind::kBool) return condition;
  *refusal = {LintCode::kExpressionType, argument->offset,
              fmt::format("the condition of {}() is {}, not bool", function.name, condition->type().to_string()),
              function.signature};
  return nullptr;
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
ExpressionPtr AggregateCompiler::compile_argument(const AstPtr& argument, const Schema& names, Refusal* refusal) {
  Scope scope;
  scope.schema = &names;
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
  if (errors.empty()) return nullptr;  // a column of unknown type
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
