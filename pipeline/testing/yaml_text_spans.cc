#include "pipeline/testing/yaml_text_spans.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

YamlTextSpans::YamlTextSpans(std::string_view text) : text_(text) {
  line_starts_.push_back(text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0);
  for (size_t i = 0; i < text.size(); i++)
    if (text[i] == '\n') line_starts_.push_back(i + 1);
}

size_t YamlTextSpans::offset_of(const Location& at) const {
  const auto line = static_cast<size_t>(std::max(at.line, 1)) - 1;
  if (line >= line_starts_.size()) return text_.size();
  size_t offset = line_starts_[line];
  for (int column = 1; column < at.column && offset < text_.size(); column++) {
    offset++;
    while (offset < text_.size() && continues_character(text_[offset])) offset++;
  }
  return offset;
}

size_t YamlTextSpans::line_begin(size_t offset) const {
  const auto next = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
  return next == line_starts_.begin() ? 0 : *(next - 1);
}
size_t YamlTextSpans::line_end(size_t offset) const { return std::min(text_.find('\n', offset), text_.size()); }
size_t YamlTextSpans::next_line(size_t offset) const { return std::min(line_end(offset) + 1, text_.size()); }

size_t YamlTextSpans::quoted_end(size_t begin) const {
  const char quote = text_[begin];
  for (size_t i = begin + 1; i < text_.size(); i++) {
    if (quote == '"' && text_[i] == '\\') {
      i++;
    } else if (text_[i] == quote) {
      if (quote == '"' || i + 1 == text_.size() || text_[i + 1] != quote) return i + 1;
      i++;
    }
  }
  return kUnknown;
}

size_t YamlTextSpans::flow_end(size_t begin) const {
  size_t depth = 0;
  for (size_t i = begin; i < text_.size(); i++) {
    const char c = text_[i];
    const bool after_separator = i > begin && (is_blank(text_[i - 1]) || text_[i - 1] == '\n' || text_[i - 1] == ',' ||
                                               text_[i - 1] == '[' || text_[i - 1] == '{' || text_[i - 1] == ':');
    if (c == '[' || c == '{') {
      depth++;
    } else if (c == ']' || c == '}') {
      if (--depth == 0) return i + 1;
    } else if ((c == '"' || c == '\'') && after_separator) {
      const size_t end = quoted_end(i);
      if (end == kUnknown) return kUnknown;
      i = end - 1;
    } else if (c == '#' && (is_blank(text_[i - 1]) || text_[i - 1] == '\n')) {
      i = line_end(i) - 1;
    }
  }
  return kUnknown;
}

size_t YamlTextSpans::plain_end(size_t begin, bool in_flow) const {
  size_t end = begin;
  for (size_t i = begin; i < line_end(begin); i++) {
    const char c = text_[i];
    if (in_flow && (c == ',' || c == ']' || c == '}' || c == '[' || c == '{')) break;
    if (c == '#' && i > begin && is_blank(text_[i - 1])) break;
    if (!is_blank(c)) end = i + 1;
  }
  return end;
}

TextSpan YamlTextSpans::value(const ConfigNode& node) const {
  const size_t begin = offset_of(node.location());
  if (begin >= text_.size()) return {begin, kUnknown};
  if (node.is_sequence() || node.is_mapping()) return {begin, node.is_flow() ? flow_end(begin) : kUnknown};
  if (!node.is_scalar()) return {begin, kUnknown};
  if (node.quoted()) return {begin, quoted_end(begin)};
  const size_t end = plain_end(begin, node.is_flow());
  // A text of several lines, or a block scalar: not what the node holds.
  const std::string_view found = text_.substr(begin, end - begin);
  const bool same = found == node.text() || found.find('$') != std::string_view::npos;
  return {begin, same ? end : kUnknown};
}

size_t YamlTextSpans::dash_of(const ConfigNode& node) const {
  size_t at = offset_of(node.location());
  while (at > 0 && text_[at - 1] != '-') at--;
  return at == 0 ? 0 : at - 1;
}

TextSpan YamlTextSpans::block_item(const ConfigNode& node) const {
  const TextSpan flow = value(node);
  if (flow.end != kUnknown) return flow;
  const size_t dash_column = column_of(dash_of(node));
  size_t end = line_end(flow.begin);
  for (size_t line = next_line(flow.begin); line < text_.size(); line = next_line(line)) {
    size_t first = line;
    while (first < text_.size() && is_blank(text_[first])) first++;
    const bool empty = first == text_.size() || text_[first] == '\n';
    if (!empty && first - line <= dash_column) break;
    if (!empty && text_[first] != '#') end = line_end(line);
  }
  while (end > flow.begin && is_blank(text_[end - 1])) end--;
  return {flow.begin, end};
}

}  // namespace millrace
