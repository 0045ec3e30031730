#include "base/config_node.h"

#include <doctest/doctest.h>

#include <ctime>
#include <cstdio>
#include <fstream>
#include <map>
#include <random>

#include "tests/base/config_fixture.h"

namespace millrace {
namespace {

TEST_CASE("positions of keys and values") {
  Parsed doc(
      "name: orders\n"
      "kafka: {brokers: \"b:1\", properties: {}}\n"
      "operators:\n"
      "  - id: paid\n"
      "    filter: 'x'\n"
      "\"é\": ünï\n");
  REQUIRE(doc.text() == "");
  CHECK(place(doc.root.find("name")->key_location()) == "1:1");
  CHECK(place(doc.root.find("name")->location()) == "1:7");
  ConfigNode kafka = *doc.root.find("kafka");
  CHECK(kafka.is_flow());
  CHECK(place(kafka.location()) == "2:8");
  CHECK(place(kafka.find("brokers")->location()) == "2:18");
  CHECK(kafka.find("brokers")->quoted());
  CHECK(place(kafka.find("brokers")->location_of(0)) == "2:19");
  CHECK(place(kafka.find("brokers")->location_of(2)) == "2:21");
  CHECK(kafka.find("properties")->is_mapping());
  CHECK(kafka.find("properties")->size() == 0);
  ConfigNode paid = doc.root.find("operators")->at(0);
  CHECK(!paid.is_flow());
  CHECK(paid.path() == "operators[0]");
  CHECK(place(paid.location()) == "4:5");
  CHECK(paid.find("filter")->path() == "operators[0].filter");
  CHECK(place(paid.find("filter")->location()) == "5:13");
  CHECK(place(doc.root.find("é")->location()) == "6:6");  // characters, not bytes
  CHECK(place(doc.root.find("é")->location_of(5)) == "6:9");
  CHECK(paid.key_at(1) == "filter");
  CHECK(!paid.find("nothing"));
}

TEST_CASE("nulls") {
  Parsed doc("a: ~\nb: null\nc:\nd: \"\"\ne: 'null'\nf: ${EMPTY}\ng: '${EMPTY}'\n");
  REQUIRE(doc.text() == "");
  for (const char* key : {"a", "b", "c", "f"}) CHECK(doc.root.find(key)->is_null());
  for (const char* key : {"d", "e", "g"}) CHECK(doc.root.find(key)->is_scalar());
  CHECK(place(doc.root.find("a")->location()) == "1:4");
  CHECK(place(doc.root.find("c")->location()) == "3:1");  // nothing stands there: its key
}

TEST_CASE("an empty file is a null node in that file") {
  for (const char* text : {"", "\n\n", "# nothing\n", "---\n"}) {
    Parsed doc(text);
    CHECK(doc.text() == "");
    CHECK(doc.root.is_null());
    CHECK(doc.root.location().file == "t.yaml");
  }
}

TEST_CASE("top-level x- keys are dropped, with their variables") {
  Parsed doc("x-note: ${UNDEFINED}\na: {x-b: 1}\n");
  CHECK(doc.text() == "");
  CHECK(doc.root.size() == 1);
  CHECK(doc.root.find("a")->size() == 1);
}

TEST_CASE("CRLF and a byte order mark") {
  Parsed doc(
      "\xef\xbb\xbf"
      "a: 1\r\nb: |\r\n  x\r\n  y\r\nc: d\r\n");
  REQUIRE(doc.text() == "");
  CHECK(place(doc.root.find("a")->key_location()) == "1:1");
  CHECK(doc.root.find("b")->text() == "x\ny\n");
  CHECK(place(doc.root.find("c")->location()) == "5:4");
}

// Every byte that stands in the file as it stands in the text must be found where it is.
void check_offsets(const std::string& text) {
  CAPTURE(text);
  Parsed doc(text);
  REQUIRE(doc.text() == "");
  ConfigNode node = *doc.root.find("k");
  std::vector<std::string> lines{""};
  for (char c : text) {
    if (c == '\n')
      lines.emplace_back();
    else
      lines.back() += c;
  }
  for (size_t i = 0; i < node.text().size(); i++) {
    char c = node.text()[i];
    if (c == ' ' || c == '\n' || c == '\t') continue;
    CAPTURE(i);
    Location at = node.location_of(i);
    REQUIRE(static_cast<size_t>(at.line) <= lines.size());
    const std::string& line = lines[static_cast<size_t>(at.line) - 1];
    REQUIRE(static_cast<size_t>(at.column) <= line.size());
    char there = line[static_cast<size_t>(at.column) - 1];
    CHECK((there == c || there == '\\' || there == '$'));
  }
}

TEST_CASE("location_of in every style of scalar") {
  check_offsets("k: plain text\n");
  check_offsets("k: plain  \n   over\n\n\n  lines\nz: 1\n");
  check_offsets("k: 'it''s  \n   over\n\n  lines'\n");
  check_offsets("k: \"a\\tb \\\"c\\\" \\x41 \\u00e9z \\\n   joined \n\n   folded\"\n");
  check_offsets("k: |\n  one\n\n    two\n  three\nz: 1\n");
  check_offsets("k: |-\n\n  one\n  two\n");
  check_offsets("k: >\n  one\n  two\n\n  three\n    four\n    five\n\n  six\n  seven\n");
  check_offsets("k: >-\n\n\n  one\n\n\n  two\n");
  check_offsets("k: |2\n   one\n  two\n");
  check_offsets("k: a$$b ${A} c\n");
  check_offsets("k: \"${A}x\\t${EMPTY}y$z\"\n");
}

TEST_CASE("location_of behind a substitution") {
  Parsed doc("k: '${A} == x + ${B:-bb} + y'\n");
  REQUIRE(doc.text() == "");
  ConfigNode node = *doc.root.find("k");
  CHECK(node.text() == "value of a == x + bb + y");
  CHECK(place(node.location_of(0)) == "1:5");
  CHECK(place(node.location_of(7)) == "1:5");
  CHECK(place(node.location_of(node.text().find("x"))) == "1:13");
  CHECK(place(node.location_of(node.text().find("bb") + 1)) == "1:17");
  CHECK(place(node.location_of(node.text().find("y"))) == "1:28");
}

TEST_CASE("interpolation") {
  auto value = [](const std::string& text) { return Parsed("k: '" + text + "'\n").root.find("k")->text(); };
  CHECK(value("${A}") == "value of a");
  CHECK(value("x${A}y${A}") == "xvalue of ayvalue of a");
  CHECK(value("${U:-d}") == "d");
  CHECK(value("${U:-}") == "");
  CHECK(value("${EMPTY:-d}") == "d");
  CHECK(value("${A:-d}") == "value of a");
  CHECK(value("${A:?no}") == "value of a");
  CHECK(value("$$") == "$");
  CHECK(value("$${A}") == "${A}");
  CHECK(value("$$$${A}") == "$${A}");
  CHECK(value("a $ b $c") == "a $ b $c");
  CHECK(value("$") == "$");
  CHECK(value("${RECURSIVE}") == "${A}");
  CHECK(value("${U:-$A}") == "$A");
  CHECK(Parsed("${A}: 1\n").root.key_at(0) == "${A}");  // never in keys
}

TEST_CASE("interpolation errors stand at their ${") {
  CHECK(Parsed("a: x ${U}\n").text() == "1:6 MR1010 variable U is not set; set it, or write ${U:-default}\n");
  CHECK(Parsed("a: '${U:?set U to the brokers}'\n").text() ==
        "1:5 MR1010 variable U is not set: set U to the brokers\n");
  CHECK(Parsed("a: ${EMPTY:?no}\n").text() == "1:4 MR1010 variable EMPTY is not set: no\n");
  CHECK(Parsed("a: \"\\t${U\"\n").text() == "1:7 MR1010 \"${\" without \"}\"; write $${ for a literal ${\n");
  CHECK(Parsed("a: |\n  x\n  ${1}\n").text() ==
        "3:3 MR1010 cannot read \"${1}\"; write ${NAME}, ${NAME:-default} or ${NAME:?message}\n");
  CHECK(Parsed("a: ${A-b}\n").codes() == "1:4 MR1010\n");
  CHECK(Parsed("a: ${}\n").codes() == "1:4 MR1010\n");
  CHECK(Parsed("a: ['${U}', '${V}']\nb: ${W}").codes() == "1:6 MR1010\n1:14 MR1010\n2:4 MR1010\n");
}

TEST_CASE("substituted text is limited") {
  std::string text;
  for (int i = 0; i < 20; i++) text += fmt::format("k{}: ${{BIG}}\n", i);
  CHECK(Parsed(text).codes().starts_with("11:6 MR1002\n") == true);
}

TEST_CASE("refused YAML") {
  CHECK(Parsed("a: &x 1\nc: &y 2\nb: [*x, *x, *y]\n").codes() == "3:5 MR1003\n3:13 MR1003\n");
  CHECK(Parsed("a: &x {b: 1}\nc:\n  <<: *x\n").codes() == "3:3 MR1003\n");
  CHECK(Parsed("a: &x 1\n").text() == "");
  CHECK(Parsed("a: *nothing\n").codes() == "1:4 MR1003\n");
  CHECK(Parsed("a: &a [*a]\n").codes() == "1:8 MR1003\n");
  CHECK(Parsed("<<: {a: 1}\nb: 2\n").codes() == "1:1 MR1003\n");
  CHECK(Parsed("a: 1\nb: 2\na: 3\n").text() == "3:1 MR1004 duplicate key \"a\", first defined at line 1\n");
  CHECK(Parsed("m: {a: 1, 'a': 2}\n").codes() == "1:11 MR1004\n");
  CHECK(Parsed("a: 1\na: {b: 2, b: 3}\n").root.find("a")->text() == "1");
  CHECK(Parsed("[a]: 1\n").codes() == "1:1 MR1001\n");
  CHECK(Parsed("? {a: b}\n: 1\nc: 2\n").codes() == "1:3 MR1001\n");
  CHECK(Parsed("a: {{x}}\n").codes() == "1:5 MR1001\n");
  CHECK(Parsed(": 1\n").codes() == "1:1 MR1001\n");
  CHECK(Parsed("a: !!str 1\n").codes() == "1:4 MR1001\n");
  CHECK(Parsed("a: 1\n---\nb: 2\n").text() ==
        "2:1 MR1001 more than one document in the file; put each pipeline into a file of its own\n");
  CHECK(Parsed("- a\nb: 1\n").text() == "2:1 MR1001 unexpected text behind the document\n");
}

TEST_CASE("YAML errors have a place and plain words") {
  CHECK(Parsed("a: 'x\nb: 1\n").text() == "1:4 MR1001 ' is never closed\n");
  CHECK(Parsed("a: 1\nb: \"x").text() == "2:4 MR1001 \" is never closed\n");
  CHECK(Parsed("a: \"x\\\"\n").text() == "1:4 MR1001 \" is never closed\n");
  CHECK(Parsed("a: 'x''\n").text() == "1:4 MR1001 ' is never closed\n");
  CHECK(Parsed("a: 'x'''\n").text() == "");
  CHECK(Parsed("a: {b: ${A}}\n").text() == "1:8 MR1001 ${…} inside a flow map or list; quote a value with variables\n");
  CHECK(Parsed("a:\n\tb: 1\n").text() == "2:3 MR1001 unexpected \":\"; indent with spaces, not tabs\n");
  CHECK(Parsed("a: 1\n b: 2\n").text() ==
        "2:3 MR1001 unexpected \":\"; quote a value that contains \": \", or check the indentation\n");
  CHECK(Parsed("a: \"\\d\"\n").codes() == "1:5 MR1001\n");
  CHECK(Parsed("a: @x\n").text() == "1:4 MR1001 unexpected character\n");
  CHECK(Parsed("a: [1, 2\n").text() == "1:4 MR1001 [ is never closed\n");
  CHECK(Parsed("a: 1\nb: {c: 2]\n").codes() == "2:9 MR1001\n");
}

TEST_CASE("expressions that YAML cannot read") {
  CHECK(Parsed("ops:\n  - filter: \"a\" == b\n    x: 1\n").text() ==
        "2:17 MR1001 unexpected text behind the value; quote this expression\n");
  CHECK(Parsed("filter: a == \"x: y\"\n").text() == "1:16 MR1001 unexpected \":\"; quote this expression\n");
  CHECK(Parsed("filter: a ? b : c\n").text() == "1:15 MR1001 unexpected \":\"; quote this expression\n");
  CHECK(Parsed("f: {paid: size([1, 2])}\n").text() ==
        "1:11 MR1014 YAML splits this expression; quote this: paid: 'size([1, 2])'\n");
  CHECK(Parsed("b: 'y' z\n").text() == "1:8 MR1001 unexpected text behind the value; quote this expression\n");
  CHECK(Parsed("filter: !paid && x # all\n").text() ==
        "1:9 MR1014 YAML reads !paid as a tag, and tags are refused; quote this: '!paid && x'\n");
  CHECK(Parsed("filter: *x == 1\n").text() ==
        "1:9 MR1003 YAML reads * as an alias, and aliases are refused; quote this expression\n");
}

TEST_CASE("bytes that are no text") {
  CHECK(Parsed("a: b\nc: \xff\n").text() == "2:4 MR1001 byte 0xff is not UTF-8; save the file as UTF-8\n");
  CHECK(Parsed("a: \xc0\xaf\n").codes() == "1:4 MR1001\n");
  CHECK(Parsed("a: \xed\xa0\x80\n").codes() == "1:4 MR1001\n");
  CHECK(Parsed("é: \xe2\x82").codes() == "1:4 MR1001\n");
  CHECK(Parsed(std::string("a: b\0c\n", 7)).text() == "1:5 MR1001 control character 0x00; save the file as UTF-8\n");
  CHECK(Parsed("a: \x04\n").text() == "1:4 MR1001 control character 0x04\n");
  CHECK(Parsed("a: 1\rb: 2\n").codes() == "1:5 MR1001\n");
}

std::string repeated(const std::string& text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; i++) all += text;
  return all;
}

TEST_CASE("limits") {
  CHECK(Parsed(std::string((1 << 20) + 1, ' ')).codes() == "0:0 MR1002\n");
  CHECK(Parsed(std::string(1 << 20, ' ')).codes() == "");
  CHECK(Parsed(repeated("[", 64) + repeated("]", 64)).codes() == "");
  CHECK(Parsed(repeated("[", 65) + repeated("]", 65)).codes() == "1:65 MR1002\n");
  CHECK(Parsed(repeated("- ", 64) + "a").codes() == "");
  CHECK(Parsed(repeated("- ", 65) + "a").codes() == "1:129 MR1002\n");
  CHECK(Parsed("a: \"" + repeated("[", 100) + "\"\nb: x" + repeated("[", 100) + "\nc: |\n  " + repeated("{", 100) +
               "\nd: 'it''s" + repeated("[", 100) + "' # " + repeated("[", 100) + "\n")
            .codes() == "");
  CHECK(Parsed(repeated("- a\n", 99'999)).codes() == "");
  CHECK(Parsed(repeated("- a\n", 100'000)).codes() == "100000:3 MR1002\n");
  CHECK(Parsed("[" + repeated("a,", 99'999) + "]").codes() == "");
  CHECK(Parsed("[" + repeated("a,", 100'001) + "]").codes() == "1:200000 MR1002\n");
}

TEST_CASE("bombs are refused at once") {
  const std::string bombs[] = {
      std::string(100'000, '['),      repeated("{a: ", 100'000),
      repeated("- ", 100'000),        repeated("? ", 100'000),
      repeated("[a: ", 100'000),      repeated("{? ", 100'000),
      repeated("- ? ", 100'000),      "[" + repeated("\"a\":", 200'000),
      repeated("[a]: ", 150'000),     repeated("&a ", 300'000),
      repeated("!x ", 300'000),       repeated("\"a\" ", 200'000),
      "[" + repeated("[],", 300'000), repeated("[", 60) + repeated("a ,", 300'000),
      repeated("---\n", 250'000),     repeated("? a\n", 200'000),
      repeated("- ${U}\n", 99'000),   "a: &a [" + repeated("*a, ", 90'000) + "]",
  };
  for (const std::string& bomb : bombs) {
    CAPTURE(bomb.substr(0, 20));
    const std::clock_t start = std::clock();
    Parsed doc(bomb);
    CHECK(doc.diagnostics.has_errors());
    CHECK(doc.diagnostics.render_text().size() < 2'000'000);
    CHECK(std::clock() - start < 5 * CLOCKS_PER_SEC);  // CPU time; 0.2 s without sanitizers
  }
}

TEST_CASE("load") {
  Diagnostics diagnostics;
  CHECK(ConfigNode::load("no/such/file.yaml", nullptr, diagnostics).is_null());
  CHECK(ConfigNode::load("tests", nullptr, diagnostics).is_null());
  REQUIRE(diagnostics.error_count() == 2);
  CHECK(diagnostics.all()[0].code == LintCode::kFile);
  CHECK(diagnostics.all()[0].message == "cannot open no/such/file.yaml: No such file or directory");
  CHECK(diagnostics.all()[0].at.line == 0);
  CHECK(diagnostics.all()[1].code == LintCode::kFile);
}

TEST_CASE("mutated documents never crash") {
  const std::string original =
      "version: 1\nname: orders\nkafka: {brokers: \"${A:-127.0.0.1:9092}\", properties: {a.b: 'c'}}\n"
      "sources:\n  orders:\n    kafka: {topic: [orders, b], start: {timestamp: 1}}\n    schema: {a: string, b: [int]}\n"
      "operators:   # comment\n  - id: paid\n    filter: status == \"paid\"\n  - id: r\n    aggregate:\n"
      "      key_by: [a]\n      fields: {paid: sum(amount, status == \"paid\"), t: \"x\\ty\"}\n"
      "text: |2-\n    one\n   two\nfolded: >+\n  a\n  b\n\n   c\nplain: over\n  lines &a *b !c $$ ${EMPTY}\n";
  const std::string alphabet = "[]{},:-?&*!|>'\"#%@` \n\t\r$\\~<x0=(\xc3\xa9\xff";
  std::mt19937 random(42);
  auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  for (int round = 0; round < 2000; round++) {
    std::string text = original;
    for (size_t edits = 1 + below(8); edits > 0 && !text.empty(); edits--) {
      size_t at = below(text.size());
      switch (below(5)) {
        case 0: text[at] = alphabet[below(alphabet.size())]; break;
        case 1: text.insert(at, 1, alphabet[below(alphabet.size())]); break;
        case 2: text.erase(at, 1 + below(20)); break;
        case 3: text.insert(at, text.substr(below(text.size()), below(60))); break;
        default: text.resize(at); break;
      }
    }
    Parsed doc(text);
    doc.visit([&](const ConfigNode& node) {
      node.location_of(0);
      if (!node.is_scalar()) return;
      for (size_t i = 0; i <= node.text().size() + 1; i++) node.location_of(i);
    });
    doc.diagnostics.render_text();
  }
}

}  // namespace
}  // namespace millrace
