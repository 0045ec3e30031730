#include "base/diagnostics.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

namespace millrace {
namespace {

TEST_CASE("rendering: sorted, with line and caret") {
  Diagnostics diagnostics;
  diagnostics.add_file("orders.yaml", "a: 1\n\tfields:\n\t  revenue: sum(amout)\n");
  diagnostics.add_file("b.yaml", "x: 1\r\n");
  diagnostics.error(LintCode::kUnknownKey, {"b.yaml", 1, 1}, "unknown key \"x\"");
  diagnostics.error(LintCode::kFile, {"c.yaml", 0, 0}, "cannot read");
  diagnostics.error(LintCode::kUnknownField, {"orders.yaml", 3, 17}, "unknown field \"amout\"",
                    "did you mean \"amount\"?");
  diagnostics.warning(LintCode::kUnused, {"orders.yaml", 1, 1}, "nobody reads a");
  diagnostics.error(LintCode::kBadValue, {"orders.yaml", 1, 1}, "second at the same place");
  CHECK(diagnostics.error_count() == 4);
  CHECK(diagnostics.all().size() == 5);
  CHECK(diagnostics.all()[0].source_line == "x: 1");
  CHECK(diagnostics.render_text() ==
        "orders.yaml:1:1: warning[MR1023]: nobody reads a\n"
        "    1 | a: 1\n"
        "      | ^\n"
        "orders.yaml:1:1: error[MR1009]: second at the same place\n"
        "    1 | a: 1\n"
        "      | ^\n"
        "orders.yaml:3:17: error[MR1007]: unknown field \"amout\"; did you mean \"amount\"?\n"
        "    3 | \t  revenue: sum(amout)\n"
        "      | \t               ^\n"
        "b.yaml:1:1: error[MR1005]: unknown key \"x\"\n"
        "    1 | x: 1\n"
        "      | ^\n"
        "c.yaml: error[MR1022]: cannot read\n");
}

TEST_CASE("rendering: characters, control characters, long lines") {
  Diagnostics diagnostics;
  diagnostics.add_file("a", "éé: x\n\x1b[31m red\n" + std::string(300, 'a') + "B" + std::string(300, 'c'));
  diagnostics.error(LintCode::kBadValue, {"a", 1, 5}, "m\x1b[0m");
  diagnostics.error(LintCode::kBadValue, {"a", 2, 1}, "m");
  diagnostics.error(LintCode::kBadValue, {"a", 3, 301}, "m");
  CHECK(diagnostics.render_text() ==
        "a:1:5: error[MR1009]: m?[0m\n"
        "    1 | éé: x\n"
        "      |     ^\n"
        "a:2:1: error[MR1009]: m\n"
        "    2 | ?[31m red\n"
        "      | ^\n"
        "a:3:301: error[MR1009]: m\n"
        "    3 | …" +
            std::string(80, 'a') + "B" + std::string(79, 'c') +
            "…\n"
            "      | " +
            std::string(81, ' ') + "^\n");
}

TEST_CASE("repetitions are dropped, floods are cut") {
  Diagnostics diagnostics;
  for (int i = 0; i < 3; i++) diagnostics.error(LintCode::kBadValue, {"a", 1, 1}, "same");
  CHECK(diagnostics.all().size() == 1);
  CHECK(diagnostics.error_count() == 3);  // that something failed again is counted
  for (int i = 0; i < 2000; i++) diagnostics.error(LintCode::kBadValue, {"a", 2, i + 1}, "other");
  CHECK(diagnostics.error_count() == 2003);
  CHECK(diagnostics.all().size() == 1000);
  CHECK(diagnostics.render_text().ends_with("and 1001 more\n"));
}

TEST_CASE("JSON") {
  Diagnostics diagnostics;
  CHECK(nlohmann::json::parse(diagnostics.render_json()) == nlohmann::json::array());
  diagnostics.error(LintCode::kUnknownField, {"a.yaml", 3, 7}, "unknown field \"x\xff\"", "hint");
  auto parsed = nlohmann::json::parse(diagnostics.render_json());
  REQUIRE(parsed.size() == 1);
  CHECK(parsed[0]["file"] == "a.yaml");
  CHECK(parsed[0]["line"] == 3);
  CHECK(parsed[0]["column"] == 7);
  CHECK(parsed[0]["severity"] == "error");
  CHECK(parsed[0]["code"] == "MR1007");
  CHECK(parsed[0]["hint"] == "hint");
  CHECK(diagnostics.render_json().starts_with("[\n  {\n    \"file\""));
}

TEST_CASE("nearest") {
  const std::vector<std::string> keys{"brokers", "topic", "group", "start", "on_missing_topic"};
  CHECK(nearest("brokerz", keys) == "brokers");
  CHECK(nearest("borkers", keys) == "brokers");  // a transposition is one edit
  CHECK(nearest("tpoic", keys) == "topic");
  CHECK(nearest("TOPIC", keys) == "topic");
  CHECK(nearest("on_misssing_topics", keys) == "on_missing_topic");
  CHECK(nearest("payload", keys) == "");
  CHECK(nearest("", keys) == "");
  CHECK(nearest("b", {"a"}) == "");
  CHECK(nearest("ab", {"ac"}) == "ac");
  CHECK(nearest("id", {"to"}) == "");
  CHECK(did_you_mean("brokerz", keys) == "did you mean \"brokers\"?");
  CHECK(did_you_mean("payload", keys) == "");
}

}  // namespace
}  // namespace millrace
