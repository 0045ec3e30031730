#include "pipeline/testing/row_report.h"

#include <fmt/format.h>

#include "pipeline/testing/test_values.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxMatching = 20;     // rows that match are shown if there are at most so many
constexpr size_t kMaxDifferences = 50;  // rows that differ are shown

// A row as it would be expected: without what is always there, and with the record.* columns that were asked for.
Json shown(const Json& row, const Json* wanted) {
  Json result = Json::object();
  for (const auto& [name, value] : row.items()) {
    const bool is_record = name.starts_with("record.");
    if (!is_record || name == kRecordDeleted || (wanted && wanted->contains(name))) result[name] = value;
  }
  return result;
}

std::string value_text(const Json& row, const std::string& name) {
  const auto at = row.find(name);
  return at == row.end() ? "nothing" : yaml_text(*at);
}

std::string counted(size_t count, const char* one, const char* many) {
  return count == 1 ? fmt::format("1 {}", one) : fmt::format("{} {}", count, many);
}

class Report {
 public:
  Report(const Expectation& expectation, const Alignment& alignment)
      : expectation_(expectation), alignment_(alignment) {}

  std::string text() {
    size_t matching = 0;
    for (const AlignedRow& row : alignment_.rows) matching += row.matches() ? 1 : 0;
    const bool show_matching = matching <= kMaxMatching;
    for (const AlignedRow& row : alignment_.rows) {
      if (row.matches()) {
        if (show_matching) line("  ", wanted(row));
        continue;
      }
      if (row.expected == kNoRow && expectation_.kind == Expectation::Kind::kContains) continue;
      if (++differences_ > kMaxDifferences) continue;
      add(row);
    }
    if (!show_matching) text_ += fmt::format("      … {} rows match\n", matching);
    if (differences_ > kMaxDifferences) text_ += fmt::format("    … {} more\n", differences_ - kMaxDifferences);
    return std::move(text_);
  }

 private:
  const Json& wanted(const AlignedRow& row) const { return expectation_.rows[row.expected].columns; }
  const Json& found(const AlignedRow& row) const { return alignment_.found[row.found]; }
  void line(const char* mark, const Json& row) { text_ += fmt::format("    {}{}\n", mark, yaml_text(row)); }

  void add(const AlignedRow& row) {
    if (row.expected != kNoRow) line("- ", wanted(row));
    if (row.found != kNoRow) line("+ ", shown(found(row), row.expected == kNoRow ? nullptr : &wanted(row)));
    for (const std::string& name : row.differing) {
      const std::string have = value_text(found(row), name);
      if (wanted(row).contains(name)) {
        text_ += fmt::format("        {}: expected {}, found {}\n", name, value_text(wanted(row), name), have);
      } else {
        text_ += fmt::format("        {}: not expected, found {}\n", name, have);
      }
    }
  }

  const Expectation& expectation_;
  const Alignment& alignment_;
  std::string text_;
  size_t differences_ = 0;
};

}  // namespace

std::string describe_differences(const Expectation& expectation, const Alignment& alignment) {
  return Report(expectation, alignment).text();
}

std::string summarize_differences(const Expectation& expectation, const Alignment& alignment) {
  if (expectation.kind == Expectation::Kind::kCount)
    return fmt::format("expected {}, found {}", counted(expectation.count, "row", "rows"), alignment.found.size());
  size_t differ = 0, missing = 0, extra = 0;
  for (const AlignedRow& row : alignment.rows) {
    if (row.matches()) continue;
    (row.found == kNoRow ? missing : row.expected == kNoRow ? extra : differ)++;
  }
  if (expectation.kind == Expectation::Kind::kContains) extra = 0;
  std::string text;
  const auto add = [&text](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (differ > 0) add(counted(differ, "row differs", "rows differ"));
  if (missing > 0) add(counted(missing, "row is missing", "rows are missing"));
  if (extra > 0) add(counted(extra, "row is not expected", "rows are not expected"));
  return text;
}

}  // namespace millrace
