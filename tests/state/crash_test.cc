// kill -9 while a store works. The child is this binary again, with MILLRACE_STATE_CRASH_CHILD=mode:directory; what it
// writes is a function of the epoch alone, so the parent knows what state belongs to the progress record that it finds.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "base/crash_point.h"
#include "tests/state/model.h"

using namespace millrace::test;

namespace millrace {
namespace {

constexpr uint64_t kEpochs = 400;
constexpr size_t kBulkEntries = 300;

DeltaPtr delta_of(uint64_t epoch, Model* model) {
  std::mt19937_64 random(epoch);
  return random_delta(random, epoch, 100, 150, model);
}

std::string log_of(uint64_t epoch) { return std::string(1000 + epoch, static_cast<char>('a' + epoch % 26)); }

uint64_t epoch_of(StateStore& store) {
  const std::string progress = progress_of(store);
  return progress.empty() ? 0 : std::stoull(progress);
}

void work_by_epochs(StateStore& store) {
  for (uint64_t epoch = epoch_of(store) + 1; epoch <= kEpochs; epoch++) {
    REQUIRE(store.log_append(epoch, log_of(epoch)).is_ok());
    if (epoch % 2 != 0) continue;  // two epochs in the log, one ingest
    const DeltaPtr merged = Delta::merge({delta_of(epoch - 1, nullptr), delta_of(epoch, nullptr)}, false);
    REQUIRE(store.ingest(*merged, std::to_string(epoch)).is_ok());
    REQUIRE(store.log_drop_until(epoch).is_ok());
  }
}

void work_by_bulk_loads(StateStore& store) {
  for (uint64_t epoch = epoch_of(store) + 1; epoch <= kEpochs; epoch++) {
    auto bulk = store.bulk_load(1);
    REQUIRE(bulk.is_ok());
    std::mt19937_64 random(epoch);
    const DeltaPtr entries = random_delta(random, epoch, kBulkEntries, 200, nullptr);
    for (size_t i = 0; i < entries->size(); i++) {
      if (!entries->value(i).tombstone) REQUIRE((*bulk)->put(0, entries->key(i), entries->value(i).bytes).is_ok());
    }
    REQUIRE((*bulk)->finish(std::to_string(epoch)).is_ok());
  }
}

TEST_CASE("crash child" * doctest::skip(std::getenv("MILLRACE_STATE_CRASH_CHILD") == nullptr)) {
  const std::string order = std::getenv("MILLRACE_STATE_CRASH_CHILD");
  auto store = open_rocksdb_store({.directory = order.substr(order.find(':') + 1)});
  REQUIRE(store.is_ok());
  if (order.starts_with("epochs")) work_by_epochs(**store);
  if (order.starts_with("bulk")) work_by_bulk_loads(**store);
}

// Runs a child until it dies: by its crash point, or killed after kill_after (zero: never). Returns the signal that
// ended it.
int run_child(const std::string& order, const std::string& crash_point, std::chrono::milliseconds kill_after) {
  std::vector<std::string> environment = {"MILLRACE_STATE_CRASH_CHILD=" + order};
  if (!crash_point.empty()) environment.push_back("MILLRACE_CRASHPOINT=" + crash_point);
  for (char** variable = environ; *variable != nullptr; variable++) environment.emplace_back(*variable);
  std::vector<char*> variables;
  for (std::string& variable : environment) variables.push_back(variable.data());
  variables.push_back(nullptr);
  std::string program = "/proc/self/exe";
  std::string filter = "--test-case=crash child";
  std::string quiet = "--minimal";
  char* arguments[] = {program.data(), filter.data(), quiet.data(), nullptr};
  pid_t child = 0;
  REQUIRE(::posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, variables.data()) == 0);
  if (kill_after.count() > 0) {
    std::this_thread::sleep_for(kill_after);
    ::kill(child, SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (!WIFSIGNALED(status)) REQUIRE(WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

// The state must be that of the progress record; returns its epoch.
uint64_t check_epochs(const std::string& directory) {
  auto opened = open_rocksdb_store({.directory = directory});
  REQUIRE_MESSAGE(opened.is_ok(), opened.status().to_string());
  StateStore& store = **opened;
  const uint64_t epoch = epoch_of(store);
  Model model;
  for (uint64_t e = 1; e <= epoch; e++) (void)delta_of(e, &model);
  REQUIRE(contents(store) == model);
  REQUIRE(store.verify().is_ok());
  auto log = store.log_entries();
  REQUIRE(log.is_ok());
  uint64_t expected = log->empty() ? 0 : log->front().epoch;
  REQUIRE((log->empty() || expected <= epoch + 1));  // no gap between the store and the log
  for (const LogEntry& entry : *log) {
    REQUIRE(entry.epoch == expected++);
    REQUIRE(entry.bytes == log_of(entry.epoch));
  }
  REQUIRE(std::filesystem::is_empty(directory + "/incoming"));
  return epoch;
}

TEST_CASE("killed at every crash point of ingest and log") {
  for (const char* point : {"store-sst-written", "store-ingested", "log-appended", "log-dropped"}) {
    TemporaryDirectory directory;
    uint64_t before = 0;
    for (int pass = 1; pass <= 3; pass++) {
      CHECK(run_child("epochs:" + directory.path(), std::string(point) + ":" + std::to_string(pass), {}) == SIGKILL);
      const uint64_t epoch = check_epochs(directory.path());
      CHECK(epoch >= before);
      before = epoch;
    }
    CHECK(before > 0);
  }
}

TEST_CASE("killed at random moments") {
  TemporaryDirectory directory;
  std::mt19937_64 random(7);
  uint64_t before = 0;
  for (int round = 0; round < 12; round++) {
    run_child("epochs:" + directory.path(), "", std::chrono::milliseconds(10 + random() % 150));
    const uint64_t epoch = check_epochs(directory.path());
    CHECK(epoch >= before);
    before = epoch;
  }
}

TEST_CASE("killed in bulk loads") {
  TemporaryDirectory directory;
  std::mt19937_64 random(7);
  for (int round = 0; round < 12; round++) {
    const std::string points[] = {"bulk-load-run:2", "bulk-load-finish:2", ""};
    const std::string& point = points[round % 3];
    run_child("bulk:" + directory.path(), point, std::chrono::milliseconds(point.empty() ? 10 + random() % 150 : 0));
    auto opened = open_rocksdb_store({.directory = directory.path()});
    REQUIRE_MESSAGE(opened.is_ok(), opened.status().to_string());
    const uint64_t epoch = epoch_of(**opened);
    Model model;
    std::mt19937_64 of_epoch(epoch);
    if (epoch > 0) (void)random_delta(of_epoch, epoch, kBulkEntries, 200, &model);
    REQUIRE(contents(**opened) == model);
    if (!point.empty()) CHECK(epoch == 0);  // the second load had cleared what the first one had finished
  }
}

TEST_CASE("crash points have names") {
  const std::vector<std::string> names = crash_point_names();
  CHECK(std::is_sorted(names.begin(), names.end()));
  CHECK(std::find(names.begin(), names.end(), "log-dropped") != names.end());
}

}  // namespace
}  // namespace millrace
