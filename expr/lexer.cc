#include "expr/lexer.h"

#include <fmt/format.h>

#include <charconv>

#include "expr/number_text.h"
#include "expr/utf8.h"

namespace millrace::expr {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

}  // namespace

Token Lexer::error(size_t offset, std::string message, std::string hint) {
  Token token;
  token.kind = Token::Kind::kError;
  token.offset = offset;
  token.string_value = std::move(message);
  token.hint = std::move(hint);
  return token;
}

void Lexer::skip_space() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f') {
      at_++;
    } else if (c == '/' && peek(1) == '/') {
      while (at_ < text_.size() && text_[at_] != '\n') at_++;
    } else {
      return;
    }
  }
}

Token Lexer::next() {
  skip_space();
  if (at_ >= text_.size()) {
    Token end;
    end.offset = text_.size();
    return end;
  }
  const char c = peek();
  if (is_digit(c) || (c == '.' && is_digit(peek(1)))) return number();
  if (is_name_start(c) || c == '"' || c == '\'') return name_or_string();
  return symbol();
}

Token Lexer::digits(Token token, int base, size_t begin) {
  constexpr uint64_t kMax = uint64_t{1} << 63;
  const char* const first = text_.data() + begin;
  const auto [end, code] = std::from_chars(first, text_.data() + at_, token.int_value, base);
  if (code != std::errc() || end != text_.data() + at_ || token.int_value > kMax)
    return error(token.offset, "integer literal out of range");
  token.kind = Token::Kind::kInt;
  return token;
}

Token Lexer::number() {
  Token token;
  token.offset = at_;
  const bool hex = peek() == '0' && (peek(1) == 'x' || peek(1) == 'X');
  bool is_double = false;
  if (hex) {
    at_ += 2;
    while (digit_value(peek()) < 16) at_++;
    if (at_ == token.offset + 2) return error(token.offset, "0x without digits");
  } else {
    while (is_digit(peek())) at_++;
    if (peek() == '.' && is_digit(peek(1))) {
      is_double = true;
      at_++;
      while (is_digit(peek())) at_++;
    }
    const size_t sign = peek(1) == '+' || peek(1) == '-' ? 1 : 0;
    if ((peek() == 'e' || peek() == 'E') && is_digit(peek(1 + sign))) {
      is_double = true;
      at_ += 1 + sign;
      while (is_digit(peek())) at_++;
    }
  }
  token.text = text_.substr(token.offset, at_ - token.offset);
  if (!is_double && (peek() == 'u' || peek() == 'U') && !is_name_part(peek(1)))
    return error(token.offset, "there is no unsigned type", fmt::format("write {}", token.text));
  if (is_name_part(peek())) return error(at_, fmt::format("unexpected \"{}\" behind a number", peek()));
  if (!is_double) return digits(std::move(token), hex ? 16 : 10, token.offset + (hex ? 2 : 0));
  const auto value = parse_double(token.text);
  if (!value) return error(token.offset, "double literal out of range");
  token.double_value = *value;
  token.kind = Token::Kind::kDouble;
  return token;
}

Token Lexer::name_or_string() {
  const size_t start = at_;
  bool raw = false;
  bool bytes = false;
  size_t prefix = 0;
  for (; prefix < 2; prefix++) {
    const char c = peek(prefix);
    if ((c == 'r' || c == 'R') && !raw) {
      raw = true;
    } else if ((c == 'b' || c == 'B') && !bytes) {
      bytes = true;
    } else {
      break;
    }
  }
  if (peek(prefix) == '"' || peek(prefix) == '\'') {
    at_ += prefix;
    return string_literal(start, raw, bytes);
  }
  while (is_name_part(peek())) at_++;
  Token token;
  token.kind = Token::Kind::kName;
  token.offset = start;
  token.text = text_.substr(start, at_ - start);
  return token;
}

Token Lexer::string_literal(size_t start, bool raw, bool bytes) {
  const char quote = peek();
  const bool triple = peek(1) == quote && peek(2) == quote;
  at_ += triple ? 3 : 1;
  Token token;
  token.kind = bytes ? Token::Kind::kBytes : Token::Kind::kString;
  token.offset = start;
  while (true) {
    if (at_ >= text_.size()) return error(text_.size(), "string without its closing quote");
    const char c = text_[at_];
    if (c == quote && (!triple || (peek(1) == quote && peek(2) == quote))) break;
    if (!triple && (c == '\n' || c == '\r')) return error(at_, "line break in a string", "use three quotes, or \\n");
    if (c == '\\' && !raw) {
      Token bad;
      if (!escape(token.string_value, bytes, bad)) return bad;
      continue;
    }
    token.string_value += c;
    at_++;
  }
  at_ += triple ? 3 : 1;
  if (!bytes && !is_valid_utf8(token.string_value)) return error(start, "string literal is not valid UTF-8");
  return token;
}

// Reads `count` digits behind an escape and appends the character (or byte) that they stand for.
bool Lexer::code_point(size_t count, int base, bool as_byte, std::string& out, Token& token) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; i++) {
    const int digit = digit_value(peek());
    if (digit >= base) {
      token = error(at_, fmt::format("an escape that needs {} digits has fewer", count));
      return false;
    }
    value = value * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit);
    at_++;
  }
  if (as_byte && value <= 0xff) {
    out += static_cast<char>(value);
    return true;
  }
  if ((as_byte || base == 8) && value > 0xff) {
    token = error(at_ - count, "octal escape above \\377");
    return false;
  }
  if (append_utf8(value, out)) return true;
  token = error(at_ - count, "escape is not a Unicode character");
  return false;
}

bool Lexer::escape(std::string& out, bool bytes, Token& token) {
  const size_t start = at_++;  // the backslash
  const char c = peek();
  static constexpr std::string_view kLetters = "abfnrtv\\?\"'`";
  static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\?\"'`";
  if (const size_t i = kLetters.find(c); c != '\0' && i != std::string_view::npos) {
    out += kValues[i];
    at_++;
    return true;
  }
  if (c >= '0' && c <= '7') return code_point(3, 8, bytes, out, token);
  if (c == 'x' || c == 'X') {
    at_++;
    return code_point(2, 16, bytes, out, token);
  }
  if ((c == 'u' || c == 'U') && !bytes) {
    at_++;
    return code_point(c == 'u' ? 4 : 8, 16, false, out, token);
  }
  token = error(start, "unknown escape in a string", "write \\\\ for a backslash, or r\"…\" for a raw string");
  return false;
}

Token Lexer::symbol() {
  static constexpr std::string_view kSymbols[] = {"&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/",
                                                  "%",  "!",  "?",  ":",  ".",  ",",  "(", ")", "[", "]", "{", "}"};
  Token token;
  token.kind = Token::Kind::kSymbol;
  token.offset = at_;
  for (std::string_view symbol : kSymbols) {
    if (text_.substr(at_, symbol.size()) != symbol) continue;
    if (symbol == "<" && peek(1) == '>') return error(at_, "unexpected \"<>\"", "write !=");
    token.text = text_.substr(at_, symbol.size());
    at_ += symbol.size();
    return token;
  }
  const char c = peek();
  if (c == '=') return error(at_, "unexpected \"=\"", "write == to compare");
  if (c == '&') return error(at_, "unexpected \"&\"", "write && for and");
  if (c == '|') return error(at_, "unexpected \"|\"", "write || for or");
  if (c >= ' ' && c < 127) return error(at_, fmt::format("unexpected \"{}\"", c));
  return error(at_, fmt::format("unexpected byte 0x{:02x} outside a string", static_cast<unsigned char>(c)));
}

}  // namespace millrace::expr
