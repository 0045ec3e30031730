#include "sources/follow_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>

#include "sources/input_file.h"
#include "tests/sources/source_fixture.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// A source that follows a path, with time that stands still, and what it has read so far: "path@offset line" each.
struct Follower {
  explicit Follower(std::string path, bool restart_truncated = true) {
    settings.path = std::move(path);
    settings.follow = true;
    settings.restart_truncated = restart_truncated;
    settings.block_bytes = 64;
    context.clock = &clock;
  }
  Status open(const std::vector<SourcePosition>& at = {}) {
    source = make_follow_source(settings, context);
    return source->open(at, {});
  }
  // Drops the source and opens another one at its positions, as after kill -9.
  Status restart() {
    const std::vector<SourcePosition> at = source->positions();
    source.reset();
    return open(at);
  }
  Status poll() {
    SourcePoll poll;
    poll.arena = std::make_shared<Arena>();
    MR_RETURN_IF_ERROR(source->poll(limits, 0, &poll));
    CHECK_FALSE(poll.end_of_input);
    polled = poll.count + poll.skipped_too_large.size();
    too_large += poll.skipped_too_large.size();
    for (uint32_t i = 0; i < poll.count; i++) {
      const std::string& name = poll.rows->partitions->at(poll.rows->partition[i]).topic;
      lines.push_back(name.substr(name.rfind('/') + 1) + "@" + std::to_string(poll.rows->offset[i]) + " " +
                      std::string(poll.rows->payload[i]));
    }
    return Status::ok();
  }
  // Polls until there is nothing to read, `ms` of time in between.
  Status drain(int64_t ms = kScanMs) {
    clock.advance_ms(ms);
    for (int idle = 0, polls = 0; idle < 3; polls++) {
      REQUIRE(polls < 10'000);
      MR_RETURN_IF_ERROR(poll());
      idle = polled > 0 ? 0 : idle + 1;
      if (polled == 0) clock.advance_ms(50);
    }
    return Status::ok();
  }
  std::vector<std::string> take() { return std::exchange(lines, {}); }

  FileSourceSettings settings;
  ManualClock clock;
  SourceContext context;
  SourceLimits limits;
  std::unique_ptr<Source> source;
  std::vector<std::string> lines;
  size_t polled = 0;
  size_t too_large = 0;
};
using Lines = std::vector<std::string>;

void append(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::app) << text; }

TEST_CASE("follow: what is appended, a line when it is complete") {
  TestFolder folder;
  const std::string path = folder.write("log", "one\ntw");
  Follower follower(path);
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@0 one"});
  CHECK(follower.source->positions().at(0).position == 4);
  CHECK_FALSE(follower.source->positions().at(0).identity.ends_with(kReadToEnd));
  append(path, "o");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take().empty());
  append(path, "\r\n\nthree\nfo");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@4 two", "log@10 three"});
  REQUIRE(follower.restart().is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take().empty());
  append(path, "ur\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@16 four"});
  CHECK(follower.source->positions().at(0).identity.ends_with(kReadToEnd));
}

TEST_CASE("follow: a path that is not there yet, and files that a pattern finds later") {
  TestFolder folder;
  Follower single(folder / "later");
  REQUIRE(single.open().is_ok());
  REQUIRE(single.drain().is_ok());
  CHECK(single.source->positions().size() == 1);
  folder.write("later", "here\n");
  REQUIRE(single.drain().is_ok());
  CHECK(single.take() == Lines{"later@0 here"});

  Follower pattern(folder / "*.log");
  REQUIRE(pattern.open().is_ok());
  REQUIRE(pattern.drain().is_ok());
  CHECK(pattern.source->positions().empty());
  folder.write("b.log", "1\n");
  REQUIRE(pattern.drain().is_ok());
  folder.write("a.log", "2\n");
  fs::create_directory(folder / "c.log");
  REQUIRE(pattern.drain().is_ok());
  append(folder / "b.log", "3\n");
  REQUIRE(pattern.drain().is_ok());
  CHECK(pattern.take() == Lines{"b.log@0 1", "a.log@0 2", "b.log@2 3"});
  CHECK(pattern.source->positions().at(0).name.topic == folder / "b.log");
  append(folder / "a.log", "4\n");
  REQUIRE(pattern.restart().is_ok());
  REQUIRE(pattern.drain().is_ok());
  CHECK(pattern.take() == Lines{"a.log@2 4"});
}

