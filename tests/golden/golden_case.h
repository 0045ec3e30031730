// GoldenCase: one parsed *.test file (README.md has the format).
#pragma once

#include <map>
#include <string>
#include <vector>

namespace millrace {

struct GoldenCase {
  struct Expectation {
    std::string file;
    enum class Kind { kRows, kOrdered, kLast, kLines } kind = Kind::kRows;
    std::vector<std::string> key;
    std::vector<std::string> rows;
  };
  std::string path;
  std::string name;
  bool plain_only = false;
  std::string pipeline;
  std::map<std::string, std::string> inputs;
  std::vector<Expectation> expectations;
  std::string error_code;  // "MR2001"
  std::string error_text;
  bool has_lint = false;
  std::string lint;
};

// Aborts the test with a message on a malformed file.
GoldenCase read_golden_case(const std::string& path);

// Compares a file's JSON lines with an expectation; "" if equal, else a description of the difference.
std::string compare_rows(const GoldenCase::Expectation& expectation, const std::string& actual);

}  // namespace millrace
