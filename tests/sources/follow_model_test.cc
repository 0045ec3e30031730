// Random writers, rotations, removals, crashes and restarts against what was written: every line once, those of a file
// in its order.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

#include "sources/follow_source.h"
#include "tests/sources/source_fixture.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

int seeds() {
  const char* wanted = std::getenv("FOLLOW_SEEDS");
  return wanted == nullptr ? 60 : std::atoi(wanted);
}

// A program that writes `log` and rotates it: log.1 is the newest of the old files. Lines are "file:number ...".
struct Writer {
  Writer(const TestFolder& to, std::mt19937_64& with) : folder(to), random(with) { create(); }

  std::string name(size_t age) const { return age == 0 ? folder / "log" : folder / ("log." + std::to_string(age)); }
  void append(size_t age, const std::string& text) { std::ofstream(name(age), std::ios::app) << text; }
  void create() {
    folder.write("log", "");
    files.insert(files.begin(), next_file++);
    is_there = true;
  }
  void line(size_t age) {
    const size_t file = files[age - age_of_first()];
    std::string text = std::to_string(file) + ":" + std::to_string(written[file]++);
    text += " " + std::string(random() % 40, '.') + "\n";
    const size_t cut = random() % 3 == 0 ? random() % text.size() : text.size();
    append(age, text.substr(0, cut));
    rest = text.substr(cut);
    rest_age = age;
  }
  void finish_line() {
    if (!rest.empty()) append(rest_age, std::exchange(rest, ""));
  }
  // The new file may come later (create); a line that was begun, and maybe another, goes to the old one.
  void rotate() {
    for (size_t age = files.size(); age > 0; age--) fs::rename(name(age - 1), name(age));
    is_there = false;
    if (!rest.empty()) rest_age++;
    if (random() % 2 == 0) {
      finish_line();
      line(1);
    }
    finish_line();
    if (random() % 3 != 0) create();
  }
  size_t age_of_first() const { return is_there ? 0 : 1; }

  const TestFolder& folder;
  std::mt19937_64& random;
  std::vector<size_t> files;  // numbers, the newest first; `log` is the first if is_there
  std::map<size_t, int> written;
  size_t next_file = 0;
  bool is_there = false;
  std::string rest;
  size_t rest_age = 0;
};

struct Reader {
  Reader(std::string path, std::mt19937_64& random) {
    settings.path = std::move(path);
    settings.follow = true;
    settings.block_bytes = 1 + random() % 200;
    limits.max_rows = 1 + static_cast<uint32_t>(random() % 5);
    context.clock = &clock;
    open();
  }
  void open() {
    source = make_follow_source(settings, context);
    const Status status = source->open(decided, {});
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
  }
  // What is not decided is read again.
  void crash() {
    source.reset();
    rows.resize(decided_rows);
  }
  void decide() {
    decided = source->positions();
    decided_rows = rows.size();
  }
  size_t poll() {
    const size_t before = rows.size();
    bool end = false;
    const Status status = poll_once(*source, limits, &rows, &end);
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
    REQUIRE_FALSE(end);
    return rows.size() - before;
  }
  void drain(int64_t ms) {
    clock.advance_ms(ms);
    for (int idle = 0, polls = 0; idle < 4; polls++) {
      REQUIRE(polls < 100'000);
      idle = poll() > 0 ? 0 : idle + 1;
      if (idle > 0) clock.advance_ms(50);
    }
  }

  FileSourceSettings settings;
  ManualClock clock;
  SourceContext context;
  SourceLimits limits;
  std::unique_ptr<Source> source;
  std::vector<ReadRow> rows;
  std::vector<SourcePosition> decided;
  size_t decided_rows = 0;
};

void check_rows(const Writer& writer, const std::vector<ReadRow>& rows, bool files_in_order) {
  std::map<size_t, int> next;
  size_t file = 0;
  for (const ReadRow& row : rows) {
    const size_t colon = row.payload.find(':');
    const size_t from = std::stoul(row.payload);
    REQUIRE(std::stoi(row.payload.substr(colon + 1)) == next[from]++);
    if (files_in_order) REQUIRE(from >= file);
    file = from;
  }
  for (const auto& [number, lines] : writer.written) {
    CAPTURE(number);
    REQUIRE(next[number] == lines);
  }
}

// One path: it may be rotated once between two looks at it, running or not.
void run_single(uint64_t seed) {
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  TestFolder folder;
  Writer writer(folder, random);
  Reader reader(folder / "log", random);
  const auto rotate = [&] {
    if (!writer.is_there || writer.files.size() > 20) return;
    reader.drain(kScanMs);
    reader.decide();
    const bool stopped = random() % 3 == 0;
    if (stopped) reader.crash();
    writer.rotate();
    if (stopped) reader.open();
  };
  for (int step = 0; step < 200; step++) {
    switch (random() % 10) {
      case 0:
      case 1:
      case 2:
        writer.finish_line();
        if (!writer.is_there) writer.create();
        writer.line(0);
        break;
      case 3: writer.finish_line(); break;
      case 4: rotate(); break;
      case 5:
        reader.crash();
        reader.open();
        break;
      case 6: reader.decide(); break;
      case 7: reader.clock.advance_ms(static_cast<int64_t>(random() % 2000)); break;
      default: reader.poll(); break;
    }
  }
  writer.finish_line();
  for (int i = 0; i < 25; i++) reader.drain(kQuietMs);
  check_rows(writer, reader.rows, true);
}

// A pattern that finds the old files too: any number of rotations, late writers, files that are removed.
void run_pattern(uint64_t seed) {
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  TestFolder folder;
  Writer writer(folder, random);
  Reader reader(folder / "log*", random);
  for (int step = 0; step < 200; step++) {
    switch (random() % 12) {
      case 0:
      case 1:
      case 2:
        writer.finish_line();
        if (!writer.is_there) writer.create();
        writer.line(0);
        break;
      case 3:
        writer.finish_line();
        if (writer.files.size() > 1) {  // late
          writer.line(1);
          writer.finish_line();
        }
        break;
      case 4:
        if (writer.is_there && writer.files.size() < 20) writer.rotate();
        break;
      case 5:
        reader.crash();
        for (uint64_t i = random() % 4; i > 0; i--)
          if (writer.is_there && writer.files.size() < 20) writer.rotate();
        reader.open();
        break;
      case 6: reader.decide(); break;
      case 7: reader.clock.advance_ms(static_cast<int64_t>(random() % 100'000)); break;
      case 8:
        if (writer.files.size() < 3) break;
        writer.finish_line();
        for (int i = 0; i < 8; i++) reader.drain(kQuietMs);
        if (random() % 2 == 0) reader.drain(kIdleCloseMs);
        reader.decide();
        fs::remove(writer.name(writer.files.size() - 1 + writer.age_of_first()));
        writer.files.pop_back();
        if (random() % 2 == 0 && !writer.is_there) writer.create();
        break;
      default: reader.poll(); break;
    }
  }
  writer.finish_line();
  for (int i = 0; i < 25; i++) reader.drain(kQuietMs);
  check_rows(writer, reader.rows, false);
}

TEST_CASE("follow: random writers, rotations and restarts of one path") {
  for (int seed = 0; seed < seeds(); seed++) run_single(static_cast<uint64_t>(seed));
}

TEST_CASE("follow: random writers, rotations and restarts of a pattern that finds old files") {
  for (int seed = 0; seed < seeds(); seed++) run_pattern(static_cast<uint64_t>(seed));
}

}  // namespace
}  // namespace millrace
