// fold(init, add, merge, result[, condition]) in the fields of an aggregate.
#include <fmt/format.h>

#include <algorithm>

#include "operators/aggregate_compiler.h"
#include "operators/expression_fold.h"
#include "operators/registration.h"

namespace millrace {
namespace {

constexpr const char* kFold = "fold";
constexpr const char* kAccumulator = "acc";
constexpr const char* kSignature =
    "fold(init, add, merge, result[, condition]), such as fold(0, acc + amount, a + b, acc)";

bool is_accumulator(const Ast& ast) { return ast.kind == Ast::Kind::kName && ast.name == kAccumulator; }

// The tree with every name acc replaced.
AstPtr with_accumulator(const AstPtr& ast, const AstPtr& accumulator) {
  if (is_accumulator(*ast)) return accumulator;
  Ast copy = *ast;
  bool changed = false;
  for (AstPtr& argument : copy.args) {
    AstPtr replaced = with_accumulator(argument, accumulator);
    changed = changed || replaced != argument;
    argument = std::move(replaced);
  }
  return changed ? std::make_shared<const Ast>(std::move(copy)) : ast;
}

}  // namespace

AstPtr AggregateCompiler::with_fold_results(const AstPtr& ast) const {
  const bool call = ast->kind == Ast::Kind::kCall && !ast->member;
  if (call && ast->name == kFold && ast->args.size() >= 4 && !is_accumulator(*ast->args[3])) {
    Ast canonical = *ast;
    Ast name;
    name.kind = Ast::Kind::kName;
    name.offset = ast->args[3]->offset;
    name.name = kAccumulator;
    canonical.args[3] = std::make_shared<const Ast>(std::move(name));
    AstPtr result = with_accumulator(ast->args[3], std::make_shared<const Ast>(std::move(canonical)));
    return result == ast->args[3] ? ast : result;
  }
  if (call && registry_.find(ast->name) != nullptr) return ast;
  Ast copy = *ast;
  bool changed = false;
  for (AstPtr& argument : copy.args) {
    AstPtr replaced = with_fold_results(argument);
    changed = changed || replaced != argument;
    argument = std::move(replaced);
  }
  return changed ? std::make_shared<const Ast>(std::move(copy)) : ast;
}

// The value of an expression without names: a column of one row.
ColumnPtr AggregateCompiler::compile_constant(const AstPtr& argument, Refusal* refusal) {
  const ExpressionPtr expression = compile_argument(argument, {}, refusal);
  if (!expression) return nullptr;
  const int64_t time_ms = 0;
  Batch batch;
  batch.rows = 1;
  batch.event_time_ms = &time_ms;
  RowErrors errors;
  const auto arena = std::make_shared<Arena>();
  ColumnPtr column = make_evaluator(expression)->evaluate(batch, arena, errors);
  std::string problem = errors.empty() ? "" : errors.entries[0].message;
  if (problem.empty() && column->is_null(0)) problem = "an accumulator cannot be null";
  if (problem.empty()) {
    auto kept = std::make_shared<Column>(*column);
    kept->owners.push_back(arena);
    kept->owners.push_back(column);
    return kept;
  }
  *refusal = {LintCode::kExpressionType, argument->offset, std::move(problem), ""};
  return nullptr;
}

std::optional<std::pair<int, Type>> AggregateCompiler::resolve_fold(const Ast& call, const AggregateFunction& function,
                                                                    Refusal* refusal) {
  const auto refuse = [&](size_t offset, std::string message, std::string hint) {
    *refusal = {LintCode::kExpressionType, offset, std::move(message), std::move(hint)};
    return std::nullopt;
  };
  if (call.args.size() < 4 || call.args.size() > 5) {
    return refuse(call.offset, fmt::format("wrong number of arguments for fold(): {}", call.args.size()), kSignature);
  }
  if (!is_accumulator(*call.args[3])) {
    return refuse(call.args[3]->offset, "the result of fold() does not use acc", kSignature);
  }
  if (find_column(program_.input, kAccumulator) >= 0) {
    return refuse(call.offset, "in fold(), acc is the accumulator, and the input has a column of that name",
                  "rename the column with select");
  }
  FoldProgram program;
  program.init = compile_constant(call.args[0], refusal);
  if (!program.init) return std::nullopt;
  const Type type = program.init->type;
  program.accumulator = static_cast<int>(program_.input.size());
  Schema names = program_.input;
  names.push_back({kAccumulator, type});
  program.add = compile_argument(call.args[1], names, refusal);
  if (!program.add) return std::nullopt;
  program.merge = compile_argument(call.args[2], {{"a", type}, {"b", type}}, refusal);
  if (!program.merge) return std::nullopt;
  for (const auto& [step, expression] : {std::pair{size_t{1}, program.add}, std::pair{size_t{2}, program.merge}}) {
    if (expression->type() == type) continue;
    return refuse(call.args[step]->offset,
                  fmt::format("the accumulator of fold() begins as {}, this is {}", type.to_string(),
                              expression->type().to_string()),
                  kSignature);
  }

  AggregateCall result;
  result.text = to_text(call);
  result.descriptor = fmt::format("fold({}:{}, {}, {}", to_text(*call.args[0]), type.to_string(),
                                  to_text(*call.args[1]), to_text(*call.args[2]));
  if (call.args.size() == 5) {
    const ExpressionPtr condition = compile_condition(call.args[4], function, refusal);
    if (!condition) return std::nullopt;
    result.condition = add_input(call.args[4], condition, -1);
    result.descriptor += ", " + to_text(*call.args[4]);
  }
  result.descriptor += ")";
  // The columns that it reads, so that they are decoded.
  for (const int column : program.add->columns()) {
    if (column == program.accumulator) continue;
    ExpressionError error;
    const AstPtr name = parse_expression(program_.input[static_cast<size_t>(column)].name, &error);
    MR_CHECK(name != nullptr);
    const ExpressionPtr expression = compile_argument(name, program_.input, refusal);
    if (!expression) return std::nullopt;
    add_input(name, expression, -1);
  }
  result.aggregate = function.make_fold(std::move(program));
  if (!result.aggregate) {
    return refuse(call.args[0]->offset, fmt::format("an accumulator of fold() cannot be {}", type.to_string()),
                  "a number, bool, text, timestamp or duration");
  }
  return add_call(std::move(result));
}

void register_fold(AggregateRegistry& registry) {
  AggregateFunction function{kFold, kSignature, 4, 4, AggregateFunction::Condition::kOptional, nullptr};
  function.make_fold = make_expression_fold;
  registry.add(std::move(function));
}

}  // namespace millrace
