// Runs every tests/cmd/cases/*.case on the binary.
#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>
#include <vector>

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct Case {
  std::string name;
  std::vector<std::pair<std::string, std::string>> files;
  std::string arguments;
  int exit_code = 0;
  std::string output;
  std::vector<std::pair<std::string, std::string>> after;
};

std::string read_text(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void add_section(Case& result, const std::string& header, const std::string& body) {
  const size_t space = header.find(' ');
  const std::string kind = header.substr(0, space);
  const std::string rest = space == std::string::npos ? "" : header.substr(space + 1);
  if (kind == "file") {
    result.files.emplace_back(rest, body);
  } else if (kind == "run") {
    result.arguments = rest;
  } else if (kind == "exit") {
    result.exit_code = std::stoi(rest);
  } else if (kind == "output") {
    result.output = body;
  } else if (kind == "after") {
    result.after.emplace_back(rest, body);
  } else {
    throw std::runtime_error("bad section \"" + header + "\"");
  }
}

Case read_case(const fs::path& path) {
  Case result;
  std::ifstream file(path);
  std::string header, body;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("name: ") && header.empty()) {
      result.name = line.substr(6);
    } else if (line.starts_with("--- ")) {
      if (!header.empty()) add_section(result, header, body);
      header = line.substr(4);
      body.clear();
    } else {
      body += line + "\n";
    }
  }
  add_section(result, header, body);
  if (result.name.empty() || result.arguments.empty()) throw std::runtime_error(path.string() + ": no name or no run");
  return result;
}

std::pair<std::string, int> run(const fs::path& folder, const std::string& arguments) {
  const std::string command = "cd " + folder.string() + " && " + MILLRACE_BINARY + " " + arguments + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  char buffer[4096];
  for (size_t got; (got = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, got);
  const int status = ::pclose(pipe);
  REQUIRE(WIFEXITED(status));
  return {output, WEXITSTATUS(status)};
}

// The same text, <n> standing for a number.
bool matches(const std::string& expected, const std::string& actual) {
  static const std::string kNumber = "<n>";
  size_t at = 0;
  for (size_t i = 0; i < expected.size();) {
    if (expected.compare(i, kNumber.size(), kNumber) != 0) {
      if (at == actual.size() || actual[at++] != expected[i++]) return false;
      continue;
    }
    const size_t begin = at;
    while (at < actual.size() && (std::isdigit(static_cast<unsigned char>(actual[at])) || actual[at] == '.')) at++;
    if (at == begin) return false;
    i += kNumber.size();
  }
  return at == actual.size();
}

TEST_CASE("verbs, as their users see them") {
  size_t cases = 0;
  for (const auto& entry : fs::directory_iterator("tests/cmd/cases")) {
    if (entry.path().extension() != ".case") continue;
    cases++;
    const std::string path = entry.path().string();
    CAPTURE(path);
    const Case expected = read_case(path);
    std::string pattern = (fs::temp_directory_path() / "millrace-verb-XXXXXX").string();
    const fs::path folder = ::mkdtemp(pattern.data());
    for (const auto& [name, text] : expected.files) {
      fs::create_directories((folder / name).parent_path());
      std::ofstream(folder / name) << text;
    }
    const auto [output, exit_code] = run(folder, expected.arguments);
    CHECK_MESSAGE(matches(expected.output, output), "got:\n" << output);
    CHECK(exit_code == expected.exit_code);
    for (const auto& [name, text] : expected.after) {
      CAPTURE(name);
      CHECK(read_text(folder / name) == text);
    }
    fs::remove_all(folder);
  }
  CHECK(cases > 0);
}

}  // namespace
}  // namespace millrace