TEST_CASE("follow: rotation, the old file to its end and then the new one") {
  TestFolder folder;
  const std::string path = folder.write("log", "1\n");
  Follower follower(path);
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  append(path, "2\n");
  fs::rename(path, folder / "log.1");
  folder.write("log", "5\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@0 1", "log@2 2"});
  append(folder / "log.1", "3\n");  // the writer has not noticed yet
  REQUIRE(follower.drain().is_ok());
  append(folder / "log.1", "4 without end");
  append(path, "6\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@4 3"});
  REQUIRE(follower.drain(kQuietMs).is_ok());
  CHECK(follower.take() == Lines{"log@6 4 without end", "log@0 5", "log@2 6"});
  // Again, with the file gone at once.
  fs::remove(path);
  REQUIRE(follower.drain().is_ok());
  folder.write("log", "7\n");
  REQUIRE(follower.drain().is_ok());
  REQUIRE(follower.drain(kQuietMs).is_ok());
  CHECK(follower.take() == Lines{"log@0 7"});
  CHECK(follower.source->positions().size() == 1);
}

TEST_CASE("follow: rotated while nobody read it") {
  TestFolder folder;
  const std::string path = folder.write("log", "1\n2\n");
  Follower follower(path);
  follower.limits.max_rows = 1;
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.poll().is_ok());
  const std::vector<SourcePosition> at = follower.source->positions();
  follower.source.reset();
  append(path, "3\n");
  fs::rename(path, folder / "log.1");
  SUBCASE("once, the new file not there yet") {
    REQUIRE(follower.open(at).is_ok());
    REQUIRE(follower.drain().is_ok());
    folder.write("log", "4\n");
    REQUIRE(follower.drain(kQuietMs).is_ok());
    REQUIRE(follower.drain(kQuietMs).is_ok());
    CHECK(follower.take() == Lines{"log@0 1", "log@2 2", "log@4 3", "log@0 4"});
  }
  SUBCASE("once") {
    folder.write("log", "4\n");
    REQUIRE(follower.open(at).is_ok());
    REQUIRE(follower.drain(kQuietMs).is_ok());
    REQUIRE(follower.restart().is_ok());  // while it waits for the old one
    REQUIRE(follower.drain(kQuietMs).is_ok());
    REQUIRE(follower.drain(kQuietMs).is_ok());
    CHECK(follower.take() == Lines{"log@0 1", "log@2 2", "log@4 3", "log@0 4"});
    REQUIRE(follower.restart().is_ok());
    REQUIRE(follower.drain(kQuietMs).is_ok());
    CHECK(follower.take().empty());
  }
  SUBCASE("twice: what came in between has no place") {
    fs::rename(folder / "log.1", folder / "log.2");
    folder.write("log.1", "4\n");
    folder.write("log", "5\n");
    const timespec later[2] = {{4'000'000'000, 0}, {4'000'000'000, 0}};
    REQUIRE(::utimensat(AT_FDCWD, (folder / "log.1").c_str(), later, 0) == 0);
    const Status status = follower.open(at);
    CHECK(status.code() == Code::kFileChanged);
    CHECK(status.message().find("log.1") != std::string::npos);
    follower.context.accept_reset = true;
    REQUIRE(follower.open(at).is_ok());
    REQUIRE(follower.drain(kQuietMs).is_ok());
    REQUIRE(follower.drain(kQuietMs).is_ok());
    CHECK(follower.take() == Lines{"log@0 1", "log@2 2", "log@4 3", "log@0 5"});
  }
  SUBCASE("and removed: stops with the gap") {
    fs::create_directory(folder / "elsewhere");
    fs::rename(folder / "log.1", folder / "elsewhere/log.1");
    CHECK(follower.open(at).code() == Code::kFileMissing);
    folder.write("log", "4\n");
    const Status status = follower.open(at);
    CHECK(status.code() == Code::kFileChanged);
    CHECK(status.fault() == Fault::kUser);
    follower.context.accept_reset = true;
    REQUIRE(follower.open(at).is_ok());
    REQUIRE(follower.drain().is_ok());
    CHECK(follower.take() == Lines{"log@0 1", "log@0 4"});
  }
}

