// millrace test: unit tests of pipelines. docs/testing.md is the user's page.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "base/file.h"
#include "cmd/pipeline_files.h"
#include "cmd/verbs.h"
#include "pipeline/builtins.h"
#include "pipeline/testing/expectation_update.h"
#include "pipeline/testing/row_report.h"
#include "pipeline/testing/test_run.h"

namespace millrace {
namespace {

constexpr size_t kMaxTestBytes = 1 << 20;

std::string place(const Location& at) { return fmt::format("{}:{}:{}", at.file, at.line, at.column); }

// Replaces the file in one step; a reader sees the old or the new one.
Status write_in_place(const std::string& path, const std::string& text) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::canonical(path, error);
  if (error) return Status::user(Code::kFileIo, fmt::format("cannot find {}: {}", path, error.message()));
  struct stat info{};
  if (::stat(target.c_str(), &info) != 0) return errno_status(errno, "read", path);
  const std::string draft = target.string() + ".new";
  MR_ASSIGN(FileDescriptor file, open_file(draft, O_WRONLY | O_CREAT | O_TRUNC, info.st_mode & 07777));
  MR_RETURN_IF_ERROR(write_all(file, text));
  MR_RETURN_IF_ERROR(sync_file(file));
  MR_RETURN_IF_ERROR(file.close());
  if (::rename(draft.c_str(), target.c_str()) != 0) return errno_status(errno, "replace", path);
  return Status::ok();
}

class TestVerb {
 public:
  explicit TestVerb(const TestArguments& arguments) : arguments_(arguments) { register_builtins(registries_); }

  int run() {
    Diagnostics diagnostics;
    std::vector<TestFile> read;
    for (const std::string& path : expand_test_paths(arguments_.paths, diagnostics)) {
      auto file = read_test_file(path, environment_variables(), registries_, diagnostics);
      if (file) read.push_back(std::move(*file));
    }
    std::cerr << diagnostics.render_text();
    if (diagnostics.has_errors()) return kExitConfig;
    for (const TestFile& file : read) run_file(file);
    if (passed_ + failed_ + updated_ == 0) {
      std::cerr << "millrace test: no test matches --filter \"" << arguments_.filter << "\"\n";
      return kExitUsage;
    }
    std::string summary = fmt::format("{} passed", passed_);
    if (updated_ > 0) summary += fmt::format(", {} updated", updated_);
    std::cout << summary << fmt::format(", {} failed\n", failed_) << std::flush;
    return failed_ > 0 ? kExitTests : kExitOk;
  }

 private:
  void run_file(const TestFile& file) {
    std::vector<Mismatch> updates;
    for (const TestCase& test : file.tests) {
      const std::string name = file.path + ": " + test.name;
      if (name.find(arguments_.filter) == std::string::npos) continue;
      TestResult result = run_test(file, test, registries_);
      const bool update = arguments_.update && result.failures.empty() && !result.mismatches.empty();
      const char* word = result.passed() ? "ok  " : update ? "new " : "FAIL";
      std::cout << word << " " << name << "\n";
      (result.passed() ? passed_ : update ? updated_ : failed_)++;
      if (!update) print_problems(file, result);
      if (update)
        for (Mismatch& mismatch : result.mismatches) updates.push_back(std::move(mismatch));
      std::cout << std::flush;
    }
    if (updates.empty()) return;
    const Status status = update_file(file.path, updates);
    if (status.is_ok()) return;
    std::cerr << file.path << ": " << status.to_string() << "\n";
    failed_ += updated_;
    updated_ = 0;
  }

  static void print_problems(const TestFile& file, const TestResult& result) {
    for (const Mismatch& mismatch : result.mismatches) {
      const Expectation& expectation = *mismatch.expectation;
      std::cout << "  " << place(expectation.at) << ": sink " << file.sinks[expectation.sink].sink << ": "
                << summarize_differences(expectation, mismatch.alignment) << "\n"
                << describe_differences(expectation, mismatch.alignment);
    }
    for (const TestFailure& failure : result.failures)
      std::cout << "  " << place(failure.at) << ": " << failure.message << "\n";
  }

  static Status update_file(const std::string& path, const std::vector<Mismatch>& mismatches) {
    MR_ASSIGN(const std::string text, read_file(path, kMaxTestBytes));
    MR_ASSIGN(const ExpectationUpdate update, update_expectations(path, text, mismatches));
    return write_in_place(path, update.text);
  }

  const TestArguments& arguments_;
  Registries registries_;
  size_t passed_ = 0;
  size_t failed_ = 0;
  size_t updated_ = 0;
};

}  // namespace

int test_verb(const TestArguments& arguments) { return TestVerb(arguments).run(); }

}  // namespace millrace
