// The verbs of the command line, one file each. Each returns the exit code: 0 ok, 1 failed, 2 usage, 3 tests failed, 78
// bad configuration. Data on stdout, everything else on stderr.
#pragma once

#include <string>
#include <vector>

namespace millrace {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitTests = 3;
inline constexpr int kExitConfig = 78;

struct RunArguments {
  std::string config_file;         // -c
  std::vector<std::string> paths;  // files or folders
  bool accept_reset = false;
  bool quiet = false;  // no progress line and summary
};
int run_verb(const RunArguments& arguments);

int lint_verb(const std::vector<std::string>& paths, const std::string& format);
int plan_verb(const std::string& file);

struct TryArguments {
  std::string file;
  std::vector<std::string> inputs;  // SOURCE=fixture.jsonl
};
int try_verb(const TryArguments& arguments);

struct TestArguments {
  std::vector<std::string> paths;  // test files, pipeline files or folders
  std::string filter;              // only tests whose "FILE: NAME" contains it
  bool update = false;             // rewrite the expectations that are not met
};
int test_verb(const TestArguments& arguments);

int expr_verb(const std::string& expression, const std::string& json);
int version_verb(bool json);

}  // namespace millrace
