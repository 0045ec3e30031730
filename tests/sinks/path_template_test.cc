#include "sinks/path_template.h"

#include <random>

#include "tests/sinks/sink_fixture.h"

namespace millrace {
namespace {

const Schema kSchema{{"name", Type(TypeKind::kString)}, {"n", Type(TypeKind::kInt)}, {"d", Type(TypeKind::kDouble)}};

struct Parsed {
  explicit Parsed(const std::string& text, const Schema& schema = kSchema)
      : node(ConfigNode::parse("t.yaml", "\"" + text + "\"", environment_variables(), diagnostics)),
        path(node, diagnostics) {
    if (!diagnostics.has_errors()) resolved = path.resolve(schema, diagnostics);
  }
  std::string codes() const {
    std::string all;
    for (const Diagnostic& one : diagnostics.all())
      all += std::to_string(one.at.column) + " MR" + std::to_string(static_cast<int>(one.code)) + "\n";
    return all;
  }
  std::string folder(const char* name, int64_t n = 0) const {
    BatchMaker maker({kSchema[0], kSchema[1]});
    const Batch batch = maker.text(0, name).number(1, n).end_row().finish();
    std::string folder = "before", error;
    return path.folder_of(batch, 0, &folder, &error) ? folder : "error: " + error;
  }
  Diagnostics diagnostics;
  ConfigNode node;
  PathTemplate path;
  bool resolved = false;
};

TEST_CASE("path template: a literal root, then levels of columns") {
  const Parsed parsed("out/bids/a={name}-{n}/x/{n}/");
  REQUIRE(parsed.resolved);
  CHECK(parsed.path.text() == "out/bids/a={name}-{n}/x/{n}");
  CHECK(parsed.path.root() == "out/bids");
  CHECK(parsed.path.levels() == 3);
  CHECK(parsed.path.columns() == std::vector<int>{0, 1});
  CHECK(parsed.folder("v", -5) == "a=v--5/x/-5");
  const Parsed plain("out/late/");
  REQUIRE(plain.resolved);
  CHECK(plain.path.root() == "out/late");
  CHECK(plain.path.levels() == 0);
  CHECK(plain.folder("v").empty());
  CHECK(Parsed("/abs/{n}").path.root() == "/abs");
  CHECK(Parsed("out//{n}").path.root() == "out");
}

TEST_CASE("path template: values stay in their level") {
  const Parsed whole("out/{name}");
  CHECK(whole.folder("..") == "%2E.");
  CHECK(whole.folder(".") == "%2E");
  CHECK(whole.folder("../../etc/passwd") == "%2E.%2F..%2Fetc%2Fpasswd");
  CHECK(whole.folder("/etc") == "%2Fetc");
  CHECK(whole.folder("a\\b\n\x7F%") == "a%5Cb%0A%7F%25");
  CHECK(whole.folder("2024-01-01 00:05 é=") == "2024-01-01 00:05 é=");
  CHECK(whole.folder("") == kNullFolder);
  CHECK(whole.folder(nullptr) == kNullFolder);
  CHECK(Parsed("out/x{name}").folder("..") == "x..");
  CHECK(whole.folder(std::string(255, 'x').c_str()) == std::string(255, 'x'));
  CHECK(whole.folder(std::string(256, 'x').c_str()).starts_with("error: the name of its folder is 256 bytes long"));
  CHECK(whole.folder(std::string(100, '/').c_str()).starts_with("error:"));
  // Whatever the value: one name, that is no hidden one and none of . and ..
  std::mt19937_64 random(3);
  for (int i = 0; i < 5000; i++) {
    std::string value;
    for (uint64_t n = random() % 6; n > 0; n--) value += "./\\%a\n\x01 "[random() % 8];
    const std::string folder = whole.folder(value.c_str());
    CHECK(folder.find_first_of("/\n\x01") == std::string::npos);
    CHECK(!folder.starts_with('.'));
    CHECK(!folder.empty());
  }
}

TEST_CASE("path template: what a level may be called") {
  const Parsed parsed("out/dt={name}/{n}-{name}-x/lit");
  CHECK(parsed.path.may_name(0, "dt=1"));
  CHECK(parsed.path.may_name(0, "dt="));
  CHECK_FALSE(parsed.path.may_name(0, "xdt=1"));
  CHECK(parsed.path.may_name(1, "1-a-x"));
  CHECK(parsed.path.may_name(1, "1-a-b-x"));
  CHECK_FALSE(parsed.path.may_name(1, "1-x"));
  CHECK_FALSE(parsed.path.may_name(1, "1-a-y"));
  CHECK(parsed.path.may_name(2, "lit"));
  CHECK_FALSE(parsed.path.may_name(2, "literal"));
  CHECK_FALSE(parsed.path.may_name(2, "li"));
}

TEST_CASE("path template: lint") {
  CHECK(Parsed("").codes() == "2 MR1009\n");
  CHECK(Parsed("{n}").codes() == "2 MR1009\n");
  CHECK(Parsed("/{n}").codes() == "2 MR1009\n");
  CHECK(Parsed("x{n}/y").codes() == "2 MR1009\n");
  CHECK(Parsed("../x={n}").codes() == "2 MR1009\n");
  CHECK(Parsed(".").codes() == "2 MR1009\n");
  CHECK(Parsed("/").codes() == "2 MR1009\n");
  CHECK(Parsed("out/{n}/..").codes() == "10 MR1009\n");
  CHECK(Parsed("out/.{n}").codes() == "6 MR1009\n");
  CHECK(Parsed("out/{n}//x").codes() == "10 MR1009\n");
  CHECK(Parsed("out/{n").codes() == "6 MR1009\n");
  CHECK(Parsed("out/{n{d}}").codes() == "6 MR1009\n");
  CHECK(Parsed("out/{n}}").codes() == "9 MR1009\n");
  CHECK(Parsed("o}ut/{n}").codes() == "3 MR1009\n");
  CHECK(Parsed("out/{}").codes() == "7 MR1007\n");
  CHECK(Parsed("out/x={nam}").codes() == "9 MR1007\n");
  CHECK(Parsed("out/{d}").codes() == "7 MR1013\n");
  CHECK(Parsed("out/{n}/a\\n{n}").codes() == "11 MR1009\n");
}

}  // namespace
}  // namespace millrace
