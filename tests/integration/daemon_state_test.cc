// Damage to what the pipeline relies on: its local store, its disk, its topics, its group's offsets.
#include <sys/mount.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/integration/daemon_fixture.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> ssts(const std::string& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.path().extension() == ".sst") found.push_back(entry.path());
  return found;
}

// Inverts bytes of every SST, every step bytes from begin on.
size_t damage(const std::string& folder, double begin, double end, size_t step) {
  size_t files = 0;
  for (const fs::path& path : ssts(folder)) {
    const auto size = static_cast<double>(fs::file_size(path));
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    for (auto at = static_cast<size_t>(size * begin); at < static_cast<size_t>(size * end); at += step) {
      char byte = 0;
      file.seekg(static_cast<std::streamoff>(at)).get(byte);
      file.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(~byte));
    }
    files++;
  }
  return files;
}

// A small file system of its own, if we may mount one.
class SmallDisk {
 public:
  SmallDisk(const std::string& folder, const std::string& size) : folder_(folder) {
    fs::create_directories(folder);
    mounted_ = ::mount("tmpfs", folder.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }
  // Writes until nothing fits any more.
  void fill() const {
    std::ofstream file(folder_ + "/filler", std::ios::binary | std::ios::app);
    const std::string block(4096, 'x');
    for (int i = 0; i < 100'000 && file.write(block.data(), 4096).flush(); i++) {
    }
  }
  void make_room() const { fs::remove(folder_ + "/filler"); }

 private:
  std::string folder_;
  bool mounted_ = false;
};

// Runs until caught up and stops.
// The last value of each customer against orders [first, end) of each range, counted as often as they stand in one; ""
// or the first that is wrong.
std::string wrong_value(TestPipeline& world, const std::vector<std::pair<uint64_t, uint64_t>>& ranges) {
  Totals wanted;
  for (const auto& [first, end] : ranges) add_totals(world.orders(), first, end, wanted);
  std::map<std::string, int64_t> last;
  world.topics().read_all(world.out(), [&last](const TopicClient::Record& record) {
    const auto row = nlohmann::json::parse(record.value);
    last[row["customer_id"]] = row["revenue"];
  });
  for (const auto& [customer, total] : wanted) {
    if (last[customer] != total.revenue)
      return customer + ": " + std::to_string(last[customer]) + " in place of " + std::to_string(total.revenue);
  }
  return last.size() == wanted.size() ? "" : "customers that there are not";
}

void run_once(TestPipeline& world, const std::vector<std::string>& more = {}) {
  auto daemon = world.start(more);
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  REQUIRE_MESSAGE(daemon->stop() == 0, daemon->log());
}

}  // namespace

TEST_CASE("a damaged local store is noticed and restored from the changelog") {
  NEED_BROKER();
  TestPipeline world(*kafka, "damaged");
  world.orders().customers = 3000;
  world.load(20'000);
  run_once(world);
  SUBCASE("all over") { REQUIRE(damage(world.state(), 0.0, 1.0, 97) > 0); }
  SUBCASE("only among the rows") { REQUIRE(damage(world.state(), 0.3, 0.5, 501) > 0); }
  SUBCASE("cut short") {
    for (const fs::path& path : ssts(world.state())) fs::resize_file(path, fs::file_size(path) / 2);
  }
  SUBCASE("a file is gone") {
    for (const fs::path& path : ssts(world.state())) fs::remove(path);
  }
  auto daemon = world.start();
  world.load(6000);
  REQUIRE_MESSAGE(world.caught_up(), daemon->log());
  CHECK_MESSAGE(daemon->restored().from == "full", daemon->log());
  CHECK_MESSAGE(daemon->says("damaged", 0), daemon->log());
  CHECK(daemon->stop() == 0);
  CHECK(world.problems() == "");
}

TEST_CASE("a full disk stops the pipeline clearly, and with room it goes on") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.state = "state: {memtable: 64KiB}\n";
  TestPipeline world(*kafka, "full", options);
  const SmallDisk disk(world.data(), "32m");
  if (!disk.mounted()) {
    MESSAGE("skipped: a small file system cannot be mounted here");
    return;
  }
  world.orders().customers = 5000;
  world.load(5000);
  run_once(world);
  auto daemon = world.start();
  REQUIRE(daemon->says("state restored from"));
  // Compactions may give room back, so it is filled again and again.
  int code = -1;
  for (int i = 0; i < 40 && code == -1; i++) {
    disk.fill();
    world.load(2000);
    code = daemon->exit_code(500);
  }
  CHECK_MESSAGE(code == 1, daemon->log());
  CHECK_MESSAGE(daemon->says("MR4003", 0), daemon->log());
  // Fuller still, since what had failed was removed: the same again, not something else.
  disk.fill();
  daemon = world.start();
  CHECK_MESSAGE(daemon->exit_code() == 1, daemon->log());
  CHECK_MESSAGE(daemon->says("MR4003", 0), daemon->log());
  disk.make_room();
  run_once(world);
  CHECK(world.problems() == "");
}

TEST_CASE("records that were deleted before they were read stop the pipeline with the gap") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.partitions = 1;
  TestPipeline world(*kafka, "gap", options);
  world.load(500);
  run_once(world);
  world.load(500);
  world.topics().delete_records(world.in(), 0, 900);
  auto daemon = world.start();
  CHECK(daemon->exit_code() == 1);
  const std::string log = daemon->log();
  CHECK_MESSAGE(log.find("MR3003") != std::string::npos, log);
  CHECK_MESSAGE(log.find("500") != std::string::npos, log);
  CHECK_MESSAGE(log.find("900") != std::string::npos, log);
  // The way out that the message names.
  world.topics().commit_offset(world.name(), world.in(), 0, 900);
  run_once(world, {"--accept-reset"});
  CHECK(wrong_value(world, {{0, 500}, {900, 1000}}) == "");
}

TEST_CASE("a topic that was deleted and made again is not mistaken for the old one") {
  NEED_BROKER();
  TestPipeline world(*kafka, "recreated");
  world.load(500);
  run_once(world);
  world.topics().delete_topic(world.in());
  world.topics().create_topic(world.in(), 4);
  world.load(500);
  auto daemon = world.start();
  CHECK(daemon->exit_code() == 1);
  CHECK_MESSAGE(daemon->says("MR3004", 0), daemon->log());
  // The way out that the message names.
  run_once(world, {"--accept-reset"});
  CHECK(world.problems() == "");
}

TEST_CASE("offsets that somebody moved are refused, and accepted when told so") {
  NEED_BROKER();
  TestPipelineOptions options;
  options.partitions = 1;
  TestPipeline world(*kafka, "moved", options);
  world.load(500);
  run_once(world);
  int moved = 300;
  std::vector<std::pair<uint64_t, uint64_t>> counted = {{0, 500}};
  SUBCASE("back: what is read again counts again") { counted.emplace_back(300, 500); }
  SUBCASE("forward: what is left out does not count") {
    world.load(500);
    moved = 700;
    counted.emplace_back(700, 1000);
  }
  world.topics().commit_offset(world.name(), world.in(), 0, moved);
  auto daemon = world.start();
  CHECK(daemon->exit_code() == 1);
  const std::string log = daemon->log();
  CHECK_MESSAGE(log.find("MR5001") != std::string::npos, log);
  CHECK_MESSAGE(log.find(std::to_string(moved)) != std::string::npos, log);
  CHECK_MESSAGE(log.find("500") != std::string::npos, log);
  run_once(world, {"--accept-reset"});
  CHECK(wrong_value(world, counted) == "");
  run_once(world);  // from now on without it
}

}  // namespace millrace
