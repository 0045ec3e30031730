#include "base/metrics.h"

#include <doctest/doctest.h>

#include <fstream>
#include <set>
#include <sstream>

namespace millrace {
namespace {

MetricSample records(double value, const std::string& pipeline = "p", const std::string& source = "s") {
  return {Metric::kRecordsIn, value, {{"pipeline", pipeline}, {"source", source}}};
}
MetricSample info(const std::string& pipeline = "p") {
  return {Metric::kPipelineInfo, 1, {{"pipeline", pipeline}, {"mode", "none"}}};
}

// The value of millrace_records_in_total{pipeline,source="s"}; -1 when it is not there.
double shown(const MetricsExporter& exporter, const std::string& pipeline = "p") {
  const std::string text = exporter.text();
  const std::string series = "millrace_records_in_total{pipeline=\"" + pipeline + "\",source=\"s\"} ";
  const size_t at = text.find(series);
  return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size()));
}

constexpr const char* kNameCharacters = "abcdefghijklmnopqrstuvwxyz_";

std::string trimmed(const std::string& cell) {
  const size_t first = cell.find_first_not_of(' ');
  return first == std::string::npos ? "" : cell.substr(first, cell.find_last_not_of(' ') - first + 1);
}

TEST_CASE("metrics: names are unique, prefixed, and only counters end in _total") {
  std::set<std::string> names;
  for (const MetricSpec& spec : metric_specs()) {
    const std::string name = spec.name;
    CAPTURE(name);
    CHECK(names.insert(name).second);
    CHECK(name.starts_with("millrace_"));
    CHECK(name.ends_with("_total") == (spec.kind == MetricKind::kCounter));
    CHECK(name.find_first_not_of(kNameCharacters) == std::string::npos);
  }
}

TEST_CASE("metrics: docs/metrics.md lists exactly the registered names, with type, labels and unit") {
  std::ifstream file("docs/metrics.md");
  REQUIRE(file.good());
  std::multiset<std::string> rows;  // "name|type|labels|unit"
  std::set<std::string> mentioned;
  for (std::string line; std::getline(file, line);) {
    for (size_t at = line.find("millrace_"); at != std::string::npos; at = line.find("millrace_", at + 1))
      mentioned.insert(line.substr(at, line.find_first_not_of(kNameCharacters, at) - at));
    const size_t name_end = line.find_first_not_of(kNameCharacters, 3);
    if (!line.starts_with("| `millrace_") || line.compare(name_end, 1, "`") != 0) continue;  // not a condition
    std::istringstream cells(line.substr(1));
    std::string row;
    for (int i = 0; i < 4; i++) {
      std::string cell;
      std::getline(cells, cell, '|');
      row += (i == 0 ? "" : "|") + trimmed(cell);
    }
    rows.insert(row);
  }
  std::multiset<std::string> expected;
  std::set<std::string> names;
  for (const MetricSpec& spec : metric_specs()) {
    std::string labels;
    std::istringstream words(spec.labels);
    for (std::string label; words >> label;) labels += (labels.empty() ? "`" : " `") + label + "`";
    expected.insert("`" + std::string(spec.name) + "`|" + (spec.kind == MetricKind::kCounter ? "counter" : "gauge") +
                    "|" + labels + "|" + spec.unit);
    names.insert(spec.name);
  }
  for (const std::string& line : expected) CHECK_MESSAGE(rows.contains(line), "the page lacks " << line);
  for (const std::string& line : rows) CHECK_MESSAGE(expected.contains(line), "the page has " << line);
  CHECK(rows.size() == expected.size());
  CHECK(mentioned == names);
}

TEST_CASE("metrics: the text has help, type, escaped labels and whole numbers") {
  MetricsExporter exporter;
  exporter.observe({info("a\"b\\c\nd"), records(123456789012, "a\"b\\c\nd")});
  const std::string text = exporter.text();
  CAPTURE(text);
  CHECK(text.find("# HELP millrace_records_in_total Records read by the source.\n") != std::string::npos);
  CHECK(text.find("# TYPE millrace_records_in_total counter\n") != std::string::npos);
  CHECK(text.find("# TYPE millrace_pipeline_info gauge\n") != std::string::npos);
  CHECK(text.find(R"(millrace_records_in_total{pipeline="a\"b\\c\nd",source="s"} 123456789012)") != std::string::npos);
  CHECK(text.find("millrace_commits_total") == std::string::npos);  // no series, no family
}

TEST_CASE("metrics: a counter that begins again goes on from its total") {
  MetricsExporter exporter;
  exporter.observe({info(), records(100)});
  exporter.observe({info(), records(150)});
  CHECK(shown(exporter) == 150);
  exporter.observe({info(), records(20)});  // a new incarnation
  CHECK(shown(exporter) == 170);
  exporter.observe({info(), records(160)});
  CHECK(shown(exporter) == 310);
  exporter.observe({info(), records(5)});
  CHECK(shown(exporter) == 315);
}

TEST_CASE("metrics: a counter without a sample keeps its total and goes on from it") {
  MetricsExporter exporter;
  exporter.observe({info(), records(100)});
  exporter.observe({info()});  // restoring
  CHECK(shown(exporter) == 100);
  exporter.observe({info()});
  exporter.observe({info(), records(300)});  // more than before: still a new incarnation
  CHECK(shown(exporter) == 400);
}

TEST_CASE("metrics: counters of a pipeline that is gone are forgotten") {
  MetricsExporter exporter;
  exporter.observe({info("p"), records(100, "p"), info("q"), records(7, "q")});
  exporter.observe({info("q"), records(8, "q")});
  CHECK(shown(exporter, "p") == -1);
  CHECK(shown(exporter, "q") == 8);
  exporter.observe({info("p"), records(1, "p")});
  CHECK(shown(exporter, "p") == 1);
}

TEST_CASE("metrics: a gauge without a sample has no series") {
  MetricsExporter exporter;
  exporter.observe({{Metric::kSourceLagRecords, 5, {{"pipeline", "p"}}}});
  CHECK(exporter.text().find("millrace_source_lag_records{pipeline=\"p\"} 5") != std::string::npos);
  exporter.observe({info()});
  CHECK(exporter.text().find("millrace_source_lag_records") == std::string::npos);
}

}  // namespace
}  // namespace millrace
