// The text of a configuration file as the parser sees it, and what must be checked before it gets it. Internal to the
// ConfigNode sources. A ConfigSource is immutable; any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"

namespace millrace {

inline constexpr size_t kMaxConfigBytes = 1 << 20;
inline constexpr size_t kMaxConfigDepth = 64;
inline constexpr size_t kMaxConfigNodes = 100'000;

class ConfigSource {
 public:
  // Drops a byte order mark and turns CRLF into LF; offsets below refer to the result.
  ConfigSource(std::string file, std::string_view text);
  const std::string& file() const { return file_; }
  const std::string& text() const { return text_; }
  // The character at offset, or NUL behind the end.
  char at(size_t offset) const { return offset < text_.size() ? text_[offset] : '\0'; }
  // 0-based line and byte column -> offset, at most text().size().
  size_t offset_of(int line, int column) const;
  // 0-based.
  size_t line_of(size_t offset) const;
  size_t line_start(size_t line) const { return line_starts_[line]; }
  // Without the newline; empty behind the last line.
  std::string_view line(size_t line) const;
  Location locate(size_t offset) const;

 private:
  std::string file_;
  std::string text_;
  std::vector<size_t> line_starts_;
};

// locate() for ascending offsets without counting a long line again for each. One thread.
class PositionCursor {
 public:
  explicit PositionCursor(const ConfigSource& source) : source_(source) {}
  Location locate(size_t offset);

 private:
  const ConfigSource& source_;
  size_t offset_ = 0;
  size_t line_ = 0;
  int column_ = 1;
};

// Reports the first byte that is no UTF-8 or is a control character. True if there is none.
bool check_characters(const ConfigSource& source, Diagnostics& diagnostics);

// Reports flow collections ([…], {…}) nested deeper or holding more than the limits: the YAML scanner reads a whole
// flow collection ahead before it hands out anything. Approximate in block context, where it may see too little; the
// limits are checked again on the nodes. True if there is nothing to report.
bool check_flow_limits(const ConfigSource& source, Diagnostics& diagnostics);

// Where the quote, or else the innermost bracket of a flow collection, stands that is never closed; npos if there is
// none.
size_t find_unclosed(const ConfigSource& source);

}  // namespace millrace
