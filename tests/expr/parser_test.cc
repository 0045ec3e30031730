#include <doctest/doctest.h>

#include "expr/expression.h"

namespace millrace {
namespace {

struct Failure {
  size_t offset;
  std::string message;
  std::string hint;
};

Failure failure(const std::string& text) {
  ExpressionError error;
  const AstPtr ast = parse_expression(text, &error);
  REQUIRE_MESSAGE(!ast, text);
  CHECK(error.code == LintCode::kExpressionSyntax);
  return {error.offset, error.message, error.hint};
}

std::string canonical(const std::string& text) {
  ExpressionError error;
  const AstPtr ast = parse_expression(text, &error);
  REQUIRE_MESSAGE(ast, text << ": " << error.message << " at " << error.offset);
  return to_text(*ast);
}

std::string repeat(const std::string& text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; i++) out += text;
  return out;
}

}  // namespace

TEST_CASE("canonical text drops what does not matter and keeps what does") {
  CHECK(canonical(" a+ b *c ") == "a + b * c");
  CHECK(canonical("(a+b)*c") == "(a + b) * c");
  CHECK(canonical("a-(b-c)") == "a - (b - c)");
  CHECK(canonical("(a-b)-c") == "a - b - c");
  CHECK(canonical("((a))") == "a");
  CHECK(canonical("a&&(b&&c)") == canonical("(a&&b)&&c"));
  CHECK(canonical("a||b&&c") == "a || b && c");
  CHECK(canonical("(a||b)&&c") == "(a || b) && c");
  CHECK(canonical("!(a==b)") == "!(a == b)");
  CHECK(canonical("-a.b") == "-a.b");
  CHECK(canonical("-(5)") == "-(5)");
  CHECK(canonical("-5") == "-5");
  CHECK(canonical("(-5).f()") == "(-5).f()");
  CHECK(canonical("a ? b : c ? d : e") == "a ? b : c ? d : e");
  CHECK(canonical("(a ? b : c) ? d : e") == "(a ? b : c) ? d : e");
  CHECK(canonical("sum( amount , 'x' )") == "sum(amount, \"x\")");
  CHECK(canonical("s . size ( )") == "s.size()");
  CHECK(canonical("a[ 0 ].b") == "a[0].b");
  CHECK(canonical("x in [1,2]") == "x in [1, 2]");
  CHECK(canonical("{'a':1}") == "{\"a\": 1}");
  CHECK(canonical("1.0") == "1.0");
  CHECK(canonical("1e30") == "1e+30");
  CHECK(canonical("0x10") == "16");
  CHECK(canonical("'a\"\\n'") == "\"a\\\"\\x0a\"");
  CHECK(canonical("b'\\xff'") == "b\"\\xff\"");
  CHECK(canonical("a // end") == "a");
  CHECK(canonical("count()") == "count()");
}

TEST_CASE("canonical text is its own canonical text") {
  for (const char* text : {"a + b * c - -d / 2 % e", "!(a && b || !c)", "a.b.c[d].f(1, 'x', b\"\\x00\")",
                           "-9223372036854775808", "-(-5)", "- - a", "!!a", "a ? b ? c : d : e", "[1, [2], {}]",
                           "{'k': [1.5]}", "(a == b) == c", "a == (b == c)", "a in (b in c)", "(1).f()", "'\\u00e4\\t'",
                           "1e-7 + .5", "true && null == x", "a && b && c && d && e || f || g"})
    CHECK(canonical(canonical(text)) == canonical(text));
}

