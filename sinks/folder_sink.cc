#include "sinks/folder_sink.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/check.h"
#include "sinks/line_encoder.h"

namespace millrace {
namespace {

// Epochs that were flushed and are not decided; the runtime has two at most.
constexpr size_t kMaxOpenEpochs = 64;
constexpr int64_t kMaxOpenParts = 1000;

class FolderSink : public Sink {
 public:
  FolderSink(std::string name, PathTemplate path, PartFolder::Settings settings, std::unique_ptr<LineEncoder> encoder)
      : name_(std::move(name)),
        path_(std::move(path)),
        settings_(std::move(settings)),
        encoder_(std::move(encoder)) {
    settings_.header = encoder_->header();
  }

  Status open(const SinkContext& context, bool first_start, const std::optional<SinkProgress>& progress) override;
  Result<Written> write(const Batch& batch, uint32_t* cursor) override;
  Status flush(uint64_t epoch) override;
  Result<SinkProgress> prepare(uint64_t epoch) override;
  Status commit(uint64_t epoch) override;
  void abort() override;
  Status finish() override { return committed_ ? parts_->finish(*committed_) : Status::ok(); }
  uint64_t bytes_written() const override { return parts_ ? parts_->bytes_written() : 0; }

 private:
  int64_t now_ms() const { return context_.clock != nullptr ? context_.clock->wall_ms() : system_clock_.wall_ms(); }
  Status write_row(const Batch& batch, uint32_t row, std::string_view line, int64_t now_ms);

  const std::string name_;
  const PathTemplate path_;
  PartFolder::Settings settings_;
  const std::unique_ptr<LineEncoder> encoder_;
  const SystemClock system_clock_;
  SinkContext context_;
  std::unique_ptr<PartFolder> parts_;
  std::map<uint64_t, FolderProgress> flushed_;  // by epoch
  std::optional<FolderProgress> committed_;
  std::string folder_;  // scratch
  std::string error_;   // scratch
};

Status FolderSink::open(const SinkContext& context, bool first_start, const std::optional<SinkProgress>& progress) {
  context_ = context;
  flushed_.clear();
  committed_.reset();
  parts_ = std::make_unique<PartFolder>(path_, settings_, context.log);
  if (first_start || !progress || progress->bytes.empty()) return parts_->start();
  if (progress->bytes.starts_with("file1 ")) {
    return Status::user(Code::kFileChanged,
                        fmt::format("sink {}: its rows are committed to one file, and now it writes a folder of parts; "
                                    "take `roll` and columns out of the path again, or start the pipeline without its "
                                    "state",
                                    name_));
  }
  Result<FolderProgress> parsed = parse_folder_progress(progress->bytes);
  if (!parsed.is_ok()) return parsed.status().with_context("sink " + name_);
  MR_RETURN_IF_ERROR(parts_->resume(*parsed));
  committed_ = std::move(*parsed);
  return Status::ok();
}

Result<Written> FolderSink::write(const Batch& batch, uint32_t* cursor) {
  if (*cursor < batch.live()) {
    MR_CHECK(*cursor == 0);
    const int64_t now = now_ms();
    MR_RETURN_IF_ERROR(encoder_->for_each_line(
        batch, context_, [&](uint32_t row, std::string_view line) { return write_row(batch, row, line, now); }));
    *cursor = batch.live();
  }
  return Written::kOk;
}

Status FolderSink::write_row(const Batch& batch, uint32_t row, std::string_view line, int64_t now_ms) {
  if (path_.folder_of(batch, row, &folder_, &error_)) return parts_->append(folder_, line, now_ms);
  if (!context_.refuse) return Status::user(Code::kEvaluation, error_);
  return context_.refuse(batch, row, Code::kEvaluation, error_);
}

Status FolderSink::flush(uint64_t epoch) {
  MR_CHECK(flushed_.size() < kMaxOpenEpochs);
  MR_ASSIGN(FolderProgress progress, parts_->flush(epoch, now_ms()));
  flushed_[epoch] = std::move(progress);
  return Status::ok();
}

Result<SinkProgress> FolderSink::prepare(uint64_t epoch) {
  if (flushed_.count(epoch) == 0) MR_RETURN_IF_ERROR(flush(epoch));
  MR_RETURN_IF_ERROR(parts_->sync());
  return SinkProgress{name_, flushed_[epoch].encode()};
}

Status FolderSink::commit(uint64_t epoch) {
  while (!flushed_.empty() && flushed_.begin()->first <= epoch) {
    MR_RETURN_IF_ERROR(parts_->commit(flushed_.begin()->second));
    committed_ = std::move(flushed_.begin()->second);
    flushed_.erase(flushed_.begin());
  }
  return Status::ok();
}

void FolderSink::abort() {
  // The parts stay: an epoch whose outcome is unknown may turn out to be decided. open() removes what is not.
  if (parts_) parts_->close();
  flushed_.clear();
  committed_.reset();
}

struct FolderSinkOptions {
  PathTemplate path;
  Location path_at;
  PartFolder::Settings parts;
};

class FolderSinkPlan : public SinkPlan {
 public:
  explicit FolderSinkPlan(FolderSinkOptions options)
      : options_(std::move(options)), file_{options_.path.root(), true, options_.path.levels() > 0} {}

