#include "sinks/file_sink.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <utility>

#include "base/check.h"
#include "sinks/folder_sink.h"
#include "sinks/part_file.h"

namespace millrace {
namespace {

// Epochs that were flushed and are not decided; the runtime has two at most.
constexpr size_t kMaxOpenEpochs = 64;
constexpr std::string_view kVersion = "file1";

std::string encode_progress(const PartFile::Mark& mark, const std::string& path) {
  return fmt::format("{} {} {:016x} {}", kVersion, mark.length, mark.checksum, path);
}

template <class T>
bool take_number(std::string_view* text, T* value, int base) {
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *value, base);
  if (error != std::errc() || end == text->data() + text->size() || *end != ' ') return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()) + 1);
  return true;
}

struct FileProgress {
  PartFile::Mark mark;
  std::string path;
};

Result<FileProgress> parse_progress(const SinkProgress& progress) {
  std::string_view text = progress.bytes;
  FileProgress parsed;
  if (text.starts_with(kFolderProgressVersion)) {
    return Status::user(Code::kFileChanged,
                        fmt::format("sink {}: its rows are committed to a folder of parts, and now it writes one file; "
                                    "configure it as it was, or start the pipeline without its state",
                                    progress.sink));
  }
  const bool versioned = text.starts_with(kVersion) && text.substr(kVersion.size()).starts_with(' ');
  if (versioned) text.remove_prefix(kVersion.size() + 1);
  if (!versioned || !take_number(&text, &parsed.mark.length, 10) || !take_number(&text, &parsed.mark.checksum, 16)) {
    return Status::user(Code::kProgressCorrupt,
                        fmt::format("sink {}: the progress record does not say where the file stands", progress.sink));
  }
  parsed.path = text;
  return parsed;
}

class FileSink : public Sink {
 public:
  FileSink(std::string name, const std::string& path, std::unique_ptr<LineEncoder> encoder)
      : name_(std::move(name)), file_(path), encoder_(std::move(encoder)) {}

  Status open(const SinkContext& context, bool first_start, const std::optional<SinkProgress>& progress) override;
  Result<Written> write(const Batch& batch, uint32_t* cursor) override;
  Status flush(uint64_t epoch) override;
  Result<SinkProgress> prepare(uint64_t epoch) override;
  Status commit(uint64_t epoch) override;
  void abort() override;
  Status finish() override { return file_.publish(committed_); }
  uint64_t bytes_written() const override { return file_.bytes_written() + file_.buffered(); }

 private:
  const std::string name_;
  PartFile file_;
  const std::unique_ptr<LineEncoder> encoder_;
  SinkContext context_;
  std::map<uint64_t, PartFile::Mark> flushed_;  // epoch -> what it ends with
  PartFile::Mark committed_;
};

Status FileSink::open(const SinkContext& context, bool first_start, const std::optional<SinkProgress>& progress) {
  context_ = context;
  flushed_.clear();
  if (first_start || !progress || progress->bytes.empty()) {
    MR_RETURN_IF_ERROR(file_.start());
  } else {
    MR_ASSIGN(const FileProgress at, parse_progress(*progress));
    if (at.path != file_.target()) {
      return Status::user(
          Code::kFileChanged,
          fmt::format("sink {}: {} bytes are committed to {}, but the path is now {}; put the path back, "
                      "or start the pipeline without its state",
                      name_, at.mark.length, at.path, file_.target()));
    }
    MR_RETURN_IF_ERROR(file_.resume(at.mark));
  }
  committed_ = file_.mark();
  // A file without bytes has no header yet, whatever the runs before have decided.
  if (committed_.length == 0 && !encoder_->header().empty()) {
    MR_RETURN_IF_ERROR(file_.begin_append());
    file_.buffer() = encoder_->header();
  }
  return Status::ok();
}

