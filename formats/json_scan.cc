#include "formats/json_scan.h"

#include <bit>
#include <charconv>
#include <cstring>

#include "formats/format.h"

namespace millrace {
namespace {

bool is_digit(char c) { return static_cast<unsigned char>(c - '0') < 10; }

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Four hex digits at p as a code unit, or -1.
int code_unit(const char* p, const char* end) {
  if (end - p < 4) return -1;
  const int a = hex_value(p[0]), b = hex_value(p[1]), c = hex_value(p[2]), d = hex_value(p[3]);
  if ((a | b | c | d) < 0) return -1;
  return a << 12 | b << 8 | c << 4 | d;
}

bool is_high_surrogate(int unit) { return unit >= 0xD800 && unit < 0xDC00; }
bool is_low_surrogate(int unit) { return unit >= 0xDC00 && unit < 0xE000; }

// p: at the backslash. Returns the position behind the escape.
const char* scan_escape(const char* p, JsonScan& scan) {
  const char* start = p++;
  if (p >= scan.end) return scan.fail(start, "unterminated string");
  switch (*p) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': return p + 1;
    case 'u': break;
    default: return scan.fail(start, "invalid escape");
  }
  const int unit = code_unit(p + 1, scan.end);
  if (unit < 0) return scan.fail(start, "invalid unicode escape");
  p += 5;
  if (is_low_surrogate(unit)) return scan.fail(start, "unpaired surrogate");
  if (!is_high_surrogate(unit)) return p;
  if (scan.end - p < 6 || p[0] != '\\' || p[1] != 'u' || !is_low_surrogate(code_unit(p + 2, scan.end)))
    return scan.fail(start, "unpaired surrogate");
  return p + 6;
}

char* append_utf8(uint32_t code, char* out) {
  const auto byte = [&](uint32_t value) { *out++ = static_cast<char>(value); };
  if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xC0 | code >> 6);
    byte(0x80 | (code & 63));
  } else if (code < 0x10000) {
    byte(0xE0 | code >> 12);
    byte(0x80 | (code >> 6 & 63));
    byte(0x80 | (code & 63));
  } else {
    byte(0xF0 | code >> 18);
    byte(0x80 | (code >> 12 & 63));
    byte(0x80 | (code >> 6 & 63));
    byte(0x80 | (code & 63));
  }
  return out;
}

char unescaped_letter(char c) {
  switch (c) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return c;  // '"', '\\', '/'
  }
}

// Eight ASCII digits at once, when the machine stores the first of them in the lowest byte.
inline bool eight_digits(const char* p, uint64_t* value) {
  uint64_t word;
  std::memcpy(&word, p, 8);
  const uint64_t low = word - 0x3030303030303030u;
  if (((low | (low + 0x7676767676767676u)) & 0x8080808080808080u) != 0) return false;
  word = (low * 10 + (low >> 8)) & 0x00FF00FF00FF00FFu;
  word = (word * 100 + (word >> 16)) & 0x0000FFFF0000FFFFu;
  *value = (word * 10000 + (word >> 32)) & 0xFFFFFFFFu;
  return true;
}

// Digits from p on, accumulated into *mantissa (modulo 2^64).
inline const char* scan_digits(const char* p, const char* end, uint64_t* mantissa) {
  uint64_t value = *mantissa;
  if constexpr (std::endian::native == std::endian::little) {
    uint64_t eight;
    while (end - p >= 8 && eight_digits(p, &eight)) {
      value = value * 100000000 + eight;
      p += 8;
    }
  }
  while (p < end && is_digit(*p)) value = value * 10 + static_cast<uint64_t>(*p++ - '0');
  *mantissa = value;
  return p;
}

constexpr int32_t kExponentClamp = 100000;