TEST_CASE("follow: a pattern that finds rotated files too reads none of them twice") {
  TestFolder folder;
  const std::string path = folder.write("log", "1\n");
  Follower follower(folder / "log*");
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  int number = 1;
  for (int rotation = 0; rotation < 4; rotation++) {
    append(path, std::to_string(++number) + "\n");
    for (int i = 9; i > 0; i--)
      if (fs::exists(folder / ("log." + std::to_string(i))))
        fs::rename(folder / ("log." + std::to_string(i)), folder / ("log." + std::to_string(i + 1)));
    fs::rename(path, folder / "log.1");
    if (rotation % 2 == 1) REQUIRE(follower.restart().is_ok());
    folder.write("log", std::to_string(++number) + "\n");
    if (rotation % 2 == 0) REQUIRE(follower.restart().is_ok());
    for (int i = 0; i < 5; i++) {
      REQUIRE(follower.drain(kQuietMs).is_ok());
      if (i == 2) REQUIRE(follower.restart().is_ok());
    }
    append(folder / "log.1", std::to_string(++number) + "\n");  // a writer that is late
    REQUIRE(follower.drain().is_ok());
  }
  std::vector<int> numbers;
  for (const std::string& line : follower.lines) numbers.push_back(std::stoi(line.substr(line.find(' '))));
  std::sort(numbers.begin(), numbers.end());
  CHECK(static_cast<int>(numbers.size()) == number);
  for (int i = 0; i < static_cast<int>(numbers.size()); i++) CHECK(numbers[static_cast<size_t>(i)] == i + 1);
}

TEST_CASE("follow: quiet files are closed, and opened again under whatever name") {
  TestFolder folder;
  const std::string path = folder.write("log", "1\n");
  Follower follower(path);
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  REQUIRE(follower.drain(kIdleCloseMs).is_ok());
  append(path, "2\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@0 1", "log@2 2"});
  REQUIRE(follower.drain(kIdleCloseMs).is_ok());
  append(path, "3\n");
  fs::rename(path, folder / "log.1");
  folder.write("log", "4\n");
  REQUIRE(follower.drain().is_ok());
  REQUIRE(follower.drain(kQuietMs).is_ok());
  CHECK(follower.take() == Lines{"log@4 3", "log@0 4"});
}

TEST_CASE("follow: more files than may be open, each line once") {
  TestFolder folder;
  constexpr int kFiles = 700;
  Follower follower(folder / "*.log");
  std::vector<std::string> expected;
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < kFiles; i++) {
      append(folder / (std::to_string(i) + ".log"), "r" + std::to_string(round) + "\n");
      expected.push_back(std::to_string(i) + ".log@" + std::to_string(3 * round) + " r" + std::to_string(round));
    }
    REQUIRE((round == 0 ? follower.open() : round == 1 ? Status::ok() : follower.restart()).is_ok());
    REQUIRE(follower.drain().is_ok());
  }
  std::sort(expected.begin(), expected.end());
  std::sort(follower.lines.begin(), follower.lines.end());
  CHECK(follower.lines == expected);
}

