#include "sinks/part_folder.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>

#include "tests/sinks/sink_fixture.h"

namespace millrace {
namespace {

const Schema kSchema{{"name", Type(TypeKind::kString)}};

PathTemplate path_of(const std::string& text) {
  Diagnostics diagnostics;
  const ConfigNode node = ConfigNode::parse("t.yaml", "\"" + text + "\"", environment_variables(), diagnostics);
  PathTemplate path(node, diagnostics);
  REQUIRE_MESSAGE(path.resolve(kSchema, diagnostics), diagnostics.render_text());
  return path;
}

PartFolder make(const std::string& path, PartFolder::Settings settings = {}) {
  settings.extension = "jsonl";
  return PartFolder(path_of(path), settings, Logger());
}

// Visible files below a folder and their bytes; those that begin with a dot are hidden.
std::map<std::string, std::string> visible(const std::string& root) {
  std::map<std::string, std::string> files;
  namespace fs = std::filesystem;
  for (auto entry = fs::recursive_directory_iterator(root); entry != fs::recursive_directory_iterator(); ++entry) {
    if (entry->path().filename().string().starts_with('.')) {
      if (entry->is_directory()) entry.disable_recursion_pending();
    } else if (entry->is_regular_file()) {
      files[fs::relative(entry->path(), root).string()] = content(entry->path().string());
    }
  }
  return files;
}
using Files = std::map<std::string, std::string>;

size_t hidden_files(const std::string& root) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root + "/.millrace-parts")) count += entry.exists();
  return count;
}

// Ends an epoch up to the decision, and returns what the record holds, through its text.
FolderProgress prepare(PartFolder& parts, uint64_t epoch, int64_t now_ms = 0) {
  Result<FolderProgress> flushed = parts.flush(epoch, now_ms);
  REQUIRE_MESSAGE(flushed.is_ok(), flushed.status().to_string());
  REQUIRE(parts.sync().is_ok());
  Result<FolderProgress> parsed = parse_folder_progress(flushed->encode());
  REQUIRE(parsed.is_ok());
  return std::move(parsed).value();
}

FolderProgress decide(PartFolder& parts, uint64_t epoch, int64_t now_ms = 0) {
  FolderProgress progress = prepare(parts, epoch, now_ms);
  const Status committed = parts.commit(progress);
  REQUIRE_MESSAGE(committed.is_ok(), committed.to_string());
  return progress;
}

TEST_CASE("part folder: parts are hidden until they are rolled and decided") {
  TestFolder folder;
  const std::string root = folder / "a/b";
  PartFolder::Settings settings;
  settings.roll_bytes = 10;
  settings.roll_age_ms = 1000;
  PartFolder parts = make(root, settings);
  REQUIRE(parts.start().is_ok());
  REQUIRE(parts.append("", "one", 0).is_ok());
  decide(parts, 1, 10);
  CHECK(visible(root).empty());
  REQUIRE(parts.append("", "two222", 20).is_ok());  // 11 bytes: closed
  REQUIRE(parts.append("", "three", 30).is_ok());
  const FolderProgress second = prepare(parts, 2, 40);
  CHECK(visible(root).empty());
  REQUIRE(parts.commit(second).is_ok());
  CHECK(visible(root) == Files{{"part-2-0.jsonl", "one\ntwo222\n"}});
  REQUIRE(parts.commit(second).is_ok());  // idempotent
  decide(parts, 3, 1029);
  CHECK(visible(root).size() == 1);
  decide(parts, 4, 1030);  // old enough, without a row
  CHECK(visible(root) == Files{{"part-2-0.jsonl", "one\ntwo222\n"}, {"part-4-0.jsonl", "three\n"}});
  CHECK(hidden_files(root) == 0);
  CHECK(parts.bytes_written() == 17);
}