const char* scan_exponent(const char* p, JsonScan& scan, int32_t* exponent) {
  const char* start = p++;
  bool negative = false;
  if (p < scan.end && (*p == '+' || *p == '-')) negative = *p++ == '-';
  if (p >= scan.end || !is_digit(*p)) return scan.fail(start, "invalid number");
  int32_t value = 0;
  for (; p < scan.end && is_digit(*p); p++)
    if (value < kExponentClamp) value = value * 10 + (*p - '0');
  if (value > kExponentClamp) value = kExponentClamp;
  *exponent = negative ? -value : value;
  return p;
}

// Whether a number that from_chars calls out of range is too small rather than too large.
bool is_tiny(const JsonNumber& number) {
  const std::string_view text = number.text;
  int64_t leading = 0;  // decimal exponent of the first digit that is not zero
  bool found = false, behind_point = false;
  int64_t whole = 0, zeros = 0;
  for (char c : text) {
    if (c == '.') {
      behind_point = true;
    } else if (c == 'e' || c == 'E') {
      break;
    } else if (is_digit(c)) {
      if (!behind_point && (found || c != '0')) whole++;
      if (behind_point && !found && c == '0') zeros++;
      found = found || c != '0';
    }
  }
  leading = whole > 0 ? whole : -zeros;
  int64_t written = 0;  // the exponent as it is written
  const size_t e = text.find_first_of("eE");
  if (e != std::string_view::npos) {
    const bool negative = text[e + 1] == '-';
    for (char c : text.substr(e + 1))
      if (is_digit(c) && written < (int64_t{1} << 40)) written = written * 10 + (c - '0');
    if (negative) written = -written;
  }
  return leading + written < 0;
}

constexpr double kPowersOfTen[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

const char* skip_array(const char* p, JsonScan& scan, int depth) {
  p = skip_space(p + 1, scan.end);
  if (p < scan.end && *p == ']') return p + 1;
  while (true) {
    p = skip_json_value(p, scan, depth);
    if (!p) return nullptr;
    p = skip_space(p, scan.end);
    if (p >= scan.end) return scan.fail(p, "unterminated array");
    if (*p == ']') return p + 1;
    if (*p != ',') return scan.fail(p, "expected ',' or ']'");
    p = skip_space(p + 1, scan.end);
  }
}

const char* skip_object(const char* p, JsonScan& scan, int depth) {
  p = skip_space(p + 1, scan.end);
  if (p < scan.end && *p == '}') return p + 1;
  while (true) {
    if (p >= scan.end || *p != '"') return scan.fail(p, "expected a field name");
    bool escaped;
    p = scan_string(p + 1, scan, &escaped);
    if (!p) return nullptr;
    p = skip_space(p, scan.end);
    if (p >= scan.end || *p != ':') return scan.fail(p, "expected ':'");
    p = skip_json_value(skip_space(p + 1, scan.end), scan, depth);
    if (!p) return nullptr;
    p = skip_space(p, scan.end);
    if (p >= scan.end) return scan.fail(p, "unterminated object");
    if (*p == '}') return p + 1;
    if (*p != ',') return scan.fail(p, "expected ',' or '}'");
    p = skip_space(p + 1, scan.end);
  }
}

}  // namespace

const char* scan_string_slow(const char* p, JsonScan& scan) {
  while (true) {
    if (p >= scan.end) return scan.fail(scan.end, "unterminated string");
    if (*p == '"') return p + 1;
    if (*p != '\\') return scan.fail(p, "control character in a string");
    p = scan_escape(p, scan);
    if (!p) return nullptr;
    p = find_string_end(p, scan.end, &scan.non_ascii);
  }
}

size_t unescape_json(std::string_view raw, char* out) {
  const char* p = raw.data();
  const char* end = p + raw.size();
  char* to = out;
  while (p < end) {
    const auto* backslash = static_cast<const char*>(std::memchr(p, '\\', static_cast<size_t>(end - p)));
    const size_t plain = static_cast<size_t>((backslash ? backslash : end) - p);
    std::memcpy(to, p, plain);
    to += plain;
    p += plain;
    if (!backslash) break;
    if (p[1] != 'u') {
      *to++ = unescaped_letter(p[1]);
      p += 2;
      continue;
    }
    auto code = static_cast<uint32_t>(code_unit(p + 2, end));
    p += 6;
    if (is_high_surrogate(static_cast<int>(code))) {
      const auto low = static_cast<uint32_t>(code_unit(p + 2, end));
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      p += 6;
    }
    to = append_utf8(code, to);
  }
  return static_cast<size_t>(to - out);
}

