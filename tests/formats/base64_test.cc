#include "formats/base64.h"

#include <doctest/doctest.h>

#include "formats/rfc3339.h"
#include "formats/utf8.h"

namespace millrace {
namespace {

std::string encoded(std::string_view bytes) {
  std::string out = "x";
  append_base64(bytes, out);
  return out.substr(1);
}

TEST_CASE("base64: the vectors of RFC 4648") {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, text] : vectors) {
    CHECK(encoded(plain) == text);
    std::string decoded;
    CHECK(decode_base64(text, &decoded));
    CHECK(decoded == plain);
  }
}

TEST_CASE("base64: every byte value survives") {
  std::string bytes;
  for (int i = 0; i < 256; i++) bytes += static_cast<char>(i);
  for (size_t cut = 0; cut < 4; cut++) {
    std::string decoded;
    CHECK(decode_base64(encoded(bytes.substr(cut)), &decoded));
    CHECK(decoded == bytes.substr(cut));
  }
}

TEST_CASE("base64: anything but the one text of a byte string is refused") {
  for (const char* text :
       {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm9v\n", "Zm-_", "Z m9", "Zg==="}) {
    std::string decoded;
    CHECK_MESSAGE(!decode_base64(text, &decoded), text);
  }
}

TEST_CASE("rfc3339") {
  int64_t us = 0;
  CHECK(parse_rfc3339("1970-01-01T00:00:00Z", &us));
  CHECK(us == 0);
  CHECK(parse_rfc3339("2024-02-29T23:59:59.123456Z", &us));
  CHECK(us == 1709251199123456);
  CHECK(parse_rfc3339("2024-03-01t01:59:59.1234569+02:00", &us));
  CHECK(us == 1709251199123456);
  CHECK(parse_rfc3339("1969-12-31 23:59:59.5z", &us));
  CHECK(us == -500000);
  CHECK(parse_rfc3339("0001-01-01T00:00:00Z", &us));
  CHECK(us == kMinTimestampUs);
  CHECK(parse_rfc3339("9999-12-31T23:59:59.999999999Z", &us));
  CHECK(us == kMaxTimestampUs);
  CHECK(parse_rfc3339("2016-12-31T23:59:60Z", &us));
  CHECK(us == 1483228800000000);
  for (const char* text :
       {"", "2024", "2024-02-30T00:00:00Z", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z", "2024-01-01T00:00:61Z", "2024-01-01T00:00:00", "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00.1234567890Z", "2024-01-01T00:00:00+0200", "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00Zx", "2024/01/01T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00",
        "2024-01-01X00:00:00Z", " 2024-01-01T00:00:00Z"})
    CHECK_MESSAGE(!parse_rfc3339(text, &us), text);
}

TEST_CASE("utf8: sequence length agrees with the validator on every sequence of a small alphabet") {
  const unsigned char alphabet[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1,
                                    0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
  for (unsigned char a : alphabet)
    for (unsigned char b : alphabet)
      for (unsigned char c : alphabet)
        for (unsigned char d : alphabet) {
          const std::string text = {static_cast<char>(a), static_cast<char>(b), static_cast<char>(c),
                                    static_cast<char>(d)};
          std::string_view rest = text;
          bool valid = true;
          while (valid && !rest.empty()) {
            const size_t length = utf8_sequence_length(rest);
            valid = length > 0;
            rest.remove_prefix(length);
          }
          REQUIRE(valid == is_valid_utf8(text));
        }
}

}  // namespace
}  // namespace millrace
