#include "tests/golden/golden_case.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

namespace millrace {
namespace {

using nlohmann::json;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

// Applies "--- kind argument…" and the lines below it.
void add_section(GoldenCase& result, const std::string& header, const std::string& body) {
  const std::vector<std::string> words = split(header, ' ');
  const auto fail = [&] { throw std::runtime_error(result.path + ": bad section \"" + header + "\""); };
  if (words.empty()) fail();
  if (words[0] == "pipeline") {
    result.pipeline = body;
  } else if (words[0] == "input" && words.size() == 2) {
    result.inputs[words[1]] = body;
  } else if (words[0] == "lint") {
    result.has_lint = true;
    result.lint = body;
  } else if (words[0] == "error" && words.size() >= 2) {
    result.error_code = words[1];
    const size_t text = header.find(words[1]) + words[1].size();
    if (text + 1 < header.size()) result.error_text = header.substr(text + 1);
  } else if (words[0] == "expect" && words.size() >= 3) {
    GoldenCase::Expectation expectation;
    expectation.file = words[1];
    if (words[2] == "rows")
      expectation.kind = GoldenCase::Expectation::Kind::kRows;
    else if (words[2] == "ordered")
      expectation.kind = GoldenCase::Expectation::Kind::kOrdered;
    else if (words[2] == "lines")
      expectation.kind = GoldenCase::Expectation::Kind::kLines;
    else if (words[2] == "last" && words.size() == 4)
      expectation.kind = GoldenCase::Expectation::Kind::kLast;
    else
      fail();
    if (words.size() == 4) expectation.key = split(words[3], ',');
    expectation.rows = split(body, '\n');
    result.expectations.push_back(std::move(expectation));
  } else {
    fail();
  }
}

std::string key_of(const json& row, const std::vector<std::string>& key) {
  json values = json::array();
  for (const std::string& column : key) values.push_back(row.contains(column) ? row[column] : json());
  return values.dump();
}

std::vector<std::string> normal_form(const GoldenCase::Expectation& expectation,
                                     const std::vector<std::string>& lines) {
  if (expectation.kind == GoldenCase::Expectation::Kind::kLines) return lines;
  std::vector<std::string> rows;
  std::map<std::string, std::string> last;
  for (const std::string& line : lines) {
    const json row = json::parse(line);
    if (expectation.kind != GoldenCase::Expectation::Kind::kLast) {
      rows.push_back(row.dump());
      continue;
    }
    // A delete is the key columns with the rest null.
    bool deleted = row.size() > expectation.key.size();
    for (const auto& [name, value] : row.items())
      if (std::find(expectation.key.begin(), expectation.key.end(), name) == expectation.key.end() && !value.is_null())
        deleted = false;
    if (deleted)
      last.erase(key_of(row, expectation.key));
    else
      last[key_of(row, expectation.key)] = row.dump();
  }
  for (auto& [key, row] : last) rows.push_back(row);
  if (expectation.kind == GoldenCase::Expectation::Kind::kRows) std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace

GoldenCase read_golden_case(const std::string& path) {
  GoldenCase result;
  result.path = path;
  std::ifstream file(path);
  std::string header, body;
  bool in_header = true;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("--- ", 0) == 0) {
      if (!in_header) add_section(result, header, body);
      in_header = false;
      header = line.substr(4);
      body.clear();
    } else if (in_header) {
      if (line.rfind("name: ", 0) == 0) result.name = line.substr(6);
      if (line == "variants: plain") result.plain_only = true;
    } else {
      body += line + "\n";
    }
  }
  if (in_header || result.name.empty()) throw std::runtime_error(path + ": no name or no sections");
  add_section(result, header, body);
  if (result.expectations.empty() && result.error_code.empty() && !result.has_lint)
    throw std::runtime_error(path + ": a test that cannot fail");
  return result;
}

std::string compare_rows(const GoldenCase::Expectation& expectation, const std::string& actual) {
  const std::vector<std::string> wanted = normal_form(expectation, expectation.rows);
  const std::vector<std::string> found = normal_form(expectation, split(actual, '\n'));
  if (wanted == found) return "";
  std::ostringstream text;
  text << wanted.size() << " rows wanted, " << found.size() << " found";
  for (size_t i = 0; i < std::max(wanted.size(), found.size()); i++) {
    const std::string a = i < wanted.size() ? wanted[i] : "(none)";
    const std::string b = i < found.size() ? found[i] : "(none)";
    if (a == b) continue;
    text << "; first difference at row " << i + 1 << ": wanted " << a << ", found " << b;
    break;
  }
  return text.str();
}

}  // namespace millrace