TEST_CASE("syntax errors say where and what") {
  CHECK(failure("").offset == 0);
  CHECK(failure("").message == "unexpected end of the expression");
  CHECK(failure("a +").offset == 3);
  CHECK(failure("a b").offset == 2);
  CHECK(failure("a b").message == "unexpected \"b\"");
  CHECK(failure("(a").message == "unexpected end of the expression, expected \")\"");
  CHECK(failure("a)").offset == 1);
  CHECK(failure("f(a,)").offset == 4);
  CHECK(failure("f(a b)").offset == 4);
  CHECK(failure("[1 2]").message == "unexpected \"2\", expected \",\" or \"]\"");
  CHECK(failure("a ? b").message == "unexpected end of the expression, expected \":\"");
  CHECK(failure("a.").message == "unexpected end of the expression, expected a field name");
  CHECK(failure("a.1").offset == 1);
  CHECK(failure("a[").offset == 2);
  CHECK(failure("status = 'paid'").offset == 7);
  CHECK(failure("status = 'paid'").hint == "write == to compare");
  CHECK(failure("a & b").hint == "write && for and");
  CHECK(failure("a | b").hint == "write || for or");
  CHECK(failure("a and b").hint == "write && for and");
  CHECK(failure("a or b").hint == "write || for or");
  CHECK(failure("not a").hint == "write ! for not");
  CHECK(failure("a <> b").hint == "write !=");
  CHECK(failure("1u").hint == "write 1");
  CHECK(failure("a + 12u").offset == 4);
  CHECK(failure("0x1FU").hint == "write 0x1F");
  CHECK(failure("'abc").message == "string without its closing quote");
  CHECK(failure("'abc").offset == 4);
  CHECK(failure("'a\nb'").offset == 2);
  CHECK(failure("'a\\q'").offset == 2);
  CHECK(failure("'\\ud800'").message == "escape is not a Unicode character");
  CHECK(failure("'\\U00110000'").message == "escape is not a Unicode character");
  CHECK(failure("'\\x4'").message == "an escape that needs 2 digits has fewer");
  CHECK(failure("b'\\u0041'").message == "unknown escape in a string");
  CHECK(failure("b'\\777'").message == "octal escape above \\377");
  CHECK(failure("'\xff'").message == "string literal is not valid UTF-8");
  CHECK(failure("a\xc3\xa4").offset == 1);
  CHECK(failure("9223372036854775808").message == "integer literal out of range");
  CHECK(failure("-9223372036854775809").message == "integer literal out of range");
  CHECK(failure("99999999999999999999999").message == "integer literal out of range");
  CHECK(failure("1e999").message == "double literal out of range");
  CHECK(failure("0x").message == "0x without digits");
  CHECK(failure("12abc").offset == 2);
  CHECK(failure("a; b").offset == 1);
  CHECK(failure("in").offset == 0);
  CHECK(failure("a in").offset == 4);
  CHECK(failure("a ++ b").offset == 3);
  CHECK(failure("a == == b").offset == 5);
}

TEST_CASE("depth and length have limits, and nothing crashes beyond them") {
  CHECK(parse_expression(repeat("(", 99) + "a" + repeat(")", 99), nullptr));
  CHECK(failure(repeat("(", 100) + "a" + repeat(")", 100)).message == "expression is nested deeper than 100");
  CHECK(failure(repeat("[", 200) + repeat("]", 200)).message == "expression is nested deeper than 100");
  CHECK(failure(repeat("!", 101) + "a").message == "expression is nested deeper than 100");
  CHECK(failure(repeat("-", 101) + "1").message == "expression is nested deeper than 100");
  CHECK(failure("a" + repeat(" + a", 200)).message == "expression is nested deeper than 100");
  CHECK(failure("a" + repeat(".a", 200)).message == "expression is nested deeper than 100");
  CHECK(failure("a" + repeat("[0]", 200)).message == "expression is nested deeper than 100");
  CHECK(failure(repeat("a?", 200)).message == "expression is nested deeper than 100");
  CHECK(failure(repeat("f(", 200)).message == "expression is nested deeper than 100");
  for (const char* piece : {"(", "[", "!", "-", "f(", "a[", "a?", "a?b:", "{1:", "a.", "a+", "a&&", "'", "a.b("}) {
    CHECK_MESSAGE(!parse_expression(repeat(piece, 100'000), nullptr), piece);
    CHECK_MESSAGE(!parse_expression(repeat(piece, 30'000 / std::string(piece).size()), nullptr), piece);
  }
  CHECK(failure(repeat(" ", 64 * 1024 + 1)).message == "expression is longer than 65536 bytes");
  // Long chains of && and || are balanced, long lists are flat: neither is deep.
  CHECK(parse_expression("a" + repeat(" || a", 5'000), nullptr));
  CHECK(parse_expression("a" + repeat(" && a", 5'000), nullptr));
  CHECK(parse_expression("a in [1" + repeat(",1", 20'000) + "]", nullptr));
}

TEST_CASE("offsets of nodes") {
  const AstPtr ast = parse_expression("a + bb.cc(1).dd[2]", nullptr);
  REQUIRE(ast);
  CHECK(ast->offset == 2);
  const Ast& index = *ast->args[1];
  CHECK(index.offset == 15);
  CHECK(index.args[0]->offset == 13);
  CHECK(index.args[0]->args[0]->offset == 7);
  CHECK(index.args[0]->args[0]->member);
  CHECK(index.args[0]->args[0]->args[0]->offset == 4);
}

}  // namespace millrace