TEST_CASE("part folder: the end makes the open parts visible, as far as they were decided") {
  TestFolder folder;
  const std::string root = folder / "out";
  FolderProgress progress;
  {
    PartFolder parts = make(root + "/{name}");
    REQUIRE(parts.start().is_ok());
    REQUIRE(parts.append("a", "1", 0).is_ok());
    REQUIRE(parts.append("b", "2", 0).is_ok());
    progress = decide(parts, 7);
    CHECK(visible(root).empty());
    REQUIRE(parts.append("a", "undecided", 0).is_ok());
    REQUIRE(parts.append("c", "undecided", 0).is_ok());
    REQUIRE(parts.flush(8, 0).is_ok());
    REQUIRE(parts.finish(progress).is_ok());
    REQUIRE(parts.finish(progress).is_ok());
  }
  const Files expected{{"b/part-7-0.jsonl", "2\n"}, {"a/part-7-1.jsonl", "1\n"}};
  CHECK(visible(root) == expected);
  CHECK(hidden_files(root) == 0);
  // The next run goes on with parts of its own.
  PartFolder next = make(root + "/{name}");
  REQUIRE(next.resume(progress).is_ok());
  REQUIRE(next.append("a", "3", 0).is_ok());
  progress = decide(next, 8);
  REQUIRE(next.finish(progress).is_ok());
  CHECK(visible(root).at("a/part-8-0.jsonl") == "3\n");
  CHECK(visible(root).size() == 3);
}

TEST_CASE("part folder: the least recently written part is closed for one more") {
  TestFolder folder;
  const std::string root = folder / "out";
  PartFolder::Settings settings;
  settings.max_open = 2;
  settings.header = "h\n";
  PartFolder parts = make(root + "/{name}", settings);
  REQUIRE(parts.start().is_ok());
  for (const char* name : {"a", "b", "a", "c", "a", "b"}) REQUIRE(parts.append(name, name, 0).is_ok());
  CHECK(parts.open_parts() == 2);
  const FolderProgress progress = decide(parts, 1);
  CHECK(visible(root) == Files{{"b/part-1-0.jsonl", "h\nb\n"}, {"c/part-1-1.jsonl", "h\nc\n"}});
  CHECK(progress.open.size() == 2);
  REQUIRE(parts.finish(progress).is_ok());
  CHECK(visible(root).at("a/part-1-3.jsonl") == "h\na\na\na\n");
  CHECK(visible(root).at("b/part-1-2.jsonl") == "h\nb\n");
}

