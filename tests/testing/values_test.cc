#include "pipeline/testing/test_values.h"

#include <doctest/doctest.h>

#include <random>

#include "formats/format.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

// The value of `v` in a document, read as the type `type`; its diagnostics in *codes.
std::optional<Json> read(const std::string& value, const std::string& type, bool for_payload, std::string* text) {
  Diagnostics diagnostics;
  const ConfigNode document = ConfigNode::parse("t.yaml", "schema: {v: " + type + "}\nv: " + value + "\n",
                                                environment_variables(), diagnostics);
  const Schema schema = read_schema(*document.find("schema"), diagnostics);
  REQUIRE(schema.size() == 1);
  auto result = read_typed(*document.find("v"), schema[0].type, for_payload, diagnostics);
  *text = diagnostics.all().empty() ? "" : diagnostics.all()[0].message;
  return result;
}
std::string shown(const std::string& value, const std::string& type) {
  std::string error;
  const auto json = read(value, type, false, &error);
  return json ? json->dump() : error;
}
std::string sent(const std::string& value, const std::string& type) {
  std::string error;
  const auto json = read(value, type, true, &error);
  return json ? json->dump() : error;
}

TEST_CASE("YAML is read as the type of its column") {
  CHECK(shown("10", "int") == "10");
  CHECK(shown("10", "string") == "\"10\"");
  CHECK(shown("10", "double") == "10.0");
  CHECK(shown("true", "bool") == "true");
  CHECK(shown("null", "int") == "null");
  CHECK(shown("-9223372036854775808", "int") == "-9223372036854775808");
  CHECK(shown("[1, 2]", "[int]") == "[1,2]");
  CHECK(shown("{a: 1}", "{a: int, b: string}") == R"({"a":1})");
  CHECK(shown("ten", "int") == "expected an integer, found \"ten\"");
  CHECK(shown("{c: 1}", "{a: int, b: string}") == "there is no field \"c\" in {a: int, b: string}");
  CHECK(shown("5", "[int]") == "expected a list, [int]");
}

TEST_CASE("timestamps are milliseconds in rows, and what their type says in payloads") {
  CHECK(shown("1704067200000", "timestamp_s") == "1704067200000");
  CHECK(shown("2024-01-01T00:00:00.5Z", "timestamp_us") == "1704067200500");
  CHECK(shown("1969-12-31T23:59:59.9999Z", "timestamp_ms") == "-1");
  CHECK(sent("2024-01-01T00:00:00Z", "timestamp_ms") == "1704067200000");
  CHECK(sent("2024-01-01T00:00:00.25Z", "timestamp_s") == "1704067200.25");
  CHECK(sent("1704067200", "timestamp_s") == "1704067200");
  CHECK(sent("2024-01-01T00:00:00Z", "timestamp_us") == "1704067200000000");
  CHECK(sent("2024-01-01T00:00:00Z", "timestamp_rfc3339") == "\"2024-01-01T00:00:00Z\"");
  CHECK(sent("5", "timestamp_rfc3339") == "expected a time in RFC 3339, found \"5\"");
  CHECK(sent("noon", "timestamp_ms") == "expected an integer or a time in RFC 3339, found \"noon\"");
}

TEST_CASE("rows as YAML read back as what they were") {
  const std::vector<std::string> texts = {
      "a",    "a b", "",   "null", "True", "y",  "10", "1e5", "-",       "a: b",
      "x #y", "'q'", "\"", "\\",   "\n",   "\t", "ä",  "😀",  "${HOME}", "$$",
      "$5",   "a$",  "{",  "[x]",  ",",    "*a", "&a", "!a",  "0x1F",    "2024-01-01T00:00:00Z",
      "~",    " a "};
  for (const std::string& text : texts) {
    const Json row = {{"v", text}, {"n", 1}, {"d", 2.5}, {"l", {text, "b"}}, {"z", nullptr}};
    const std::string yaml = yaml_text(row);
    CAPTURE(yaml);
    Diagnostics diagnostics;
    const ConfigNode node = ConfigNode::parse("t.yaml", "row: " + yaml + "\n", environment_variables(), diagnostics);
    CHECK(diagnostics.all().empty());
    const Type type = Type::structure({{"v", Type(TypeKind::kString)},
                                       {"n", Type(TypeKind::kInt)},
                                       {"d", Type(TypeKind::kDouble)},
                                       {"l", Type::list(Type(TypeKind::kString))},
                                       {"z", Type(TypeKind::kString)}});
    const auto back = read_typed(*node.find("row"), type, false, diagnostics);
    REQUIRE(back.has_value());
    CHECK(*back == row);
  }
}

TEST_CASE("values are the same") {
  CHECK(same_value(Json(1), Json(1), false));
  CHECK(same_value(Json(1), Json(1.0), false));
  CHECK(same_value(Json(0.1 + 0.2), Json(0.3), false));
  CHECK_FALSE(same_value(Json(0.3001), Json(0.3), false));
  CHECK_FALSE(same_value(Json("1"), Json(1), false));
  CHECK_FALSE(same_value(Json(INT64_MAX), Json(INT64_MAX - 1), false));
  CHECK(same_value(Json(), Json(), false));
  CHECK(same_value(Json::parse(R"({"a":1})"), Json::parse(R"({"b":2,"a":1})"), true));
  CHECK_FALSE(same_value(Json::parse(R"({"a":1})"), Json::parse(R"({"b":2,"a":1})"), false));
  CHECK_FALSE(same_value(Json::parse("[1,2]"), Json::parse("[2,1]"), true));
  CHECK_FALSE(same_value(Json::parse("[1]"), Json::parse("[1,2]"), true));
}

}  // namespace
}  // namespace millrace
