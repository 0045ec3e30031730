#include "base/config_scalar.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace {
namespace {

// Reads a scalar again as YAML does and stops at the byte that was asked for. Line folding follows the YAML 1.2
// specification (sections 6.5, 7.3, 8.1), as far as a configuration file uses it.
class ScalarWalker {
 public:
  ScalarWalker(const ConfigSource& source, size_t begin, size_t target) : source_(source), at_(begin), left_(target) {}

  size_t plain() {
    while (more()) {
      if (fold_here()) continue;
      emit(1, 1);
    }
    return at_;
  }

  size_t single_quoted() {
    at_++;
    while (more()) {
      if (fold_here()) continue;
      if (peek() == '\'') {
        if (peek(1) != '\'') break;
        emit(1, 2);
      } else {
        emit(1, 1);
      }
    }
    return at_;
  }

  size_t double_quoted() {
    at_++;
    while (more() && peek() != '"') {
      if (peek() == '\\') {
        escape();
      } else if (!fold_here()) {
        emit(1, 1);
      }
    }
    return at_;
  }

  size_t block(bool folded) {
    size_t header_end = line_end();
    size_t indent = explicit_indent(header_end);
    at_ = std::min(header_end + 1, source_.text().size());
    bool previous_content = false;  // a line of text came before
    bool previous_indented = false;
    size_t breaks = 0;  // newlines since, not yet emitted
    size_t first_break = at_;
    while (at_ < source_.text().size() && !done_) {
      size_t end = line_end();
      size_t spaces = 0;
      while (peek(spaces) == ' ' && (indent == 0 || spaces < indent)) spaces++;
      bool blank = at_ + spaces >= end;
      if (!blank && indent == 0) indent = spaces;
      if (!blank) {
        if (spaces < indent) break;
        at_ += spaces;
        bool indented = peek() == ' ' || peek() == '\t';
        block_breaks(folded, previous_content && !previous_indented && !indented, breaks, first_break);
        previous_content = true;
        previous_indented = indented;
        breaks = 0;
        while (at_ < end && !done_) emit(1, 1);
        if (done_) break;
        first_break = at_;
      }
      breaks++;
      at_ = std::min(end + 1, source_.text().size());
    }
    return done_ ? at_ : std::min(first_break, source_.text().size());
  }

 private:
  char peek(size_t ahead = 0) const { return source_.at(at_ + ahead); }
  bool more() const { return !done_ && at_ < source_.text().size(); }
  size_t line_end() const { return std::min(source_.text().find('\n', at_), source_.text().size()); }

  // `bytes` bytes of text stand at at_, written with `raw` bytes.
  void emit(size_t bytes, size_t raw) {
    if (left_ < bytes) {
      done_ = true;
      return;
    }
    left_ -= bytes;
    at_ += raw;
  }

  // White space up to a line break, the breaks and the indentation behind them: one space, or the breaks less one.
  bool fold_here() {
    size_t i = 0;
    while (peek(i) == ' ' || peek(i) == '\t') i++;
    if (peek(i) != '\n') return false;
    size_t breaks = 0;
    for (; peek(i) == '\n' || peek(i) == ' ' || peek(i) == '\t'; i++) breaks += peek(i) == '\n';
    emit(std::max<size_t>(1, breaks - 1), i);
    return true;
  }

  void escape() {
    switch (peek(1)) {
      case '\n': {
        size_t i = 2;
        while (peek(i) == ' ' || peek(i) == '\t') i++;
        return emit(0, i);
      }
      case 'x': return code_point(2);
      case 'u': return code_point(4);
      case 'U': return code_point(8);
      case 'N':
      case '_': return emit(2, 2);
      case 'L':
      case 'P': return emit(3, 2);
      default: return emit(1, 2);
    }
  }

  void code_point(size_t digits) {
    unsigned long value = std::strtoul(source_.text().substr(at_ + 2, digits).c_str(), nullptr, 16);
    emit(value < 0x80 ? 1 : value < 0x800 ? 2 : value < 0x10000 ? 3 : 4, 2 + digits);
  }

  // The digit of a header such as |2-, relative to the collection around it; 0: found at the first line of text.
  size_t explicit_indent(size_t header_end) const {
    for (size_t i = at_ + 1; i < header_end && i < at_ + 3; i++) {
      char c = source_.at(i);
      if (c < '1' || c > '9') continue;
      // Where the collection starts is not known here; the line's own indentation is right for a map in block style.
      size_t start = source_.line_start(source_.line_of(at_));
      size_t spaces = source_.text().find_first_not_of(' ', start) - start;
      return spaces + static_cast<size_t>(c - '0');
    }
    return 0;
  }

  // The breaks between two lines of a block scalar, one byte each, but a single one folds into a space.
  void block_breaks(bool folded, bool foldable, size_t breaks, size_t first_break) {
    if (folded && foldable && breaks > 1) breaks--;
    size_t here = at_;
    at_ = first_break;
    for (size_t i = 0; i < breaks && !done_; i++) emit(1, 0);
    if (!done_) at_ = here;
  }

