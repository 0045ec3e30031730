#include "pipeline/testing/test_run.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <cerrno>
#include <filesystem>

#include "base/file.h"

namespace millrace {
namespace {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "millrace-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) {
      status_ = errno_status(errno, "create", pattern);
    } else {
      path_ = pattern;
    }
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  const Status& status() const { return status_; }

 private:
  std::string path_;
  Status status_;
};

class TestRun {
 public:
  TestRun(const TestFile& file, const TestCase& test, const TestPlan& plan, SteppedPipeline& pipeline)
      : file_(file), test_(test), plan_(plan), pipeline_(pipeline) {}

  TestResult run() {
    note(pipeline_.start(), test_.at);
    for (const TestStep& step : test_.steps) {
      // Rows that were decided can still be looked at, and a crash starts it again.
      const bool may_have_stopped = step.kind == TestStep::Kind::kExpect ||
                                    step.kind == TestStep::Kind::kExpectFailure || step.kind == TestStep::Kind::kCrash;
      if (unexpected_ && !may_have_stopped) break;
      run_step(step);
    }
    if (unexpected_) result_.failures.push_back({stopped_at_, "the pipeline has stopped: " + stopped_.to_string()});
    return std::move(result_);
  }

 private:
  void note(const Status& status, const Location& at) {
    if (status.is_ok() || has_stopped()) return;
    stopped_ = status;
    stopped_at_ = at;
    unexpected_ = true;
  }
  bool has_stopped() const { return !stopped_.is_ok(); }

  void run_step(const TestStep& step) {
    switch (step.kind) {
      case TestStep::Kind::kSend: send(step); break;
      case TestStep::Kind::kWatermark:
        for (const auto& [source, ms] : step.watermarks) mark(source, ms);
        break;
      case TestStep::Kind::kAdvanceTime: note(pipeline_.advance(step.advance_ms), step.at); return;
      case TestStep::Kind::kCommit: note(pipeline_.commit(), step.at); return;
      case TestStep::Kind::kCrash:
        stopped_ = Status::ok();
        unexpected_ = false;
        note(pipeline_.crash(), step.at);
        return;
      case TestStep::Kind::kEnd:
        for (const auto& feed : plan_.feeds) feed->end();
        break;
      case TestStep::Kind::kExpect: expect(step); return;
      case TestStep::Kind::kExpectFailure: expect_failure(step); return;
    }
    note(pipeline_.settle(), step.at);
  }

  void send(const TestStep& step) {
    for (const TestRecord& sent : step.records) {
      MemoryRecord record = sent.record;
      if (file_.kafka_sources[sent.source] && !sent.has_timestamp) record.timestamp_ms = pipeline_.wall_ms();
      plan_.feeds[sent.source]->send(std::move(record));
    }
  }

  // The watermark of the source becomes `ms`: that of each partition is its event time less what may come out of order.
  void mark(size_t source, int64_t ms) {
    MemoryFeed& feed = *plan_.feeds[source];
    const int64_t ahead_ms = plan_.plan->sources[source].spec->watermark.max_out_of_orderness_ms + 1;
    const int64_t event_time_ms = ms < kEndOfTime - ahead_ms ? ms + ahead_ms : kEndOfTime;
    for (size_t i = 0; i < feed.partitions().size(); i++) feed.mark(static_cast<uint32_t>(i), event_time_ms);
  }

  // The rows so far are decided first: who looks at a sink wants to see what it will hold.
  void expect(const TestStep& step) {
    note(pipeline_.commit(), step.at);
    for (const Expectation& expectation : step.expectations) {
      Alignment alignment = align(expectation, plan_.tables[expectation.sink]->take());
      if (!alignment.good) result_.mismatches.push_back({&expectation, std::move(alignment)});
    }
  }

  void expect_failure(const TestStep& step) {
    if (!has_stopped()) note(pipeline_.commit(), step.at);
    if (!has_stopped()) {
      result_.failures.push_back(
          {step.at, fmt::format("the pipeline was expected to stop with {}, and runs", step.failure_code)});
      return;
    }
    unexpected_ = false;
    const std::string found = stopped_.to_string();
    if (!found.starts_with(step.failure_code + ":"))
      result_.failures.push_back(
          {step.at, fmt::format("the pipeline was expected to stop with {}, found {}", step.failure_code, found)});
  }

  const TestFile& file_;
  const TestCase& test_;
  const TestPlan& plan_;
  SteppedPipeline& pipeline_;
  TestResult result_;
  Status stopped_;           // why the pipeline does not run; ok: it runs
  Location stopped_at_;      // the step at which it stopped
  bool unexpected_ = false;  // no step has expected that
};

}  // namespace

TestResult run_test(const TestFile& file, const TestCase& test, const Registries& registries) {
  const TemporaryFolder folder;
  if (!folder.status().is_ok()) return {{}, {{test.at, folder.status().to_string()}}};
  Diagnostics diagnostics;
  const TestPlan plan = make_test_plan(file.pipeline, registries, test.plan, diagnostics);
  if (!plan.plan) return {{}, {{test.at, diagnostics.render_text()}}};
  SteppedPipeline::Options options;
  options.seed = test.seed;
  options.max_batch_rows = test.batch_rows;
  options.lanes = test.lanes;
  options.start_wall_ms = test.start_time_ms;
  options.data_dir = folder.path();
  SteppedPipeline pipeline(plan, options);
  return TestRun(file, test, plan, pipeline).run();
}

}  // namespace millrace
