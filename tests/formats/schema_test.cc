#include <doctest/doctest.h>

#include "formats/format.h"

namespace millrace {
namespace {

Schema read(const std::string& text, Diagnostics& diagnostics) {
  const ConfigNode node = ConfigNode::parse(
      "p.yaml", text, [](const std::string&) { return std::nullopt; }, diagnostics);
  return read_schema(node, diagnostics);
}

std::string error_of(const std::string& text) {
  Diagnostics diagnostics;
  read(text, diagnostics);
  return diagnostics.all().empty() ? "" : diagnostics.all()[0].message + "|" + diagnostics.all()[0].hint;
}

TEST_CASE("every type, in flow and block style") {
  Diagnostics diagnostics;
  const Schema flow = read(
      "{s: string, i: int, d: double, b: bool, y: bytes, ms: timestamp_ms, us: timestamp_us, sec: timestamp_s, "
      "rfc: timestamp_rfc3339, l: [string], n: {a: int, b: [{c: bool}]}}",
      diagnostics);
  const Schema block = read(R"(s: string
i: int
d: double
b: bool
y: bytes
ms: timestamp_ms
us: timestamp_us
sec: timestamp_s
rfc: timestamp_rfc3339
l:
  - string
n:
  a: int
  b:
    - c: bool
)",
                            diagnostics);
  CHECK(diagnostics.error_count() == 0);
  REQUIRE(flow.size() == 11);
  CHECK(flow == block);
  CHECK(flow[6].type.unit() == TimestampUnit::kMicros);
  CHECK(flow[8].type.unit() == TimestampUnit::kRfc3339);
  CHECK(flow[10].type.to_string() == "{a: int, b: [{c: bool}]}");
}

TEST_CASE("errors stand where they are") {
  Diagnostics diagnostics;
  read("a: string\nb: strng\nrecord: int\n2x: int\n", diagnostics);
  REQUIRE(diagnostics.all().size() == 3);
  CHECK(diagnostics.all()[0].at.line == 2);
  CHECK(diagnostics.all()[0].at.column == 4);
  CHECK(diagnostics.all()[0].code == LintCode::kBadValue);
  CHECK(diagnostics.all()[0].hint == "did you mean \"string\"?");
  CHECK(diagnostics.all()[1].at.line == 3);
  CHECK(diagnostics.all()[1].at.column == 1);
  CHECK(diagnostics.all()[2].at.line == 4);
  CHECK(error_of("{a: long}") == "unknown type \"long\"|did you mean \"int\"?");
  CHECK(error_of("{a: timestamp}") == "unknown type \"timestamp\"|did you mean \"timestamp_ms\"?");
  CHECK(error_of("{a: [int, int]}").rfind("a list type has exactly one element type", 0) == 0);
  CHECK(error_of("{a: []}").rfind("a list type has exactly one element type", 0) == 0);
  CHECK(error_of("{a: {}}").rfind("a schema needs at least one field", 0) == 0);
  CHECK(error_of("{}").rfind("a schema needs at least one field", 0) == 0);
  CHECK(error_of("{a: }").rfind("expected a type", 0) == 0);
  CHECK(error_of("string").rfind("expected a mapping", 0) == 0);
  CHECK(error_of("{a: int, nested: {record: int}}").empty());
}

TEST_CASE("limits") {
  std::string deep = "{a: ";
  for (int i = 0; i < 15; i++) deep += "[";
  std::string close(15, ']');
  CHECK(error_of(deep + "int" + close + "}").empty());
  CHECK(error_of(deep + "[int]" + close + "}").rfind("types nest at most 16 deep", 0) == 0);
  std::string wide;
  for (int i = 0; i < 1000; i++) wide += "f" + std::to_string(i) + ": int\n";
  CHECK(error_of(wide).empty());
  CHECK(error_of(wide + "last: int\n").rfind("a schema has at most 1000 fields", 0) == 0);
}

}  // namespace
}  // namespace millrace
