#include "sources/followed_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/sources/source_fixture.h"

namespace millrace {
namespace {

KnownFile known(const std::string& identity, int64_t position, bool at_end, bool done) {
  KnownFile file{{}, identity, position, at_end, done};
  REQUIRE(parse_file_id(identity, &file.id));
  return file;
}

TEST_CASE("what a progress record holds of the files of a path") {
  const KnownFile current = known("803:1a2:00000000000000ff", 12, false, false);
  const KnownFile at_end = known("803:1a2:00000000000000ff", 12, true, false);
  const KnownFile waits = known("803:1a3:0000000000000001", 0, false, false);
  const KnownFile empty = known("803:1a4:0000000000000001", 0, true, false);
  const KnownFile done = known("803:1a1:00000000000000aa", 512, true, true);
  CHECK(encode_files(current, {}) == "803:1a2:00000000000000ff");
  CHECK(encode_files(at_end, {}) == "803:1a2:00000000000000ff:end");
  CHECK(encode_files(std::nullopt, {}).empty());
  CHECK(encode_files(at_end, {waits, empty, done}) ==
        "803:1a2:00000000000000ff+803:1a3:0000000000000001@0"
        "+803:1a4:0000000000000001@0=+803:1a1:00000000000000aa@512!:end");
  CHECK(encode_files(std::nullopt, {done}) == "+803:1a1:00000000000000aa@512!");

  const auto files = decode_files({{"log", 0}, encode_files(at_end, {waits, empty, done}), 12});
  REQUIRE(files);
  REQUIRE(files->size() == 4);
  CHECK(files->at(0).id == FileId{0x803, 0x1a2});
  CHECK(files->at(0).identity == current.identity);
  CHECK(files->at(0).position == 12);
  CHECK(files->at(0).at_end);
  CHECK_FALSE(files->at(0).done);
  CHECK(files->at(1).id == FileId{0x803, 0x1a3});
  CHECK(files->at(1).position == 0);
  CHECK_FALSE(files->at(1).done);
  CHECK_FALSE(files->at(1).at_end);
  CHECK(files->at(2).at_end);
  CHECK_FALSE(files->at(2).done);
  CHECK(files->at(3).identity == done.identity);
  CHECK(files->at(3).position == 512);
  CHECK(files->at(3).done);
  const auto only_done = decode_files({{"log", 0}, encode_files(std::nullopt, {done}), 0});
  REQUIRE(only_done);
  REQUIRE(only_done->size() == 1);
  CHECK(only_done->at(0).done);
  CHECK(decode_files({{"log", 0}, "", 0})->empty());
}

TEST_CASE("identities of something else are told from those of files") {
  for (const char* text : {"topic-id", "803", "803:1a2", "x:1:2", "803:1a2:ff+", "803:1a2:ff+803:1a3:ff",
                           "803:1a2:ff+803:1a3:ff@", "803:1a2:ff+803:1a3:ff@x", "803:1a2:ff+803:1a3:ff@-1",
                           "803:1a2:ff+803:1a3:ff@1?", "803:1a2:ff+1a3@1"})
    CHECK_MESSAGE(!decode_files({{"log", 0}, text, 1}), text);
}

TEST_CASE("names that rotation makes") {
  for (const char* name : {"in/log.1", "in/log.10", "in/log-20261126", "in/log_2", "in/log.2026-11-26.txt"})
    CHECK_MESSAGE(is_rotated_name("in/log", name), name);
  for (const char* name : {"in/log", "in/log1", "in/log.", "in/log.old", "in/log-http.log", "in/log.1.gz",
                           "in/log.2.zst", "in/lo.1", "other/log.1", ""})
    CHECK_MESSAGE(!is_rotated_name("in/log", name), name);
}

TEST_CASE("a file is found under another name in its folder, and what was rotated after it") {
  TestFolder folder;
  const std::string path = folder.write("log", "1\n");
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  const FileId id{info.st_dev, info.st_ino};
  CHECK(find_renamed(path, id).value() == path);
  std::filesystem::rename(path, folder / "old");
  CHECK(find_renamed(path, id).value() == folder / "old");
  CHECK(find_renamed(folder / "absent/log", id).value().empty());
  std::filesystem::remove(folder / "old");
  CHECK(find_renamed(path, id).value().empty());

  const auto write = [&](const char* name, const char* text, int64_t mtime) {
    folder.write(name, text);
    const timespec times[2] = {{mtime, 0}, {mtime, 0}};
    REQUIRE(::utimensat(AT_FDCWD, (folder / name).c_str(), times, 0) == 0);
  };
  write("log", "", 400);
  write("log.3", "x", 200);
  write("log.4", "x", 100);
  write("log.http", "x", 300);
  write("log.2", "", 300);
  CHECK(find_rotated_between(path, folder / "log.3", {}).value().empty());
  write("log.2", "x", 300);
  CHECK(find_rotated_between(path, folder / "log.3", {}).value() == folder / "log.2");
  REQUIRE(::stat((folder / "log.2").c_str(), &info) == 0);
  const std::vector<KnownFile> done{{{info.st_dev, info.st_ino}, "", 0, true, true}};
  CHECK(find_rotated_between(path, folder / "log.3", done).value().empty());
  std::filesystem::remove(path);
  CHECK(find_rotated_between(path, folder / "log.3", {}).value() == folder / "log.2");
}

}  // namespace
}  // namespace millrace
