#include "pipeline/testing/test_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "pipeline/testing/test_record.h"
#include "pipeline/testing/test_values.h"

namespace millrace {
namespace {

constexpr int64_t kStartTimeMs = 1'704'067'200'000;  // 2024-01-01T00:00:00Z
constexpr int64_t kMaxPartitions = 1000;
constexpr int64_t kMaxBatchRows = 1024;
constexpr int64_t kMaxLanes = 64;
const std::vector<std::string> kSteps = {"send",  "watermark", "advance_time", "commit",
                                         "crash", "end",       "expect",       "expect_failure"};
constexpr const char* kInfix = ".test";  // of NAME.test.yaml, the test of NAME.yaml

std::vector<std::string> names_of(const std::vector<RecordShape>& sources) {
  std::vector<std::string> names;
  for (const RecordShape& source : sources) names.push_back(source.source);
  return names;
}

// What a pipeline takes and shows.
struct Shapes {
  std::vector<RecordShape> sources;
  std::vector<bool> has_watermark;  // by source
  std::vector<TableShape> sinks;
};

// The tests of one file, against the shapes of its pipeline.
class CaseReader {
 public:
  CaseReader(const Shapes& shapes, Diagnostics& diagnostics)
      : shapes_(shapes), sources_(shapes.sources), sinks_(shapes.sinks), diagnostics_(diagnostics) {}

  TestCase read(const ConfigNode& node) {
    test_ = TestCase();
    partitions_.assign(sources_.size(), {});
    written_.clear();
    expects_ = ended_ = false;
    test_.at = node.location();
    MapReader map(node, diagnostics_);
    if (const auto name = map.required_child("name")) {
      test_.at = name->location();
      test_.name = as_string(*name, diagnostics_).value_or("");
    }
    test_.seed = static_cast<uint64_t>(map.int_or("seed", 1, 0, INT64_MAX));
    test_.batch_rows = static_cast<uint32_t>(map.int_or("batch_rows", kMaxBatchRows, 1, kMaxBatchRows));
    test_.lanes = static_cast<size_t>(map.int_or("lanes", 1, 1, kMaxLanes));
    test_.start_time_ms = kStartTimeMs;
    if (const auto start = map.child("start_time"))
      test_.start_time_ms = read_time_ms(*start, diagnostics_).value_or(kStartTimeMs);
    if (const auto partitions = map.child("partitions")) read_partitions(*partitions);
    if (const auto steps = map.required_child("steps")) read_steps(*steps);
    map.finish();
    settle_partitions();
    return std::move(test_);
  }

 private:
  // Index of the source that a map of a step names; nullopt after an error.
  std::optional<size_t> find_source(const std::string& name, const Location& at) {
    for (size_t i = 0; i < sources_.size(); i++)
      if (sources_[i].source == name) return i;
    diagnostics_.error(LintCode::kUnknownInput, at, fmt::format("no source is called \"{}\"", name),
                       did_you_mean(name, names_of(sources_)));
    return std::nullopt;
  }

  // Partitions that a source has although no record is sent to them.
  void read_partitions(const ConfigNode& node) {
    MapReader(node, diagnostics_);
    for (size_t i = 0; node.is_mapping() && i < node.size(); i++) {
      const auto source = find_source(node.key_at(i), node.at(i).key_location());
      const auto count = as_int(node.at(i), 1, kMaxPartitions, diagnostics_);
      if (source && count) need_partition(*source, default_topic(*source), static_cast<int32_t>(*count) - 1);
    }
  }
  std::string default_topic(size_t source) const {
    return sources_[source].topics.empty() ? sources_[source].source : sources_[source].topics[0];
  }
  void need_partition(size_t source, const std::string& topic, int32_t partition) {
    int32_t& last = partitions_[source][topic];
    last = std::max(last, partition);
  }

  // Numbers the partitions of every source, 0 to the highest of each topic, and those of the records with them.
  void settle_partitions() {
    test_.plan.partitions.resize(sources_.size());
    for (size_t i = 0; i < sources_.size(); i++) {
      if (partitions_[i].empty()) partitions_[i][default_topic(i)] = 0;
      for (const auto& [topic, last] : partitions_[i])
        for (int32_t number = 0; number <= last; number++) test_.plan.partitions[i].push_back({topic, number});
    }
    size_t next = 0;
    for (TestStep& step : test_.steps) {
      for (TestRecord& record : step.records) {
        const PartitionName& name = written_[next++];
        const std::vector<PartitionName>& all = test_.plan.partitions[record.source];
        for (size_t i = 0; i < all.size(); i++)
          if (all[i].topic == name.topic && all[i].partition == name.partition)
            record.record.partition = static_cast<uint32_t>(i);
      }
    }
  }

