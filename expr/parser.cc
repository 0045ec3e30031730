// Precedence climbing. Two limits keep hostile texts harmless: nesting of the parser's own recursion, and depth of the
// tree (a chain such as a+a+a+… nests without parentheses), which every later walk relies on.
#include <fmt/format.h>

#include <algorithm>

#include "expr/expression.h"
#include "expr/lexer.h"

namespace millrace {
namespace {

using expr::Lexer;
using expr::Token;

constexpr size_t kMaxTextBytes = 64 * 1024;
constexpr int kMaxDepth = 100;

struct Parsed {
  AstPtr ast;  // nullptr: failed, the error is recorded
  int depth = 0;
};

struct Operator {
  std::string_view symbol;
  const char* function;
  int precedence;
};
constexpr Operator kBinary[] = {
    {"||", "_||_", 1}, {"&&", "_&&_", 2}, {"==", "_==_", 3}, {"!=", "_!=_", 3}, {"<", "_<_", 3},
    {"<=", "_<=_", 3}, {">", "_>_", 3},   {">=", "_>=_", 3}, {"in", "@in", 3},  {"+", "_+_", 4},
    {"-", "_-_", 4},   {"*", "_*_", 5},   {"/", "_/_", 5},   {"%", "_%_", 5},
};

class Parser {
 public:
  Parser(std::string_view text, ExpressionError* error) : lexer_(text), error_(error) { advance(); }

  AstPtr whole() {
    Parsed result = expression();
    if (!result.ast) return nullptr;
    if (token_.kind != Token::Kind::kEnd) {
      unexpected();
      return nullptr;
    }
    return result.ast;
  }

 private:
  void advance() { token_ = lexer_.next(); }

  bool is(std::string_view symbol) const { return token_.kind == Token::Kind::kSymbol && token_.text == symbol; }

  Parsed fail(size_t offset, std::string message, std::string hint = "") {
    if (!failed_) *error_ = {LintCode::kExpressionSyntax, offset, std::move(message), std::move(hint)};
    failed_ = true;
    return {};
  }

  Parsed unexpected(std::string_view wanted = "") {
    if (token_.kind == Token::Kind::kError) return fail(token_.offset, token_.string_value, token_.hint);
    std::string suffix = wanted.empty() ? "" : fmt::format(", expected {}", wanted);
    if (token_.kind == Token::Kind::kEnd) return fail(token_.offset, "unexpected end of the expression" + suffix);
    std::string hint;
    if (token_.text == "and" || token_.text == "AND") hint = "write && for and";
    if (token_.text == "or" || token_.text == "OR") hint = "write || for or";
    std::string_view shown = token_.text;
    if (token_.kind == Token::Kind::kString || token_.kind == Token::Kind::kBytes) shown = "a string";
    if (shown.empty()) shown = "a number";
    if (shown.size() > 48) shown = shown.substr(0, 48);
    const bool quoted = shown == token_.text;
    return fail(token_.offset, fmt::format("unexpected {0}{1}{0}{2}", quoted ? "\"" : "", shown, suffix), hint);
  }

  bool expect(std::string_view symbol) {
    if (!is(symbol)) {
      unexpected(fmt::format("\"{}\"", symbol));
      return false;
    }
    advance();
    return true;
  }

  Parsed finish(Ast&& node, int depth) {
    if (depth > kMaxDepth) return too_deep(node.offset);
    return {std::make_shared<const Ast>(std::move(node)), depth};
  }
  Parsed too_deep(size_t offset) {
    return fail(offset, fmt::format("expression is nested deeper than {}", kMaxDepth),
                "split it with an `extend` operator");
  }

  Parsed call(std::string name, size_t offset, bool member, std::vector<Parsed> args) {
    Ast node;
    node.kind = Ast::Kind::kCall;
    node.name = std::move(name);
    node.offset = offset;
    node.member = member;
    int depth = 0;
    for (Parsed& arg : args) {
      depth = std::max(depth, arg.depth);
      node.args.push_back(std::move(arg.ast));
    }
    return finish(std::move(node), depth + 1);
  }

  Parsed expression() {
    if (++nesting_ > kMaxDepth) return too_deep(token_.offset);
    Parsed condition = binary(1);
    if (condition.ast && is("?")) condition = ternary(std::move(condition));
    nesting_--;
    return condition;
  }

  Parsed ternary(Parsed condition) {
    Ast node;
    node.kind = Ast::Kind::kTernary;
    node.offset = token_.offset;
    advance();
    Parsed yes = expression();
    if (!yes.ast || !expect(":")) return {};
    Parsed no = expression();
    if (!no.ast) return {};
    const int depth = std::max({condition.depth, yes.depth, no.depth}) + 1;
    node.args = {std::move(condition.ast), std::move(yes.ast), std::move(no.ast)};
    return finish(std::move(node), depth);
  }

