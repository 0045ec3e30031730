#include "formats/base64.h"

#include <array>
#include <cstdint>

namespace millrace {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t kInvalid = 0xFF;

constexpr std::array<uint8_t, 256> make_values() {
  std::array<uint8_t, 256> values{};
  for (uint8_t& value : values) value = kInvalid;
  for (size_t i = 0; i < kAlphabet.size(); i++)
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<uint8_t>(i);
  return values;
}
constexpr std::array<uint8_t, 256> kValues = make_values();

uint32_t value_of(char c) { return kValues[static_cast<unsigned char>(c)]; }

}  // namespace

void append_base64(std::string_view bytes, std::string& out) {
  const size_t start = out.size();
  out.resize(start + (bytes.size() + 2) / 3 * 4, '=');
  char* to = out.data() + start;
  size_t i = 0;
  const auto byte = [&](size_t at) { return static_cast<uint32_t>(static_cast<unsigned char>(bytes[at])); };
  for (; i + 3 <= bytes.size(); i += 3) {
    const uint32_t group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    *to++ = kAlphabet[group >> 18];
    *to++ = kAlphabet[group >> 12 & 63];
    *to++ = kAlphabet[group >> 6 & 63];
    *to++ = kAlphabet[group & 63];
  }
  const size_t rest = bytes.size() - i;
  if (rest == 0) return;
  const uint32_t group = byte(i) << 16 | (rest == 2 ? byte(i + 1) << 8 : 0);
  *to++ = kAlphabet[group >> 18];
  *to++ = kAlphabet[group >> 12 & 63];
  if (rest == 2) *to = kAlphabet[group >> 6 & 63];
}

bool decode_base64(std::string_view text, char* out, size_t* size) {
  *size = 0;
  if (text.empty()) return true;
  if (text.size() % 4 != 0) return false;
  const size_t padding = text[text.size() - 1] != '=' ? 0 : text[text.size() - 2] != '=' ? 1 : 2;
  const size_t full = (text.size() - (padding ? 4 : 0)) / 4;
  char* to = out;
  for (size_t i = 0; i < full; i++) {
    const char* from = text.data() + i * 4;
    const uint32_t a = value_of(from[0]), b = value_of(from[1]), c = value_of(from[2]), d = value_of(from[3]);
    if ((a | b | c | d) > 63) return false;
    const uint32_t group = a << 18 | b << 12 | c << 6 | d;
    *to++ = static_cast<char>(group >> 16);
    *to++ = static_cast<char>(group >> 8 & 0xFF);
    *to++ = static_cast<char>(group & 0xFF);
  }
  if (padding) {
    const char* from = text.data() + full * 4;
    const uint32_t a = value_of(from[0]), b = value_of(from[1]), c = padding == 1 ? value_of(from[2]) : 0;
    if ((a | b | c) > 63) return false;
    const uint32_t group = a << 18 | b << 12 | c << 6;
    if ((group & (padding == 1 ? 0xFFu : 0xFFFFu)) != 0) return false;
    *to++ = static_cast<char>(group >> 16);
    if (padding == 1) *to++ = static_cast<char>(group >> 8 & 0xFF);
  }
  *size = static_cast<size_t>(to - out);
  return true;
}

bool decode_base64(std::string_view text, std::string* out) {
  out->resize(base64_decoded_bound(text.size()));
  size_t size = 0;
  if (!decode_base64(text, out->data(), &size)) {
    out->clear();
    return false;
  }
  out->resize(size);
  return true;
}

}  // namespace millrace
