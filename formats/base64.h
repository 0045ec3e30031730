// Base64 of RFC 4648, section 4: standard alphabet, padded. Pure; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace millrace {

// Appends the encoding of `bytes`.
void append_base64(std::string_view bytes, std::string& out);

// Upper bound of what decode_base64 writes.
inline constexpr size_t base64_decoded_bound(size_t text_size) { return text_size / 4 * 3; }

// Strict decoding into `out`, which has room for base64_decoded_bound(text.size()) bytes. Line breaks, a missing
// padding, the URL alphabet and non-zero trailing bits are refused, so that each byte string has one text. Returns
// false on refusal (out is then undefined), else sets *size.
bool decode_base64(std::string_view text, char* out, size_t* size);
bool decode_base64(std::string_view text, std::string* out);

}  // namespace millrace