  void read_steps(const ConfigNode& node) {
    if (!node.is_sequence()) {
      diagnostics_.error(LintCode::kWrongType, node.is_null() ? node.key_location() : node.location(),
                         "steps is a list", "begin each one with a dash");
      return;
    }
    for (size_t i = 0; i < node.size(); i++) read_step(node.at(i));
    if (!expects_)
      diagnostics_.error(LintCode::kMissingKey, test_.at, fmt::format("test \"{}\" expects nothing", test_.name),
                         "add a step expect: or expect_failure:");
  }

  void read_step(const ConfigNode& node) {
    TestStep step;
    step.at = node.location();
    std::string word;
    ConfigNode body;
    if (node.is_scalar()) {
      word = node.text();
    } else if (node.is_mapping() && node.size() > 0) {
      word = node.key_at(0);
      body = node.at(0);
      if (node.size() > 1)
        diagnostics_.error(LintCode::kConflict, node.at(1).key_location(),
                           fmt::format("a step is one thing; \"{}\" is a second one", node.key_at(1)),
                           "begin it with a dash of its own");
    }
    const bool bare = node.is_scalar();
    const bool known = std::find(kSteps.begin(), kSteps.end(), word) != kSteps.end();
    const bool wants_bare = word == "commit" || word == "crash" || word == "end";
    if (!known) {
      std::string hint = did_you_mean(word, kSteps);
      if (hint.empty()) hint = "send, watermark, advance_time, commit, crash, end, expect or expect_failure";
      diagnostics_.error(LintCode::kUnknownKind, step.at, fmt::format("unknown step \"{}\"", word), hint);
      return;
    }
    if (bare != wants_bare) {
      diagnostics_.error(LintCode::kWrongType, step.at,
                         wants_bare ? fmt::format("{} stands alone", word) : fmt::format("{} needs a value", word),
                         wants_bare ? fmt::format("write - {}", word) : fmt::format("write - {}: …", word));
      return;
    }
    read_known(word, body, step);
    test_.steps.push_back(std::move(step));
  }

  void read_known(const std::string& word, const ConfigNode& body, TestStep& step) {
    if (word == "commit") step.kind = TestStep::Kind::kCommit;
    if (word == "crash") step.kind = TestStep::Kind::kCrash;
    if (word == "end") {
      step.kind = TestStep::Kind::kEnd;
      ended_ = true;
    }
    if (word == "advance_time") {
      step.kind = TestStep::Kind::kAdvanceTime;
      step.advance_ms = as_duration_ms(body, diagnostics_).value_or(0);
    }
    if (word == "send" || word == "watermark") {
      if (ended_) diagnostics_.error(LintCode::kConflict, step.at, fmt::format("{} after the end of input", word));
      word == "send" ? read_send(body, step) : read_watermark(body, step);
    }
    if (word == "expect") read_expect(body, step);
    if (word == "expect_failure") read_failure(body, step);
  }

  void read_send(const ConfigNode& body, TestStep& step) {
    step.kind = TestStep::Kind::kSend;
    MapReader(body, diagnostics_);
    for (size_t i = 0; body.is_mapping() && i < body.size(); i++) {
      const ConfigNode list = body.at(i);
      const auto source = find_source(body.key_at(i), list.key_location());
      if (!source) continue;
      if (!list.is_sequence()) {
        diagnostics_.error(LintCode::kWrongType, list.is_null() ? list.key_location() : list.location(),
                           fmt::format("expected the records of source \"{}\" as a list", body.key_at(i)));
        continue;
      }
      for (size_t k = 0; k < list.size(); k++) {
        auto written = read_record(list.at(k), sources_[*source], diagnostics_);
        if (!written) continue;
        need_partition(*source, written->partition.topic, written->partition.partition);
        written_.push_back(written->partition);
        step.records.push_back({*source, written->has_timestamp, std::move(written->record)});
      }
    }
  }

