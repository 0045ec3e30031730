#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/formats/decode_fixture.h"

namespace millrace {
namespace {

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(text, out);
  return out;
}

std::string json_double(double value) {
  std::string out;
  append_json_double(value, out);
  return out;
}

TEST_CASE("json strings") {
  CHECK(json_string("") == R"("")");
  CHECK(json_string("plain") == R"("plain")");
  CHECK(json_string("a \"quote\" and a \\ in a text of more than 16 bytes") ==
        R"("a \"quote\" and a \\ in a text of more than 16 bytes")");
  CHECK(json_string(std::string_view("\n\t\r\b\f\0\x1f\x7f/", 9)) == "\"\\n\\t\\r\\b\\f\\u0000\\u001f\x7f/\"");
  CHECK(json_string("0123456789abcdef\n") == R"("0123456789abcdef\n")");
  CHECK(json_string("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80") == "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
  CHECK(json_string("a\xff"
                    "b\xc3") ==
        "\"a\xEF\xBF\xBD"
        "b\xEF\xBF\xBD\"");
  CHECK(json_string("\xed\xa0\x80") == "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

TEST_CASE("json doubles show their type and read back") {
  CHECK(json_double(3.5) == "3.5");
  CHECK(json_double(3) == "3.0");
  CHECK(json_double(-0.0) == "-0.0");
  CHECK(json_double(0.1) == "0.1");
  CHECK(json_double(1e22) == "1e+22");
  CHECK(json_double(5e-324) == "5e-324");
  CHECK(json_double(std::nan("")) == "null");
  CHECK(json_double(std::numeric_limits<double>::infinity()) == "null");
}

TEST_CASE("rows: names, nulls, deletes") {
  const Schema schema = {
      {"id", Type(TypeKind::kString)}, {"n", Type(TypeKind::kInt)}, {"at", Type::timestamp(TimestampUnit::kMicros)}};
  const Decoded decoded =
      decode_all("json", schema, {R"({"id":"a","n":-9223372036854775808,"at":-1})", R"({"id":"b"})"});
  CHECK(decoded.json(schema, 0) == R"({"id":"a","n":-9223372036854775808,"at":-1})");
  CHECK(decoded.json(schema, 1) == R"({"id":"b","n":null,"at":null})");
  std::string out;
  const std::vector<bool> keep = {true, false, false};
  JsonRowEncoder(schema).encode({decoded.columns[0], nullptr, nullptr}, 0, out, &keep);
  CHECK(out == R"({"id":"a","n":null,"at":null})");
  out.clear();
  JsonRowEncoder({}).encode({}, 0, out);
  CHECK(out == "{}");
}

TEST_CASE("what is encoded decodes to the same") {
  const Schema schema = {
      {"s", Type(TypeKind::kString)},
      {"b", Type(TypeKind::kBytes)},
      {"d", Type(TypeKind::kDouble)},
      {"t", Type::timestamp(TimestampUnit::kMillis)},
      {"l", Type::list(Type::structure({{"x", Type(TypeKind::kBool)}, {"y", Type(TypeKind::kInt)}}))}};
  const std::string text =
      R"({"s":"é\n\"","b":"AP9/","d":-1.5e-7,"t":-62135596800000,"l":[{"x":true,"y":1},null,{"x":null,"y":null}]})";
  const Decoded first = decode_all("json", schema, {text});
  REQUIRE(first.errors.empty());
  CHECK(first.canonical[0] == 1);
  const std::string written = first.json(schema, 0);
  CHECK(written == R"({"s":"é\n\"","b":"AP9/","d":-1.5e-07,"t":-62135596800000,)"
                   R"("l":[{"x":true,"y":1},null,{"x":null,"y":null}]})");
  CHECK(decode_all("json", schema, {written}).json(schema, 0) == written);
}

}  // namespace
}  // namespace millrace
