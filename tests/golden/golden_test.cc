// Runs every tests/golden/*.test in all its variants.
#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <tuple>

#include "pipeline/builtins.h"
#include "pipeline/plan.h"
#include "tests/golden/golden_case.h"
#include "tests/sim/pipeline_driver.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct Variant {
  std::string name;
  DriverOptions options;
  bool rocksdb = false;
  bool local = false;  // recovery mode local
  uint32_t shards = 16;
};

std::vector<Variant> variants(bool plain_only) {
  std::vector<Variant> all;
  Variant plain{"plain", {}, false, false, 16};
  all.push_back(plain);
  if (plain_only) return all;
  Variant rows = plain;
  rows.name = "batches of one row";
  rows.options.max_batch_rows = 1;
  all.push_back(rows);
  Variant one = plain;
  one.name = "one shard, rocksdb";
  one.shards = 1;
  one.rocksdb = true;
  all.push_back(one);
  for (uint64_t seed = 1; seed <= 3; seed++) {
    Variant crash{"crash after every epoch, seed " + std::to_string(seed), {}, true, true, seed == 1 ? 1u : 16u};
    crash.options.seed = seed;
    crash.options.crash_every_epochs = 1;
    crash.options.max_batch_rows = static_cast<uint32_t>(seed);
    crash.options.max_crashes = 8;
    all.push_back(crash);
    Variant random{"crash at random steps, seed " + std::to_string(seed), {}, true, true, 16};
    random.options.seed = 100 + seed;
    random.options.crash_every_steps = 40 * seed;
    random.options.max_batch_rows = 2;
    random.options.max_crashes = 8;
    all.push_back(random);
  }
  return all;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// What a sink has left: a file, or the visible files of a folder in the order of their names and epochs. Rows of files
// in subfolders get the subfolder as a column "/".
std::string read_output(const fs::path& path) {
  if (!fs::is_directory(path)) return read_text(path);
  std::map<std::tuple<std::string, uint64_t, uint64_t>, fs::path> files;
  for (auto entry = fs::recursive_directory_iterator(path); entry != fs::recursive_directory_iterator(); ++entry) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with('.')) {
      if (entry->is_directory()) entry.disable_recursion_pending();
      continue;
    }
    if (!entry->is_regular_file()) continue;
    unsigned long epoch = 0, number = 0;
    CHECK_MESSAGE(sscanf(name.c_str(), "part-%lu-%lu.", &epoch, &number) == 2, name);
    const std::string folder = fs::relative(entry->path().parent_path(), path).string();
    files[{folder == "." ? "" : folder, epoch, number}] = entry->path();
  }
  std::string rows;
  for (const auto& [key, file] : files) {
    std::istringstream lines(read_text(file));
    const std::string& folder = std::get<0>(key);
    for (std::string line; std::getline(lines, line); rows += line + "\n")
      if (!folder.empty() && line.starts_with('{')) line = "{\"/\":\"" + folder + "\"," + line.substr(1);
  }
  return rows;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (fs::temp_directory_path() / "millrace-golden-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::unique_ptr<PipelineSpec> make_spec(const GoldenCase& golden, const fs::path& folder, const Registries& registries,
                                        Diagnostics& diagnostics) {
  const auto variables = [&folder](const std::string& name) -> std::optional<std::string> {
    if (name == "DIR") return folder.string();
    return std::nullopt;
  };
  const ConfigNode document = ConfigNode::parse("pipeline.yaml", golden.pipeline, variables, diagnostics);
  if (!document.is_complete()) return nullptr;
  for (const Diagnostic& diagnostic : diagnostics.all())
    if (diagnostic.code == LintCode::kYamlSyntax || diagnostic.code == LintCode::kLimit) return nullptr;
  return read_spec(document, registries, diagnostics);
}

void run_variant(const GoldenCase& golden, const Variant& variant, const Registries& registries) {
  CAPTURE(golden.path);
  CAPTURE(variant.name);
  const TemporaryFolder folder;
  for (const auto& [name, text] : golden.inputs) std::ofstream(folder.path() / name) << text;
  Diagnostics diagnostics;
  auto spec = make_spec(golden, folder.path(), registries, diagnostics);
  std::unique_ptr<Plan> plan;
  if (spec) {
    if (variant.local) spec->mode = RecoveryMode::kLocal;
    spec->commit_interval_ms = 10;
    spec->rocksdb = variant.rocksdb || variant.local;
    spec->shards = variant.shards;
    plan = make_plan(std::move(spec), diagnostics);
  }
  const std::string rendered = diagnostics.render_text();
  REQUIRE_MESSAGE(plan != nullptr, rendered);
  DriverOptions options = variant.options;
  options.data_dir = (folder.path() / "data").string();
  const DriverResult result = PipelineTestDriver(*plan, options).run();
  const std::string status = result.status.to_string();
  if (!golden.error_code.empty()) {
    CHECK_MESSAGE(status.rfind(golden.error_code + ":", 0) == 0, status);
    CHECK_MESSAGE(status.find(golden.error_text) != std::string::npos, status);
    return;
  }
  REQUIRE_MESSAGE(result.status.is_ok(), status);
  CHECK(result.completed);
  for (GoldenCase::Expectation expectation : golden.expectations) {
    for (std::string& row : expectation.rows) replace_all(row, "${DIR}", folder.path().string());
    const std::string difference = compare_rows(expectation, read_output(folder.path() / expectation.file));
    CHECK_MESSAGE(difference.empty(), expectation.file, ": ", difference);
  }
}

// Diagnostics without the source lines under them, positions and hints included.
std::string diagnostics_text(const Diagnostics& diagnostics) {
  std::istringstream rendered(diagnostics.render_text());
  std::string text;
  for (std::string line; std::getline(rendered, line);)
    if (line.rfind("pipeline.yaml:", 0) == 0) text += line + "\n";
  return text;
}

TEST_CASE("golden") {
  Registries registries;
  register_builtins(registries);
  size_t cases = 0;
  const char* only = getenv("GOLDEN");
  for (const auto& entry : fs::recursive_directory_iterator("tests/golden")) {
    if (entry.path().extension() != ".test") continue;
    if (only && entry.path().string().find(only) == std::string::npos) continue;
    const GoldenCase golden = read_golden_case(entry.path().string());
    cases++;
    if (golden.has_lint) {
      CAPTURE(golden.path);
      Diagnostics diagnostics;
      auto spec = make_spec(golden, "/nowhere", registries, diagnostics);
      if (spec) make_plan(std::move(spec), diagnostics);
      CHECK(diagnostics_text(diagnostics) == golden.lint);
      continue;
    }
    for (const Variant& variant : variants(golden.plain_only)) run_variant(golden, variant, registries);
  }
  CHECK(cases > 0);
}

}  // namespace
}  // namespace millrace
