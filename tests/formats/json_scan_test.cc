// The scanner against simdjson: what one accepts the other accepts, on mutated documents.
#include "formats/json_scan.h"

#include <doctest/doctest.h>
#include <simdjson.h>

#include <cmath>
#include <cstdlib>
#include <random>

#include "formats/utf8.h"
#include "tests/formats/decode_fixture.h"

namespace millrace {
namespace {

bool scanner_accepts(const Payloads& payloads) {
  JsonScan scan;
  scan.begin = payloads[0].data();
  scan.end = scan.begin + payloads[0].size();
  const char* p = skip_json_value(skip_space(scan.begin, scan.end), scan, 0);
  if (p && skip_space(p, scan.end) != scan.end) p = nullptr;
  return p && (!scan.non_ascii || is_valid_utf8(payloads[0]));
}

// simdjson 3.0 refuses numbers that it cannot hold, which are valid JSON, and accepts some unpaired surrogates.
bool comparable(const std::string& text) {
  size_t digits = 0;
  for (char c : text) {
    digits = c >= '0' && c <= '9' ? digits + 1 : 0;
    if (digits > 18) return false;
  }
  return text.find("\\ud") == std::string::npos && text.find("\\uD") == std::string::npos &&
         text.find_first_of("eE") == std::string::npos;
}

const char* const kSeeds[] = {
    R"({"order_id":"o0000000000","amount":4012,"event_time":1699999996787,"status":"paid"})",
    R"({"a":[1,-2,3.5,0.25,-0,{"b":null},[],{}],"c":true,"d":false , "q":"x\"y\\z\/\b\f\n\r\t\u00e9A"})",
    " [ [ [ ] , { \"k\" : [ 1 , \"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\" ] } ] ] ",
    R"("just a string that is longer than sixteen bytes, twice")",
    R"(-12.5)",
    R"(null)",
};

TEST_CASE("scanner and simdjson accept the same documents") {
  std::mt19937 random(20240229);
  simdjson::dom::parser parser;
  REQUIRE(parser.allocate(1 << 12, kMaxJsonDepth) == simdjson::SUCCESS);
  const std::string pieces[] = {
      "\"",       "\\",   "{",    "}",    "[",  "]",       ",",   ":",  "0",    "1",
      "-",        ".",    "null", " ",    "\n", "\x01",    "\\u", "12", "\xc3", "\xa9",
      "\"k\":1,", "true", "x",    "\x7f", "\t", "\\u00e9", "01",  "-0", "1.",   "\xed\xa0\x80",
      "\xff",     "/"};
  int accepted = 0, compared = 0;
  for (int round = 0; round < 60000; round++) {
    std::string text = kSeeds[random() % std::size(kSeeds)];
    for (auto changes = 1 + random() % 3; changes > 0; changes--) {
      const size_t at = random() % (text.size() + 1);
      switch (random() % 4) {
        case 0: text.insert(at, pieces[random() % std::size(pieces)]); break;
        case 1: text.erase(at, random() % 4); break;
        case 2: text.replace(at, 1, pieces[random() % std::size(pieces)]); break;
        default: text.resize(at); break;
      }
    }
    if (!comparable(text)) continue;
    Payloads payloads;
    payloads.add(text);
    simdjson::dom::element element;
    const bool theirs =
        parser.parse(reinterpret_cast<const uint8_t*>(payloads[0].data()), text.size(), false).get(element) ==
        simdjson::SUCCESS;
    const bool ours = scanner_accepts(payloads);
    compared++;
    accepted += ours ? 1 : 0;
    REQUIRE_MESSAGE(ours == theirs, text);
  }
  CHECK(compared > 30000);
  CHECK(accepted > 3000);
}

JsonNumber number_of(const std::string& text) {
  Payloads payloads;
  payloads.add(text);
  JsonScan scan;
  scan.begin = payloads[0].data();
  scan.end = scan.begin + text.size();
  JsonNumber number;
  const char* p = scan_number(scan.begin, scan, number);
  REQUIRE_MESSAGE(p == scan.end, text);
  number.text = {};
  return number;
}

double double_of(const std::string& text, bool* in_range) {
  Payloads payloads;
  payloads.add(text);
  JsonScan scan;
  scan.begin = payloads[0].data();
  scan.end = scan.begin + text.size();
  JsonNumber number;
  REQUIRE(scan_number(scan.begin, scan, number) == scan.end);
  double value = 0;
  *in_range = number.to_double(&value);
  return value;
}

TEST_CASE("doubles are the nearest ones") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 50000; round++) {
    std::string text = random() % 2 ? "-" : "";
    text += std::to_string(random() % (uint64_t{1} << (1 + random() % 63)));
    if (random() % 2) text += "." + std::to_string(random() % (uint64_t{1} << (1 + random() % 63)));
    if (random() % 3 == 0) text += "e" + std::to_string(static_cast<int>(random() % 700) - 350);
    bool in_range = false;
    const double ours = double_of(text, &in_range);
    const double theirs = std::strtod(text.c_str(), nullptr);
    REQUIRE_MESSAGE(in_range == std::isfinite(theirs), text);
    if (in_range) REQUIRE_MESSAGE(ours == theirs, text);
  }
  bool in_range = false;
  CHECK(double_of("1e-400", &in_range) == 0);
  CHECK(in_range);
  CHECK(double_of("-0.000" + std::string(400, '0') + "1", &in_range) == 0);
  CHECK(in_range);
  double_of("1" + std::string(400, '0'), &in_range);
  CHECK(!in_range);
  double_of("1e99999999999999999999", &in_range);
  CHECK(!in_range);
  CHECK(double_of("0e99999999999999999999", &in_range) == 0);
  CHECK(in_range);
  CHECK(double_of("1" + std::string(400, '0') + "e-400", &in_range) == 1);
  CHECK(in_range);
}

TEST_CASE("integers at the edges of int64") {
  int64_t value = 0;
  CHECK(number_of("9223372036854775807").to_int(&value));
  CHECK(value == INT64_MAX);
  CHECK(number_of("-9223372036854775808").to_int(&value));
  CHECK(value == INT64_MIN);
  CHECK(!number_of("9223372036854775808").to_int(&value));
  CHECK(!number_of("-9223372036854775809").to_int(&value));
  CHECK(!number_of("18446744073709551617").to_int(&value));
  CHECK(!number_of("100000000000000000000000").to_int(&value));
  CHECK(number_of("-0").to_int(&value));
  CHECK(value == 0);
  CHECK(!number_of("1.0").integral);
  CHECK(!number_of("1e3").integral);
}

}  // namespace
}  // namespace millrace
