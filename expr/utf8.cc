#include "expr/utf8.h"

#include <cstring>

namespace millrace::expr {
namespace {

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// Length of the valid character at the start of text; 0: none.
size_t character_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; i++)
    if (!is_continuation(text[i])) return 0;
  const auto second = static_cast<unsigned char>(text[1]);
  // Overlong forms, surrogates, above U+10FFFF.
  if (lead == 0xe0 && second < 0xa0) return 0;
  if (lead == 0xed && second >= 0xa0) return 0;
  if (lead == 0xf0 && second < 0x90) return 0;
  if (lead == 0xf4 && second >= 0x90) return 0;
  return length;
}

}  // namespace

bool append_utf8(uint32_t code_point, std::string& out) {
  if (code_point > 0x10ffff || (code_point >= 0xd800 && code_point < 0xe000)) return false;
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xc0 | (code_point >> 6));
    out += static_cast<char>(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xe0 | (code_point >> 12));
    out += static_cast<char>(0x80 | ((code_point >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code_point & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | (code_point >> 18));
    out += static_cast<char>(0x80 | ((code_point >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((code_point >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code_point & 0x3f));
  }
  return true;
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = character_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

int64_t count_code_points(std::string_view text) {
  int64_t count = 0;
  for (char c : text) count += is_continuation(c) ? 0 : 1;
  return count;
}

std::optional<size_t> find_code_point(std::string_view text, uint64_t index) {
  if (index > text.size()) return std::nullopt;
  size_t at = 0;
  // Eight bytes at a time while the code point cannot be among them.
  while (index >= 8 && text.size() - at >= 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    const uint64_t continuations = word >> 7 & ~(word >> 6) & 0x0101010101010101;
    index -= static_cast<uint64_t>(8 - __builtin_popcountll(continuations));
    at += 8;
  }
  while (at < text.size() && is_continuation(text[at])) at++;
  for (; index > 0 && at < text.size(); index--) at += character_bytes(text.substr(at));
  if (index > 0) return std::nullopt;
  return at;
}

size_t character_bytes(std::string_view text) {
  size_t bytes = text.empty() ? 0 : 1;
  while (bytes < text.size() && is_continuation(text[bytes])) bytes++;
  return bytes;
}

namespace {

// Bytes of the white space that a text begins with; 0: it begins with something else.
size_t space_at(std::string_view text) {
  if (text.empty()) return 0;
  const char c = text[0];
  if (c == ' ' || (c >= '\t' && c <= '\r')) return 1;
  if (static_cast<unsigned char>(c) < 0xc2) return 0;
  const std::string_view first = text.substr(0, character_bytes(text));
  for (const std::string_view space :
       {"\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007",
        "\u2008", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"})
    if (first == space) return first.size();
  return 0;
}

}  // namespace

std::string_view without_outer_space(std::string_view text) {
  while (const size_t size = space_at(text)) text.remove_prefix(size);
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && is_continuation(text[last])) last--;
    if (space_at(text.substr(last)) != text.size() - last) break;
    text = text.substr(0, last);
  }
  return text;
}

std::string shortened(std::string_view text, size_t max_bytes) {
  std::string out;
  while (!text.empty()) {
    const size_t length = character_length(text);
    const size_t room = length == 0 ? 1 : length;
    if (out.size() + room > max_bytes) return out + "…";
    if (length == 0 || static_cast<unsigned char>(text[0]) < 0x20) {
      out += '?';
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(room);
  }
  return out;
}

}  // namespace millrace::expr