const char* scan_number(const char* p, JsonScan& scan, JsonNumber& number) {
  const char* start = p;
  number = JsonNumber{};
  if (p < scan.end && *p == '-') {
    number.negative = true;
    p++;
  }
  if (p >= scan.end || !is_digit(*p)) return scan.fail(start, "expected a value");
  const char* digits = p;
  p = scan_digits(p, scan.end, &number.mantissa);
  if (*digits == '0' && p - digits > 1) return scan.fail(start, "a number with a leading zero");
  int64_t digit_count = p - digits;
  if (p < scan.end && *p == '.') {
    const char* fraction = ++p;
    p = scan_digits(p, scan.end, &number.mantissa);
    if (p == fraction) return scan.fail(start, "invalid number");
    digit_count += p - fraction;
    number.integral = false;
    number.exponent = static_cast<int32_t>(fraction - p);
  }
  if (p < scan.end && (*p == 'e' || *p == 'E')) {
    int32_t exponent;
    p = scan_exponent(p, scan, &exponent);
    if (!p) return nullptr;
    number.integral = false;
    number.exponent += exponent;
  }
  number.exact = digit_count <= 19;
  number.text = {start, static_cast<size_t>(p - start)};
  return p;
}

bool JsonNumber::to_int(int64_t* value) const {
  const uint64_t limit = static_cast<uint64_t>(INT64_MAX) + (negative ? 1 : 0);
  if (!exact || mantissa > limit) return false;
  *value = static_cast<int64_t>(negative ? uint64_t{0} - mantissa : mantissa);
  return true;
}

bool JsonNumber::to_double(double* value) const {
  // Both factors are exact doubles, so that one rounding gives the nearest result.
  if (exact && mantissa <= uint64_t{1} << 53 && exponent >= -22 && exponent <= 22) {
    const auto digits = static_cast<double>(mantissa);
    const double magnitude = exponent < 0 ? digits / kPowersOfTen[-exponent] : digits * kPowersOfTen[exponent];
    *value = negative ? -magnitude : magnitude;
    return true;
  }
  const auto result = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (result.ec == std::errc()) return true;
  if (!is_tiny(*this)) return false;
  *value = negative ? -0.0 : 0.0;
  return true;
}

const char* scan_literal(const char* p, JsonScan& scan, std::string_view word) {
  if (static_cast<size_t>(scan.end - p) < word.size() || std::memcmp(p, word.data(), word.size()) != 0)
    return scan.fail(p, "expected a value");
  return p + word.size();
}

const char* skip_json_value(const char* p, JsonScan& scan, int depth) {
  if (p >= scan.end) return scan.fail(p, "expected a value");
  switch (*p) {
    case '"': {
      bool escaped;
      return scan_string(p + 1, scan, &escaped);
    }
    case '{':
      if (depth >= static_cast<int>(kMaxJsonDepth)) return scan.fail(p, "nesting deeper than 128");
      return skip_object(p, scan, depth + 1);
    case '[':
      if (depth >= static_cast<int>(kMaxJsonDepth)) return scan.fail(p, "nesting deeper than 128");
      return skip_array(p, scan, depth + 1);
    case 't': return scan_literal(p, scan, "true");
    case 'f': return scan_literal(p, scan, "false");
    case 'n': return scan_literal(p, scan, "null");
    default: {
      JsonNumber number;
      return scan_number(p, scan, number);
    }
  }
}

const char* json_kind(char first) {
  switch (first) {
    case '"': return "string";
    case '{': return "object";
    case '[': return "array";
    case 't':
    case 'f': return "bool";
    case 'n': return "null";
    default: return "number";
  }
}

}  // namespace millrace
