// Windows in mode changelog on the real broker: what has expired leaves the changelog, and stays closed.
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/integration/daemon_fixture.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr int kKeys = 300;

class WindowsWorld {
 public:
  explicit WindowsWorld(const DaemonBroker& kafka) : name_("windows-" + std::to_string(getpid())) {
    std::string pattern = (fs::temp_directory_path() / "millrace-windows-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::ofstream(folder_ / "pipeline.yaml") << "version: 1\nname: " << name_ << "\nkafka: {brokers: \""
                                             << kafka.broker->bootstrap() << R"("}
recovery: {mode: changelog, commit_interval: 5ms, changelog: {partitions: 2}}
sources:
  rows:
    file: {path: ")" << (folder_ / "in.jsonl").string() << R"("}
    schema: {key: int, at: timestamp_ms}
    event_time: at
operators:
  - id: minutes
    aggregate:
      key_by: [key]
      window: {tumbling: {size: 1m}}
      fields: {key: key(key), from: window.start, n: count()}
sinks:
  out:
    input: minutes
    file: {path: ")" << (folder_ / "out.jsonl").string() << R"("}
  late:
    input: minutes.late
    file: {path: ")" << (folder_ / "late.jsonl").string() << R"("}
)";
    std::ofstream(folder_ / "millrace.yaml") << "data_dir: " << (folder_ / "data").string() << "\n";
  }
  ~WindowsWorld() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  // A row of every key in each of these minutes.
  void append(int first_minute, int end_minute) const {
    std::ofstream out(folder_ / "in.jsonl", std::ios::app);
    for (int minute = first_minute; minute < end_minute; minute++)
      for (int key = 0; key < kKeys; key++)
        out << "{\"key\":" << key << ",\"at\":" << minute * 60'000 + 1'000 << "}\n";
  }
  void forget_local_state() const { fs::remove_all(folder_ / "data"); }
  void run() const {
    TestDaemon daemon({"run", "-c", (folder_ / "millrace.yaml").string(), (folder_ / "pipeline.yaml").string()}, {},
                      (folder_ / "log").string());
    const int code = daemon.exit_code(60'000);
    CHECK_MESSAGE(code == 0, code << "\n" << daemon.log());
  }
  std::vector<std::string> lines(const std::string& file) const {
    std::ifstream in(folder_ / file);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  std::string changelog() const { return name_ + ".minutes.changelog"; }

 private:
  std::string name_;
  fs::path folder_;
};

struct Compacted {
  size_t records = 0;
  size_t tombstones = 0;
  size_t live = 0;  // what compaction would leave, tombstones aside
};

Compacted compacted(const TopicClient& topics, const std::string& topic) {
  Compacted result;
  std::set<std::pair<int32_t, std::string>> live;
  topics.read_all(topic, [&](const TopicClient::Record& record) {
    const std::pair<int32_t, std::string> key{record.partition, std::string(record.key)};
    result.records++;
    if (record.tombstone) {
      result.tombstones++;
      live.erase(key);
    } else {
      live.insert(key);
    }
  });
  result.live = live.size();
  return result;
}

TEST_CASE("expired windows leave the changelog, and none fires again when it is all there is") {
  NEED_BROKER();
  const WindowsWorld world(*kafka);
  const TopicClient topics(kafka->broker->bootstrap());
  world.append(0, 1500);
  world.run();
  CHECK(world.lines("out.jsonl").size() == 1500 * kKeys);
  const Compacted after = compacted(topics, world.changelog());
  // What is left is where time stands, per shard: nothing per key or window.
  CAPTURE(after.records);
  CHECK(after.live <= 64);
  CHECK(after.tombstones > 0);

  world.forget_local_state();
  world.append(1499, 1502);  // one minute that has fired, two new ones
  world.run();
  const std::vector<std::string> rows = world.lines("out.jsonl");
  CHECK(rows.size() == 1502 * kKeys);
  CHECK(std::set<std::string>(rows.begin(), rows.end()).size() == rows.size());
  CHECK(world.lines("late.jsonl").size() == kKeys);
  CHECK(compacted(topics, world.changelog()).live <= 64);
}

}  // namespace
}  // namespace millrace
