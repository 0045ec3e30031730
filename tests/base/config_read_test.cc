#include <doctest/doctest.h>

#include "tests/base/config_fixture.h"

namespace millrace {
namespace {

// Reads the value of `k: TEXT` with one of the typed readers; the result, or the diagnostics.
template <class Reader>
std::string read(const std::string& text, Reader reader) {
  Parsed doc("k: " + text + "\n");
  auto value = reader(*doc.root.find("k"), doc.diagnostics);
  if (!value) return doc.text();
  CHECK(doc.text() == "");
  return fmt::format("{}", *value);
}

TEST_CASE("durations") {
  auto duration = [](const std::string& text) { return read(text, as_duration_ms); };
  CHECK(duration("100ms") == "100");
  CHECK(duration("30s") == "30000");
  CHECK(duration("5m") == "300000");
  CHECK(duration("1h") == "3600000");
  CHECK(duration("1d") == "86400000");
  CHECK(duration("0") == "0");
  CHECK(duration("0s") == "0");
  CHECK(duration("5 minutes").ends_with("found \"5 minutes\"; write 5m\n"));
  CHECK(duration("30sec").ends_with("; write 30s\n"));
  CHECK(duration("10 ms").ends_with("; write 10ms\n"));
  CHECK(duration("7 days").ends_with("; write 7d\n"));
  CHECK(duration("1 month").ends_with("found \"1 month\"\n"));
  CHECK(duration("100") ==
        "1:4 MR1008 expected a duration such as 100ms or 5m, found \"100\"; add a unit: 100ms or 100s\n");
  CHECK(duration("-1s") == "1:4 MR1008 expected a duration such as 100ms or 5m, found \"-1s\"\n");
  CHECK(duration("1.5s").starts_with("1:4 MR1008"));
  CHECK(duration("s").starts_with("1:4 MR1008"));
  CHECK(duration("9999999999999d") == "1:4 MR1009 9999999999999d is too long\n");
  CHECK(duration("99999999999999999999ms") == "1:4 MR1009 99999999999999999999ms is too long\n");
  CHECK(duration("[1s]") == "1:4 MR1008 expected a duration such as 100ms or 5m, found a list\n");
  CHECK(duration("") == "1:1 MR1008 expected a duration such as 100ms or 5m, found nothing\n");
  CHECK(parse_duration_ms("90s") == 90'000);
  CHECK(!parse_duration_ms("90"));
  CHECK(!parse_duration_ms(""));
}

TEST_CASE("sizes") {
  auto size = [](const std::string& text) { return read(text, as_size_bytes); };
  CHECK(size("512B") == "512");
  CHECK(size("512") == "512");
  CHECK(size("64KiB") == "65536");
  CHECK(size("128MiB") == "134217728");
  CHECK(size("1GiB") == "1073741824");
  CHECK(size("2TiB") == "2199023255552");
  CHECK(size("64KB") == "1:4 MR1008 expected a size such as 64KiB or 1GiB, found \"64KB\"; use KiB\n");
  CHECK(size("64MB") == "1:4 MR1008 expected a size such as 64KiB or 1GiB, found \"64MB\"; use MiB\n");
  CHECK(size("64m") == "1:4 MR1008 expected a size such as 64KiB or 1GiB, found \"64m\"; use MiB\n");
  CHECK(size("64 MiB") == "1:4 MR1008 expected a size such as 64KiB or 1GiB, found \"64 MiB\"\n");
  CHECK(size("9999999999TiB") == "1:4 MR1009 9999999999TiB is too large\n");
  CHECK(size("-1") == "1:4 MR1008 expected a size such as 64KiB or 1GiB, found \"-1\"\n");
  CHECK(parse_size_bytes("1KiB") == 1024);
  CHECK(!parse_size_bytes("1KB"));
}

TEST_CASE("integers, doubles, booleans") {
  auto integer = [](const std::string& text) {
    return read(text, [](const ConfigNode& node, Diagnostics& d) { return as_int(node, -5, 10'000, d); });
  };
  CHECK(integer("7") == "7");
  CHECK(integer("+7") == "7");
  CHECK(integer("-5") == "-5");
  CHECK(integer("${PORT}") == "9092");
  CHECK(integer("'${PORT}'") == "9092");
  CHECK(integer("-6") == "1:4 MR1009 expected an integer from -5 to 10000, found -6\n");
  CHECK(integer("99999999999999999999") ==
        "1:4 MR1009 expected an integer from -5 to 10000, found 99999999999999999999\n");
  CHECK(integer("seven") == "1:4 MR1008 expected an integer, found \"seven\"\n");
  CHECK(integer("1.0") == "1:4 MR1008 expected an integer, found \"1.0\"\n");
  CHECK(integer("0x10") == "1:4 MR1008 expected an integer, found \"0x10\"\n");
  CHECK(integer("'-'") == "1:4 MR1008 expected an integer, found \"-\"\n");
  CHECK(integer("{a: 1}") == "1:4 MR1008 expected an integer, found a map\n");
  CHECK(read("2.5", as_double) == "2.5");
  CHECK(read("-1e3", as_double) == "-1000");
  CHECK(read("inf", as_double) == "1:4 MR1008 expected a number, found \"inf\"\n");
  CHECK(read("1e999", as_double) == "1:4 MR1009 1e999 does not fit a double\n");
  CHECK(read("true", as_bool) == "true");
  CHECK(read("false", as_bool) == "false");
  CHECK(read("yes", as_bool) == "1:4 MR1008 expected true or false, found \"yes\"; write true\n");
  CHECK(read("No", as_bool) == "1:4 MR1008 expected true or false, found \"No\"; write false\n");
  CHECK(read("maybe", as_bool) == "1:4 MR1008 expected true or false, found \"maybe\"\n");
}

TEST_CASE("strings, names, lists") {
  CHECK(read("5", as_string) == "5");
  CHECK(read("''", as_string) == "");
  CHECK(read("~", as_string) == "1:4 MR1008 expected a string, found nothing\n");
  CHECK(read("orders-2_x", as_name) == "orders-2_x");
  CHECK(read("Orders", as_name) ==
        "1:4 MR1009 expected a name of a-z, 0-9, _ and -, at most 100 characters, found \"Orders\"\n");
  CHECK(read("''", as_name).starts_with("1:4 MR1009"));
  CHECK(read(std::string(101, 'a'), as_name).starts_with("1:4 MR1009"));
  auto list = [](const std::string& text) {
    return read(text, [](const ConfigNode& node, Diagnostics& d) -> std::optional<std::string> {
      auto items = as_string_list(node, d);
      if (!items) return std::nullopt;
      return fmt::format("{}", fmt::join(*items, "|"));
    });
  };
  CHECK(list("a") == "a");
  CHECK(list("[a, 'b c']") == "a|b c");
  CHECK(list("[]") == "");
  CHECK(list("[a, [b], {c: d}]") ==
        "1:8 MR1008 expected a string, found a list\n1:13 MR1008 expected a string, found a map\n");
  CHECK(list("{a: b}") == "1:4 MR1008 expected a string or a list of strings, found a map\n");
}

TEST_CASE("MapReader: values, fallbacks, unknown and missing keys") {
  Parsed doc(
      "kafka:\n  topic: orders\n  brokerz: x\n  start: erliest\n  n: 7\n  d:\n  b: true\n  t: 2s\n  s: 1KiB\n  f: "
      "1.5\n");
  MapReader map(*doc.root.find("kafka"), doc.diagnostics);
  CHECK(map.required_string("topic") == "orders");
  CHECK(map.required_string("group") == "");
  CHECK(map.string_or("brokers", "none") == "none");
  CHECK(map.choice("start", {"earliest", "latest"}, "latest") == "latest");
  CHECK(map.int_or("n", 1, 0, 10) == 7);
  CHECK(map.duration_ms_or("d", 42) == 42);  // a key without a value
  CHECK(map.duration_ms_or("t", 42) == 2000);
  CHECK(map.size_bytes_or("s", 1) == 1024);
  CHECK(map.double_or("f", 0) == 1.5);
  CHECK(map.bool_or("b", false));
  CHECK(map.has("topic"));
  CHECK(!map.has("absent"));
  map.finish();
  CHECK(doc.text() ==
        "1:1 MR1006 missing key \"group\" in kafka\n"
        "4:10 MR1009 expected earliest or latest, found \"erliest\"; did you mean \"earliest\"?\n"
        "3:3 MR1005 unknown key \"brokerz\" in kafka; did you mean \"brokers\"?\n");
}

TEST_CASE("MapReader: the top, null, and what is no map") {
  Parsed top("nam: x\n");
  MapReader map(top.root, top.diagnostics);
  map.required_string("name");
  map.finish();
  CHECK(top.text() == "1:1 MR1006 missing key \"name\"\n1:1 MR1005 unknown key \"nam\"; did you mean \"name\"?\n");

  Parsed null("stdout:\n");
  MapReader reader(*null.root.find("stdout"), null.diagnostics);
  reader.finish();
  CHECK(null.text() == "");

  Parsed list("a: [1]\n");
  MapReader wrong(*list.root.find("a"), list.diagnostics);
  wrong.required_string("b");
  wrong.finish();
  CHECK(list.text() == "1:4 MR1008 expected a map, found a list\n");
}

// What a compiler would say at the end of each scalar whose brackets or quotes are open, and at each name.
void complain(const ConfigNode& collection, Diagnostics& diagnostics) {
  for (size_t i = 0; i < collection.size(); i++) {
    const ConfigNode node = collection.at(i);
    const Location at = node.is_scalar() ? node.location_of(node.text().size()) : node.location();
    diagnostics.error(LintCode::kExpressionSyntax, at, "unexpected end");
  }
}

TEST_CASE("an expression that a flow map has split") {
  Parsed doc("fields: {paid: sum(amount, status == \"paid\"), n: count()}\n");
  CHECK(doc.text() == "");
  ConfigNode fields = *doc.root.find("fields");
  MapReader map(fields, doc.diagnostics);
  map.child("paid");
  map.child("n");
  map.finish();
  std::string expected =
      "1:16 MR1014 YAML splits this expression; quote this: paid: 'sum(amount, status == \"paid\")'\n";
  CHECK(doc.text() == expected);
  complain(fields, doc.diagnostics);  // the compiler finds it too: reported once
  CHECK(doc.text() == expected + "1:57 MR1012 unexpected end\n");
  CHECK(doc.diagnostics.all().size() == 2);
}

TEST_CASE("split into several pieces, lists, quotes, lines and comments") {
  Parsed several("fields: {a: f(x,\n    y, z == 'it'), b: 1}\n");
  MapReader map(*several.root.find("fields"), several.diagnostics);
  map.child("a");
  map.child("b");
  map.finish();
  CHECK(several.text() == "1:13 MR1014 YAML splits this expression; quote this: a: 'f(x, y, z == ''it'')'\n");

  Parsed list("key_by: [a, f(b, c), d]\n");
  complain(*list.root.find("key_by"), list.diagnostics);
  CHECK(list.text() ==
        "1:11 MR1012 unexpected end\n1:13 MR1014 YAML splits this expression; quote this: 'f(b, c)'\n"
        "1:23 MR1012 unexpected end\n");

  Parsed text("fields: {a: b == \"x, y\"}\n");
  complain(*text.root.find("fields"), text.diagnostics);
  CHECK(text.text() == "1:13 MR1014 YAML splits this expression; quote this: a: 'b == \"x, y\"'\n");

  Parsed comment("filter: a == \"b #1\"\nother: f(a\nthird: f(a # why\n");
  complain(comment.root, comment.diagnostics);
  CHECK(comment.text() ==
        "1:9 MR1014 YAML reads the rest of this expression as a comment; quote this: filter: 'a == \"b #1\"'\n"
        "2:11 MR1012 unexpected end\n3:11 MR1012 unexpected end\n");  // the user's own mistakes

  Parsed open("fields: {a: f(x, b: g}\n");
  complain(*open.root.find("fields"), open.diagnostics);
  CHECK(open.text() == "1:16 MR1012 unexpected end\n1:22 MR1012 unexpected end\n");

  Parsed quoted("fields: {a: 'f(x', b: g)}\n");
  complain(*quoted.root.find("fields"), quoted.diagnostics);
  CHECK(quoted.text() == "1:17 MR1012 unexpected end\n1:25 MR1012 unexpected end\n");
}

TEST_CASE("a key that a split expression repeats") {
  Parsed doc("fields: {a: f(x, y), b: g(x, y)}\n");  // "y)" twice
  CHECK(doc.text() == "1:25 MR1014 YAML splits this expression; quote this: b: 'g(x, y)'\n");
}

}  // namespace
}  // namespace millrace
