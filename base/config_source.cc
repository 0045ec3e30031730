#include "base/config_source.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace {
namespace {

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

// Length of the UTF-8 sequence at `at`, 0 if it is none.
size_t utf8_length(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  size_t length = lead >= 0xc2 && lead <= 0xdf ? 2 : (lead & 0xf0) == 0xe0 ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
  if (length == 0 || text.size() - at < length) return 0;
  for (size_t i = 1; i < length; i++) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (lead == 0xe0 && byte(1) < 0xa0) return 0;  // overlong
  if (lead == 0xed && byte(1) > 0x9f) return 0;  // surrogates
  if (lead == 0xf0 && byte(1) < 0x90) return 0;
  if (lead == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

// A small lexer that knows just enough YAML to find flow collections.
class FlowScanner {
 public:
  explicit FlowScanner(const ConfigSource& source) : source_(source), text_(source.text()) {}

  bool run() {
    while (at_ < text_.size() && ok_) {
      if (!brackets_.empty()) {
        flow_token();
      } else {
        block_token();
      }
    }
    return ok_;
  }

  // After run() said false: what to report, and where.
  const std::string& message() const { return message_; }
  size_t offset() const { return at_; }
  size_t unclosed() const {
    if (unclosed_quote_ != std::string::npos) return unclosed_quote_;
    return brackets_.empty() ? std::string::npos : brackets_.back();
  }

 private:
  char peek(size_t ahead = 0) const { return source_.at(at_ + ahead); }
  bool blank_at(size_t offset) const {
    char c = source_.at(offset);
    return c == ' ' || c == '\t' || c == '\n' || c == '\0';
  }
  bool comment_here() const { return peek() == '#' && (at_ == 0 || blank_at(at_ - 1)); }
  void skip_line() { at_ = std::min(text_.find('\n', at_), text_.size()); }
  void newline() {
    at_++;
    line_start_ = at_;
    at_start_ = true;
    parent_column_ = -1;
    candidate_column_ = -1;
  }
  int column() const { return static_cast<int>(at_ - line_start_); }

  void skip_quoted() {
    char quote = peek();
    size_t begin = at_;
    for (at_++; at_ < text_.size(); at_++) {
      if (peek() == '\n') line_start_ = at_ + 1;
      if (quote == '"' && peek() == '\\') {
        at_++;
      } else if (peek() == quote) {
        at_++;
        return;
      }
    }
    at_ = text_.size();
    unclosed_quote_ = begin;
  }

  // Skips the lines of a block scalar: blank ones and those indented deeper than the collection that holds it.
  void skip_block_scalar() {
    int parent = parent_column_;
    skip_line();
    while (at_ < text_.size()) {
      size_t start = at_ + 1;
      size_t first = text_.find_first_not_of(' ', start);
      if (first == std::string::npos) first = text_.size();
      bool blank = first == text_.size() || text_[first] == '\n';
      if (!blank && static_cast<int>(first - start) <= parent) break;
      at_ = start;
      line_start_ = start;
      skip_line();
    }
  }

  void block_token() {
    char c = peek();
    if (c == '\n') return newline();
    if (c == ' ' || c == '\t') {
      at_++;
    } else if (comment_here()) {
      skip_line();
    } else if (c == ':' && blank_at(at_ + 1)) {
      parent_column_ = candidate_column_;
      at_start_ = true;
      at_++;
    } else if (!at_start_) {
      at_++;
    } else if ((c == '-' || c == '?') && blank_at(at_ + 1)) {
      parent_column_ = column();
      at_++;
    } else if (c == '&' || c == '!') {
      while (!blank_at(at_)) at_++;
    } else if (c == '[' || c == '{') {
      open();
    } else if (c == '|' || c == '>') {
      skip_block_scalar();
      at_start_ = false;
    } else {
      candidate_column_ = column();
      at_start_ = false;
      if (c == '"' || c == '\'') {
        skip_quoted();
      } else {
        at_++;
      }
    }
  }

  void flow_token() {
    char c = peek();
    if (c == '\n') {
      line_start_ = ++at_;
    } else if (c == ' ' || c == '\t') {
      at_++;
    } else if (comment_here()) {
      skip_line();
    } else if (c == '[' || c == '{') {
      open();
    } else if (c == ']' || c == '}') {
      brackets_.pop_back();
      at_++;
      at_start_ = false;
    } else if (c == ',' || c == '?' || c == ':') {
      separators_++;
      check_count();
      if (ok_) at_++;
    } else {
      nodes_++;
      check_count();
      if (!ok_) return;
      if (c == '"' || c == '\'') {
        skip_quoted();
      } else {
        skip_flow_plain();
      }
    }
  }

  void skip_flow_plain() {
    static constexpr std::string_view kEnd = ",?[]{}";
    while (at_ < text_.size() && kEnd.find(peek()) == std::string_view::npos && !comment_here()) {
      if (peek() == ':' && (blank_at(at_ + 1) || kEnd.find(peek(1)) != std::string_view::npos)) return;
      if (peek() == '\n') line_start_ = at_ + 1;
      at_++;
    }
  }

  void open() {
    nodes_++;
    check_count();
    if (brackets_.size() >= kMaxConfigDepth) report(fmt::format("nested deeper than {} levels", kMaxConfigDepth));
    brackets_.push_back(at_);
    if (ok_) at_++;
  }
  void check_count() {
    if (std::max(nodes_, separators_) > kMaxConfigNodes) report(fmt::format("more than {} nodes", kMaxConfigNodes));
  }
  void report(const std::string& message) {
    if (ok_) message_ = message;
    ok_ = false;
  }

  const ConfigSource& source_;
  const std::string& text_;
  std::string message_;
  size_t at_ = 0;
  size_t unclosed_quote_ = std::string::npos;
  size_t line_start_ = 0;
  std::vector<size_t> brackets_;  // where the open ones stand
  size_t nodes_ = 0;
  size_t separators_ = 0;
  int parent_column_ = -1;     // of the block collection that the next value belongs to
  int candidate_column_ = -1;  // of a scalar that may turn out to be a key
  bool at_start_ = true;       // a node may start here
  bool ok_ = true;
};

}  // namespace

ConfigSource::ConfigSource(std::string file, std::string_view text) : file_(std::move(file)) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  text_.reserve(text.size());
  line_starts_.push_back(0);
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    text_ += text[i];
    if (text[i] == '\n') line_starts_.push_back(text_.size());
  }
}

