#include "sinks/part_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "tests/sinks/sink_fixture.h"

namespace millrace {
namespace {

void append(PartFile& file, const std::string& bytes) {
  REQUIRE(file.begin_append().is_ok());
  file.buffer() += bytes;
  REQUIRE(file.flush().is_ok());
}

TEST_CASE("part file: nothing is visible before it is published") {
  TestFolder folder;
  const std::string path = folder / "deep/er/out.jsonl";
  PartFile file(path);
  REQUIRE(file.start().is_ok());
  append(file, "one\n");
  CHECK(exists(folder / "deep/er/.out.jsonl.millrace-part"));
  CHECK_FALSE(exists(path));
  append(file, "two\n");
  REQUIRE(file.sync().is_ok());
  REQUIRE(file.publish(file.mark()).is_ok());
  CHECK(content(path) == "one\ntwo\n");
  CHECK_FALSE(exists(folder / "deep/er/.out.jsonl.millrace-part"));
  REQUIRE(file.publish(file.mark()).is_ok());  // idempotent
}

TEST_CASE("part file: cut anywhere, resume finds the marked bytes or says that they are gone") {
  TestFolder folder;
  const std::string path = folder / "out";
  const std::string all = "{\"a\":1}\n{\"a\":22}\n{\"a\":333}\n";
  for (size_t marked = 0; marked <= all.size(); marked++) {
    for (size_t kept = 0; kept <= all.size(); kept++) {
      PartFile::Mark mark;
      {
        PartFile file(path);
        REQUIRE(file.start().is_ok());
        append(file, all.substr(0, marked));
        mark = file.mark();
        append(file, all.substr(marked));
      }
      REQUIRE(::truncate((folder / ".out.millrace-part").c_str(), static_cast<off_t>(kept)) == 0);
      PartFile file(path);
      const Status resumed = file.resume(mark);
      if (kept < marked) {
        CHECK(resumed.code() == Code::kFileChanged);
        CHECK(resumed.fault() == Fault::kUser);
        continue;
      }
      REQUIRE(resumed.is_ok());
      CHECK(file.mark() == mark);
      CHECK(content(folder / ".out.millrace-part") == all.substr(0, marked));
      append(file, "rest");
      REQUIRE(file.publish(file.mark()).is_ok());
      CHECK(content(path) == all.substr(0, marked) + "rest");
      ::unlink(path.c_str());
    }
  }
}

TEST_CASE("part file: a changed byte before the mark is noticed, one behind it is cut off") {
  TestFolder folder;
  const std::string path = folder / "out";
  for (size_t i = 0; i < 20; i++) {
    PartFile::Mark mark;
    {
      PartFile file(path);
      REQUIRE(file.start().is_ok());
      append(file, "0123456789");
      mark = file.mark();
      append(file, "abcdefghij");
    }
    std::string bytes = content(folder / ".out.millrace-part");
    bytes[i] ^= 1;
    folder.write(".out.millrace-part", bytes);
    PartFile file(path);
    CHECK(file.resume(mark).code() == (i < 10 ? Code::kFileChanged : Code::kOk));
  }
}

TEST_CASE("part file: resume after the rename, with and without more rows") {
  TestFolder folder;
  const std::string path = folder / "out";
  PartFile::Mark mark;
  {
    PartFile file(path);
    REQUIRE(file.start().is_ok());
    append(file, "committed\n");
    mark = file.mark();
    REQUIRE(file.publish(mark).is_ok());
  }
  {
    PartFile file(path);
    REQUIRE(file.resume(mark).is_ok());
    CHECK(file.mark() == mark);
    REQUIRE(file.flush().is_ok());
    REQUIRE(file.sync().is_ok());
    REQUIRE(file.publish(mark).is_ok());
    CHECK(content(path) == "committed\n");
  }
  {
    PartFile file(path);
    REQUIRE(file.resume(mark).is_ok());
    append(file, "more\n");
    CHECK(content(path) == "committed\n");  // not decided yet
    const PartFile::Mark both = file.mark();
    file.close();
    PartFile again(path);  // killed before the decision: the copy is dropped or cut
    REQUIRE(again.resume(mark).is_ok());
    append(again, "more\n");
    CHECK(again.mark() == both);
    REQUIRE(again.publish(both).is_ok());
    CHECK(content(path) == "committed\nmore\n");
  }
  // Killed in the middle of the copy.
  folder.write("out", "committed\n");
  for (size_t kept = 0; kept < 10; kept++) {
    folder.write(".out.millrace-part", std::string("committed\n").substr(0, kept));
    PartFile file(path);
    REQUIRE(file.resume(mark).is_ok());
    REQUIRE(file.publish(mark).is_ok());
    CHECK(content(path) == "committed\n");
  }
}

TEST_CASE("part file: publishing cuts off what is not committed") {
  TestFolder folder;
  PartFile file(folder / "out");
  REQUIRE(file.start().is_ok());
  append(file, "committed\n");
  const PartFile::Mark mark = file.mark();
  append(file, "undecided\n");
  file.buffer() += "buffered";
  REQUIRE(file.publish(mark).is_ok());
  CHECK(content(folder / "out") == "committed\n");
}

TEST_CASE("part file: a start drops leftovers and leaves the target until the end") {
  TestFolder folder;
  folder.write("out", "old result\n");
  folder.write(".out.millrace-part", "leftover");
  PartFile file(folder / "out");
  REQUIRE(file.start().is_ok());
  CHECK(content(folder / ".out.millrace-part").empty());
  append(file, "new\n");
  CHECK(content(folder / "out") == "old result\n");
  REQUIRE(file.publish(file.mark()).is_ok());
  CHECK(content(folder / "out") == "new\n");
}

TEST_CASE("part file: refuses links, folders, devices and a second writer") {
  TestFolder folder;
  const auto code = [&](const std::string& name) { return PartFile(folder / name).start(); };
  const std::string victim = folder.write("victim", "keep me");
  std::filesystem::create_symlink(victim, folder / "link");
  std::filesystem::create_symlink(victim, folder / ".out.millrace-part");
  std::filesystem::create_hard_link(victim, folder / ".hard.millrace-part");
  std::filesystem::create_directory(folder / "folder");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  for (const char* name : {"link", "out", "hard", "folder", "pipe"}) {
    const Status status = code(name);
    CHECK_MESSAGE(status.code() == Code::kFileIo, name);
    CHECK(status.fault() == Fault::kUser);
  }
  CHECK(content(victim) == "keep me");

  PartFile first(folder / "shared");
  REQUIRE(first.start().is_ok());
  append(first, "x");
  const Status second = PartFile(folder / "shared").start();
  CHECK(second.code() == Code::kStateLocked);
  CHECK(second.retry() == Retry::kNever);
  CHECK(content(folder / ".shared.millrace-part") == "x");
}

TEST_CASE("part file: random lives with crashes equal the decided bytes") {
  TestFolder folder;
  std::mt19937_64 random(11);
  for (int round = 0; round < 150; round++) {
    const std::string path = folder / "out";
    ::unlink(path.c_str());
    std::string decided;
    PartFile::Mark mark;
    bool first = true;
    for (int life = 0; life < 6; life++) {
      PartFile file(path);
      REQUIRE((first ? file.start() : file.resume(mark)).is_ok());
      for (uint64_t epochs = random() % 4; epochs > 0; epochs--) {
        const std::string rows(random() % 3 == 0 ? random() % 700'000 : random() % 50, static_cast<char>('a' + life));
        append(file, rows);
        REQUIRE(file.sync().is_ok());
        if (random() % 4 == 0) break;  // killed before the decision
        mark = file.mark();
        decided += rows;
        first = false;
      }
      if (!first && random() % 4 == 0) REQUIRE(file.publish(mark).is_ok());
    }
    PartFile file(path);
    REQUIRE((first ? file.start() : file.resume(mark)).is_ok());
    REQUIRE(file.publish(file.mark()).is_ok());
    CHECK(content(path) == decided);
  }
}

TEST_CASE("part file: a full disk is terminal and loses nothing") {
  TestFolder folder;
  const std::string disk = folder / "disk";
  std::filesystem::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=128k") != 0) {
    MESSAGE("skipped: mounting a small tmpfs needs privileges");
    return;
  }
  PartFile::Mark mark;
  {
    PartFile file(disk + "/out");
    REQUIRE(file.start().is_ok());
    append(file, std::string(50'000, 'a'));
    REQUIRE(file.sync().is_ok());
    mark = file.mark();
    REQUIRE(file.begin_append().is_ok());
    file.buffer() += std::string(300'000, 'b');
    const Status full = file.flush();
    CHECK(full.code() == Code::kDiskFull);
    CHECK(full.retry() == Retry::kNever);
    // It does not get better by itself, and never reaches a decision or the target.
    CHECK(file.flush().code() == Code::kDiskFull);
    CHECK(file.sync().code() == Code::kDiskFull);
    CHECK(file.begin_append().code() == Code::kDiskFull);
    CHECK(file.publish(mark).code() == Code::kDiskFull);
  }
  {
    PartFile file(disk + "/out");
    REQUIRE(file.resume(mark).is_ok());
    append(file, "c");
    REQUIRE(file.publish(file.mark()).is_ok());
    CHECK(content(disk + "/out") == std::string(50'000, 'a') + "c");
  }
  REQUIRE(::umount(disk.c_str()) == 0);
}

}  // namespace
}  // namespace millrace
