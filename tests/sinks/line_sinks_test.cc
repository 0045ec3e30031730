// The connectors that write lines, from their YAML to what they leave behind.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "sinks/blackhole_sink.h"
#include "sinks/file_sink.h"
#include "sinks/stdout_sink.h"
#include "tests/sinks/sink_fixture.h"

namespace millrace {
namespace {

const Schema kSchema{{"name", Type(TypeKind::kString)}, {"total", Type(TypeKind::kInt)}};

struct PlannedSinkOf {
  // text: the whole sink, `KIND: BODY` with format and value beside it.
  PlannedSinkOf(const std::string& kind, const std::string& text, const Edge& edge = {kSchema, EdgeType::kAppend, {}},
                bool dead_letters = false, bool dead_letters_only = false, int descriptor = 1) {
    SinkRegistry registry;
    register_file_sink(registry);
    register_stdout_sink(registry, descriptor);
    register_blackhole_sink(registry);
    root = ConfigNode::parse("t.yaml", text, environment_variables(), diagnostics);
    plan = (*registry.find(kind))(*root.find(kind), diagnostics);
    if (!plan) return;
    SinkPlanContext context;
    context.pipeline = "p";
    context.sink = "out";
    if (const auto format = root.find("format")) {
      Diagnostics ignored;  // an unknown name is for the plan to report
      context.format = format->is_scalar() ? Format(format->text()) : read_format(*format, ignored);
      context.format_at = format->location();
    }
    if (const auto value = root.find("value")) context.value = *value;
    if (const auto key_format = root.find("key_format")) context.key_format = *key_format;
    context.dead_letters = dead_letters;
    context.dead_letters_only = dead_letters_only;
    planned = plan->plan(context, edge, diagnostics);
  }
  std::unique_ptr<Sink> make() const {
    REQUIRE_MESSAGE(planned, diagnostics.render_text());
    return plan->make();
  }
  std::string codes() const {
    std::string all;
    for (const Diagnostic& one : diagnostics.all()) {
      all += fmt::format("{}:{} MR{}\n", one.at.line, one.at.column, static_cast<int>(one.code));
    }
    return all;
  }

