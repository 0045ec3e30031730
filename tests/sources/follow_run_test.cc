// `millrace run` on files that grow, are rotated and survive kill -9.
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <functional>
#include <set>
#include <sstream>
#include <thread>

#include "tests/soak/daemon_process.h"
#include "tests/sources/source_fixture.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

void append(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::app) << text; }

std::string read(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// The lines of all visible parts of a folder, sorted.
std::multiset<std::string> lines_of(const std::string& folder) {
  std::multiset<std::string> lines;
  if (!fs::exists(folder)) return lines;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with(".")) continue;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) lines.insert(line);
  }
  return lines;
}

struct Run {
  Run(const TestFolder& folder, const std::string& pipeline)
      : log(folder / "run.log"),
        process(MILLRACE_BINARY, {"run", "-c", folder.write("daemon.yaml", "data_dir: " + (folder / "state") + "\n"),
                                  folder.write("pipeline.yaml", pipeline)},
                {}, log) {}
  bool gives(const std::string& folder, const std::multiset<std::string>& wanted) {
    for (int i = 0; i < 2000 && process.running() && lines_of(folder) != wanted; i++)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return lines_of(folder) == wanted;
  }
  void kill9() {
    process.signal(SIGKILL);
    REQUIRE(process.wait(20'000));
  }
  bool stop() {
    process.signal(SIGTERM);
    const std::optional<int> status = process.wait(20'000);
    return status && WIFEXITED(*status) && WEXITSTATUS(*status) == 0;
  }
  std::string log;
  DaemonProcess process;
};

TEST_CASE("run: a log that is rotated, also while the process is dead, gives each line once") {
  TestFolder folder;
  const std::string log = folder / "app.log", out = folder / "out";
  const std::string pipeline =
      "version: 1\nname: followed\nrecovery: {mode: local, commit_interval: 20ms}\n"
      "sources:\n  app: {file: {path: " +
      log + ", follow: true}, format: text}\nsinks:\n  out: {input: app, format: text, file: {path: " + out +
      ", roll: {size: 1B}}}\n";
  std::multiset<std::string> wanted;
  const auto write = [&](const std::string& path, const std::string& line) {
    append(path, line + "\n");
    wanted.insert(line);
  };
  {
    Run run(folder, pipeline);  // the file comes later
    write(log, "one");
    REQUIRE_MESSAGE(run.gives(out, wanted), read(run.log));
    fs::rename(log, folder / "app.log.1");
    write(folder / "app.log.1", "after the rename");
    write(log, "two");
    REQUIRE_MESSAGE(run.gives(out, wanted), read(run.log));
    run.kill9();
  }
  write(log, "nobody reads this");
  append(log, "begun ");
  fs::rename(folder / "app.log.1", folder / "app.log.2");
  fs::rename(log, folder / "app.log.1");
  {
    Run run(folder, pipeline);
    append(folder / "app.log.1", "and ended\n");
    wanted.insert("begun and ended");
    REQUIRE_MESSAGE(run.gives(out, wanted), read(run.log));
    write(log, "three");
    REQUIRE_MESSAGE(run.gives(out, wanted), read(run.log));
    CHECK(run.stop());
  }
  CHECK(lines_of(out) == wanted);
}

TEST_CASE("run: windows over followed files fire although one of the files is quiet") {
  TestFolder folder;
  const std::string out = folder / "out";
  const std::string pipeline =
      "version: 1\nname: windows\nrecovery: {mode: local, commit_interval: 20ms}\nsources:\n  app:\n    file: {path: " +
      (folder / "in-*.log") +
      ", follow: true}\n    schema: {at: timestamp_ms}\n    event_time: at\n"
      "    watermark: {idle_after: 300ms}\noperators:\n  - id: count\n    input: app\n    aggregate:\n"
      "      key_by: []\n      window: {tumbling: {size: 1s}}\n"
      "      fields: {end: window.end, rows: count()}\n      emit: close\n"
      "sinks:\n  out: {input: count, file: {path: " +
      out + ", roll: {size: 1B}}}\n";
  folder.write("in-a.log", "{\"at\": 100}\n");
  folder.write("in-b.log", "{\"at\": 200}\n{\"at\": 1500}\n{\"at\": 2500}\n");
  Run run(folder, pipeline);
  // in-a.log holds the watermark at 99 until it is idle.
  CHECK_MESSAGE(run.gives(out, {R"({"end":1000,"rows":2})", R"({"end":2000,"rows":1})"}), read(run.log));
  CHECK(run.stop());
}

}  // namespace
}  // namespace millrace
