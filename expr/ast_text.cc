#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "expr/expression.h"

namespace millrace {
namespace {

constexpr int kTernaryLevel = 0;
constexpr int kUnaryLevel = 6;
constexpr int kPostfixLevel = 7;

// The level of a binary operator, or -1.
int binary_level(std::string_view function) {
  if (function == "_||_") return 1;
  if (function == "_&&_") return 2;
  if (function == "_==_" || function == "_!=_" || function == "_<_" || function == "_<=_" || function == "_>_" ||
      function == "_>=_" || function == "@in")
    return 3;
  if (function == "_+_" || function == "_-_") return 4;
  if (function == "_*_" || function == "_/_" || function == "_%_") return 5;
  return -1;
}

bool is_unary(const Ast& ast) { return ast.name == "!_" || ast.name == "-_"; }

void append_quoted(std::string_view text, bool bytes, std::string& out) {
  if (bytes) out += 'b';
  out += '"';
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f || (bytes && byte >= 0x80)) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_literal(const Ast& ast, std::string& out) {
  switch (ast.type.kind()) {
    case TypeKind::kBool: out += ast.bool_value ? "true" : "false"; return;
    case TypeKind::kInt: out += fmt::format("{}", ast.int_value); return;
    case TypeKind::kDouble: {
      std::string text = fmt::format("{}", ast.double_value);
      if (text.find_first_of(".e") == std::string::npos) text += ".0";
      out += text;
      return;
    }
    case TypeKind::kString: append_quoted(ast.string_value, false, out); return;
    case TypeKind::kBytes: append_quoted(ast.string_value, true, out); return;
    default: out += "null"; return;
  }
}

int level_of(const Ast& ast) {
  switch (ast.kind) {
    case Ast::Kind::kTernary: return kTernaryLevel;
    case Ast::Kind::kCall:
      if (ast.member) return kPostfixLevel;
      if (is_unary(ast)) return kUnaryLevel;
      return binary_level(ast.name) < 0 ? kPostfixLevel : binary_level(ast.name);
    case Ast::Kind::kLiteral:
      // A number in front of a dot or behind a minus reads better, and the same, in parentheses.
      return ast.type.kind() == TypeKind::kInt || ast.type.kind() == TypeKind::kDouble ? kUnaryLevel : kPostfixLevel;
    default: return kPostfixLevel;
  }
}

void append(const Ast& ast, int level, std::string& out);

void append_all(const std::vector<AstPtr>& args, size_t first, std::string& out) {
  for (size_t i = first; i < args.size(); i++) {
    if (i > first) out += ", ";
    append(*args[i], kTernaryLevel, out);
  }
}

void append_call(const Ast& ast, std::string& out) {
  if (ast.member) {
    append(*ast.args[0], kPostfixLevel, out);
    out += '.';
    out += ast.name;
  } else if (is_unary(ast)) {
    out += ast.name[0];
    append(*ast.args[0], kPostfixLevel, out);
    return;
  } else if (const int level = binary_level(ast.name); level >= 0) {
    append(*ast.args[0], level, out);
    out += ast.name == "@in" ? " in " : " " + ast.name.substr(1, ast.name.size() - 2) + " ";
    append(*ast.args[1], level <= 2 ? level : level + 1, out);  // && and || are associative
    return;
  } else {
    out += ast.name;
  }
  out += '(';
  append_all(ast.args, ast.member ? 1 : 0, out);
  out += ')';
}

void append_bare(const Ast& ast, std::string& out) {
  switch (ast.kind) {
    case Ast::Kind::kLiteral: append_literal(ast, out); return;
    case Ast::Kind::kName: out += ast.name; return;
    case Ast::Kind::kField:
      append(*ast.args[0], kPostfixLevel, out);
      out += '.';
      out += ast.name;
      return;
    case Ast::Kind::kIndex:
      append(*ast.args[0], kPostfixLevel, out);
      out += '[';
      append(*ast.args[1], kTernaryLevel, out);
      out += ']';
      return;
    case Ast::Kind::kCall: append_call(ast, out); return;
    case Ast::Kind::kList:
      out += '[';
      append_all(ast.args, 0, out);
      out += ']';
      return;
    case Ast::Kind::kMap:
      out += '{';
      for (size_t i = 0; i + 1 < ast.args.size(); i += 2) {
        if (i > 0) out += ", ";
        append(*ast.args[i], kTernaryLevel, out);
        out += ": ";
        append(*ast.args[i + 1], kTernaryLevel, out);
      }
      out += '}';
      return;
    case Ast::Kind::kTernary:
      append(*ast.args[0], kTernaryLevel + 1, out);
      out += " ? ";
      append(*ast.args[1], kTernaryLevel, out);
      out += " : ";
      append(*ast.args[2], kTernaryLevel, out);
      return;
  }
}

// Appends `ast` for a place that takes operators of at least `level`.
void append(const Ast& ast, int level, std::string& out) {
  const bool wrapped = level_of(ast) < level;
  if (wrapped) out += '(';
  append_bare(ast, out);
  if (wrapped) out += ')';
}

}  // namespace

std::string to_text(const Ast& ast) {
  std::string out;
  append(ast, kTernaryLevel, out);
  return out;
}

}  // namespace millrace