TEST_CASE("follow: csv headers of each file, complete or not yet") {
  TestFolder folder;
  const std::string path = folder.write("log.csv", "b,");
  Follower follower(path);
  follower.settings.format = Format("csv");
  follower.settings.format.csv_columns = std::make_shared<CsvColumns>();
  follower.settings.schema = {{"a", Type(TypeKind::kInt)}, {"b", Type(TypeKind::kInt)}};
  const auto& columns = *follower.settings.format.csv_columns;
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(columns.version() == 0);
  append(path, "a\n1,2\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log.csv@4 1,2"});
  CHECK(columns.fields() == std::vector<int>{1, 0});
  fs::rename(path, folder / "old.csv");
  folder.write("log.csv", "a,b\n3,4\n");
  REQUIRE(follower.drain(kQuietMs).is_ok());
  REQUIRE(follower.drain(kQuietMs).is_ok());
  CHECK(follower.take() == Lines{"log.csv@4 3,4"});
  CHECK(columns.fields() == std::vector<int>{0, 1});
  append(path, "5,6\n");
  follower.settings.format.csv_columns = std::make_shared<CsvColumns>();
  REQUIRE(follower.restart().is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log.csv@8 5,6"});
  CHECK(follower.settings.format.csv_columns->fields() == std::vector<int>{0, 1});
}

TEST_CASE("follow: lines that are too large, also while they grow") {
  TestFolder folder;
  const std::string path = folder.write("log", "a\n");
  Follower follower(path);
  follower.settings.max_record_bytes = 100;
  REQUIRE(follower.open().is_ok());
  for (int i = 0; i < 5; i++) {
    append(path, std::string(50, 'x'));
    REQUIRE(follower.drain().is_ok());
  }
  CHECK(follower.source->positions().at(0).position == 2);
  append(path, "\nb\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@0 a", "log@253 b"});
  CHECK(follower.too_large == 1);
}

TEST_CASE("follow: a file that is cut is read from its beginning, or stops the source") {
  TestFolder folder;
  for (const bool restart : {false, true}) {
    const std::string path = folder.write("log", "one\ntwo\n");
    Follower follower(path, restart);
    REQUIRE(follower.open().is_ok());
    REQUIRE(follower.drain().is_ok());
    follower.take();
    REQUIRE(::truncate(path.c_str(), 0) == 0);
    append(path, "new\n");
    CHECK(follower.drain().code() == (restart ? Code::kOk : Code::kFileChanged));
    if (restart) CHECK(follower.take() == Lines{"log@0 new"});
  }
  // While nobody read it, and grown beyond what had been read.
  for (const bool restart : {false, true}) {
    const std::string path = folder.write("log", "one\ntwo\n");
    Follower follower(path, restart);
    REQUIRE(follower.open().is_ok());
    REQUIRE(follower.drain().is_ok());
    follower.take();
    folder.write("log", "as long as before, and longer\n");
    CHECK(follower.restart().code() == (restart ? Code::kOk : Code::kFileChanged));
    if (!restart) continue;
    REQUIRE(follower.drain().is_ok());
    CHECK(follower.take() == Lines{"log@0 as long as before, and longer"});
  }
}

TEST_CASE("follow: cut between two looks") {
  TestFolder folder;
  const std::string path = folder.write("log", "one\ntwo\nthr");
  std::atomic<int> warnings = 0;
  Follower follower(path);
  follower.context.log = Logger::to_function(LogLevel::kWarn, LogFormat::kText, [&](std::string_view) { warnings++; });
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@0 one", "log@4 two"});
  SUBCASE("within the unfinished line") {
    REQUIRE(::truncate(path.c_str(), 9) == 0);
    REQUIRE(follower.drain().is_ok());
    append(path, "en\n");
    REQUIRE(follower.drain().is_ok());
    CHECK(follower.take() == Lines{"log@8 ten"});
  }
  SUBCASE("grown beyond the position, with other first bytes") {
    folder.write("log", "other lines\nand more of them\n");
    REQUIRE(follower.drain().is_ok());
    CHECK(follower.take() == Lines{"log@0 other lines", "log@12 and more of them"});
  }
  SUBCASE("grown beyond the position, with other line ends") {
    folder.write("log", "one\ntwo and a half\n");
    REQUIRE(follower.drain().is_ok());
    CHECK(follower.take() == Lines{"log@0 one", "log@4 two and a half"});
  }
  SUBCASE("again and again") {
    for (int i = 0; i < 5; i++) {
      folder.write("log", std::string(i % 2 == 0 ? "a\n" : "b\n"));
      REQUIRE(follower.drain().is_ok());
      CHECK(follower.take() == Lines{i % 2 == 0 ? "log@0 a" : "log@0 b"});
      REQUIRE(::truncate(path.c_str(), 0) == 0);
      REQUIRE(follower.drain().is_ok());
      if (i == 2) REQUIRE(follower.restart().is_ok());
    }
  }
  follower.source.reset();
  follower.context.log = Logger();
}