Result<Written> FileSink::write(const Batch& batch, uint32_t* cursor) {
  if (*cursor < batch.live()) {
    MR_CHECK(*cursor == 0);
    MR_RETURN_IF_ERROR(file_.begin_append());
    MR_RETURN_IF_ERROR(encoder_->append(batch, context_, file_.buffer()));
    MR_RETURN_IF_ERROR(file_.spill());
    *cursor = batch.live();
  }
  return Written::kOk;
}

Status FileSink::flush(uint64_t epoch) {
  MR_RETURN_IF_ERROR(file_.flush());
  MR_CHECK(flushed_.size() < kMaxOpenEpochs);
  flushed_[epoch] = file_.mark();
  return Status::ok();
}

Result<SinkProgress> FileSink::prepare(uint64_t epoch) {
  if (flushed_.count(epoch) == 0) MR_RETURN_IF_ERROR(flush(epoch));
  MR_RETURN_IF_ERROR(file_.sync());
  return SinkProgress{name_, encode_progress(flushed_[epoch], file_.target())};
}

Status FileSink::commit(uint64_t epoch) {
  const auto behind = flushed_.upper_bound(epoch);
  if (behind == flushed_.begin()) return Status::ok();  // committed before
  committed_ = std::prev(behind)->second;
  flushed_.erase(flushed_.begin(), behind);
  return Status::ok();
}

void FileSink::abort() {
  // The part stays: an epoch whose outcome is unknown may turn out to be decided. open() cuts off what is not.
  file_.close();
  flushed_.clear();
}

class FileSinkPlan : public SinkPlan {
 public:
  explicit FileSinkPlan(std::string path) : file_{std::move(path), false, false} {}

  bool plan(const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) override {
    name_ = context.sink;
    return format_.plan("a file", context, input, diagnostics);
  }
  std::vector<bool> needed_inputs() const override { return format_.needed_inputs(); }
  SinkGuarantee guarantee() const override { return SinkGuarantee::kPrepared; }
  bool takes_payload() const override { return format_.takes_payload(); }
  void use_payload() override { format_.use_payload(); }
  const FileSinkSettings* file() const override { return &file_; }
  bool continues(const std::string& progress) const override {
    const auto at = parse_progress({name_, progress});
    return at.is_ok() && at->path == file_.path;
  }
  std::string describe() const override { return "file " + file_.path; }
  std::unique_ptr<Sink> make() const override { return make_file_sink(name_, file_.path, format_.make()); }

 private:
  const FileSinkSettings file_;
  std::string name_;
  LineFormat format_;
};

std::unique_ptr<SinkPlan> read_file_sink(const ConfigNode& body, Diagnostics& diagnostics) {
  if (is_folder_sink(body)) return read_folder_sink(body, diagnostics);
  const size_t errors = diagnostics.error_count();
  std::string path;
  Location at = body.location();
  if (body.is_scalar()) {
    path = as_string(body, diagnostics).value_or("");
  } else {
    MapReader map(body, diagnostics);
    path = map.required_string("path");
    if (const auto node = map.child("path")) at = node->location();
    map.child("roll");  // read_folder_sink knows it
    map.finish();
  }
  if (diagnostics.error_count() != errors) return nullptr;
  const std::string name = path.substr(path.rfind('/') + 1);
  if (name.empty() || name == "." || name == "..") {
    diagnostics.error(LintCode::kBadValue, at, path.empty() ? "path is empty" : "path names a directory",
                      "name a file, for example out/result.jsonl");
    return nullptr;
  }
  return std::make_unique<FileSinkPlan>(std::move(path));
}

}  // namespace

std::unique_ptr<Sink> make_file_sink(const std::string& name, const std::string& path,
                                     std::unique_ptr<LineEncoder> encoder) {
  return std::make_unique<FileSink>(name, path, std::move(encoder));
}

void register_file_sink(SinkRegistry& registry) { registry.add("file", read_file_sink); }

}  // namespace millrace
