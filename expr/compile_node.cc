// Expressions in configuration files.
#include <fmt/format.h>

#include "expr/expression.h"

namespace millrace {
void report_expression_errors(const ConfigNode& node, const std::vector<ExpressionError>& errors,
                              Diagnostics& diagnostics) {
  for (const ExpressionError& error : errors) {
    std::string message = error.message;
    if (error.code == LintCode::kUnknownField && !node.path().empty()) message += " in " + node.path();
    diagnostics.error(error.code, node.location_of(error.offset), std::move(message), error.hint);
  }
}

ExpressionPtr compile_node(const ConfigNode& node, const Scope& scope, Diagnostics& diagnostics,
                           std::optional<Type> wanted) {
  if (!node.is_scalar()) {
    if (node.is_flow()) {
      diagnostics.error(LintCode::kExpressionUnquoted, node.location(),
                        "an expression is expected here, but YAML reads its brackets", "quote this");
    } else {
      diagnostics.error(LintCode::kWrongType, node.location(), "expected an expression");
    }
    return nullptr;
  }
  ExpressionError error;
  const AstPtr ast = parse_expression(node.text(), &error);
  if (!ast) {
    report_expression_errors(node, {error}, diagnostics);
    return nullptr;
  }
  std::vector<ExpressionError> errors;
  ExpressionPtr expression = compile_expression(ast, scope, &errors);
  if (expression && wanted && !(expression->type() == *wanted)) {
    errors.push_back(
        {LintCode::kExpressionType, 0,
         fmt::format("expected {}, the expression is {}", wanted->to_string(), expression->type().to_string()), ""});
    expression = nullptr;
  }
  report_expression_errors(node, errors, diagnostics);
  return expression;
}

}  // namespace millrace
