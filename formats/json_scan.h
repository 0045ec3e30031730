// The lexical level of JSON (RFC 8259), one pass over a payload: strings, numbers, and values that nobody wants but
// that must be well-formed. The decoder (json_decoder.cc) drives it. Pure; any thread.
//
// Functions take the position of the first byte of their token and return the position behind it, or nullptr after
// noting what is wrong in the JsonScan. Precondition of all: kPayloadPadding readable bytes behind scan.end; their
// content never matters.
#pragma once

#include <cstdint>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace millrace {

struct JsonScan {
  const char* begin = nullptr;
  const char* end = nullptr;
  bool non_ascii = false;        // a string had a byte ≥ 0x80: the payload's UTF-8 is to be validated
  const char* reason = nullptr;  // what is wrong, static text
  const char* at = nullptr;      // and where

  const char* fail(const char* position, const char* what) {
    reason = what;
    at = position;
    return nullptr;
  }
};

// First byte of [p, end) that ends or interrupts a JSON string ('"', '\\', below 0x20), or end. Sets *non_ascii if a
// byte before it is ≥ 0x80 (it may also be set by padding, which costs a validation and nothing else).
inline const char* find_string_end(const char* p, const char* end, bool* non_ascii) {
#if defined(__SSE2__)
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i backslash = _mm_set1_epi8('\\');
  const __m128i control = _mm_set1_epi8(0x1F);
  for (; p < end; p += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i special = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)),
                                         _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes));
    const auto found = static_cast<unsigned>(_mm_movemask_epi8(special));
    const auto high = static_cast<unsigned>(_mm_movemask_epi8(bytes));
    if (found != 0) {
      const int index = __builtin_ctz(found);
      if ((high & ((1u << index) - 1)) != 0) *non_ascii = true;
      return p + index < end ? p + index : end;
    }
    if (high != 0) *non_ascii = true;
  }
  return end;
#else
  for (; p < end; p++) {
    const auto byte = static_cast<unsigned char>(*p);
    if (byte == '"' || byte == '\\' || byte < 0x20) return p;
    if (byte >= 0x80) *non_ascii = true;
  }
  return end;
#endif
}

// Skips white space. Returns end at the end.
inline const char* skip_space(const char* p, const char* end) {
  while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
  return p;
}

// A string. p: behind the opening quote; the result: behind the closing one. The raw text is [p, result - 1). *escaped:
// it has escapes, all valid (surrogates come in pairs), and must go through unescape_json.
const char* scan_string_slow(const char* p, JsonScan& scan);  // from the first escape on
inline const char* scan_string(const char* p, JsonScan& scan, bool* escaped) {
  p = find_string_end(p, scan.end, &scan.non_ascii);
  *escaped = false;
  if (p < scan.end && *p == '"') [[likely]]
    return p + 1;
  *escaped = true;
  return scan_string_slow(p, scan);
}

// Resolves the escapes of a raw text that scan_string accepted. `out` has room for raw.size() bytes; returns the size.
size_t unescape_json(std::string_view raw, char* out);

struct JsonNumber {
  std::string_view text;
  uint64_t mantissa = 0;  // all digits, if exact
  int32_t exponent = 0;   // of ten, to apply to the mantissa; clamped to ± 100,000
  bool negative = false;
  bool integral = true;  // neither fraction nor exponent is written
  bool exact = true;     // at most 19 digits, so that mantissa holds them

  // False: out of the range of int64. Precondition: integral.
  bool to_int(int64_t* value) const;
  // The nearest double; too small is zero. False: too large.
  bool to_double(double* value) const;
};
const char* scan_number(const char* p, JsonScan& scan, JsonNumber& number);

// Any value, validated in full. depth: containers that are open around it (at most kMaxJsonDepth may be open).
const char* skip_json_value(const char* p, JsonScan& scan, int depth);
// true, false, null.
const char* scan_literal(const char* p, JsonScan& scan, std::string_view word);

// What the value that starts with this byte is, for messages: "string", "object", … A number's kind needs its text.
const char* json_kind(char first);

}  // namespace millrace