  Diagnostics diagnostics;
  ConfigNode root;
  std::unique_ptr<SinkPlan> plan;
  bool planned = false;
};

Batch rows_of(const std::vector<std::pair<const char*, int64_t>>& rows) {
  BatchMaker maker(kSchema);
  for (const auto& [name, total] : rows) maker.text(0, name).number(1, total).end_row();
  return maker.finish();
}

void write_all_rows(Sink& sink, const Batch& batch) {
  uint32_t cursor = 0;
  const Result<Written> written = sink.write(batch, &cursor);
  REQUIRE_MESSAGE(written.is_ok(), written.status().to_string());
  CHECK(written.value() == Written::kOk);
  CHECK(cursor == batch.live());
}

SinkProgress decide(Sink& sink, uint64_t epoch) {
  REQUIRE(sink.flush(epoch).is_ok());
  const Result<SinkProgress> progress = sink.prepare(epoch);
  REQUIRE(progress.is_ok());
  REQUIRE(sink.commit(epoch).is_ok());
  return progress.value();
}

Batch dead_letter() {
  BatchMaker maker(dead_letter_schema());
  maker.text(0, "{bad").text(1, nullptr).text(2, "no \"json\"").text(3, "source").text(4, "orders");
  maker.number(5, 3).number(6, 42).end_row();
  return maker.finish();
}
const char kDeadLetterLine[] =
    "{\"error\":\"no \\\"json\\\"\",\"operator\":\"source\",\"topic\":\"orders\",\"partition\":3,\"offset\":42,"
    "\"key_base64\":null,\"value_base64\":\"e2JhZA==\"}\n";

TEST_CASE("file sink: an epoch's life, restart, end") {
  TestFolder folder;
  const std::string path = folder / "out.jsonl";
  const PlannedSinkOf planned("file", "file: " + path + "\n");
  CHECK(planned.plan->guarantee() == SinkGuarantee::kPrepared);
  CHECK(planned.plan->takes_payload());
  SinkProgress progress;
  {
    auto sink = planned.make();
    REQUIRE(sink->open({}, true, std::nullopt).is_ok());
    write_all_rows(*sink, rows_of({{"a", 1}, {"b", 2}}));
    progress = decide(*sink, 1);
    CHECK(progress.sink == "out");
    write_all_rows(*sink, rows_of({{"undecided", 3}}));
    REQUIRE(sink->flush(2).is_ok());
    REQUIRE(sink->prepare(2).is_ok());  // prepared, and then the process dies
  }
  CHECK_FALSE(exists(path));
  {
    auto sink = planned.make();
    REQUIRE(sink->open({}, false, progress).is_ok());
    write_all_rows(*sink, rows_of({{nullptr, 4}}));
    // Rows of the next epoch may come between prepare and commit.
    REQUIRE(sink->flush(2).is_ok());
    REQUIRE(sink->prepare(2).is_ok());
    write_all_rows(*sink, rows_of({{"next", 5}}));
    REQUIRE(sink->commit(2).is_ok());
    progress = decide(*sink, 3);
    REQUIRE(sink->finish().is_ok());
    REQUIRE(sink->finish().is_ok());
  }
  const std::string all =
      "{\"name\":\"a\",\"total\":1}\n{\"name\":\"b\",\"total\":2}\n{\"name\":null,\"total\":4}\n"
      "{\"name\":\"next\",\"total\":5}\n";
  CHECK(content(path) == all);
  {
    auto sink = planned.make();  // killed between the rename and the end of the process
    REQUIRE(sink->open({}, false, progress).is_ok());
    decide(*sink, 4);
    REQUIRE(sink->finish().is_ok());
    CHECK(content(path) == all);
  }
  {
    auto sink = planned.make();  // a run without state replaces it, at its end
    REQUIRE(sink->open({}, true, std::nullopt).is_ok());
    CHECK(content(path) == all);
    REQUIRE(sink->finish().is_ok());
    CHECK(exists(path));
    CHECK(content(path).empty());
  }
}

TEST_CASE("file sink: only what is committed reaches the target") {
  TestFolder folder;
  const PlannedSinkOf planned("file", "file: {path: " + folder / "out" + "}\n");
  auto sink = planned.make();
  REQUIRE(sink->open({}, true, std::nullopt).is_ok());
  write_all_rows(*sink, rows_of({{"a", 1}}));
  decide(*sink, 1);
  write_all_rows(*sink, rows_of({{"b", 2}}));
  REQUIRE(sink->flush(2).is_ok());
  REQUIRE(sink->finish().is_ok());
  CHECK(content(folder / "out") == "{\"name\":\"a\",\"total\":1}\n");
}

TEST_CASE("file sink: a record that does not fit the configuration") {
  TestFolder folder;
  const PlannedSinkOf planned("file", "file: " + folder / "out" + "\n");
  SinkProgress progress;
  {
    auto sink = planned.make();
    REQUIRE(sink->open({}, true, std::nullopt).is_ok());
    progress = decide(*sink, 1);
  }
  const PlannedSinkOf moved("file", "file: " + folder / "elsewhere" + "\n");
  CHECK(moved.make()->open({}, false, progress).code() == Code::kFileChanged);
  for (const char* bytes : {"file1", "file1 x", "file2 0 0 out", "file1 0", "file1 0 zz out", "\x01\x02"}) {
    CHECK(planned.make()->open({}, false, SinkProgress{"out", bytes}).code() == Code::kProgressCorrupt);
  }
  CHECK(planned.make()->open({}, false, progress).is_ok());
}

TEST_CASE("file sink: folders named by columns, a header per part, names that are too long") {
  TestFolder folder;
  ManualClock clock(1000);
  const PlannedSinkOf planned("file",
                              "file: {path: '" + folder / "out/{name}" + "', roll: {every: 1s}}\nformat: csv\n");
  CHECK(planned.plan->guarantee() == SinkGuarantee::kPrepared);
  CHECK(planned.plan->needed_inputs() == std::vector<bool>{true, true});
  std::vector<std::string> refused;
  SinkContext context;
  context.clock = &clock;
  context.refuse = [&](const Batch&, uint32_t, Code, const std::string& why) {
    refused.push_back(why);
    return Status::ok();
  };
  SinkProgress progress;
  {
    auto sink = planned.make();
    REQUIRE(sink->open(context, true, std::nullopt).is_ok());
    write_all_rows(*sink, rows_of({{"a", 1}, {"b", 2}, {std::string(300, 'x').c_str(), 3}, {"a", 4}}));
    decide(*sink, 1);
    CHECK_FALSE(exists(folder / "out/a"));
    clock.advance_ms(1000);
    decide(*sink, 2);
    CHECK(content(folder / "out/a/part-2-0.csv") == "name,total\na,1\na,4\n");
    CHECK(content(folder / "out/b/part-2-1.csv") == "name,total\nb,2\n");
    write_all_rows(*sink, rows_of({{"a", 5}}));
    progress = decide(*sink, 3);
    write_all_rows(*sink, rows_of({{"a", 6}}));
  }
  REQUIRE(refused.size() == 1);
  CHECK(refused[0].starts_with("the name of its folder is 300 bytes long"));
  {
    auto sink = planned.make();
    REQUIRE(sink->open(context, false, progress).is_ok());
    decide(*sink, 4);
    REQUIRE(sink->finish().is_ok());
    CHECK(content(folder / "out/a/part-4-0.csv") == "name,total\na,5\n");
  }
  const PlannedSinkOf file("file", "file: " + folder / "one.csv" + "\n");
  CHECK(file.make()->open({}, false, progress).code() == Code::kFileChanged);
  CHECK(planned.make()->open({}, false, SinkProgress{"out", "file1 0 0 x"}).code() == Code::kFileChanged);
  CHECK(planned.make()->open({}, false, SinkProgress{"out", "folder1"}).code() == Code::kProgressCorrupt);
}

TEST_CASE("file sink: dead letters in a folder, by their own columns") {
  TestFolder folder;
  const PlannedSinkOf planned("file", "file: '" + folder / "out/{topic}" + "'\n",
                              {dead_letter_schema(), EdgeType::kAppend, {}}, true, true);
  auto sink = planned.make();
  REQUIRE(sink->open({}, true, std::nullopt).is_ok());
  write_all_rows(*sink, dead_letter());
  decide(*sink, 1);
  REQUIRE(sink->finish().is_ok());
  CHECK(content(folder / "out/orders/part-1-0.jsonl") == kDeadLetterLine);
}

TEST_CASE("file sinks: which paths two of them may have") {
  const FileSinkSettings file{"out/x", false, false}, parts{"out/x", true, false}, columns{"out", true, true};
  CHECK(file_conflict(file, {"./out//y/../x/", true, false}) == "write to out/x");
  CHECK(file_conflict(file, parts) == "write to out/x");
  CHECK(file_conflict(file, columns).empty());
  CHECK(file_conflict(parts, columns) == "write parts below out");
  CHECK(file_conflict(columns, parts) == "write parts below out");
  CHECK(file_conflict(parts, {"out", true, false}).empty());
  CHECK(file_conflict(parts, {"out/xy", true, true}).empty());
  CHECK(file_conflict(file, {"out/y", false, false}).empty());
}

TEST_CASE("file sink: csv has one header, whenever it is killed") {
  TestFolder folder;
  const std::string path = folder / "out.csv";
  const PlannedSinkOf planned("file", "file: " + path + "\nformat: csv\n");
  CHECK_FALSE(planned.plan->takes_payload());
  std::optional<SinkProgress> progress;
  const auto live = [&](const char* name, bool decided) {
    auto sink = planned.make();
    REQUIRE(sink->open({}, !progress, progress).is_ok());
    if (name != nullptr) write_all_rows(*sink, rows_of({{name, 1}}));
    if (decided) progress = decide(*sink, 1);
    return sink;
  };
  live("undecided", false);
  live(nullptr, true);  // nothing but the header is decided
  live("undecided", false);
  live("a, b", true);
  live("undecided", false);
  REQUIRE(live("c", true)->finish().is_ok());
  CHECK(content(path) == "name,total\n\"a, b\",1\nc,1\n");
  live("undecided", false);  // behind the end
  REQUIRE(live(nullptr, true)->finish().is_ok());
  CHECK(content(path) == "name,total\n\"a, b\",1\nc,1\n");
  progress.reset();
  REQUIRE(live(nullptr, true)->finish().is_ok());  // no rows: the header alone
  CHECK(content(path) == "name,total\n");
}

TEST_CASE("file sink: csv without header, line breaks in fields") {
  TestFolder folder;
  const auto write = [&](const std::string& options, std::vector<uint32_t>* refused) {
    const PlannedSinkOf planned("file", "file: " + folder / "out" + "\nformat: {csv: {" + options + "}}\n");
    auto sink = planned.make();
    SinkContext context;
    context.refuse = [&](const Batch&, uint32_t row, Code, const std::string&) {
      refused->push_back(row);
      return Status::ok();
    };
    REQUIRE(sink->open(context, true, std::nullopt).is_ok());
    write_all_rows(*sink, rows_of({{"two\nlines", 1}, {"one", 2}}));
    decide(*sink, 1);
    REQUIRE(sink->finish().is_ok());
    return content(folder / "out");
  };
  std::vector<uint32_t> refused;
  CHECK(write("header: false, delimiter: \"\\t\"", &refused) == "one\t2\n");
  CHECK(refused == std::vector<uint32_t>{0});
  CHECK(write("header: false, multiline: true", &refused) == "\"two\nlines\",1\none,2\n");
  CHECK(refused.size() == 1);
}

TEST_CASE("file sink: values, deletes and refused rows") {
  TestFolder folder;
  SUBCASE("string format, a newline is refused") {
    const PlannedSinkOf planned("file", "file: " + folder / "out" + "\nformat: string\nvalue: name\n");
    CHECK_FALSE(planned.plan->takes_payload());
    CHECK(planned.plan->needed_inputs() == std::vector<bool>{true, false});
    auto sink = planned.make();
    std::vector<uint32_t> refused;
    SinkContext context;
    context.refuse = [&](const Batch&, uint32_t row, Code, const std::string&) {
      refused.push_back(row);
      return Status::ok();
    };
    REQUIRE(sink->open(context, true, std::nullopt).is_ok());
    write_all_rows(*sink, rows_of({{"one", 1}, {"two\nlines", 2}, {"three", 3}}));
    decide(*sink, 1);
    REQUIRE(sink->finish().is_ok());
    CHECK(content(folder / "out") == "one\nthree\n");
    CHECK(refused == std::vector<uint32_t>{1});
  }
  SUBCASE("a row whose expression fails, nobody to refuse to") {
    const PlannedSinkOf planned("file", "file: " + folder / "out" + "\nvalue: 10 / total\n");
    auto sink = planned.make();
    REQUIRE(sink->open({}, true, std::nullopt).is_ok());
    uint32_t cursor = 0;
    CHECK(sink->write(rows_of({{"a", 0}}), &cursor).status().code() == Code::kEvaluation);
  }
  SUBCASE("deletes keep the key") {
    const PlannedSinkOf planned("file", "file: " + folder / "out" + "\n", {kSchema, EdgeType::kUpsert, {0}});
    auto sink = planned.make();
    REQUIRE(sink->open({}, true, std::nullopt).is_ok());
    BatchMaker maker(kSchema);
    maker.text(0, "a").number(1, 1).end_row().text(0, "a").number(1, 1).end_row(Change::kDelete);
    write_all_rows(*sink, maker.finish());
    decide(*sink, 1);
    REQUIRE(sink->finish().is_ok());
    CHECK(content(folder / "out") == "{\"name\":\"a\",\"total\":1}\n{\"name\":\"a\",\"total\":null}\n");
  }
}

TEST_CASE("file sink: dead letters, alone and among rows") {
  TestFolder folder;
  const std::string text = "file: " + folder / "out" + "\n";
  const PlannedSinkOf only("file", text, {dead_letter_schema(), EdgeType::kAppend, {}}, true, true);
  const PlannedSinkOf both("file", text, {kSchema, EdgeType::kAppend, {}}, true, false);
  for (const PlannedSinkOf* planned : {&only, &both}) {
    auto sink = planned->make();
    REQUIRE(sink->open({}, true, std::nullopt).is_ok());
    if (planned == &both) write_all_rows(*sink, rows_of({{"a", 1}}));
    write_all_rows(*sink, dead_letter());
    decide(*sink, 1);
    REQUIRE(sink->finish().is_ok());
    CHECK(content(folder / "out") ==
          (planned == &both ? "{\"name\":\"a\",\"total\":1}\n" : "") + std::string(kDeadLetterLine));
  }
}

TEST_CASE("stdout sink: lines leave at flush, a closed pipe is terminal") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  const PlannedSinkOf planned("stdout", "stdout:\n", {kSchema, EdgeType::kAppend, {}}, false, false, ends[1]);
  CHECK(planned.plan->guarantee() == SinkGuarantee::kNone);
  auto sink = planned.make();
  REQUIRE(sink->open({}, false, SinkProgress{"out", ""}).is_ok());
  write_all_rows(*sink, rows_of({{"a", 1}}));
  char bytes[100];
  CHECK(::read(ends[0], bytes, sizeof bytes) == -1);
  CHECK(decide(*sink, 1).bytes.empty());
  const ssize_t got = ::read(ends[0], bytes, sizeof bytes);
  REQUIRE(got > 0);
  CHECK(std::string(bytes, static_cast<size_t>(got)) == "{\"name\":\"a\",\"total\":1}\n");
  CHECK(sink->bytes_written() == static_cast<uint64_t>(got));

