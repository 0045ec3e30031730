#include <doctest/doctest.h>

#include "expr/expression.h"

namespace millrace {
namespace {

const Schema kSchema = {{"amount", Type(TypeKind::kInt)}, {"status", Type(TypeKind::kString)}};

Scope scope() {
  Scope scope;
  scope.schema = &kSchema;
  return scope;
}

struct Outcome {
  ExpressionPtr expression;
  std::vector<Diagnostic> errors;
};

// Compiles the value of the key `filter` of a YAML text.
Outcome compile(const std::string& yaml, std::optional<Type> wanted = std::nullopt) {
  Diagnostics diagnostics;
  diagnostics.add_file("test.yaml", yaml);
  const ConfigNode root = ConfigNode::parse(
      "test.yaml", yaml, [](const std::string&) { return std::nullopt; }, diagnostics);
  const auto node = root.find("filter");
  REQUIRE(node);
  ExpressionPtr expression = compile_node(*node, scope(), diagnostics, wanted);
  return {expression, diagnostics.all()};
}

}  // namespace

TEST_CASE("errors stand at their place in the file") {
  const Outcome outcome = compile("filter: amout > 1 && status == 5\n");
  CHECK(!outcome.expression);
  REQUIRE(outcome.errors.size() == 2);
  CHECK(outcome.errors[0].code == LintCode::kUnknownField);
  CHECK(outcome.errors[0].at.line == 1);
  CHECK(outcome.errors[0].at.column == 9);
  CHECK(outcome.errors[0].hint == "did you mean \"amount\"?");
  CHECK(outcome.errors[1].code == LintCode::kExpressionType);
  CHECK(outcome.errors[1].at.column == 29);
}

TEST_CASE("the wanted type") {
  CHECK(compile("filter: amount > 1\n", Type(TypeKind::kBool)).expression);
  const Outcome outcome = compile("filter: amount + 1\n", Type(TypeKind::kBool));
  CHECK(!outcome.expression);
  REQUIRE(outcome.errors.size() == 1);
  CHECK(outcome.errors[0].message == "expected bool, the expression is int");
}

TEST_CASE("scalars that YAML has cut are recognised") {
  const Outcome cut = compile("filter: status == \"a #b\"\n");
  REQUIRE(cut.errors.size() == 1);
  CHECK(cut.errors[0].code == LintCode::kExpressionUnquoted);
  CHECK(cut.errors[0].hint == "quote this: filter: 'status == \"a #b\"'");
  // Nothing was cut off: it is just not balanced.
  for (const char* text : {"filter: (amount > 1\n", "filter: status in [\"a\"\n"}) {
    const Outcome outcome = compile(text);
    REQUIRE(outcome.errors.size() == 1);
    CHECK_MESSAGE(outcome.errors[0].code == LintCode::kExpressionSyntax, text);
  }
  const Outcome quoted = compile("filter: '(amount > 1'\n");
  REQUIRE(quoted.errors.size() == 1);
  CHECK(quoted.errors[0].code == LintCode::kExpressionSyntax);
  const Outcome unfinished = compile("filter: amount >\n");
  REQUIRE(unfinished.errors.size() == 1);
  CHECK(unfinished.errors[0].code == LintCode::kExpressionSyntax);
  CHECK(compile("filter: [amount, 1]\n").errors[0].code == LintCode::kExpressionUnquoted);
  CHECK(compile("filter:\n  - amount\n").errors[0].code == LintCode::kWrongType);
}

}  // namespace millrace