TEST_CASE("part folder: an epoch that finishes too many parts says so") {
  TestFolder folder;
  PartFolder::Settings settings;
  settings.max_open = 1;
  PartFolder parts = make(folder / "out/{name}", settings);
  REQUIRE(parts.start().is_ok());
  Status status;
  for (int i = 0; i < 20'000 && status.is_ok(); i++)
    status = parts.append(std::to_string(i) + std::string(200, 'x'), "row", 0);
  CHECK(status.code() == Code::kFileIo);
  CHECK(status.fault() == Fault::kUser);
}

TEST_CASE("part folder: a run without state replaces the parts of the run before, once its first epoch is decided") {
  TestFolder folder;
  const std::string root = folder / "out";
  PartFolder::Settings settings;
  settings.roll_bytes = 1;
  std::optional<FolderProgress> first;
  for (const char* row : {"old", "new"}) {
    PartFolder parts = make(root + "/k={name}", settings);
    REQUIRE(parts.start().is_ok());
    REQUIRE(parts.append(std::string("k=") + row, row, 0).is_ok());
    if (first) CHECK(visible(root) == Files{{"k=old/part-1-0.jsonl", "old\n"}, {"k=old/mine.jsonl", "kept"}});
    first = decide(parts, 1);
    folder.write("out/k=" + std::string(row) + "/mine.jsonl", "kept");
  }
  CHECK(visible(root) ==
        Files{{"k=old/mine.jsonl", "kept"}, {"k=new/part-1-0.jsonl", "new\n"}, {"k=new/mine.jsonl", "kept"}});
  // The same, killed between the decision and its commit, and once more behind it.
  folder.write("out/k=old/part-9-9.csv", "older");
  folder.write("out/other/part-9-9.csv", "not of this path");
  for (int life = 0; life < 2; life++) {
    PartFolder parts = make(root + "/k={name}", settings);
    REQUIRE(parts.resume(*first).is_ok());
    CHECK(visible(root).count("k=old/part-9-9.csv") == 0);
    CHECK(visible(root).at("k=new/part-1-0.jsonl") == "new\n");
  }
}

TEST_CASE("part folder: what a restart finds, or says why not") {
  TestFolder folder;
  const std::string root = folder / "out";
  PartFolder::Settings settings;
  settings.roll_bytes = 100;
  FolderProgress progress;
  {
    PartFolder parts = make(root, settings);
    REQUIRE(parts.start().is_ok());
    REQUIRE(parts.append("", std::string(100, 'a'), 0).is_ok());
    REQUIRE(parts.append("", "open", 0).is_ok());
    progress = prepare(parts, 3);  // killed before the commit
    REQUIRE(parts.append("", "undecided", 0).is_ok());
    REQUIRE(parts.flush(4, 0).is_ok());
  }
  const auto code = [&](const std::string& path) { return make(path, settings).resume(progress).code(); };
  CHECK(make(root, settings).resume(progress).is_ok());
  CHECK(visible(root) == Files{{"part-3-0.jsonl", std::string(100, 'a') + "\n"}});
  CHECK(content(root + "/.millrace-parts/2.part") == "open\n");
  CHECK(code(folder / "elsewhere") == Code::kFileChanged);

  SUBCASE("a reader took the visible part away") {
    std::filesystem::remove(root + "/part-3-0.jsonl");
    CHECK(code(root) == Code::kOk);
  }
  SUBCASE("the visible part was changed") {
    folder.write("out/part-3-0.jsonl", std::string(100, 'b') + "\n");
    CHECK(code(root) == Code::kFileChanged);
  }
  SUBCASE("the open part was changed") {
    folder.write("out/.millrace-parts/2.part", "OPEN\nundecided\n");
    CHECK(code(root) == Code::kFileChanged);
  }
  SUBCASE("the open part was cut") {
    folder.write("out/.millrace-parts/2.part", "ope");
    CHECK(code(root) == Code::kFileChanged);
  }
  SUBCASE("the hidden folder is gone") {
    std::filesystem::remove_all(root + "/.millrace-parts");
    CHECK(code(root) == Code::kFileChanged);
  }
  SUBCASE("somebody else's file has the name") {
    progress.replaces = false;
    std::filesystem::rename(root + "/part-3-0.jsonl", root + "/.millrace-parts/1.part");
    folder.write("out/part-3-0.jsonl", "mine");
    CHECK(code(root) == Code::kFileChanged);
    CHECK(content(root + "/part-3-0.jsonl") == "mine");
  }
}

TEST_CASE("part folder: links are not followed, and there is one writer") {
  TestFolder folder;
  std::filesystem::create_directories(folder / "victim");
  std::filesystem::create_directories(folder / "out");
  std::filesystem::create_directory_symlink(folder / "victim", folder / "out/evil");
  PartFolder parts = make(folder / "out/{name}");
  REQUIRE(parts.start().is_ok());
  CHECK(make(folder / "out/{name}").start().code() == Code::kStateLocked);
  REQUIRE(parts.append("evil", "row", 0).is_ok());
  const FolderProgress progress = decide(parts, 1);
  const Status finished = parts.finish(progress);
  CHECK(finished.code() == Code::kFileIo);
  CHECK(finished.fault() == Fault::kUser);
  CHECK(std::filesystem::is_empty(folder / "victim"));

  std::filesystem::create_directory(folder / "linked");
  std::filesystem::create_directory_symlink(folder / "victim", folder / "linked/.millrace-parts");
  CHECK(make(folder / "linked").start().code() == Code::kFileIo);
  folder.write("file", "");
  CHECK(make(folder / "file").start().code() == Code::kFileIo);
}

TEST_CASE("part folder: random lives with crashes equal the decided rows") {
  TestFolder folder;
  std::mt19937_64 random(17);
  for (int round = 0; round < 60; round++) {
    const std::string root = folder / ("out" + std::to_string(round));
    PartFolder::Settings settings;
    settings.max_open = 1 + random() % 3;
    settings.roll_bytes = random() % 2 ? 0 : 1 + random() % 30;
    settings.roll_age_ms = random() % 2 ? -1 : static_cast<int64_t>(random() % 5);
    std::map<std::string, std::string> decided, undecided;
    std::optional<FolderProgress> progress;
    uint64_t epoch = 0;
    int64_t now = 0;
    const auto open = [&](PartFolder& parts) {
      const Status status = progress ? parts.resume(*progress) : parts.start();
      REQUIRE_MESSAGE(status.is_ok(), status.to_string());
      undecided = decided;
    };
    for (int life = 0; life < 8; life++) {
      PartFolder parts = make(root + "/{name}", settings);
      open(parts);
      for (uint64_t epochs = random() % 4; epochs > 0; epochs--) {
        for (uint64_t rows = random() % 12; rows > 0; rows--) {
          const std::string name(1, static_cast<char>('a' + random() % 4));
          const std::string row = std::to_string(random() % 100);
          REQUIRE(parts.append(name, row, now++).is_ok());
          undecided[name] += row + "\n";
        }
        FolderProgress next = prepare(parts, ++epoch, now);
        if (random() % 4 == 0) {  // killed before the decision
          epoch--;
          break;
        }
        progress = std::move(next);
        decided = undecided;
        if (random() % 4 == 0) break;  // killed behind it
        REQUIRE(parts.commit(*progress).is_ok());
        if (random() % 6 == 0) {
          REQUIRE(parts.finish(*progress).is_ok());
          break;
        }
      }
    }
    PartFolder parts = make(root + "/{name}", settings);
    open(parts);
    REQUIRE(parts.finish(decide(parts, ++epoch, now)).is_ok());
    // Parts of a folder in the order of epoch and number hold its rows in order.
    std::map<std::string, std::map<std::pair<int, int>, std::string>> ordered;
    for (const auto& [path, text] : visible(root)) {
      std::pair<int, int> name;
      REQUIRE(sscanf(path.c_str() + 2, "part-%d-%d.jsonl", &name.first, &name.second) == 2);
      ordered[path.substr(0, 1)][name] = text;
    }
    std::map<std::string, std::string> found;
    for (const auto& [name, texts] : ordered)
      for (const auto& [key, text] : texts) found[name] += text;
    CHECK(found == decided);
    CHECK(hidden_files(root) == 0);
  }
}

TEST_CASE("part folder: a full disk is terminal and loses nothing") {
  TestFolder folder;
  const std::string disk = folder / "disk";
  std::filesystem::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=128k") != 0) {
    MESSAGE("skipped: mounting a small tmpfs needs privileges");
    return;
  }
  FolderProgress progress;
  {
    PartFolder parts = make(disk + "/out");
    REQUIRE(parts.start().is_ok());
    REQUIRE(parts.append("", std::string(30'000, 'a'), 0).is_ok());
    progress = decide(parts, 1);
    Status full;
    for (int i = 0; i < 20 && full.is_ok(); i++) full = parts.append("", std::string(30'000, 'b'), 0);
    CHECK(full.code() == Code::kDiskFull);
    CHECK(full.retry() == Retry::kNever);
    CHECK(parts.flush(2, 0).status().code() == Code::kDiskFull);
  }
  {
    PartFolder parts = make(disk + "/out");
    REQUIRE(parts.resume(progress).is_ok());
    REQUIRE(parts.append("", "c", 0).is_ok());
    REQUIRE(parts.finish(decide(parts, 2)).is_ok());
    CHECK(visible(disk + "/out") == Files{{"part-2-0.jsonl", std::string(30'000, 'a') + "\nc\n"}});
  }
  REQUIRE(::umount(disk.c_str()) == 0);
}

TEST_CASE("folder progress: only its own text is read") {
  FolderProgress progress;
  progress.epoch = 5;
  progress.next_number = 9;
  progress.replaces = true;
  progress.extension = "csv";
  progress.path = "out/a b/{name}";
  progress.open = {{8, "x y", {10, 0xABC}, -3}};
  progress.closed = {{6, "", {0, 1}, 4}, {7, "z", {1, 2}, 5}};
  const std::string text = progress.encode();
  const FolderProgress read = parse_folder_progress(text).value();
  CHECK(read.encode() == text);
  CHECK(read.open[0].folder == "x y");
  CHECK(read.part_name(2) == "part-5-2.csv");
  for (size_t size = 0; size < text.size(); size++)
    CHECK(parse_folder_progress(text.substr(0, size)).status().code() == Code::kProgressCorrupt);
  CHECK_FALSE(parse_folder_progress(text + "x").is_ok());
  CHECK_FALSE(parse_folder_progress("folder2" + text.substr(7)).is_ok());
  CHECK_FALSE(parse_folder_progress("folder1 1 1 0 99999999999999 0 csv out\n").is_ok());
}

}  // namespace
}  // namespace millrace
