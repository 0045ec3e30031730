#include "base/file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/clock.h"
#include "base/murmur2.h"

namespace millrace {
namespace {

struct TemporaryFolder {
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "millrace-file-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string path;
};

TEST_CASE("write, sync, read") {
  TemporaryFolder folder;
  std::string path = folder.path + "/a/b/c";
  REQUIRE(make_directories(path).is_ok());
  REQUIRE(make_directories(path).is_ok());
  std::string content(100'000, 'x');
  {
    auto file = open_file(path + "/f", O_WRONLY | O_CREAT);
    REQUIRE(file.is_ok());
    CHECK(write_all(*file, content).is_ok());
    CHECK(sync_file(*file).is_ok());
    FileDescriptor moved = std::move(*file);
    CHECK(!file->is_open());
    CHECK(moved.close().is_ok());
    CHECK(moved.close().is_ok());
  }
  CHECK(sync_directory(path).is_ok());
  auto read = read_file(path + "/f", content.size());
  REQUIRE(read.is_ok());
  CHECK(*read == content);
  CHECK(read_file(path + "/f", content.size() - 1).status().code() == Code::kRecordTooLarge);
}

TEST_CASE("errors say what, where and why") {
  TemporaryFolder folder;
  Status missing = read_file(folder.path + "/no", 10).status();
  CHECK(missing.code() == Code::kFileIo);
  CHECK(missing.message() == "cannot open " + folder.path + "/no: No such file or directory");
  CHECK(read_file(folder.path, 10).status().code() == Code::kFileIo);
  CHECK(sync_directory(folder.path + "/no").code() == Code::kFileIo);
  { auto file = open_file(folder.path + "/f", O_WRONLY | O_CREAT); }
  Status blocked = make_directories(folder.path + "/f/g");
  CHECK(blocked.message() == "cannot create directory " + folder.path + "/f: Not a directory");
}

TEST_CASE("a full disk is terminal") {
  auto full = open_file("/dev/full", O_WRONLY);
  REQUIRE(full.is_ok());
  Status status = write_all(*full, "x");
  CHECK(status.code() == Code::kDiskFull);
  CHECK(status.retry() == Retry::kNever);
  CHECK(status.message() == "cannot write /dev/full: No space left on device");
}

TEST_CASE("clocks") {
  SystemClock system;
  CHECK(system.wall_ms() > 1'600'000'000'000);
  int64_t before = system.monotonic_us();
  CHECK(system.monotonic_us() >= before);
  ManualClock manual(5000);
  manual.advance_ms(10);
  CHECK(manual.wall_ms() == 5010);
  CHECK(manual.monotonic_us() == 10'000);
  manual.set_wall_ms(1);
  CHECK(manual.wall_ms() == 1);
  CHECK(manual.monotonic_us() == 10'000);
}

TEST_CASE("murmur2 is that of Java's Kafka client") {
  auto java = [](std::string_view bytes) { return static_cast<int32_t>(murmur2(bytes)); };
  CHECK(java("21") == -973932308);
  CHECK(java("foobar") == -790332482);
  CHECK(java("a-little-bit-long-string") == -985981536);
  CHECK(java("a-little-bit-longer-string") == -1486304829);
  CHECK(java("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8") == -58897971);
  CHECK(java("abc") == 479470107);
  CHECK(shard_of("21", 16) == ((static_cast<uint32_t>(-973932308) & 0x7fffffffu) % 16));
}

}  // namespace
}  // namespace millrace