  const Operator* binary_operator() const {
    if (token_.kind != Token::Kind::kSymbol && token_.kind != Token::Kind::kName) return nullptr;
    for (const Operator& candidate : kBinary)
      if (candidate.symbol == token_.text) return &candidate;
    return nullptr;
  }

  Parsed binary(int precedence) {
    if (precedence > 5) return unary();
    if (precedence <= 2) return logic(precedence);
    Parsed left = binary(precedence + 1);
    while (left.ast) {
      const Operator* found = binary_operator();
      if (!found || found->precedence != precedence) break;
      const size_t offset = token_.offset;
      advance();
      Parsed right = binary(precedence + 1);
      if (!right.ast) return {};
      left = call(found->function, offset, false, {std::move(left), std::move(right)});
    }
    return left;
  }

  // Chains of && and || become balanced trees: they are associative, and long ones are common.
  Parsed logic(int precedence) {
    std::vector<Parsed> terms;
    std::vector<size_t> offsets;
    terms.push_back(binary(precedence + 1));
    while (terms.back().ast) {
      const Operator* found = binary_operator();
      if (!found || found->precedence != precedence) break;
      offsets.push_back(token_.offset);
      advance();
      terms.push_back(binary(precedence + 1));
    }
    if (!terms.back().ast) return {};
    return balanced(precedence == 1 ? "_||_" : "_&&_", terms, offsets, 0, terms.size());
  }

  Parsed balanced(const char* function, std::vector<Parsed>& terms, const std::vector<size_t>& offsets, size_t begin,
                  size_t end) {
    if (end - begin == 1) return std::move(terms[begin]);
    const size_t middle = begin + (end - begin + 1) / 2;
    Parsed left = balanced(function, terms, offsets, begin, middle);
    Parsed right = balanced(function, terms, offsets, middle, end);
    if (!left.ast || !right.ast) return {};
    return call(function, offsets[middle - 1], false, {std::move(left), std::move(right)});
  }

  Parsed unary() {
    std::vector<std::pair<const char*, size_t>> operators;
    while (is("!") || is("-")) {
      if (operators.size() >= static_cast<size_t>(kMaxDepth)) return too_deep(token_.offset);
      operators.emplace_back(is("!") ? "!_" : "-_", token_.offset);
      advance();
    }
    // The minus in front of a number belongs to it: the smallest int has no positive counterpart.
    const bool number = token_.kind == Token::Kind::kInt || token_.kind == Token::Kind::kDouble;
    const bool negative = number && !operators.empty() && operators.back().first[0] == '-';
    const size_t sign_offset = negative ? operators.back().second : 0;
    if (negative) operators.pop_back();
    Parsed operand = postfix(negative, sign_offset);
    for (size_t i = operators.size(); i > 0 && operand.ast; i--)
      operand = call(operators[i - 1].first, operators[i - 1].second, false, {std::move(operand)});
    return operand;
  }

  Parsed postfix(bool negative, size_t sign_offset) {
    Parsed value = primary(negative, sign_offset);
    while (value.ast) {
      if (is(".")) {
        value = member(std::move(value));
      } else if (is("[")) {
        value = index(std::move(value));
      } else {
        break;
      }
    }
    return value;
  }

  Parsed member(Parsed receiver) {
    advance();
    if (token_.kind != Token::Kind::kName) return unexpected("a field name");
    const std::string name(token_.text);
    const size_t offset = token_.offset;
    advance();
    if (is("(")) {
      std::vector<Parsed> args;
      args.push_back(std::move(receiver));
      if (!list_of(")", args)) return {};
      return call(name, offset, true, std::move(args));
    }
    Ast node;
    node.kind = Ast::Kind::kField;
    node.offset = offset;
    node.name = name;
    node.args.push_back(std::move(receiver.ast));
    return finish(std::move(node), receiver.depth + 1);
  }

  Parsed index(Parsed base) {
    Ast node;
    node.kind = Ast::Kind::kIndex;
    node.offset = token_.offset;
    advance();
    Parsed position = expression();
    if (!position.ast || !expect("]")) return {};
    const int depth = std::max(base.depth, position.depth) + 1;
    node.args = {std::move(base.ast), std::move(position.ast)};
    return finish(std::move(node), depth);
  }

