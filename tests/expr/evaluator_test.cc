#include <doctest/doctest.h>

#include <set>

#include "expr/expression.h"

namespace millrace {
namespace {

ExpressionPtr compiled(const std::string& text, const Scope& scope) {
  std::vector<ExpressionError> errors;
  const AstPtr ast = parse_expression(text, nullptr);
  REQUIRE(ast);
  ExpressionPtr expression = compile_expression(ast, scope, &errors);
  REQUIRE_MESSAGE(expression, text << ": " << (errors.empty() ? "" : errors[0].message));
  return expression;
}

ColumnPtr int_column(std::vector<int64_t> values, const ArenaPtr& arena) {
  ColumnBuilder builder(Type(TypeKind::kInt), arena, static_cast<uint32_t>(values.size()));
  std::copy(values.begin(), values.end(), builder.ints);
  return builder.finish(static_cast<uint32_t>(values.size()));
}

const Schema kSchema = {{"a", Type(TypeKind::kInt)}, {"s", Type(TypeKind::kString)}};

Scope scope() {
  Scope scope;
  scope.schema = &kSchema;
  return scope;
}

}  // namespace

TEST_CASE("a plain reference returns the same column") {
  const auto arena = std::make_shared<Arena>();
  Batch batch;
  batch.rows = 2;
  batch.columns = {int_column({1, 2}, arena), nullptr};
  RowErrors errors;
  CHECK(make_evaluator(compiled("a", scope()))->evaluate(batch, arena, errors) == batch.columns[0]);
}

TEST_CASE("columns that the expression does not read may be absent") {
  const auto arena = std::make_shared<Arena>();
  Batch batch;
  batch.rows = 3;
  batch.columns = {int_column({1, 2, 3}, arena), nullptr};
  RowErrors errors;
  const ColumnPtr sum = make_evaluator(compiled("a + 1", scope()))->evaluate(batch, arena, errors);
  CHECK(sum->ints[2] == 4);
  CHECK(sum->nulls == nullptr);
  CHECK(errors.empty());
}

TEST_CASE("an empty batch and an empty selection") {
  const auto arena = std::make_shared<Arena>();
  RowErrors errors;
  for (const char* text :
       {"a / a", "a > 0 ? a / 2 : 1", "[a, a]", "[a, 1][0]", "a > 0 && 1 / a > 0", "s", "5", "null"}) {
    const auto evaluator = make_evaluator(compiled(text, scope()));
    Batch batch;
    ColumnBuilder strings(Type(TypeKind::kString), arena, 0);
    batch.columns = {int_column({}, arena), strings.finish(0)};
    CHECK(evaluator->evaluate(batch, arena, errors)->rows == 0);
    batch.rows = 1;
    ColumnBuilder one(Type(TypeKind::kString), arena, 1);
    batch.columns = {int_column({0}, arena), one.finish(1)};
    batch.selection = std::make_shared<std::vector<uint32_t>>();
    CHECK(evaluator->evaluate(batch, arena, errors)->rows == 1);
  }
  CHECK(errors.empty());
}

TEST_CASE("failed rows come in order, once, after those of earlier evaluations") {
  const auto arena = std::make_shared<Arena>();
  Batch batch;
  batch.rows = 5;
  batch.columns = {int_column({0, 1, 0, INT64_MAX, 0}, arena), nullptr};
  batch.selection = std::make_shared<std::vector<uint32_t>>(std::vector<uint32_t>{0, 1, 3, 4});
  RowErrors errors;
  const ColumnPtr column = make_evaluator(compiled("1 / a + (a + 1)", scope()))->evaluate(batch, arena, errors);
  REQUIRE(errors.entries.size() == 3);
  CHECK(errors.entries[0].row == 0);
  CHECK(errors.entries[0].message == "division by zero");
  CHECK(errors.entries[1].row == 3);
  CHECK(errors.entries[1].message == "integer overflow in _+_");
  CHECK(errors.entries[2].row == 4);
  CHECK(column->is_null(0));
  CHECK(column->ints[0] == 0);
  CHECK(column->ints[1] == 3);
}

TEST_CASE("a result outlives the batch, the evaluator and the expression") {
  ColumnPtr result;
  {
    const auto arena = std::make_shared<Arena>();
    const auto input = std::make_shared<Arena>();
    ColumnBuilder builder(Type(TypeKind::kString), input, 3);
    builder.strings[0] = input->copy("a long enough text to be allocated somewhere 0");
    builder.strings[1] = input->copy("X");
    builder.set_null(2);
    Batch batch;
    batch.rows = 3;
    batch.columns = {int_column({1, 2, 3}, input), builder.finish(3)};
    RowErrors errors;
    result =
        make_evaluator(compiled("a == 1 ? s : a == 2 ? s.lowerAscii() + '!' : 'a literal of the expression'", scope()))
            ->evaluate(batch, arena, errors);
    CHECK(errors.empty());
  }
  CHECK(result->strings[0] == "a long enough text to be allocated somewhere 0");
  CHECK(result->strings[1] == "x!");
  CHECK(result->strings[2] == "a literal of the expression");
}

TEST_CASE("random is a pure function of seed, index, text and ordinal") {
  const Schema schema = {{"i", Type(TypeKind::kInt)}};
  Scope scope;
  scope.schema = &schema;
  scope.random_seed = 42;
  scope.random_index_column = 0;
  const auto arena = std::make_shared<Arena>();
  const auto values = [&](const std::string& text, std::vector<int64_t> index) {
    Batch batch;
    batch.rows = static_cast<uint32_t>(index.size());
    batch.columns = {int_column(index, arena)};
    RowErrors errors;
    const ExpressionPtr expression = compiled(text, scope);
    CHECK(expression->columns() == std::vector<int>{0});
    const ColumnPtr column = make_evaluator(expression)->evaluate(batch, arena, errors);
    CHECK(errors.empty());
    return std::vector<int64_t>(column->ints, column->ints + batch.rows);
  };
  std::vector<int64_t> index(1000);
  for (size_t i = 0; i < index.size(); i++) index[i] = static_cast<int64_t>(i);
  const auto dice = values("random(1, 7)", index);
  CHECK(std::set<int64_t>(dice.begin(), dice.end()) == std::set<int64_t>{1, 2, 3, 4, 5, 6});
  CHECK(values("random(1, 7)", index) == dice);
  CHECK(values(" random(1,7) ", {500}) == std::vector<int64_t>{dice[500]});
  CHECK(values("random(1, 8)", index) != dice);
  // Two calls of one text differ by their ordinal.
  const auto differences = values("random(0, 1000000) - random(0, 1000000)", index);
  CHECK(std::count(differences.begin(), differences.end(), 0) < 5);
  scope.random_seed = 43;
  CHECK(values("random(1, 7)", index) != dice);
  const auto wide = values("random(-9223372036854775808, 9223372036854775807)", index);
  CHECK(std::set<int64_t>(wide.begin(), wide.end()).size() == index.size());
  double mean = 0;
  for (const int64_t value : values("random(0, 1000)", index)) mean += static_cast<double>(value) / 1000;
  CHECK(mean > 460);
  CHECK(mean < 540);
  std::vector<ExpressionError> errors;
  CHECK(!compile_expression(parse_expression("random(5, 5)", nullptr), scope, &errors));
  CHECK(errors[0].message == "always fails: empty range in random(lo, hi)");
}

}  // namespace millrace
