// The golden cases in recovery mode changelog on the real broker: state in changelog topics, positions in the progress
// topic, files as sources and sinks; killed once after its first decisions, and started again with its local state or
// without.
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/golden/golden_case.h"
#include "tests/integration/daemon_fixture.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void name_folder(std::string& row, const std::string& folder) {
  const std::string variable = "${DIR}";
  for (size_t at = row.find(variable); at != std::string::npos; at = row.find(variable, at + folder.size()))
    row.replace(at, variable.size(), folder);
}

class CaseFolder {
 public:
  CaseFolder() {
    std::string pattern = (fs::temp_directory_path() / "millrace-golden-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~CaseFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// The pipeline of the case, with a name of its own and the mode.
void write_pipeline(const GoldenCase& golden, const std::string& name, const std::string& brokers,
                    const fs::path& file) {
  std::istringstream lines(golden.pipeline);
  std::ofstream out(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("name:", 0) == 0) line = "name: " + name;
    out << line << "\n";
  }
  out << "kafka: {brokers: \"" << brokers << "\"}\n"
      << "recovery: {mode: changelog, commit_interval: 5ms, changelog: {partitions: 1}}\n";
}

bool is_about_changelog(const GoldenCase& golden) {
  if (golden.has_lint || golden.plain_only || !golden.error_code.empty()) return false;
  // The test sets the mode itself.
  for (const GoldenCase::Expectation& expectation : golden.expectations)
    if (expectation.file.ends_with("/")) return false;  // folders of parts: compared by golden_test
  const std::string& text = golden.pipeline;
  return text.find("\nrecovery:") == std::string::npos && text.find("\nkafka:") == std::string::npos;
}

void run_case(const GoldenCase& golden, const DaemonBroker& kafka, size_t number) {
  CAPTURE(golden.path);
  const CaseFolder folder;
  for (const auto& [name, text] : golden.inputs) std::ofstream(folder.path() / name) << text;
  const std::string pipeline = (folder.path() / "pipeline.yaml").string();
  write_pipeline(golden, "golden-" + std::to_string(number), kafka.broker->bootstrap(), pipeline);
  const std::string daemon = (folder.path() / "millrace.yaml").string();
  std::ofstream(daemon) << "data_dir: " << (folder.path() / "data").string() << "\n";
  std::map<std::string, std::string> environment = {{"DIR", folder.path().string()}};
  const std::vector<std::string> arguments = {"run", "-c", daemon, pipeline};
  const char* points[] = {"before-commit:2", "after-commit:2", "after-commit:3", "changelog-produced:2"};
  environment["MILLRACE_CRASHPOINT"] = points[number % 4];
  {
    TestDaemon killed(arguments, environment, (folder.path() / "killed.log").string());
    const int code = killed.exit_code(60'000);
    CHECK_MESSAGE((code == 0 || code == 128 + SIGKILL), code << "\n" << killed.log());
  }
  if (number % 2 == 1) fs::remove_all(folder.path() / "data");
  environment.erase("MILLRACE_CRASHPOINT");
  TestDaemon again(arguments, environment, (folder.path() / "again.log").string());
  const int code = again.exit_code(60'000);
  CHECK_MESSAGE(code == 0, code << "\n" << again.log());
  for (GoldenCase::Expectation expectation : golden.expectations) {
    for (std::string& row : expectation.rows) name_folder(row, folder.path().string());
    const std::string difference = compare_rows(expectation, read_text(folder.path() / expectation.file));
    CHECK_MESSAGE(difference.empty(), expectation.file, ": ", difference, "\n", again.log());
  }
}

TEST_CASE("golden cases in mode changelog on a real broker") {
  NEED_BROKER();
  const char* only = getenv("GOLDEN");
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator("tests/golden")) {
    if (entry.path().extension() == ".test") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  size_t cases = 0;
  for (const std::string& path : paths) {
    if (only != nullptr && path.find(only) == std::string::npos) continue;
    const GoldenCase golden = read_golden_case(path);
    if (is_about_changelog(golden)) run_case(golden, *kafka, cases++);
  }
  CHECK(cases > 0);
}

}  // namespace
}  // namespace millrace