TEST_CASE("follow: files that are gone") {
  TestFolder folder;
  folder.write("a.log", "1\n");
  folder.write("b.log", "2\nunfinished");
  Follower follower(folder / "*.log");
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  follower.take();
  const std::vector<SourcePosition> at = follower.source->positions();
  fs::remove(folder / "a.log");
  REQUIRE(follower.restart().is_ok());  // had been read to its end
  CHECK(follower.source->positions().size() == 1);
  REQUIRE(follower.drain().is_ok());
  fs::remove(folder / "b.log");
  REQUIRE(follower.drain().is_ok());
  REQUIRE(follower.drain(kQuietMs).is_ok());
  CHECK(follower.take() == Lines{"b.log@2 unfinished"});  // nobody can finish it
  REQUIRE(follower.drain(kQuietMs).is_ok());
  REQUIRE(follower.source->positions().size() == 1);
  CHECK(follower.source->positions().at(0).identity.empty());
  CHECK(follower.source->positions().at(0).position == 0);
  // One partition stays, with the event time of the source.
  REQUIRE(follower.restart().is_ok());
  CHECK(follower.source->positions().size() == 1);
  CHECK(follower.open(at).code() == Code::kFileMissing);  // as if b.log had gone unseen
  follower.context.accept_reset = true;
  CHECK(follower.open(at).is_ok());
  CHECK(follower.source->positions().size() == 1);
}

TEST_CASE("follow: a file that is removed while it is open is read to its end") {
  TestFolder folder;
  const std::string path = folder.write("log", "1\n");
  Follower follower(path);
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  append(path, "2\n3");
  fs::remove(path);
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@0 1", "log@2 2"});
  REQUIRE(follower.drain(kQuietMs).is_ok());
  CHECK(follower.take() == Lines{"log@4 3"});  // nobody can finish it
  REQUIRE(follower.drain(kQuietMs).is_ok());
  CHECK(follower.source->positions().at(0).identity.empty());
  folder.write("log", "4\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@0 4"});
}

TEST_CASE("follow: a quiet file is followed out of its folder, after a restart too") {
  TestFolder folder;
  fs::create_directory(folder / "away");
  bool restarts = false;
  bool is_empty = false;
  bool moves = true;
  SUBCASE("first start, moved") {}
  SUBCASE("first start, empty, moved") { is_empty = true; }
  SUBCASE("first start, empty, removed") { is_empty = true, moves = false; }
  SUBCASE("restart, moved") { restarts = true; }
  SUBCASE("restart, removed") { restarts = true, moves = false; }
  SUBCASE("restart, empty, moved") { restarts = is_empty = true; }
  const std::string path = folder.write("log", is_empty ? "" : "1\n2\n");
  Follower follower(path);
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  if (restarts) REQUIRE(follower.restart().is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take().size() == (is_empty ? 0 : 2));
  std::ofstream writer(path, std::ios::app);
  writer << "3\n" << std::flush;
  moves ? fs::rename(path, folder / "away/log") : (void)fs::remove(path);
  REQUIRE(follower.drain().is_ok());
  writer << "4\n" << std::flush;
  folder.write("log", "5\n");
  REQUIRE(follower.drain().is_ok());
  REQUIRE(follower.drain(kQuietMs).is_ok());
  CHECK(follower.take() == (is_empty ? Lines{"log@0 3", "log@2 4", "log@0 5"}
                                     : Lines{"log@4 3", "log@6 4", "log@0 5"}));
}

