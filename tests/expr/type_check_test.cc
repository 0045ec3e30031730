#include <doctest/doctest.h>

#include <algorithm>

#include "expr/expression.h"

namespace millrace {
namespace {

const Schema& orders() {
  static const Schema kSchema = {{"amount", Type(TypeKind::kInt)},
                                 {"price", Type(TypeKind::kDouble)},
                                 {"status", Type(TypeKind::kString)},
                                 {"at", Type(TypeKind::kTimestamp)},
                                 {"customer", Type::structure({{"city", Type(TypeKind::kString)}})},
                                 {"record.key", Type(TypeKind::kBytes)}};
  return kSchema;
}

Scope scope_of_orders() {
  Scope scope;
  scope.schema = &orders();
  return scope;
}

std::vector<ExpressionError> errors_of(const std::string& text, const Scope& scope = scope_of_orders()) {
  const AstPtr ast = parse_expression(text, nullptr);
  REQUIRE_MESSAGE(ast, text);
  std::vector<ExpressionError> errors;
  const ExpressionPtr expression = compile_expression(ast, scope, &errors);
  CHECK((expression == nullptr) == !errors.empty());
  return errors;
}

ExpressionPtr compiled(const std::string& text, const Scope& scope = scope_of_orders()) {
  std::vector<ExpressionError> errors;
  const AstPtr ast = parse_expression(text, nullptr);
  REQUIRE(ast);
  ExpressionPtr expression = compile_expression(ast, scope, &errors);
  REQUIRE_MESSAGE(expression, text << ": " << (errors.empty() ? "" : errors[0].message));
  return expression;
}

}  // namespace

TEST_CASE("unknown names point at the name and offer the nearest") {
  const auto errors = errors_of("status == 'paid' && amout > 1");
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].code == LintCode::kUnknownField);
  CHECK(errors[0].offset == 20);
  CHECK(errors[0].message == "unknown field \"amout\"");
  CHECK(errors[0].hint == "did you mean \"amount\"?");
  CHECK(errors_of("customer.cty")[0].offset == 9);
  CHECK(errors_of("customer.cty")[0].hint == "did you mean \"city\"?");
  CHECK(errors_of("record.kay")[0].offset == 0);
  CHECK(errors_of("record.kay")[0].hint == "did you mean \"record.key\"?");
  CHECK(errors_of("statsu.size()")[0].hint == "did you mean \"status\"?");
  CHECK(errors_of("status.startWith('a')")[0].hint == "did you mean \"startsWith\"?");
  CHECK(errors_of("has(amout)")[0].code == LintCode::kUnknownField);
  CHECK(errors_of("has(nothing.at.all)")[0].message == "unknown field \"nothing.at.all\"");
  Scope scope = scope_of_orders();
  scope.more_names = {"window.start", "window.end"};
  CHECK(errors_of("window.strat", scope)[0].hint == "did you mean \"window.start\"?");
}

TEST_CASE("all errors of a text are found") {
  const auto errors = errors_of("amout + 1 > 2 || status == 5 || [nope, amount + price] == null");
  REQUIRE(errors.size() == 4);
  CHECK(errors[0].offset == 0);
  CHECK(errors[1].offset == 24);
  CHECK(errors[2].offset == 33);
  CHECK(errors[3].offset == 46);
}