size_t ConfigSource::offset_of(int line, int column) const {
  if (line < 0) return 0;
  if (static_cast<size_t>(line) >= line_starts_.size()) return text_.size();
  return std::min(line_starts_[static_cast<size_t>(line)] + static_cast<size_t>(std::max(column, 0)), text_.size());
}

size_t ConfigSource::line_of(size_t offset) const {
  auto behind = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
  return static_cast<size_t>(behind - line_starts_.begin()) - 1;
}

std::string_view ConfigSource::line(size_t line) const {
  if (line >= line_starts_.size()) return {};
  size_t end = line + 1 < line_starts_.size() ? line_starts_[line + 1] - 1 : text_.size();
  return std::string_view(text_).substr(line_starts_[line], end - line_starts_[line]);
}

Location ConfigSource::locate(size_t offset) const { return PositionCursor(*this).locate(offset); }

Location PositionCursor::locate(size_t offset) {
  offset = std::min(offset, source_.text().size());
  size_t line = source_.line_of(offset);
  if (line != line_ || offset < offset_) {
    line_ = line;
    offset_ = source_.line_start(line);
    column_ = 1;
  }
  for (; offset_ < offset; offset_++) {
    if (!is_continuation(source_.at(offset_))) column_++;
  }
  return {source_.file(), static_cast<int>(line_) + 1, column_};
}

bool check_characters(const ConfigSource& source, Diagnostics& diagnostics) {
  const std::string& text = source.text();
  for (size_t i = 0; i < text.size();) {
    auto byte = static_cast<unsigned char>(text[i]);
    size_t length = utf8_length(text, i);
    if (length == 0) {
      diagnostics.error(LintCode::kYamlSyntax, source.locate(i), fmt::format("byte 0x{:02x} is not UTF-8", byte),
                        "save the file as UTF-8");
      return false;
    }
    if ((byte < 0x20 && byte != '\t' && byte != '\n') || byte == 0x7f) {
      std::string hint = byte == 0 ? "save the file as UTF-8" : byte == '\r' ? "end lines with LF or CRLF" : "";
      diagnostics.error(LintCode::kYamlSyntax, source.locate(i), fmt::format("control character 0x{:02x}", byte), hint);
      return false;
    }
    i += length;
  }
  return true;
}

bool check_flow_limits(const ConfigSource& source, Diagnostics& diagnostics) {
  FlowScanner scanner(source);
  if (scanner.run()) return true;
  diagnostics.error(LintCode::kLimit, source.locate(scanner.offset()), scanner.message());
  return false;
}

size_t find_unclosed(const ConfigSource& source) {
  FlowScanner scanner(source);
  return scanner.run() ? scanner.unclosed() : std::string::npos;
}

}  // namespace millrace