TEST_CASE("follow: a restart keeps the newest of many quiet files open") {
  TestFolder folder;
  fs::create_directory(folder / "away");
  constexpr int kFiles = 600;
  constexpr int kMoved = 150;
  Follower follower(folder / "*.log");
  const auto name = [](int i) { return std::to_string(1000 + i) + ".log"; };
  // Every fourth file is new; there are as many of those as are moved.
  for (int i = 0; i < kFiles; i++) {
    const fs::path path = folder.write(name(i), "1\n");
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(i % 4 == 3 ? 1 : 24 * 30));
  }
  const auto open_files = [] {
    return static_cast<size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
  };
  const size_t others = open_files();
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take().size() == kFiles);
  REQUIRE(follower.restart().is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(open_files() - others >= kMoved);
  CHECK(open_files() - others < kMaxOpenFiles);  // some are left for those that come
  for (int i = 3; i < kFiles; i += 4) {
    append(folder / name(i), "2\n");
    fs::rename(folder / name(i), folder / ("away/" + name(i)));
  }
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take().size() == kMoved);
}

TEST_CASE("follow: a file that left its folder between two runs leaves a warning") {
  TestFolder folder;
  fs::create_directory(folder / "away");
  const std::string path = folder.write("log", "1\n2\n");
  std::vector<std::string> logged;
  {
    Follower follower(path);
    REQUIRE(follower.open().is_ok());
    REQUIRE(follower.drain().is_ok());
    const std::vector<SourcePosition> at = follower.source->positions();
    follower.take();
    append(path, "3\n");
    fs::rename(path, folder / "away/log");
    folder.write("log", "4\n");
    follower.context.log = Logger::to_function(LogLevel::kWarn, LogFormat::kText,
                                               [&logged](std::string_view line) { logged.emplace_back(line); });
    REQUIRE(follower.open(at).is_ok());
    REQUIRE(follower.drain().is_ok());
    CHECK(follower.take() == Lines{"log@0 4"});
  }
  REQUIRE(logged.size() == 1);
  CHECK(logged[0].find("is gone; it had been read up to byte 4; whether something was appended after that is not "
                       "known") != std::string::npos);
}

TEST_CASE("follow: a writer that is late") {
  TestFolder folder;
  const std::string path = folder.write("log", "1\n");
  Follower follower(path);
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  fs::rename(path, folder / "log.1");
  folder.write("log", "2\n");
  REQUIRE(follower.drain().is_ok());
  REQUIRE(follower.drain(kQuietMs).is_ok());
  CHECK(follower.take() == Lines{"log@0 1", "log@0 2"});
  append(folder / "log.1", "late\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@2 late"});
  REQUIRE(follower.restart().is_ok());
  append(folder / "log.1", "later\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@7 later"});
  CHECK(follower.source->positions().at(0).identity.find('!') != std::string::npos);
  REQUIRE(follower.drain(kLateMs).is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.source->positions().at(0).identity.find('!') == std::string::npos);
  append(folder / "log.1", "too late\n");
  append(path, "3\n");
  REQUIRE(follower.drain().is_ok());
  REQUIRE(follower.restart().is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@2 3"});
}

TEST_CASE("follow: several rotations before the first file is done") {
  TestFolder folder;
  const std::string path = folder.write("log", "1\n");
  Follower follower(path);
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  follower.take();
  for (int i = 3; i > 0; i--) {
    fs::rename(path, folder / ("log." + std::to_string(i)));
    append(folder / ("log." + std::to_string(i)), "end\n");
    folder.write("log", std::to_string(5 - i) + "\n");
    follower.clock.advance_ms(kScanMs);
    REQUIRE(follower.poll().is_ok());
  }
  SUBCASE("read on") {}
  SUBCASE("restarted") { REQUIRE(follower.restart().is_ok()); }
  for (int i = 0; i < 5; i++) REQUIRE(follower.drain(kQuietMs).is_ok());
  CHECK(follower.take() ==
        Lines{"log@2 end", "log@0 2", "log@2 end", "log@0 3", "log@2 end", "log@0 4"});
}