  ::close(ends[0]);
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  write_all_rows(*sink, rows_of({{"b", 2}}));
  const Status closed = sink->flush(2);
  CHECK(closed.code() == Code::kFileIo);
  CHECK(closed.retry() == Retry::kNever);
  ::signal(SIGPIPE, before);
  ::close(ends[1]);
}

TEST_CASE("blackhole sink: takes everything, asks for every column") {
  const PlannedSinkOf planned("blackhole", "blackhole: {}\nformat: int64\nvalue: total\n");
  CHECK(planned.plan->guarantee() == SinkGuarantee::kNothing);
  CHECK(planned.plan->needed_inputs() == std::vector<bool>{true, true});
  auto sink = planned.make();
  REQUIRE(sink->open({}, true, std::nullopt).is_ok());
  write_all_rows(*sink, rows_of({{"a", 1}, {"b", 2}}));
  CHECK(decide(*sink, 1).bytes.empty());
  CHECK(sink->finish().is_ok());
}

TEST_CASE("line sinks: lint") {
  CHECK(PlannedSinkOf("file", "file: {}\n").codes() == "1:1 MR1006\n");
  CHECK(PlannedSinkOf("file", "file: out/\n").codes() == "1:7 MR1009\n");
  CHECK(PlannedSinkOf("file", "file: ..\n").codes() == "1:7 MR1009\n");
  CHECK(PlannedSinkOf("file", "file:\n  path: a\n  roll: {every: 1m, size: 1KiB}\n").codes().empty());
  CHECK(PlannedSinkOf("file", "file: a/{name}\n").codes().empty());
  CHECK(PlannedSinkOf("file", "file:\n  path: a\n  roll: {}\n").codes() == "3:3 MR1006\n");
  CHECK(PlannedSinkOf("file", "file:\n  path: a\n  roll: {every: 0s}\n").codes() == "3:17 MR1009\n");
  CHECK(PlannedSinkOf("file", "file:\n  path: a\n  roll: {size: 0}\n").codes() == "3:16 MR1009\n");
  CHECK(PlannedSinkOf("file", "file:\n  path: a\n  roll: {after: 1m}\n").codes() == "3:10 MR1005\n");
  CHECK(PlannedSinkOf("file", "file:\n  path: a\n  roll: {size: 1}\n  max_open: 5\n").codes() == "4:3 MR1020\n");
  CHECK(PlannedSinkOf("file", "file:\n  path: a/{name}\n  max_open: 0\n").codes() == "3:13 MR1009\n");
  CHECK(PlannedSinkOf("file", "file:\n  path: a/{nam}\n").codes() == "2:12 MR1007\n");
  CHECK(PlannedSinkOf("file", "file:\n  roll: {size: 1}\n").codes() == "1:1 MR1006\n");
  CHECK(PlannedSinkOf("file", "file: a/{total}\n", {kSchema, EdgeType::kUpsert, {0}}).codes() == "1:7 MR1020\n");
  CHECK(PlannedSinkOf("file", "file: a/{name}\n", {kSchema, EdgeType::kUpsert, {0}}).codes().empty());
  CHECK(PlannedSinkOf("file", "file:\n  path: a\n  rol: 1\n").codes() == "3:3 MR1005\n");
  CHECK(PlannedSinkOf("file", "file: a\nformat: int64\nvalue: total\n").codes() == "2:9 MR1020\n");
  CHECK(PlannedSinkOf("file", "file: a\nformat: bytes\nvalue: name\n").codes() == "2:9 MR1020\n");
  CHECK(PlannedSinkOf("file", "file: a\nformat: jsn\n").codes() == "2:9 MR1011\n");
  CHECK(PlannedSinkOf("file", "file: a\nformat: string\n").codes() == "2:9 MR1020\n");
  CHECK(PlannedSinkOf("file", "file: a\nvalue: totl\n").codes() == "2:8 MR1007\n");
  CHECK(PlannedSinkOf("file", "file: a\nkey_format: int64\n").codes() == "2:13 MR1020\n");
  CHECK(PlannedSinkOf("stdout", "stdout: {table: true}\n").codes() == "1:10 MR1005\n");
  CHECK(PlannedSinkOf("blackhole", "blackhole: {x: 1}\n").codes() == "1:13 MR1005\n");
}

}  // namespace
}  // namespace millrace