  // {SOURCE: TIME}, or one time for every source.
  void read_watermark(const ConfigNode& body, TestStep& step) {
    step.kind = TestStep::Kind::kWatermark;
    if (body.is_scalar()) {
      const auto ms = read_time_ms(body, diagnostics_);
      for (size_t i = 0; i < sources_.size(); i++)
        if (shapes_.has_watermark[i]) step.watermarks.emplace_back(i, ms.value_or(0));
      if (step.watermarks.empty())
        diagnostics_.error(LintCode::kConflict, step.at, "no operator of this pipeline acts on event time");
      return;
    }
    MapReader(body, diagnostics_);
    for (size_t i = 0; body.is_mapping() && i < body.size(); i++) {
      const auto source = find_source(body.key_at(i), body.at(i).key_location());
      const auto ms = read_time_ms(body.at(i), diagnostics_);
      if (source && !shapes_.has_watermark[*source])
        diagnostics_.error(LintCode::kConflict, body.at(i).key_location(),
                           fmt::format("source \"{}\" has no watermark", body.key_at(i)),
                           "no operator behind it acts on event time");
      if (source && ms) step.watermarks.emplace_back(*source, *ms);
    }
  }

  void read_expect(const ConfigNode& body, TestStep& step) {
    step.kind = TestStep::Kind::kExpect;
    expects_ = true;
    MapReader(body, diagnostics_);
    std::vector<std::string> names;
    for (const TableShape& sink : sinks_) names.push_back(sink.sink);
    for (size_t i = 0; body.is_mapping() && i < body.size(); i++) {
      const std::string& name = body.key_at(i);
      const auto found = std::find(names.begin(), names.end(), name);
      if (found == names.end()) {
        diagnostics_.error(LintCode::kUnknownInput, body.at(i).key_location(),
                           fmt::format("no sink is called \"{}\"", name), did_you_mean(name, names));
        continue;
      }
      const auto sink = static_cast<size_t>(found - names.begin());
      auto expectation = read_expectation(body.at(i), body.is_flow(), sinks_[sink], diagnostics_);
      if (!expectation) continue;
      expectation->sink = sink;
      step.expectations.push_back(std::move(*expectation));
    }
  }

  void read_failure(const ConfigNode& body, TestStep& step) {
    step.kind = TestStep::Kind::kExpectFailure;
    expects_ = true;
    step.failure_code = as_string(body, diagnostics_).value_or("");
    const bool good = step.failure_code.size() == 6 && step.failure_code.starts_with("MR") &&
                      step.failure_code.find_first_not_of("0123456789", 2) == std::string::npos;
    if (!good && body.is_scalar())
      diagnostics_.error(LintCode::kBadValue, body.location(),
                         fmt::format("expected an error code such as MR2001, found \"{}\"", step.failure_code));
  }