TEST_CASE("follow: an inode that another file has got is not taken for the file that was removed") {
  TestFolder folder;
  const std::string path = folder.write("a.log", "1\n");
  Follower follower(folder / "*.log");
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  REQUIRE(follower.drain(kIdleCloseMs).is_ok());  // closed, so that its inode is free when it is removed
  follower.take();
  struct stat before {};
  REQUIRE(::stat(path.c_str(), &before) == 0);
  SUBCASE("while it runs") {
    fs::remove(path);
    folder.write("b.log", "two\n");
    REQUIRE(follower.drain().is_ok());
  }
  SUBCASE("while nobody reads") {
    const std::vector<SourcePosition> at = follower.source->positions();
    follower.source.reset();
    fs::remove(path);
    folder.write("b.log", "two\n");
    REQUIRE(follower.open(at).is_ok());
    REQUIRE(follower.drain().is_ok());
  }
  struct stat after {};
  REQUIRE(::stat((folder / "b.log").c_str(), &after) == 0);
  if (before.st_ino != after.st_ino) MESSAGE("this file system does not use inodes again");
  CHECK(follower.take() == Lines{"b.log@0 two"});
}

TEST_CASE("follow: a long file does not keep the others waiting") {
  TestFolder folder;
  std::string many;
  for (int i = 0; i < 6000; i++) many += std::string(999, 'x') + "\n";
  folder.write("a.log", many);
  folder.write("b.log", "short\n");
  Follower follower(folder / "*.log");
  follower.settings.block_bytes = 256 << 10;
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  const Lines lines = follower.take();
  REQUIRE(lines.size() == 6001);
  const auto at = std::find(lines.begin(), lines.end(), "b.log@0 short") - lines.begin();
  CHECK(at < 2500);
}

TEST_CASE("follow: a poll does not wait for longer than it may, whatever the clock says") {
  TestFolder folder;
  Follower follower(folder / "log");
  REQUIRE(follower.open().is_ok());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; i++) {
    SourcePoll poll;
    poll.arena = std::make_shared<Arena>();
    REQUIRE(follower.source->poll(follower.limits, 5, &poll).is_ok());
    CHECK(poll.count == 0);
    CHECK_FALSE(poll.end_of_input);
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
}

TEST_CASE("follow: a source that ends does not go on where files were rotated") {
  TestFolder folder;
  const std::string path = folder.write("log", "1\n");
  Follower follower(path);
  REQUIRE(follower.open().is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(make_file_source(follower.settings, follower.context)->open(follower.source->positions(), {}).is_ok());
  fs::rename(path, folder / "log.1");
  folder.write("log", "2\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(make_file_source(follower.settings, follower.context)->open(follower.source->positions(), {}).code() ==
        Code::kFileChanged);
  // The other way round is fine, with a last line that had no end.
  append(path, "3");
  auto bounded = make_file_source(follower.settings, follower.context);
  REQUIRE(bounded->open({}, {}).is_ok());
  CHECK(read_to_end(*bounded).size() == 2);
  follower.lines.clear();
  REQUIRE(follower.open(bounded->positions()).is_ok());
  REQUIRE(follower.drain().is_ok());
  append(path, "\n4\n");
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@4 4"});
}

TEST_CASE("follow: positions that are none") {
  TestFolder folder;
  const std::string path = folder.write("log", "1\n");
  Follower follower(path);
  CHECK(follower.open({{{path, 0}, "what", 1}}).code() == Code::kFileChanged);
  CHECK(follower.open({{{path, 0}, "", 1}}).code() == Code::kFileChanged);
  follower.context.accept_reset = true;
  REQUIRE(follower.open({{{path, 0}, "what", 1}}).is_ok());
  REQUIRE(follower.drain().is_ok());
  CHECK(follower.take() == Lines{"log@0 1"});
}

TEST_CASE("follow: what is no file") {
  TestFolder folder;
  CHECK(Follower(folder.path).open().code() == Code::kFileIo);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(Follower(folder / "pipe").open().code() == Code::kFileIo);
}

}  // namespace
}  // namespace millrace
