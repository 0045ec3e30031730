// Where the values of a parsed YAML document begin and end in its text. Immutable; any thread.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/config_node.h"

namespace millrace {

struct TextSpan {
  size_t begin = 0;
  size_t end = 0;  // behind the last byte
};

class YamlTextSpans {
 public:
  static constexpr size_t kUnknown = static_cast<size_t>(-1);

  // The text outlives this object; locations are those of nodes that were parsed from it.
  explicit YamlTextSpans(std::string_view text);

  std::string_view text() const { return text_; }
  size_t offset_of(const Location& at) const;
  size_t line_begin(size_t offset) const;
  size_t line_end(size_t offset) const;   // of the newline, or of the text
  size_t next_line(size_t offset) const;  // behind the newline
  size_t column_of(size_t offset) const { return offset - line_begin(offset); }

  // A scalar (plain or quoted, on one line) or a flow collection; end is kUnknown for anything else.
  TextSpan value(const ConfigNode& node) const;
  // An item of a block sequence, from behind its dash to the end of its last line with content, comments left out
  // unless they stand between.
  TextSpan block_item(const ConfigNode& node) const;
  // The dash of an item of a block sequence.
  size_t dash_of(const ConfigNode& node) const;

 private:
  size_t flow_end(size_t begin) const;
  size_t quoted_end(size_t begin) const;
  size_t plain_end(size_t begin, bool in_flow) const;

  const std::string_view text_;
  std::vector<size_t> line_starts_;
};

}  // namespace millrace