  // Items up to `close`, which is consumed; the token before them is the opening symbol.
  bool list_of(std::string_view close, std::vector<Parsed>& items) {
    advance();
    while (!is(close)) {
      items.push_back(expression());
      if (!items.back().ast) return false;
      if (is(close)) break;
      if (!is(",")) {
        unexpected(fmt::format("\",\" or \"{}\"", close));
        return false;
      }
      advance();
      if (is(close) && close == ")") {
        unexpected("an argument");
        return false;
      }
    }
    advance();
    return true;
  }

  Parsed primary(bool negative, size_t sign_offset) {
    Ast node;
    node.offset = token_.offset;
    switch (token_.kind) {
      case Token::Kind::kInt:
      case Token::Kind::kDouble: return number(negative, sign_offset);
      case Token::Kind::kString:
      case Token::Kind::kBytes:
        node.type = Type(token_.kind == Token::Kind::kString ? TypeKind::kString : TypeKind::kBytes);
        node.string_value = std::move(token_.string_value);
        advance();
        return finish(std::move(node), 1);
      case Token::Kind::kName: return name();
      case Token::Kind::kSymbol: break;
      case Token::Kind::kEnd:
      case Token::Kind::kError: return unexpected();
    }
    if (is("(")) {
      advance();
      Parsed inner = expression();
      if (!inner.ast || !expect(")")) return {};
      return inner;
    }
    if (is("[")) return list();
    if (is("{")) return map();
    return unexpected();
  }

  Parsed number(bool negative, size_t sign_offset) {
    Ast node;
    node.offset = negative ? sign_offset : token_.offset;
    if (token_.kind == Token::Kind::kDouble) {
      node.type = Type(TypeKind::kDouble);
      node.double_value = negative ? -token_.double_value : token_.double_value;
    } else {
      if (!negative && token_.int_value > static_cast<uint64_t>(INT64_MAX))
        return fail(token_.offset, "integer literal out of range");
      node.type = Type(TypeKind::kInt);
      node.int_value = static_cast<int64_t>(negative ? 0 - token_.int_value : token_.int_value);
    }
    advance();
    return finish(std::move(node), 1);
  }

  Parsed name() {
    Ast node;
    node.offset = token_.offset;
    const std::string name(token_.text);
    if (name == "in") return unexpected();
    advance();
    if (name == "true" || name == "false") {
      node.type = Type(TypeKind::kBool);
      node.bool_value = name == "true";
      return finish(std::move(node), 1);
    }
    if (name == "null") return finish(std::move(node), 1);
    if (is("(")) {
      std::vector<Parsed> args;
      if (!list_of(")", args)) return {};
      return call(name, node.offset, false, std::move(args));
    }
    if ((name == "not" || name == "NOT") && token_.kind != Token::Kind::kEnd && !binary_operator() && !is(")") &&
        !is("?") && !is("."))
      return fail(node.offset, fmt::format("unexpected \"{}\"", name), "write ! for not");
    node.kind = Ast::Kind::kName;
    node.name = name;
    return finish(std::move(node), 1);
  }

  Parsed list() {
    Ast node;
    node.kind = Ast::Kind::kList;
    node.offset = token_.offset;
    std::vector<Parsed> items;
    if (!list_of("]", items)) return {};
    int depth = 0;
    for (Parsed& item : items) {
      depth = std::max(depth, item.depth);
      node.args.push_back(std::move(item.ast));
    }
    return finish(std::move(node), depth + 1);
  }

  Parsed map() {
    Ast node;
    node.kind = Ast::Kind::kMap;
    node.offset = token_.offset;
    int depth = 0;
    advance();
    while (!is("}")) {
      Parsed key = expression();
      if (!key.ast || !expect(":")) return {};
      Parsed value = expression();
      if (!value.ast) return {};
      depth = std::max({depth, key.depth, value.depth});
      node.args.push_back(std::move(key.ast));
      node.args.push_back(std::move(value.ast));
      if (is("}")) break;
      if (!is(",")) return unexpected("\",\" or \"}\"");
      advance();
    }
    advance();
    return finish(std::move(node), depth + 1);
  }

  Lexer lexer_;
  ExpressionError* error_;
  Token token_;
  int nesting_ = 0;
  bool failed_ = false;
};

}  // namespace

AstPtr parse_expression(std::string_view text, ExpressionError* error) {
  ExpressionError ignored;
  if (!error) error = &ignored;
  if (text.size() > kMaxTextBytes) {
    *error = {LintCode::kExpressionSyntax, kMaxTextBytes,
              fmt::format("expression is longer than {} bytes", kMaxTextBytes), ""};
    return nullptr;
  }
  return Parser(text, error).whole();
}

}  // namespace millrace
