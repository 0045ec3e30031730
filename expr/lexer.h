// Tokens of the expression language. Internal to expr/; no allocation but for string literals.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::expr {

struct Token {
  enum class Kind { kEnd, kName, kInt, kDouble, kString, kBytes, kSymbol, kError };
  Kind kind = Kind::kEnd;
  size_t offset = 0;
  std::string_view text;   // kName, kSymbol: as written
  uint64_t int_value = 0;  // kInt: the magnitude, at most 2^63 (the parser knows about a minus in front)
  double double_value = 0;
  std::string string_value;  // kString, kBytes: unescaped; kError: the message
  std::string hint;          // kError
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}
  // The next token; kEnd for ever at the end. After kError the position is undefined.
  Token next();

 private:
  void skip_space();
  Token number();
  Token digits(Token token, int base, size_t begin);
  Token name_or_string();
  Token string_literal(size_t start, bool raw, bool bytes);
  bool escape(std::string& out, bool bytes, Token& token);
  bool code_point(size_t digits, int base, bool as_byte, std::string& out, Token& token);
  Token symbol();
  static Token error(size_t offset, std::string message, std::string hint = "");
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace millrace::expr
