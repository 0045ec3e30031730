#include "sinks/path_template.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "formats/encode_values.h"

namespace millrace {
namespace {

constexpr size_t kMaxLevels = 16;

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

void append_escaped(char c, std::string& out) {
  constexpr char kHex[] = "0123456789ABCDEF";
  const auto byte = static_cast<unsigned char>(c);
  const char escape[] = {'%', kHex[byte >> 4], kHex[byte & 15]};
  out.append(escape, sizeof escape);
}

// at_begin: of the name of a folder, where a dot would hide it or lead elsewhere.
void append_value(std::string_view value, bool at_begin, std::string& out) {
  if (value.empty()) {
    out += kNullFolder;
    return;
  }
  for (size_t i = 0; i < value.size(); i++) {
    const char c = value[i];
    const bool escape = is_control(c) || c == '/' || c == '\\' || c == '%' || (c == '.' && i == 0 && at_begin);
    if (escape) {
      append_escaped(c, out);
    } else {
      out += c;
    }
  }
}

}  // namespace

PathTemplate::PathTemplate(const ConfigNode& path, Diagnostics& diagnostics) : path_(path), text_(path.text()) {
  while (text_.size() > 1 && text_.ends_with('/')) text_.pop_back();
  const size_t control = static_cast<size_t>(std::find_if(text_.begin(), text_.end(), is_control) - text_.begin());
  if (control < text_.size()) refuse(control, "path has a control character in it", "", diagnostics);
  const size_t placeholder = std::min(text_.find('{'), text_.size());
  const size_t first = placeholder == text_.size() ? text_.size() : text_.rfind('/', placeholder);
  root_ = first == std::string::npos ? "" : text_.substr(0, first);
  while (root_.size() > 1 && root_.ends_with('/')) root_.pop_back();
  const std::string last = root_.substr(root_.rfind('/') + 1);
  if (last.empty() || last == "." || last == "..") {
    refuse(0,
           text_.empty()                  ? "path is empty"
           : placeholder == text_.size()  ? "path names no folder of its own"
                                          : "path needs a folder before its first column",
           "name a folder, for example out/bids/day={day}", diagnostics);
  }
  if (const size_t brace = root_.find('}'); brace != std::string::npos) {
    refuse(brace, "} without {", "", diagnostics);
  }
  for (size_t at = first; at < text_.size();) {
    const size_t begin = text_[at] == '/' ? at + 1 : at;
    const size_t end = std::min(text_.find('/', begin), text_.size());
    add_level(begin, end, diagnostics);
    at = end;
  }
  if (levels_.size() > kMaxLevels) {
    refuse(0, fmt::format("path has more than {} levels behind its first column", kMaxLevels), "", diagnostics);
  }
}

void PathTemplate::refuse(size_t offset, const std::string& message, const std::string& hint,
                          Diagnostics& diagnostics) const {
  diagnostics.error(LintCode::kBadValue, path_.location_of(offset), message, hint);
}

void PathTemplate::add_level(size_t begin, size_t end, Diagnostics& diagnostics) {
  Level level;
  if (begin == end) refuse(begin, "path has an empty name in it", "", diagnostics);
  if (begin < end && text_[begin] == '.') refuse(begin, "a folder's name may not begin with a dot", "", diagnostics);
  for (size_t at = begin; at < end;) {
    const size_t brace = std::min(text_.find_first_of("{}", at), end);
    if (brace > at) level.push_back({text_.substr(at, brace - at), false, at, -1});
    if (brace == end) break;
    const size_t close = std::min(text_.find_first_of("{}", brace + 1), end);
    if (text_[brace] == '}' || close == end || text_[close] == '{') {
      refuse(brace, text_[brace] == '}' ? "} without {" : "{ without }", "a column is written {name}", diagnostics);
      break;
    }
    level.push_back({text_.substr(brace + 1, close - brace - 1), true, brace + 1, -1});
    at = close + 1;
  }
  levels_.push_back(std::move(level));
}

bool PathTemplate::resolve(const Schema& schema, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  columns_.clear();
  std::vector<std::string> names;
  for (const Field& field : schema) names.push_back(field.name);
  for (Level& level : levels_) {
    for (Piece& piece : level) {
      if (!piece.is_column) continue;
      piece.column = find_column(schema, piece.text);
      if (piece.column < 0) {
        diagnostics.error(LintCode::kUnknownField, path_.location_of(piece.offset),
                          fmt::format("unknown field \"{}\" in path", piece.text), did_you_mean(piece.text, names));
        continue;
      }
      const Type& type = schema[static_cast<size_t>(piece.column)].type;
      if (type.kind() != TypeKind::kString && type.kind() != TypeKind::kInt && type.kind() != TypeKind::kBool) {
        diagnostics.error(LintCode::kExpressionType, path_.location_of(piece.offset),
                          fmt::format("a column of type {} names no folder", type.to_string()),
                          "make a string, int or bool of it with extend");
      }
      columns_.push_back(piece.column);
    }
  }
  std::sort(columns_.begin(), columns_.end());
  columns_.erase(std::unique(columns_.begin(), columns_.end()), columns_.end());
  return diagnostics.error_count() == errors;
}

bool PathTemplate::folder_of(const Batch& batch, uint32_t row, std::string* folder, std::string* error) const {
  folder->clear();
  for (const Level& level : levels_) {
    if (!folder->empty()) *folder += '/';
    const size_t begin = folder->size();
    for (const Piece& piece : level) {
      if (!piece.is_column) {
        *folder += piece.text;
        continue;
      }
      const Column& column = *batch.columns[static_cast<size_t>(piece.column)];
      const bool at_begin = folder->size() == begin;
      if (column.is_null(row)) {
        *folder += kNullFolder;
      } else if (column.strings != nullptr) {
        append_value(column.strings[row], at_begin, *folder);
      } else {
        append_plain_text(column, row, *folder);
      }
    }
    if (folder->size() - begin <= kMaxNameBytes) continue;
    *error = fmt::format("the name of its folder is {} bytes long, {} at most", folder->size() - begin, kMaxNameBytes);
    return false;
  }
  return true;
}

bool PathTemplate::may_name(size_t level, std::string_view name) const {
  MR_CHECK(level < levels_.size());
  const Level& pieces = levels_[level];
  size_t at = 0;
  for (size_t i = 0; i < pieces.size(); i++) {
    if (pieces[i].is_column) continue;
    const std::string& text = pieces[i].text;
    if (i + 1 == pieces.size() && i > 0) return name.size() >= at + text.size() && name.ends_with(text);
    const size_t found = name.find(text, at);
    if (found == std::string_view::npos || (i == 0 && found != 0)) return false;
    at = found + text.size();
  }
  return pieces.empty() || pieces.back().is_column || at == name.size();
}

}  // namespace millrace