  const Shapes& shapes_;
  const std::vector<RecordShape>& sources_;
  const std::vector<TableShape>& sinks_;
  Diagnostics& diagnostics_;
  TestCase test_;
  std::vector<std::map<std::string, int32_t>> partitions_;  // by source: topic -> highest partition
  std::vector<PartitionName> written_;                      // of the records of all steps, in order
  bool expects_ = false;
  bool ended_ = false;
};

// `pipeline:`, relative to the test file; without it, the file that the test file is named after.
std::string pipeline_path(const std::string& path, const std::optional<ConfigNode>& node, Diagnostics& diagnostics) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (node) return (folder / as_string(*node, diagnostics).value_or("")).string();
  const size_t infix = path.rfind(kInfix);
  return infix == std::string::npos ? path : path.substr(0, infix) + path.substr(infix + std::string(kInfix).size());
}

// What is set in the file wins over the environment.
VariableLookup variables_of(const std::optional<ConfigNode>& node, const VariableLookup& environment,
                            Diagnostics& diagnostics) {
  std::map<std::string, std::string> set;
  if (node) {
    MapReader(*node, diagnostics);
    for (size_t i = 0; node->is_mapping() && i < node->size(); i++) {
      const bool empty = node->at(i).is_null();
      set[node->key_at(i)] = empty ? "" : as_string(node->at(i), diagnostics).value_or("");
    }
  }
  return [set, environment](const std::string& name) -> std::optional<std::string> {
    const auto found = set.find(name);
    return found == set.end() ? environment(name) : found->second;
  };
}

// Half a document would be reported as missing keys.
bool is_readable(const Diagnostics& diagnostics, size_t before) {
  for (size_t i = before; i < diagnostics.all().size(); i++) {
    const LintCode code = diagnostics.all()[i].code;
    if (code == LintCode::kYamlSyntax || code == LintCode::kLimit || code == LintCode::kFile) return false;
  }
  return true;
}

// As it stands, a pipeline must be right before anything in it is replaced. nullptr after an error. Planned apart from
// the other diagnostics, because nothing is planned while there are errors.
std::unique_ptr<Plan> plan_as_it_stands(const ConfigNode& document, const Registries& registries,
                                        Diagnostics& diagnostics) {
  Diagnostics own;
  auto spec = read_spec(document, registries, own);
  auto plan = spec ? make_plan(std::move(spec), own) : nullptr;
  for (const Diagnostic& found : own.all())
    if (found.severity == Severity::kError) diagnostics.error(found.code, found.at, found.message, found.hint);
  return plan;
}

// What the pipeline's sources take and its sinks show; nullopt after an error of the pipeline.
std::optional<Shapes> shapes_of(const ConfigNode& document, const Registries& registries, Diagnostics& diagnostics) {
  const auto plan = plan_as_it_stands(document, registries, diagnostics);
  if (!plan) return std::nullopt;
  Shapes shapes;
  for (const PlannedSource& source : plan->sources) {
    RecordShape& shape = shapes.sources.emplace_back();
    shapes.has_watermark.push_back(source.makes_watermarks);
    shape.source = source.spec->name;
    if (!source.spec->plan->makes_columns()) shape.format = source.spec->format;
    shape.schema = source.spec->schema;
    shape.kafka = source.spec->plan->kafka() != nullptr;
    if (shape.kafka) shape.topics = source.spec->plan->kafka()->topics;
  }
  Diagnostics replaced;
  const TestPlan test_plan = make_test_plan(document, registries, {}, replaced);
  if (!test_plan.plan) {
    diagnostics.error(LintCode::kUnsupported, document.location(), "this pipeline cannot be tested",
                      replaced.all().empty() ? "" : replaced.all()[0].message);
    return std::nullopt;
  }
  for (size_t i = 0; i < test_plan.sinks.size(); i++) {
    const MemorySinkPlan& sink = *test_plan.sinks[i];
    shapes.sinks.push_back({plan->sinks[i].spec->name, sink.columns(), sink.has_key(), sink.value_type()});
  }
  return shapes;
}

}  // namespace

const char* to_string(TestStep::Kind kind) { return kSteps[static_cast<size_t>(kind)].c_str(); }

std::optional<TestFile> read_test_file(const std::string& path, const VariableLookup& environment,
                                       const Registries& registries, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  const size_t before = diagnostics.all().size();
  const ConfigNode document = ConfigNode::load(path, environment, diagnostics);
  if (!is_readable(diagnostics, before)) return std::nullopt;
  TestFile file;
  file.path = path;
  MapReader map(document, diagnostics);
  const std::string pipeline = pipeline_path(path, map.child("pipeline"), diagnostics);
  const VariableLookup variables = variables_of(map.child("variables"), environment, diagnostics);
  const auto tests = map.required_child("tests");
  const size_t before_pipeline = diagnostics.all().size();
  file.pipeline = ConfigNode::load(pipeline, variables, diagnostics);
  if (!is_readable(diagnostics, before_pipeline)) return std::nullopt;
  const auto shapes = shapes_of(file.pipeline, registries, diagnostics);
  map.finish();
  if (!shapes || !tests) return std::nullopt;
  if (!tests->is_sequence() || tests->size() == 0) {
    diagnostics.error(LintCode::kWrongType, tests->is_null() ? tests->key_location() : tests->location(),
                      "tests is a list", "begin each one with - name:");
    return std::nullopt;
  }
  std::set<std::string> names;
  CaseReader reader(*shapes, diagnostics);
  for (size_t i = 0; i < tests->size(); i++) {
    TestCase test = reader.read(tests->at(i));
    if (!test.name.empty() && !names.insert(test.name).second)
      diagnostics.error(LintCode::kDuplicateName, test.at,
                        fmt::format("\"{}\" is already the name of a test", test.name));
    file.tests.push_back(std::move(test));
  }
  if (diagnostics.error_count() != errors) return std::nullopt;
  for (const RecordShape& source : shapes->sources) file.kafka_sources.push_back(source.kafka);
  file.sinks = shapes->sinks;
  return file;
}

}  // namespace millrace
