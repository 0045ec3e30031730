#include "base/config_split.h"

namespace millrace {
namespace {

constexpr size_t kMaxSplitBytes = 300;  // of an expression put together again

// Follows brackets and string literals of an expression.
class Balance {
 public:
  void add(char c) {
    if (quote_ != 0) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == quote_) {
        quote_ = 0;
      }
    } else if (c == '"' || c == '\'') {
      quote_ = c;
    } else if (c == '(') {
      closing_ += ')';
    } else if (c == '[' || c == '{') {
      closing_ += static_cast<char>(c + 2);
    } else if (c == ')' || c == ']' || c == '}') {
      mismatched_ = mismatched_ || closing_.empty() || closing_.back() != c;
      if (!closing_.empty()) closing_.pop_back();
    }
  }
  bool open() const { return quote_ != 0 || !closing_.empty(); }
  bool in_quotes() const { return quote_ != 0; }
  bool mismatched() const { return mismatched_; }

 private:
  char quote_ = 0;
  bool escaped_ = false;
  bool mismatched_ = false;
  std::string closing_;  // the brackets that have to come, innermost last
};

}  // namespace

std::optional<SplitExpression> find_split(const ConfigSource& source, size_t begin, size_t end, std::string_view text,
                                          bool in_flow) {
  Balance piece;
  for (char c : text) piece.add(c);
  if (!piece.open()) return std::nullopt;
  if (!in_flow && source.at(source.text().find_first_not_of(" \t", end)) != '#') return std::nullopt;

  // Up to where YAML should have ended it: behind balanced brackets at the comma or bracket of the flow collection,
  // else at the end of the line. Line breaks become spaces.
  SplitExpression found{begin, !in_flow, ""};
  Balance balance;
  for (size_t at = begin; at < source.text().size(); at++) {
    if (found.whole.size() >= kMaxSplitBytes) return std::nullopt;
    const char c = source.at(at);
    if (c == '\n' && !in_flow) break;
    const bool ends = c == ',' || c == ']' || c == '}' || c == '\n';
    if (in_flow && ends && !balance.open()) break;
    balance.add(c);
    const bool space = c == ' ' || c == '\n' || c == '\t';
    if (!space) {
      found.whole += c;
      found.end = at + 1;
    } else if (balance.in_quotes() || (!found.whole.empty() && found.whole.back() != ' ')) {
      found.whole += ' ';
    }
  }
  while (!found.whole.empty() && found.whole.back() == ' ') found.whole.pop_back();
  if (balance.open() || balance.mismatched()) return std::nullopt;
  return found;
}

std::string single_quoted(std::string_view text) {
  std::string quoted = "'";
  for (char c : text) {
    quoted += c;
    if (c == '\'') quoted += c;
  }
  return quoted + "'";
}

}  // namespace millrace
