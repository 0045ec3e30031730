#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "pipeline/testing/row_alignment.h"
#include "pipeline/testing/row_report.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

Expectation expected(Expectation::Kind kind, const std::vector<std::string>& rows) {
  Expectation expectation;
  expectation.kind = kind;
  for (const std::string& row : rows) expectation.rows.push_back({ConfigNode(), Json::parse(row)});
  return expectation;
}

std::vector<MemoryRow> found(const std::vector<std::string>& rows) {
  std::vector<MemoryRow> result;
  for (const std::string& row : rows) {
    MemoryRow& memory = result.emplace_back();
    memory.columns = row;
  }
  return result;
}

constexpr auto kRows = Expectation::Kind::kRows;
constexpr auto kOrdered = Expectation::Kind::kOrdered;

TEST_CASE("rows match in any order, by the columns that are named") {
  CHECK(align(expected(kRows, {R"({"a":1})", R"({"a":2})"}), found({R"({"a":2,"b":1})", R"({"a":1,"b":1})"})).good);
  CHECK_FALSE(align(expected(kRows, {R"({"a":1})"}), found({R"({"a":1})", R"({"a":1})"})).good);
  CHECK_FALSE(align(expected(kRows, {R"({"a":1})", R"({"a":1})"}), found({R"({"a":1})"})).good);
  CHECK(align(expected(kRows, {}), {}).good);
  Expectation exact = expected(kRows, {R"({"a":1})"});
  exact.exact = true;
  CHECK(align(exact, found({R"({"a":1})"})).good);
  CHECK_FALSE(align(exact, found({R"({"a":1,"b":2})"})).good);
}

TEST_CASE("a row of few columns does not take the partner of one of more") {
  // In this order a greedy match would give the first row away.
  CHECK(align(expected(kRows, {"{}", R"({"a":1})", R"({"a":1,"b":2})"}),
              found({R"({"a":1,"b":2})", R"({"a":1,"b":3})", R"({"a":7})"}))
            .good);
}

TEST_CASE("order counts where it is asked for") {
  const auto rows = found({R"({"a":1})", R"({"a":2})", R"({"a":3})"});
  CHECK(align(expected(kOrdered, {R"({"a":1})", R"({"a":2})", R"({"a":3})"}), rows).good);
  CHECK_FALSE(align(expected(kOrdered, {R"({"a":2})", R"({"a":1})", R"({"a":3})"}), rows).good);
  CHECK_FALSE(align(expected(kOrdered, {R"({"a":1})", R"({"a":2})"}), rows).good);
}

TEST_CASE("contains leaves others alone, last sees the last row of a key") {
  const auto rows = found({R"({"k":"x","n":1})", R"({"k":"y","n":1})", R"({"k":"x","n":2})"});
  CHECK(align(expected(Expectation::Kind::kContains, {R"({"k":"y"})"}), rows).good);
  CHECK_FALSE(align(expected(Expectation::Kind::kContains, {R"({"k":"z"})"}), rows).good);
  Expectation last = expected(Expectation::Kind::kLast, {R"({"k":"x","n":2})", R"({"k":"y","n":1})"});
  last.key = {"k"};
  CHECK(align(last, rows).good);
  auto deleted = rows;
  deleted.push_back({R"({"k":"y","n":null})", std::nullopt, "", true, kNoTime});
  CHECK_FALSE(align(last, deleted).good);
  last.rows.pop_back();
  CHECK(align(last, deleted).good);
}

TEST_CASE("a row that goes away is not a row that comes") {
  const std::vector<MemoryRow> rows = {{R"({"k":"x","n":null})", std::nullopt, "", true, kNoTime}};
  CHECK_FALSE(align(expected(kRows, {R"({"k":"x"})"}), rows).good);
  CHECK(align(expected(kRows, {R"({"k":"x","record.deleted":true})"}), rows).good);
  CHECK(align(expected(kRows, {R"({"k":"x","record.deleted":false})"}), found({R"({"k":"x"})"})).good);
}

TEST_CASE("differences are shown with the nearest row") {
  const Expectation expectation = expected(kRows, {R"({"k":"x","n":1})", R"({"k":"y","n":5})", R"({"k":"q","n":9})"});
  const Alignment alignment =
      align(expectation, found({R"({"k":"z","n":3})", R"({"k":"y","n":6})", R"({"k":"x","n":1})"}));
  CHECK(summarize_differences(expectation, alignment) == "1 row differs, 1 row is missing, 1 row is not expected");
  CHECK(describe_differences(expectation, alignment) ==
        "      {k: x, n: 1}\n"
        "    - {k: y, n: 5}\n"
        "    + {k: y, n: 6}\n"
        "        n: expected 5, found 6\n"
        "    - {k: q, n: 9}\n"
        "    + {k: z, n: 3}\n");
}

// The size of a largest matching, by trying everything.
size_t largest_matching(const std::vector<std::vector<bool>>& fits, size_t row, unsigned taken) {
  if (row == fits.size()) return 0;
  size_t best = largest_matching(fits, row + 1, taken);
  for (size_t k = 0; k < fits[row].size(); k++)
    if (fits[row][k] && !(taken >> k & 1)) best = std::max(best, 1 + largest_matching(fits, row + 1, taken | 1u << k));
  return best;
}

TEST_CASE("as many rows match as can") {
  for (unsigned seed = 1; seed <= 300; seed++) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const size_t wanted = random() % 6, have = random() % 6;
    std::vector<Json> found_rows;
    std::vector<std::string> found_texts, wanted_texts;
    for (size_t k = 0; k < have; k++) {
      found_rows.push_back({{"a", random() % 2}, {"b", random() % 2}, {"c", random() % 2}});
      found_texts.push_back(found_rows.back().dump());
    }
    std::vector<std::vector<bool>> fits(wanted, std::vector<bool>(have));
    for (size_t i = 0; i < wanted; i++) {
      Json row = Json::object();
      for (const char* name : {"a", "b", "c"})
        if (random() % 2 == 0) row[name] = random() % 2;
      wanted_texts.push_back(row.dump());
      for (size_t k = 0; k < have; k++) {
        fits[i][k] = true;
        for (const auto& [name, value] : row.items()) fits[i][k] = fits[i][k] && found_rows[k][name] == value;
      }
    }
    const Alignment alignment = align(expected(kRows, wanted_texts), found(found_texts));
    size_t matching = 0;
    for (const AlignedRow& row : alignment.rows) matching += row.matches() ? 1 : 0;
    CHECK(matching == largest_matching(fits, 0, 0));
    CHECK(alignment.good == (matching == wanted && matching == have));
  }
}

}  // namespace
}  // namespace millrace
