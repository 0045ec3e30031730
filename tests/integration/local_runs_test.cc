// The binary without a broker: what a second start, a small cache and a store that cannot grow do to local pipelines.
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

#include "tests/integration/daemon_fixture.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class LocalFolder {
 public:
  LocalFolder() {
    std::string pattern = (fs::temp_directory_path() / "millrace-local-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
    write("millrace.yaml", "data_dir: " + path("data") + "\n");
  }
  ~LocalFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string path(const std::string& name) const { return (path_ / name).string(); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ / name) << text; }
  void append(const std::string& name, int first, int end) const {
    std::ofstream out(path_ / name, std::ios::app);
    for (int n = first; n < end; n++) out << "{\"n\":" << n << "}\n";
  }
  std::vector<std::string> arguments() const {
    return {"run", "-c", path("millrace.yaml"), path("pipeline.yaml")};
  }
  void run() const {
    TestDaemon daemon(arguments(), {}, path("log"));
    const int code = daemon.exit_code(60'000);
    CHECK_MESSAGE(code == 0, code << "\n" << daemon.log());
  }
  std::string log() const {
    std::ifstream in(path("log"));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  // Lines of a file, or of all visible files in a folder.
  size_t lines(const std::string& name) const {
    size_t count = 0;
    const auto count_in = [&count](const fs::path& file) {
      std::ifstream in(file);
      for (std::string line; std::getline(in, line);) count++;
    };
    if (!fs::is_directory(path_ / name)) {
      count_in(path_ / name);
      return count;
    }
    for (const auto& entry : fs::directory_iterator(path_ / name))
      if (entry.path().filename().string()[0] != '.') count_in(entry.path());
    return count;
  }

 private:
  fs::path path_;
};

std::string copying(const LocalFolder& folder, const std::string& one, const std::string& parts) {
  return "version: 1\nname: copying\nrecovery: {mode: local}\nsources:\n  in: {file: " + folder.path("in.jsonl") +
         ", schema: {n: int}}\nsinks:\n  " + one + ": {input: in, file: " + folder.path("one.jsonl") + "}\n" +
         (parts.empty()
              ? ""
              : "  " + parts + ": {input: in, file: {path: " + folder.path("parts") + ", roll: {size: 1KiB}}}\n");
}

TEST_CASE("a file sink that is renamed goes on behind what is committed") {
  const LocalFolder folder;
  folder.append("in.jsonl", 0, 1000);
  folder.write("pipeline.yaml", copying(folder, "one", "parts"));
  folder.run();
  CHECK(folder.lines("one.jsonl") == 1000);
  CHECK(folder.lines("parts") == 1000);
  folder.append("in.jsonl", 1000, 1500);
  folder.write("pipeline.yaml", copying(folder, "uno", "pieces"));
  folder.run();
  CHECK(folder.lines("one.jsonl") == 1500);
  CHECK(folder.lines("parts") == 1500);
  CHECK(folder.log().find("sink uno: goes on where sink one stood") != std::string::npos);
}

TEST_CASE("a file sink that was away for a while goes on behind what it had committed") {
  const LocalFolder folder;
  folder.append("in.jsonl", 0, 1000);
  folder.write("pipeline.yaml", copying(folder, "one", "parts"));
  folder.run();
  folder.append("in.jsonl", 1000, 1100);
  folder.write("pipeline.yaml", copying(folder, "one", ""));
  folder.run();
  folder.append("in.jsonl", 1100, 1200);
  folder.write("pipeline.yaml", copying(folder, "one", "parts"));
  folder.run();
  CHECK(folder.lines("one.jsonl") == 1200);
  CHECK(folder.lines("parts") == 1100);  // not those of the run without it
}

TEST_CASE("count windows of more keys than the cache holds") {
  const LocalFolder folder;
  folder.append("in.jsonl", 0, 60'000);
  folder.append("in.jsonl", 0, 60'000);
  folder.write("pipeline.yaml", "version: 1\nname: counting\nrecovery: {mode: local}\nstate: {cache: 1MiB}\nshards: 1\n"
                                "sources:\n  in: {file: " +
                                    folder.path("in.jsonl") +
                                    ", schema: {n: int}}\noperators:\n"
                                    "  - id: pairs\n    aggregate:\n      key_by: [n]\n"
                                    "      window: {count: {size: 2}}\n"
                                    "      fields: {n: key(n), all: collect(n)}\nsinks:\n  out: {file: " +
                                    folder.path("out.jsonl") + "}\n");
  folder.run();
  CHECK(folder.lines("out.jsonl") == 60'000);
}

TEST_CASE("timers that are due before the end of an input fire before it") {
  const LocalFolder folder;
  folder.write("in.jsonl", "{\"k\":\"a\",\"at\":0}\n{\"k\":\"a\",\"at\":100000}\n");
  folder.write("pipeline.yaml", R"(version: 1
name: ticking
recovery: {mode: none}
sources:
  in:
    file: ")" + folder.path("in.jsonl") + R"("
    schema: {k: string, at: timestamp_ms}
    event_time: at
operators:
  - id: ticks
    process:
      key_by: [k]
      timers: {tick: event}
      on_record:
        - {when: timer.tick == null, set_timer: {tick: event_time + duration("10s")}}
      on_timer:
        tick:
          - emit: {k: key(k), at: event_time}
          - set_timer: {tick: event_time + duration("10s")}
sinks:
  out: {file: ")" + folder.path("out.jsonl") + R"("}
)");
  for (int i = 0; i < 10; i++) {
    folder.run();
    CHECK(folder.lines("out.jsonl") == 10);
  }
}

TEST_CASE("a closed standard output is an error, and no file is taken for it") {
  const LocalFolder folder;
  folder.append("in.jsonl", 0, 100);
  folder.write("pipeline.yaml", "version: 1\nname: closed\nrecovery: {mode: none}\nsources:\n  in: {file: " +
                                    folder.path("in.jsonl") + ", schema: {n: int}}\nsinks:\n  out: {stdout: {}}\n");
  std::string command = "exec " MILLRACE_BINARY;
  for (const std::string& argument : folder.arguments()) command += " " + argument;
  DaemonProcess process("/bin/bash", {"-c", command + " >&-"}, {}, folder.path("log"));
  const std::optional<int> status = process.wait(20'000);
  REQUIRE(status.has_value());
  CHECK((WIFEXITED(*status) && WEXITSTATUS(*status) == 1));
  CHECK(folder.log().find("MR4004") != std::string::npos);
}

TEST_CASE("a pattern that matches no file is said; SIGHUP ends nothing, SIGTERM ends with 0") {
  const LocalFolder folder;
  folder.write("millrace.yaml",
               "data_dir: " + folder.path("data") + "\npipelines: " + folder.path("absent/*.yaml") + "\n");
  TestDaemon daemon({"run", "-c", folder.path("millrace.yaml")}, {}, folder.path("log"));
  CHECK(daemon.says("warning[MR1023]: pipelines: \"" + folder.path("absent/*.yaml") + "\" matches no pipeline file"));
  daemon.signal(SIGHUP);
  CHECK(daemon.says("SIGHUP: this version reads its files at start only"));
  CHECK(daemon.running());
  CHECK(daemon.stop() == 0);
}

// SIGXFSZ is ignored, so that writes beyond the limit fail as on a full or broken disk.
TEST_CASE("a store that cannot be written ends the run and starts it again, instead of holding it for ever") {
  const LocalFolder folder;
  folder.write("pipeline.yaml",
               "version: 1\nname: full\nrecovery: {mode: none}\nstate: {memtable: 64KiB}\nsources:\n"
               "  numbers: {generator: {rate: 20000, fields: {n: 'index * 7919'}}, schema: {n: int}}\noperators:\n"
               "  - id: counts\n    aggregate: {key_by: [n], fields: {n: key(n), c: count()}}\n"
               "sinks:\n  out: {blackhole: {}}\n");
  std::string command = "trap '' XFSZ; ulimit -f 64; exec " MILLRACE_BINARY;
  for (const std::string& argument : folder.arguments()) command += " " + argument;
  DaemonProcess process("/bin/bash", {"-c", command}, {}, folder.path("log"));
  CHECK(eventually(30'000, [&folder] { return folder.log().find("MR4004") != std::string::npos; }));
  CHECK_MESSAGE(folder.log().find("restarting in") != std::string::npos, folder.log());
  process.signal(SIGTERM);
  process.wait(20'000);
}

}  // namespace
}  // namespace millrace
