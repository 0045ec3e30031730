#include <charconv>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "formats/base64.h"
#include "formats/encode_values.h"
#include "formats/format.h"
#include "formats/utf8.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace millrace {
namespace {

bool needs_care(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == '"' || byte == '\\' || byte >= 0x80;
}

// Length of the prefix that can be copied as it is: ASCII without quotes, backslashes and control characters.
size_t plain_prefix(std::string_view text) {
  size_t i = 0;
#if defined(__SSE2__)
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i backslash = _mm_set1_epi8('\\');
  // Signed comparison: bytes ≥ 0x80 are negative and so below 0x20 as well.
  const __m128i space = _mm_set1_epi8(0x20);
  for (; i + 16 <= text.size(); i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + i));
    const __m128i special = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)),
                                         _mm_cmplt_epi8(bytes, space));
    const auto found = static_cast<unsigned>(_mm_movemask_epi8(special));
    if (found != 0) return i + static_cast<size_t>(__builtin_ctz(found));
  }
#endif
  while (i < text.size() && !needs_care(text[i])) i++;
  return i;
}

void append_escape(char c, std::string& out) {
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\n': out += "\\n"; return;
    case '\t': out += "\\t"; return;
    case '\r': out += "\\r"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    default: break;
  }
  constexpr char kHex[] = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  const char escape[] = {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
  out.append(escape, sizeof escape);
}

// The part of a string from its first byte that needs care.
void append_careful(std::string_view text, std::string& out) {
  while (!text.empty()) {
    const size_t plain = plain_prefix(text);
    out.append(text.data(), plain);
    text.remove_prefix(plain);
    if (text.empty()) return;
    if (static_cast<unsigned char>(text[0]) < 0x80) {
      append_escape(text[0], out);
      text.remove_prefix(1);
      continue;
    }
    const size_t length = utf8_sequence_length(text);
    if (length == 0) {
      out += "\xEF\xBF\xBD";  // U+FFFD for each byte that belongs to no character
      text.remove_prefix(1);
    } else {
      out.append(text.data(), length);
      text.remove_prefix(length);
    }
  }
}

void append_list(const Column& column, uint32_t row, std::string& out) {
  const Span span = column.spans[row];
  out += '[';
  for (uint32_t i = 0; i < span.count; i++) {
    if (i > 0) out += ',';
    append_json_value(*column.children[0], span.begin + i, out);
  }
  out += ']';
}

void append_map(const Column& column, uint32_t row, std::string& out) {
  const Span span = column.spans[row];
  out += '{';
  for (uint32_t i = 0; i < span.count; i++) {
    if (i > 0) out += ',';
    append_json_string(column.children[0]->strings[span.begin + i], out);
    out += ':';
    append_json_value(*column.children[1], span.begin + i, out);
  }
  out += '}';
}

void append_struct(const Column& column, uint32_t row, std::string& out) {
  const std::vector<Field>& fields = column.type.fields();
  out += '{';
  for (size_t i = 0; i < fields.size(); i++) {
    if (i > 0) out += ',';
    append_json_string(fields[i].name, out);
    out += ':';
    append_json_value(*column.children[i], row, out);
  }
  out += '}';
}

}  // namespace

void append_decimal(int64_t value, std::string& out) {
  char text[20];
  const auto result = std::to_chars(text, text + sizeof text, value);
  out.append(text, static_cast<size_t>(result.ptr - text));
}

void append_json_string(std::string_view text, std::string& out) {
  const size_t plain = plain_prefix(text);
  out += '"';
  out.append(text.data(), plain);
  if (plain < text.size()) append_careful(text.substr(plain), out);
  out += '"';
}

void append_json_double(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char text[32];
  const auto result = std::to_chars(text, text + sizeof text, value);
  const std::string_view written(text, static_cast<size_t>(result.ptr - text));
  out += written;
  if (written.find_first_of(".e") == std::string_view::npos) out += ".0";
}

void append_json_value(const Column& column, uint32_t row, std::string& out) {
  if (column.is_null(row)) {
    out += "null";
    return;
  }
  switch (column.type.kind()) {
    case TypeKind::kNull: out += "null"; return;
    case TypeKind::kBool: out += column.bools[row] ? "true" : "false"; return;
    case TypeKind::kInt: append_decimal(column.ints[row], out); return;
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: append_decimal(whole_millis(column.ints[row]), out); return;
    case TypeKind::kDouble: append_json_double(column.doubles[row], out); return;
    case TypeKind::kString: append_json_string(column.strings[row], out); return;
    case TypeKind::kBytes:
      out += '"';
      append_base64(column.strings[row], out);
      out += '"';
      return;
    case TypeKind::kList: append_list(column, row, out); return;
    case TypeKind::kMap: append_map(column, row, out); return;
    case TypeKind::kStruct: append_struct(column, row, out); return;
  }
}

JsonRowEncoder::JsonRowEncoder(const Schema& schema) : columns_(schema.size()) {
  for (size_t i = 0; i < schema.size(); i++) {
    if (describes_record(schema[i])) continue;
    std::string prefix = written_.empty() ? "{" : ",";
    append_json_string(schema[i].name, prefix);
    written_.push_back({i, prefix + ':'});
  }
}

void JsonRowEncoder::encode(const std::vector<ColumnPtr>& columns, uint32_t row, std::string& out,
                            const std::vector<bool>* keep) {
  MR_CHECK(columns.size() == columns_);
  if (written_.empty()) out += '{';
  for (const auto& [column, prefix] : written_) {
    out += prefix;
    if (keep && !(*keep)[column]) {
      out += "null";
      continue;
    }
    MR_CHECK(columns[column] != nullptr);
    append_json_value(*columns[column], row, out);
  }
  out += '}';
}

}  // namespace millrace