TEST_CASE("hints for what does not mix") {
  CHECK(errors_of("amount + price")[0].message == "no overload of + for int and double");
  CHECK(errors_of("amount + price")[0].hint == "double(amount)");
  CHECK(errors_of("amount + price")[0].offset == 7);
  CHECK(errors_of("amount + price")[0].code == LintCode::kExpressionType);
  CHECK(errors_of("status + amount")[0].hint == "string(amount)");
  CHECK(errors_of("status * amount")[0].hint == "int(status)");
  CHECK(errors_of("at > 5")[0].hint == "millis(at) is a timestamp as int");
  CHECK(errors_of("at > '2020-01-01T00:00:00Z'")[0].hint == "timestamp(\"2020-01-01T00:00:00Z\")");
  CHECK(errors_of("at + 5")[0].hint == "add a duration: duration(\"5m\")");
  CHECK(errors_of("record.key == 'a'")[0].hint == "string(record.key) reads bytes as UTF-8");
  CHECK(errors_of("amount == '5'")[0].hint == "convert one side: int(\"5\") or string(amount)");
  CHECK(errors_of("null + 1")[0].hint == "only ==, != and has() accept null");
  CHECK(errors_of("contains(status, 'a')")[0].hint == "write x.contains(…)");
  CHECK(errors_of("status.millis()")[0].hint == "write millis(x)");
  CHECK(errors_of("price % 2.0")[0].hint == "% is for int only: int(price)");
  CHECK(errors_of("true ? amount : price")[0].hint == "double(amount)");
  CHECK(errors_of("sum(amount)")[0].message == "unknown function \"sum\"");
  CHECK(errors_of("[1].fold(v, v > 0)")[0].message == "unknown function \"fold\"");
  CHECK(errors_of("random(1, 2)")[0].message == "unknown function \"random\"");
  CHECK(errors_of("1/0 > amount")[0].offset == 1);
}

TEST_CASE("types, columns and plain references") {
  CHECK(compiled("amount")->plain_column() == 0);
  CHECK(compiled("int(amount)")->plain_column() == 0);
  CHECK(compiled("amount + 0")->plain_column() == -1);
  CHECK(compiled("record.key")->plain_column() == 5);
  CHECK(compiled("customer.city")->plain_column() == -1);
  CHECK(compiled("customer.city")->columns() == std::vector<int>{4});
  CHECK(compiled("status == 'a' ? amount : amount * 2")->columns() == std::vector<int>{0, 2});
  CHECK(compiled("1 + 2")->columns().empty());
  CHECK(compiled("true ? amount : int(status)")->columns() == std::vector<int>{0});
  CHECK(compiled("at - at")->type() == Type(TypeKind::kDuration));
  CHECK(compiled("[amount]")->type() == Type::list(Type(TypeKind::kInt)));
  CHECK(compiled("null")->type() == Type());
  CHECK(compiled("amount > 1 ? null : 'a'")->type() == Type(TypeKind::kString));
}

TEST_CASE("hooks give columns to calls and names that the language does not know") {
  Scope scope = scope_of_orders();
  std::vector<std::string> calls;
  scope.call_hook = [&](const Ast& call, std::optional<ExpressionError>* error) -> std::optional<std::pair<int, Type>> {
    calls.push_back(to_text(call));
    if (call.name == "sum") return std::pair{10, Type(TypeKind::kInt)};
    if (call.name == "count") return std::pair{11, Type(TypeKind::kInt)};
    if (call.name == "median") *error = ExpressionError{LintCode::kExpressionType, call.offset, "no median", "use p50"};
    return std::nullopt;
  };
  scope.name_hook = [](const std::string& name) -> std::optional<std::pair<int, Type>> {
    if (name == "window.start") return std::pair{12, Type(TypeKind::kTimestamp)};
    return std::nullopt;
  };
  const ExpressionPtr mean = compiled("sum( amount+unknown ) / count()", scope);
  CHECK(mean->columns() == std::vector<int>{10, 11});
  CHECK(mean->type() == Type(TypeKind::kInt));
  CHECK(calls == std::vector<std::string>{"sum(amount + unknown)", "count()"});
  CHECK(compiled("count()", scope)->plain_column() == 11);
  CHECK(compiled("millis(window.start) / 1000", scope)->columns() == std::vector<int>{12});
  CHECK(compiled("has(window.start)", scope)->columns() == std::vector<int>{12});
  CHECK(errors_of("1 + median(amount)", scope)[0].message == "no median");
  CHECK(errors_of("1 + median(amount)", scope)[0].hint == "use p50");
  CHECK(errors_of("other(amount)", scope)[0].message == "unknown function \"other\"");
  CHECK(errors_of("size(amount)", scope)[0].message == "no overload of size for int");
}

TEST_CASE("known functions are sorted and unique") {
  const auto names = known_functions();
  CHECK(std::is_sorted(names.begin(), names.end()));
  CHECK(std::find(names.begin(), names.end(), "startsWith") != names.end());
  CHECK(std::find(names.begin(), names.end(), "_+_") == names.end());
  CHECK(std::find(names.begin(), names.end(), "!_") == names.end());
}

}  // namespace millrace
