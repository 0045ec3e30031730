#include "sources/file_source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <deque>
#include <random>

#include "tests/sources/source_fixture.h"

namespace millrace {
namespace {

std::unique_ptr<Source> source_of(const std::string& path, size_t block = 256 << 10, size_t max_record = 16 << 20) {
  return make_file_source({path, max_record, block}, SourceContext());
}

// What the page says, as simply as it can be written.
std::vector<ReadRow> model(const std::string& text, size_t max_record, uint32_t* too_large, size_t from = 0) {
  std::vector<ReadRow> rows;
  for (size_t at = from; at < text.size();) {
    const size_t newline = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, newline - at);
    if (line.ends_with('\r')) line.pop_back();
    if (line.size() > max_record) {
      ++*too_large;
    } else if (!line.empty()) {
      rows.push_back({0, static_cast<int64_t>(at), line});
    }
    at = newline + 1;
  }
  return rows;
}

std::string random_text(std::mt19937_64& random) {
  static constexpr char kBytes[] = "ab\n\n\r{}\0";
  std::string text;
  const size_t lines = random() % 12;
  for (size_t i = 0; i < lines; i++) {
    const size_t size = random() % 4 == 0 ? random() % 200 : random() % 10;
    for (size_t j = 0; j < size; j++) text += random() % 8 == 0 ? kBytes[random() % 8] : 'x';
    if (i + 1 < lines || random() % 2 == 0) text += random() % 3 == 0 ? "\r\n" : "\n";
  }
  return text;
}

Status reopen(Source& source, const std::vector<SourcePosition>& at) { return source.open(at, {}); }

TEST_CASE("file source: lines, offsets, partition") {
  TestFolder folder;
  const std::string path = folder.write("a.jsonl", "{\"a\":1}\n\n\r\n{\"a\":2}\r\nlast");
  auto source = source_of(path);
  REQUIRE(source->open({}, {}).is_ok());
  SourcePoll poll;
  poll.arena = std::make_shared<Arena>();
  REQUIRE(source->poll({}, 0, &poll).is_ok());
  CHECK(poll.end_of_input);
  REQUIRE(poll.count == 3);
  CHECK(poll.rows->payload[0] == "{\"a\":1}");
  CHECK(poll.rows->payload[1] == "{\"a\":2}");
  CHECK(poll.rows->payload[2] == "last");
  CHECK(poll.rows->offset[1] == 11);
  REQUIRE(poll.rows->partitions->size() == 1);
  CHECK(poll.rows->partitions->at(0).topic == path);
  CHECK(source->positions().at(0).position == 24);
  // Nothing comes after the end, however often it is asked.
  SourcePoll again;
  again.arena = std::make_shared<Arena>();
  REQUIRE(source->poll({}, 0, &again).is_ok());
  CHECK(again.count == 0);
  CHECK(again.end_of_input);
}

TEST_CASE("file source: line splitting equals the model for any block size, limit and resume point") {
  TestFolder folder;
  std::mt19937_64 random(7);
  for (int round = 0; round < 1500; round++) {
    const std::string text = random_text(random);
    const std::string path = folder.write("f", text);
    const size_t block = 1 + random() % (random() % 2 ? 8 : 300);
    const size_t max_record = random() % 2 ? 1 + random() % 20 : 1000;
    SourceLimits limits;
    limits.max_rows = 1 + static_cast<uint32_t>(random() % 5);
    limits.max_bytes = 1 + random() % 50;
    uint32_t too_large = 0;
    const std::vector<ReadRow> expected = model(text, max_record, &too_large);

    // Read with an abandoned reader after each poll: every position must resume exactly.
    std::vector<ReadRow> rows;
    std::vector<SourcePosition> at;
    uint32_t skipped = 0;
    bool end = false;
    auto source = source_of(path, block, max_record);
    REQUIRE(source->open({}, {}).is_ok());
    for (int polls = 0; !end; polls++) {
      REQUIRE(polls < 10'000);
      // Skipping a long line with tiny blocks takes several polls of one reader, so not each is abandoned.
      if (polls % 4 == 3 && block > 64) {
        at = source->positions();
        source = source_of(path, block, max_record);
        REQUIRE(reopen(*source, at).is_ok());
      }
      REQUIRE(poll_once(*source, limits, &rows, &end, &skipped).is_ok());
    }
    CHECK(rows == expected);
    CHECK(skipped == too_large);
    CHECK(source->positions().at(0).position == static_cast<int64_t>(text.size()));
  }
}

TEST_CASE("file source: views stay valid while the source goes on") {
  TestFolder folder;
  std::string text;
  for (int i = 0; i < 20'000; i++) text += "line number " + std::to_string(i) + std::string(i % 90, '.') + "\n";
  auto source = source_of(folder.write("f", text), 4096);
  REQUIRE(source->open({}, {}).is_ok());
  uint32_t ignored = 0;
  const std::vector<ReadRow> expected = model(text, 1 << 20, &ignored);
  std::deque<SourcePoll> held;
  size_t next = 0;
  const auto release = [&] {
    for (uint32_t i = 0; i < held.front().count; i++, next++) {
      REQUIRE(held.front().rows->payload[i] == expected[next].payload);
    }
    held.pop_front();
  };
  for (bool end = false; !end;) {
    SourcePoll poll;
    poll.arena = std::make_shared<Arena>();
    REQUIRE(source->poll({100, 64 * 1024}, 0, &poll).is_ok());
    end = poll.end_of_input;
    poll.arena.reset();
    held.push_back(std::move(poll));
    if (held.size() > 30) release();
  }
  source.reset();
  while (!held.empty()) release();
  CHECK(next == expected.size());
}

TEST_CASE("file source: resume at every line") {
  TestFolder folder;
  std::string text;
  for (int i = 0; i < 700; i++) text += "{\"n\":" + std::to_string(i) + "}" + (i % 3 ? "\n" : "\r\n");
  const std::string path = folder.write("f", text);
  uint32_t ignored = 0;
  auto source = source_of(path, 64);
  REQUIRE(source->open({}, {}).is_ok());
  std::vector<ReadRow> rows;
  bool end = false;
  while (!end) {
    const std::vector<SourcePosition> at = source->positions();
    auto resumed = source_of(path, 1000);
    REQUIRE(reopen(*resumed, at).is_ok());
    CHECK(read_to_end(*resumed) == model(text, 1000, &ignored, static_cast<size_t>(at[0].position)));
    REQUIRE(poll_once(*source, {1, 1000}, &rows, &end).is_ok());
  }
  CHECK(rows.size() == 700);
}

TEST_CASE("file source: too large records are skipped and counted, also the last one") {
  TestFolder folder;
  const std::string big(100'000, 'x');
  const std::string path = folder.write("f", "a\n" + big + "\nb\r\n" + std::string(1000, 'y') + "\r\n" + big);
  auto source = source_of(path, 512, 1000);
  REQUIRE(source->open({}, {}).is_ok());
  uint32_t too_large = 0;
  const std::vector<ReadRow> rows = read_to_end(*source, {}, &too_large);
  REQUIRE(rows.size() == 3);
  CHECK(rows[2].payload == std::string(1000, 'y'));
  CHECK(too_large == 2);

  // Positions in the middle of the skip are the beginning of the line.
  source = source_of(path, 512, 1000);
  REQUIRE(source->open({}, {}).is_ok());
  std::vector<ReadRow> first;
  bool end = false;
  REQUIRE(poll_once(*source, {}, &first, &end).is_ok());
  REQUIRE(first.size() == 1);
  CHECK(source->positions()[0].position == 2);
  auto resumed = source_of(path, 512, 1000);
  REQUIRE(reopen(*resumed, source->positions()).is_ok());
  too_large = 0;
  CHECK(read_to_end(*resumed, {}, &too_large).size() == 2);
  CHECK(too_large == 2);
}

TEST_CASE("file source: a record larger than the batch limit comes alone") {
  TestFolder folder;
  const std::string big(300'000, 'x');
  auto source = source_of(folder.write("f", "a\n" + big + "\nb\n"));
  REQUIRE(source->open({}, {}).is_ok());
  std::vector<ReadRow> rows;
  std::vector<size_t> counts;
  for (bool end = false; !end;) {
    const size_t before = rows.size();
    REQUIRE(poll_once(*source, {}, &rows, &end).is_ok());
    counts.push_back(rows.size() - before);
  }
  CHECK(counts == std::vector<size_t>{1, 1, 1});
  CHECK(rows[1].payload == big);
}

TEST_CASE("file source: a glob is read in order, each file a partition") {
  TestFolder folder;
  folder.write("b.log", "3\n4");
  folder.write("a.log", "1\n2\n");
  folder.write("c.log", "");
  folder.write("d.log", "5\n");
  folder.write(".e.log", "hidden\n");
  std::filesystem::create_directory(folder / "x.log");
  auto source = source_of(folder / "*.log");
  REQUIRE(source->open({}, {}).is_ok());
  const std::vector<ReadRow> rows = read_to_end(*source);
  std::string text;
  for (const ReadRow& row : rows) text += std::to_string(row.partition) + ":" + row.payload + " ";
  CHECK(text == "0:1 0:2 1:3 1:4 3:5 ");

  // A run that goes on behind it reads what is new, and what has grown at a line's end.
  const std::vector<SourcePosition> done = source->positions();
  folder.write("aa.log", "new\n");
  std::ofstream(folder / "a.log", std::ios::app) << "more\n";
  auto next = source_of(folder / "*.log");
  REQUIRE(reopen(*next, done).is_ok());
  const std::vector<ReadRow> more = read_to_end(*next);
  REQUIRE(more.size() == 2);
  CHECK(more[0].payload == "more");
  CHECK(more[0].offset == 4);
  CHECK(more[1].payload == "new");
}

TEST_CASE("file source: files that were read to their end may go and stay read") {
  TestFolder folder;
  folder.write("a.log", "1\n");
  folder.write("b.log", "2\n3\n");
  auto source = source_of(folder / "*.log");
  REQUIRE(source->open({}, {}).is_ok());
  std::vector<ReadRow> rows;
  bool end = false;
  REQUIRE(poll_once(*source, {2, 1000}, &rows, &end).is_ok());
  const std::vector<SourcePosition> at = source->positions();
  std::filesystem::rename(folder / "a.log", folder / "a.kept");
  auto next = source_of(folder / "*.log");
  REQUIRE(reopen(*next, at).is_ok());
  CHECK(read_to_end(*next).size() == 1);
  const std::vector<SourcePosition> after = next->positions();
  CHECK(after.size() == 2);
  // All gone: the end at once. Back again: still read.
  std::filesystem::remove(folder / "b.log");
  auto third = source_of(folder / "*.log");
  REQUIRE(reopen(*third, after).is_ok());
  CHECK(read_to_end(*third).empty());
  std::filesystem::rename(folder / "a.kept", folder / "a.log");
  auto fourth = source_of(folder / "*.log");
  REQUIRE(reopen(*fourth, third->positions()).is_ok());
  CHECK(read_to_end(*fourth).empty());

  std::filesystem::remove(folder / "a.log");
  auto partly = source_of(folder / "*.log");
  const std::vector<SourcePosition> unfinished{{{folder / "a.log", 0}, "1:2:3", 2}};
  CHECK(reopen(*partly, unfinished).code() == Code::kFileMissing);
}

TEST_CASE("file source: a replaced, changed or cut file is noticed") {
  TestFolder folder;
  const std::string text = "first line\nsecond line\nthird line\n";
  const std::string path = folder.write("f", text);
  auto source = source_of(path);
  REQUIRE(source->open({}, {}).is_ok());
  std::vector<ReadRow> rows;
  bool end = false;
  REQUIRE(poll_once(*source, {2, 1000}, &rows, &end).is_ok());
  const std::vector<SourcePosition> at = source->positions();
  CHECK(at[0].position == 23);
  const auto code_now = [&] { return reopen(*source_of(path), at).code(); };
  CHECK(code_now() == Code::kOk);

  folder.write("f", "first line\nsecond LINE\nthird line\n");  // same inode, other bytes
  const Status changed = reopen(*source_of(path), at);
  CHECK(changed.code() == Code::kFileChanged);
  CHECK(changed.fault() == Fault::kUser);
  folder.write("f", text + "and more\n");
  CHECK(code_now() == Code::kOk);
  folder.write("f", "first line\n");
  CHECK(code_now() == Code::kFileChanged);
  folder.write("g", text);
  std::filesystem::rename(folder / "g", path);  // other inode, same bytes
  CHECK(code_now() == Code::kFileChanged);
  std::filesystem::remove(path);
  CHECK(code_now() == Code::kFileMissing);
}

TEST_CASE("file source: a last line without newline that is continued later is noticed") {
  TestFolder folder;
  const std::string path = folder.write("f", "one\ntwo");
  auto source = source_of(path);
  REQUIRE(source->open({}, {}).is_ok());
  CHECK(read_to_end(*source).size() == 2);
  const std::vector<SourcePosition> at = source->positions();
  std::ofstream(path, std::ios::app) << "\nthree\n";
  auto next = source_of(path);
  REQUIRE(reopen(*next, at).is_ok());
  CHECK(read_to_end(*next) == std::vector<ReadRow>{{0, 8, "three"}});
  folder.write("f", "one\ntwo and a half\n");
  CHECK(reopen(*source_of(path), at).code() == Code::kFileChanged);
}

TEST_CASE("file source: a file that shrinks while it is read is noticed") {
  TestFolder folder;
  const std::string path = folder.write("f", std::string(50'000, 'x') + "\n" + std::string(50'000, 'y') + "\n");
  auto source = source_of(path, 1000);
  REQUIRE(source->open({}, {}).is_ok());
  std::vector<ReadRow> rows;
  bool end = false;
  while (rows.empty()) REQUIRE(poll_once(*source, {1, 1000}, &rows, &end).is_ok());
  REQUIRE(::truncate(path.c_str(), 10) == 0);
  Status status;
  for (int i = 0; i < 100 && status.is_ok() && !end; i++) status = poll_once(*source, {1, 1000}, &rows, &end);
  CHECK(status.code() == Code::kFileChanged);
}

TEST_CASE("file source: what is no file") {
  TestFolder folder;
  CHECK(source_of(folder / "absent")->open({}, {}).code() == Code::kFileMissing);
  CHECK(source_of(folder / "*.absent")->open({}, {}).code() == Code::kFileMissing);
  CHECK(source_of(folder.path)->open({}, {}).code() == Code::kFileIo);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  const Status pipe = source_of(folder / "pipe")->open({}, {});
  CHECK(pipe.code() == Code::kFileIo);
  CHECK(pipe.fault() == Fault::kUser);
  std::filesystem::create_symlink(folder.write("real", "x\n"), folder / "link");
  auto link = source_of(folder / "link");
  REQUIRE(link->open({}, {}).is_ok());
  CHECK(read_to_end(*link).size() == 1);
}

std::unique_ptr<Source> csv_source(const std::string& path, const Format& format, const Schema& schema) {
  FileSourceSettings settings;
  settings.path = path;
  settings.block_bytes = 16;
  settings.format = format;
  settings.schema = schema;
  return make_file_source(settings, SourceContext());
}

Format csv_format(bool header, bool multiline = false) {
  Format format("csv");
  format.csv.header = header;
  format.csv.multiline = multiline;
  format.csv_columns = std::make_shared<CsvColumns>();
  return format;
}

TEST_CASE("file source: each csv file has its own header, also after a restart in the middle") {
  TestFolder folder;
  const Schema schema = {{"a", Type(TypeKind::kInt)}, {"b", Type(TypeKind::kString)}};
  folder.write("1.csv", "a,b\r\n1,x\r\n2,y\r\n");
  folder.write("2.csv", "a,b\n3,z\n");
  folder.write("3.csv", "\xEF\xBB\xBF" "b,c,a\nu,,4\nv,,5");
  folder.write("4.csv", "");
  folder.write("5.csv", "b,a");  // no rows
  std::string all;
  std::vector<SourcePosition> at;
  const auto format = csv_format(true);
  for (bool end = false; !end;) {
    auto source = csv_source(folder / "*.csv", format, schema);
    REQUIRE(reopen(*source, at).is_ok());
    std::vector<ReadRow> rows;
    const Status polled = poll_once(*source, {1, 1000}, &rows, &end);
    REQUIRE_MESSAGE(polled.is_ok(), polled.to_string());
    for (const ReadRow& row : rows) {
      all += std::to_string(row.partition) + "@" + std::to_string(row.offset) + " " + row.payload + " [";
      for (const int field : format.csv_columns->fields()) all += std::to_string(field) + " ";
      all += "]\n";
    }
    at = source->positions();
  }
  CHECK(all ==
        "0@5 1,x [0 1 ]\n0@10 2,y [0 1 ]\n1@4 3,z [0 1 ]\n2@9 u,,4 [1 -1 0 ]\n2@14 v,,5 [1 -1 0 ]\n");

  // One poll holds rows under one header only.
  auto source = csv_source(folder / "*.csv", format, schema);
  REQUIRE(source->open({}, {}).is_ok());
  std::vector<ReadRow> rows;
  bool end = false;
  REQUIRE(poll_once(*source, {}, &rows, &end).is_ok());
  CHECK(rows.size() == 3);
  CHECK(format.csv_columns->fields() == std::vector<int>{0, 1});
  REQUIRE(poll_once(*source, {}, &rows, &end).is_ok());
  CHECK(rows.size() == 5);
  CHECK(format.csv_columns->fields() == std::vector<int>{1, -1, 0});
}

TEST_CASE("file source: a csv header that does not fit, or never ends, stops it") {
  TestFolder folder;
  const Schema schema = {{"a", Type(TypeKind::kInt)}};
  const auto status_of = [&](const std::string& text) {
    auto source = csv_source(folder.write("f.csv", text), csv_format(true), schema);
    REQUIRE(source->open({}, {}).is_ok());
    std::vector<ReadRow> rows;
    bool end = false;
    return poll_once(*source, {}, &rows, &end);
  };
  CHECK(status_of("b\n1\n").code() == Code::kDecode);
  CHECK(status_of("b\n1\n").message().starts_with(folder / "f.csv: the header has no column \"a\""));
  CHECK(status_of("a" + std::string(70'000, ' ')).code() == Code::kDecode);
  CHECK(status_of("a," + std::string(60'000, ' ') + "\n1,\n").is_ok());
}

TEST_CASE("file source: csv without header, byte order mark and line breaks in fields") {
  TestFolder folder;
  const Schema schema = {{"a", Type(TypeKind::kString)}};
  const std::string path =
      folder.write("f.csv", "\xEF\xBB\xBFone\n\"two\n\"\"\nlines\",x\n\n\"three\r\n\"\r\nfour\n\"open\nend");
  auto lines = csv_source(path, csv_format(false), schema);
  REQUIRE(lines->open({}, {}).is_ok());
  CHECK(read_to_end(*lines).size() == 9);
  for (uint32_t rows = 1; rows < 5; rows++) {
    std::vector<SourcePosition> at;
    std::vector<std::string> records;
    for (bool end = false; !end;) {
      auto source = csv_source(path, csv_format(false, true), schema);
      REQUIRE(reopen(*source, at).is_ok());
      std::vector<ReadRow> read;
      REQUIRE(poll_once(*source, {rows, 1000}, &read, &end).is_ok());
      for (const ReadRow& row : read) records.push_back(row.payload);
      at = source->positions();
    }
    CHECK(records ==
          std::vector<std::string>{"one", "\"two\n\"\"\nlines\",x", "\"three\r\n\"", "four", "\"open\nend"});
  }
}

}  // namespace
}  // namespace millrace
