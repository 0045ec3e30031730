// UTF-8 validity. Pure; any thread.
#pragma once

#include <string_view>

namespace millrace {

// Whether `text` is well-formed UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF). Reads only `text`.
bool is_valid_utf8(std::string_view text);

// Length of the well-formed UTF-8 sequence that starts at text[0] (1 to 4), or 0 if there is none.
// Precondition: text is not empty.
size_t utf8_sequence_length(std::string_view text);

}  // namespace millrace