  const ConfigSource& source_;
  size_t at_;
  size_t left_;
  bool done_ = false;
};

bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name_byte(char c) { return is_name_start(c) || (c >= '0' && c <= '9'); }

// Substitutes within one scalar.
class Substituter {
 public:
  Substituter(const std::string& original, const VariableLookup& variables, size_t max_bytes)
      : original_(original), variables_(variables), max_bytes_(max_bytes) {}

  Substitution run() {
    for (size_t at = 0; at < original_.size() && !result_.too_long;) {
      size_t dollar = std::min(original_.find('$', at), original_.size());
      literal(at, dollar);
      if (dollar == original_.size()) break;
      char next = dollar + 1 < original_.size() ? original_[dollar + 1] : '\0';
      if (next == '$') {
        literal(dollar, dollar + 1);
        at = dollar + 2;
      } else if (next == '{') {
        at = variable(dollar);
      } else {
        literal(dollar, dollar + 1);
        at = dollar + 1;
      }
    }
    return std::move(result_);
  }

 private:
  void literal(size_t begin, size_t end) {
    if (begin == end) return;
    result_.pieces.push_back({result_.text.size(), begin, false});
    append(std::string_view(original_).substr(begin, end - begin));
  }
  void append(std::string_view text) {
    if (result_.text.size() + text.size() > max_bytes_) {
      result_.too_long = true;
    } else {
      result_.text += text;
    }
  }
  void problem(size_t at, std::string message, std::string hint = "") {
    result_.problems.push_back({at, std::move(message), std::move(hint)});
  }

  // The `${…}` at `dollar`; returns the offset behind it.
  size_t variable(size_t dollar) {
    size_t close = original_.find('}', dollar);
    if (close == std::string::npos) {
      problem(dollar, "\"${\" without \"}\"", "write $${ for a literal ${");
      return original_.size();
    }
    std::string inside = original_.substr(dollar + 2, close - dollar - 2);
    size_t length = 0;
    while (length < inside.size() && is_name_byte(inside[length])) length++;
    std::string name = inside.substr(0, length);
    std::string form = inside.substr(length, 2);
    std::string rest = inside.size() > length + 2 ? inside.substr(length + 2) : "";
    if (name.empty() || !is_name_start(name[0]) || !(form.empty() || form == ":-" || form == ":?")) {
      problem(dollar, fmt::format("cannot read \"${{{}}}\"", inside),
              "write ${NAME}, ${NAME:-default} or ${NAME:?message}");
      return close + 1;
    }
    std::optional<std::string> value = variables_ ? variables_(name) : std::nullopt;
    bool missing = !value || (!form.empty() && value->empty());
    if (!missing) {
      substituted(dollar, *value);
    } else if (form == ":-") {
      substituted(dollar, rest);
    } else if (form == ":?") {
      problem(dollar, fmt::format("variable {} is not set{}{}", name, rest.empty() ? "" : ": ", rest));
    } else {
      problem(dollar, fmt::format("variable {} is not set", name),
              fmt::format("set it, or write ${{{}:-default}}", name));
    }
    return close + 1;
  }

  void substituted(size_t dollar, std::string_view value) {
    result_.pieces.push_back({result_.text.size(), dollar, true});
    append(value);
  }

  const std::string& original_;
  const VariableLookup& variables_;
  size_t max_bytes_;
  Substitution result_;
};

}  // namespace

ScalarStyle scalar_style(char first) {
  switch (first) {
    case '\'': return ScalarStyle::kSingleQuoted;
    case '"': return ScalarStyle::kDoubleQuoted;
    case '|': return ScalarStyle::kLiteral;
    case '>': return ScalarStyle::kFolded;
    default: return ScalarStyle::kPlain;
  }
}

size_t scalar_offset(const ConfigSource& source, ScalarStyle style, size_t begin, size_t target) {
  ScalarWalker walker(source, begin, target);
  switch (style) {
    case ScalarStyle::kSingleQuoted: return walker.single_quoted();
    case ScalarStyle::kDoubleQuoted: return walker.double_quoted();
    case ScalarStyle::kLiteral: return walker.block(false);
    case ScalarStyle::kFolded: return walker.block(true);
    case ScalarStyle::kPlain: break;
  }
  return walker.plain();
}

size_t original_offset(const std::vector<TextPiece>& pieces, size_t text_offset) {
  if (pieces.empty()) return text_offset;
  // The last piece that starts at or before the offset; an empty substitution gives way to what follows it.
  auto behind = std::upper_bound(pieces.begin(), pieces.end(), text_offset,
                                 [](size_t offset, const TextPiece& piece) { return offset < piece.text_begin; });
  const TextPiece& piece = behind == pieces.begin() ? *behind : *(behind - 1);
  if (piece.substituted) return piece.original_begin;
  return piece.original_begin + (text_offset - piece.text_begin);
}

Substitution substitute(const std::string& original, const VariableLookup& variables, size_t max_bytes) {
  if (original.find('$') == std::string::npos) return {original, {}, {}, original.size() > max_bytes};
  return Substituter(original, variables, max_bytes).run();
}

}  // namespace millrace
