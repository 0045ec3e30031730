// Random expectations in random styles, rewritten to random rows: the result must be met by these rows, and what was
// right must not have been touched.
#include <doctest/doctest.h>

#include <random>

#include "pipeline/testing/expectation_update.h"
#include "pipeline/testing/test_values.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

const std::vector<std::string> kTexts = {"a",    "b c", "",  "null", "10",   "x: y", "# no", "it's", "\"q\"",     "é",
                                         "${X}", "$$",  "]", "{",    "}, {", ", ",   "- a",  "\\",   "line\nline"};

TableShape shape() {
  return {"out",
          {{"k", Type(TypeKind::kString)}, {"n", Type(TypeKind::kInt)}, {"t", Type(TypeKind::kString)}},
          false,
          std::nullopt};
}

class Writer {
 public:
  explicit Writer(unsigned seed) : random_(seed) {}

  Json row() {
    return {
        {"k", std::string(1, static_cast<char>('p' + pick(4)))}, {"n", pick(3)}, {"t", kTexts[pick(kTexts.size())]}};
  }
  std::vector<Json> rows() {
    std::vector<Json> result;
    for (size_t i = pick(5); i > 0; i--) result.push_back(row());
    return result;
  }

  // `expect:` with one sink, in some style.
  std::string expectation(const std::vector<Json>& rows) {
    static constexpr const char* kKinds[] = {"", "rows", "ordered", "contains"};
    const std::string kind = kKinds[pick(4)];
    const bool exact = !kind.empty() && coin();
    if (rows.empty() || coin()) {
      std::string list = "[";
      for (const Json& one : rows)
        list += std::string(list.size() > 1 ? "," + space() : "") + (coin() ? " " : "") + flow(one);
      list += coin() ? " ]" : "]";
      if (coin())
        return "expect: {out: " + (kind.empty() ? list : "{" + kind + ": " + list + extra(exact) + "}") + "}\n";
      if (kind.empty()) return "expect:\n  out: " + list + comment() + "\n";
      return "expect:\n  out:\n    " + kind + ": " + list + comment() + "\n" + (exact ? "    exact: true\n" : "");
    }
    std::string text = "expect:\n  out:" + comment() + "\n";
    std::string indent = coin() ? "  " : "    ";
    if (!kind.empty()) {
      if (exact) text += "    exact: true\n";
      text += "    " + kind + ":\n";
      indent = coin() ? "    " : "      ";
    }
    for (const Json& one : rows) {
      if (coin()) text += indent + "# a remark\n";
      text += indent + "- " + (coin() ? flow(one) + comment() + "\n" : block(one, indent + "  "));
    }
    return text;
  }

 private:
  size_t pick(size_t n) { return random_() % n; }
  bool coin() { return pick(2) == 0; }
  std::string space() { return std::string(pick(3), ' '); }
  std::string comment() { return coin() ? "  # note: [x], {y" : ""; }
  static std::string extra(bool exact) { return exact ? ", exact: true" : ""; }
  // Some of the columns.
  std::vector<std::string> names(const Json& row) {
    std::vector<std::string> result;
    for (const auto& [name, value] : row.items())
      if (result.empty() || pick(3) > 0) result.push_back(name);
    return result;
  }
  std::string flow(const Json& row) {
    std::string text = "{";
    for (const std::string& name : names(row))
      text += (text.size() > 1 ? "," + std::string(coin() ? " " : "  ") : "") + name + ": " + scalar(row[name]);
    return text + "}";
  }
  std::string block(const Json& row, const std::string& indent) {
    std::string text;
    for (const std::string& name : names(row))
      text += (text.empty() ? "" : indent) + name + ": " + scalar(row[name]) + comment() + "\n";
    return text;
  }
  std::string scalar(const Json& value) {
    if (!value.is_string() || coin()) return yaml_text(value);
    const auto& text = value.get_ref<const std::string&>();
    if (text.find_first_of("\n$") != std::string::npos) return yaml_text(value);
    std::string quoted = "'";
    for (char c : text) quoted += c == '\'' ? "''" : std::string(1, c);
    return quoted + "'";
  }

  std::mt19937 random_;
};

Expectation read(const std::string& text) {
  Diagnostics diagnostics;
  const ConfigNode document = ConfigNode::parse("t.yaml", text, environment_variables(), diagnostics);
  const auto body = document.find("expect");
  std::optional<Expectation> result;
  if (body && body->is_mapping() && body->size() == 1)
    result = read_expectation(body->at(0), body->is_flow(), shape(), diagnostics);
  const std::string rendered = diagnostics.render_text();
  REQUIRE_MESSAGE(result.has_value(), rendered);
  return std::move(*result);
}

std::vector<MemoryRow> shown(const std::vector<Json>& rows) {
  std::vector<MemoryRow> result;
  for (const Json& row : rows) result.push_back({row.dump(), std::nullopt, "", false, kNoTime});
  return result;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) n++;
  return n;
}

TEST_CASE("a rewritten expectation is met") {
  size_t rewritten = 0;
  for (unsigned seed = 1; seed <= 3000; seed++) {
    CAPTURE(seed);
    Writer writer(seed);
    const std::string before = writer.expectation(writer.rows()) + "# behind\n";
    CAPTURE(before);
    const std::vector<MemoryRow> rows = shown(writer.rows());
    const Expectation expectation = read(before);
    Mismatch mismatch{&expectation, align(expectation, rows)};
    if (mismatch.alignment.good) continue;
    rewritten++;
    const auto update = update_expectations("t.yaml", before, {mismatch});
    const std::string status = update.is_ok() ? "" : update.status().to_string();
    REQUIRE_MESSAGE(update.is_ok(), status);
    CAPTURE(update->text);
    const Expectation after = read(update->text);
    // What would be met by anything stays.
    const auto came = [](const AlignedRow& row) { return row.expected != kNoRow && row.found != kNoRow; };
    const auto& aligned = mismatch.alignment.rows;
    const bool stays =
        expectation.kind == Expectation::Kind::kContains && std::none_of(aligned.begin(), aligned.end(), came);
    if (stays) {
      CHECK(update->text == before);
      continue;
    }
    CHECK(align(after, rows).good);
    CHECK(after.kind == expectation.kind);
    CHECK(after.exact == expectation.exact);
    CHECK(update->text.ends_with("# behind\n"));
    // Once more there is nothing to do, and remarks above rows that stayed are still there.
    CHECK(count(update->text, "# behind") == 1);
    size_t stayed = 0;
    for (const AlignedRow& row : mismatch.alignment.rows)
      stayed += row.expected != kNoRow && row.found != kNoRow ? 1 : 0;
    if (stayed == expectation.rows.size()) CHECK(count(update->text, "# a remark") == count(before, "# a remark"));
  }
  CHECK(rewritten > 1000);
}

}  // namespace
}  // namespace millrace