  bool plan(const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) override;
  std::vector<bool> needed_inputs() const override { return needed_; }
  SinkGuarantee guarantee() const override { return SinkGuarantee::kPrepared; }
  const FileSinkSettings* file() const override { return &file_; }
  bool continues(const std::string& progress) const override {
    const auto at = parse_folder_progress(progress);
    return at.is_ok() && at->path == options_.path.text();
  }
  bool takes_payload() const override { return format_.takes_payload(); }
  void use_payload() override { format_.use_payload(); }
  std::string describe() const override { return "file " + options_.path.text() + " (parts)"; }
  std::unique_ptr<Sink> make() const override {
    return std::make_unique<FolderSink>(name_, options_.path, options_.parts, format_.make());
  }

 private:
  FolderSinkOptions options_;
  const FileSinkSettings file_;
  std::string name_;
  std::vector<bool> needed_;
  LineFormat format_;
};

bool FolderSinkPlan::plan(const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) {
  name_ = context.sink;
  const bool formatted = format_.plan("a file", context, input, diagnostics);
  if (!options_.path.resolve(input.schema, diagnostics) || !formatted) return false;
  const bool lines_are_rows = !context.dead_letters_only && context.format != "json";
  options_.parts.extension = !lines_are_rows ? "jsonl" : context.format == "csv" ? "csv" : "txt";
  needed_ = format_.needed_inputs();
  for (const int column : options_.path.columns()) {
    needed_[static_cast<size_t>(column)] = true;
    // Versions of one key in several folders would have no order.
    const std::vector<int>& key = input.key_columns;
    if (input.type == EdgeType::kAppend || std::find(key.begin(), key.end(), column) != key.end()) continue;
    diagnostics.error(LintCode::kConflict, options_.path_at,
                      fmt::format("rows of the input replace each other by key, and \"{}\" is not part of that key",
                                  input.schema[static_cast<size_t>(column)].name),
                      "only columns of the key can stand in the path");
    return false;
  }
  return true;
}

void read_roll(const ConfigNode& node, PartFolder::Settings& settings, Diagnostics& diagnostics) {
  MapReader map(node, diagnostics);
  if (node.is_null() || (node.is_mapping() && node.size() == 0)) {
    diagnostics.error(LintCode::kMissingKey, node.key_location(), "roll needs every or size",
                      "write roll: {every: 1m, size: 128MiB}");
  }
  if (const auto every = map.child("every")) {
    settings.roll_age_ms = as_duration_ms(*every, diagnostics).value_or(1);
    if (settings.roll_age_ms < 1)
      diagnostics.error(LintCode::kBadValue, every->location(), "every must be at least 1ms");
  }
  if (const auto size = map.child("size")) {
    const int64_t bytes = as_size_bytes(*size, diagnostics).value_or(1);
    if (bytes < 1) diagnostics.error(LintCode::kBadValue, size->location(), "size must be at least 1B");
    settings.roll_bytes = static_cast<uint64_t>(std::max<int64_t>(bytes, 1));
  }
  map.finish();
}

bool has_column(const ConfigNode& path) { return path.is_scalar() && path.text().find('{') != std::string::npos; }

}  // namespace

bool is_folder_sink(const ConfigNode& body) {
  if (!body.is_mapping()) return has_column(body);
  const auto path = body.find("path");
  return body.find("roll").has_value() || (path && has_column(*path));
}

std::unique_ptr<SinkPlan> read_folder_sink(const ConfigNode& body, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  PartFolder::Settings settings;
  ConfigNode path = body;
  if (body.is_mapping()) {
    MapReader map(body, diagnostics);
    path = ConfigNode();
    if (const auto node = map.required_child("path"); node && as_string(*node, diagnostics)) path = *node;
    if (const auto roll = map.child("roll")) read_roll(*roll, settings, diagnostics);
    settings.max_open =
        static_cast<size_t>(map.int_or("max_open", static_cast<int64_t>(settings.max_open), 1, kMaxOpenParts));
    if (const auto node = map.child("max_open"); node && !has_column(path)) {
      diagnostics.error(LintCode::kConflict, node->key_location(), "max_open is for paths with columns in them");
    }
    map.finish();
  }
  if (!path.is_scalar()) return nullptr;
  PathTemplate parsed(path, diagnostics);
  if (diagnostics.error_count() != errors) return nullptr;
  return std::make_unique<FolderSinkPlan>(FolderSinkOptions{std::move(parsed), path.location(), std::move(settings)});
}

}  // namespace millrace
