// UTF-8 as the expression language needs it. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::expr {

// Appends the encoding of a code point; false (and nothing appended) for surrogates and values above 0x10ffff.
bool append_utf8(uint32_t code_point, std::string& out);
bool is_valid_utf8(std::string_view text);
// Code points, on the assumption of valid UTF-8 (bytes that do not continue a character are counted).
int64_t count_code_points(std::string_view text);
// Byte at which code point `index` begins, text.size() for the one behind the last; nullopt: there are fewer.
std::optional<size_t> find_code_point(std::string_view text, uint64_t index);
// Bytes of the first code point; 0 only if there is none.
size_t character_bytes(std::string_view text);
// The text without white space (Unicode's White_Space) at both ends.
std::string_view without_outer_space(std::string_view text);
// At most max_bytes of text, cut between characters, for messages; adds … where something is missing.
std::string shortened(std::string_view text, size_t max_bytes = 48);

}  // namespace millrace::expr
