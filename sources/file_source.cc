#include "sources/file_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/file.h"
#include "sources/follow_source.h"
#include "sources/followed_file.h"
#include "sources/input_file.h"
#include "sources/line_reader.h"

namespace millrace {
namespace {

constexpr int kMaxFilesPerPoll = 64;

struct InputFile {
  std::string path;
  FileId id;
  int64_t position = 0;
  std::string identity;  // as of `position`, unless it is the file that is being read
  bool gone = false;     // read to its end by an earlier run, no longer an input; kept so that it stays read
};

class FileSource : public Source {
 public:
  FileSource(FileSourceSettings settings, const SourceContext& context)
      : settings_(std::move(settings)),
        log_(context.log),
        name_(context.source),
        reader_(line_options(settings_)) {}

  Status open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) override;
  Status poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) override;
  std::vector<SourcePosition> positions() override;
  void close() override { file_ = FileDescriptor(); }

 private:
  Status look_up(InputFile& file);
  Status resume_file(InputFile& file, const SourcePosition& at);
  Status leave_file(InputFile& file, const SourcePosition& at);
  Status verify(const FileDescriptor& descriptor, int64_t size, const SourcePosition& at, InputFile& file);
  Status start_file(InputFile& file);
  Status end_file(InputFile& file);
  bool announce_columns(bool poll_is_empty);
  Status changed(const InputFile& file, const std::string& why) const { return file_changed(file.path, why); }

  const FileSourceSettings settings_;
  const Logger log_;
  const std::string name_;
  LineReader reader_;
  std::vector<InputFile> files_;
  std::shared_ptr<const std::vector<PartitionName>> partitions_;
  size_t current_ = 0;
  FileDescriptor file_;       // of files_[current_], while it is being read
  std::vector<int> columns_;  // below the header of that file (csv)
};

Status FileSource::look_up(InputFile& file) {
  struct stat info {};
  if (::stat(file.path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return file_missing(file.path, "does not exist");
    return errno_status(errno, "open", file.path);
  }
  if (!S_ISREG(info.st_mode)) return not_a_file(file.path, info.st_mode);
  file.id = {info.st_dev, info.st_ino};
  file.identity = identity_of(file.id, file.position, {});
  return Status::ok();
}

Status FileSource::open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) {
  (void)needs;
  files_.clear();
  current_ = 0;
  file_ = FileDescriptor();
  std::map<std::string, const SourcePosition*> known;
  for (const SourcePosition& at : resume) {
    known[at.name.topic] = &at;
    if (at.identity.find(kNextFile) != std::string::npos)
      return file_changed(at.name.topic, "it was rotated while it was followed, which a source that ends cannot go on");
  }
  std::vector<std::string> paths;
  if (is_pattern(settings_.path)) {
    Result<std::vector<std::string>> found = expand_pattern(settings_.path);
    if (found.is_ok()) paths = std::move(found).value();
    // No match is an error, unless this run goes on behind one that may have read it all.
    if (!found.is_ok() && (found.status().code() != Code::kFileMissing || resume.empty())) return found.status();
  } else {
    struct stat info {};
    const bool was_read = known.count(settings_.path) > 0 && known[settings_.path]->position > 0;
    if (!was_read || ::stat(settings_.path.c_str(), &info) == 0) paths.push_back(settings_.path);
  }
  for (const std::string& path : paths) {
    InputFile file;
    file.path = path;
    MR_RETURN_IF_ERROR(look_up(file));
    const auto at = known.find(path);
    if (at != known.end()) {
      MR_RETURN_IF_ERROR(resume_file(file, *at->second));
      known.erase(at);
    }
    files_.push_back(std::move(file));
  }
  for (const auto& [path, at] : known) {
    if (at->position == 0) continue;
    InputFile file;
    file.path = path;
    MR_RETURN_IF_ERROR(leave_file(file, *at));
    files_.push_back(std::move(file));
  }
  auto names = std::make_shared<std::vector<PartitionName>>();
  for (const InputFile& file : files_) names->push_back({file.path, 0});
  partitions_ = std::move(names);
  return Status::ok();
}

Status FileSource::resume_file(InputFile& file, const SourcePosition& at) {
  if (at.position == 0) return Status::ok();
  MR_ASSIGN(FileDescriptor descriptor, open_file(file.path, O_RDONLY));
  struct stat info {};
  if (::fstat(descriptor.get(), &info) != 0) return errno_status(errno, "read", file.path);
  return verify(descriptor, info.st_size, at, file);
}

// A file that an earlier run has read and that the path does not match any more: fine if it had been read to its end.
Status FileSource::leave_file(InputFile& file, const SourcePosition& at) {
  if (!at.identity.ends_with(kReadToEnd)) {
    struct stat info {};
    return Status::user(
        ::stat(file.path.c_str(), &info) == 0 ? Code::kFileChanged : Code::kFileMissing,
        fmt::format(
            "{} is no longer there or no longer matched by {}, but has been read up to byte {} only; put it back, "
            "or start the pipeline without its state",
            file.path, settings_.path, at.position));
  }
  log_.info("source {}: {} is no longer an input; it had been read to its end", name_, file.path);
  file.gone = true;
  file.identity = at.identity;
  file.position = at.position;
  return Status::ok();
}

// Is this the file whose first at.position bytes have been read?
Status FileSource::verify(const FileDescriptor& descriptor, int64_t size, const SourcePosition& at, InputFile& file) {
  if (size < at.position) {
    return changed(file, fmt::format("it has {} bytes, but {} have been read", size, at.position));
  }
  MR_ASSIGN(const std::string head, read_head(descriptor, at.position));
  char next[2] = {'\n', '\n'};  // the last byte that was read, and the one behind it
  if (::pread(descriptor.get(), next, 2, at.position - 1) < 1) return errno_status(errno, "read", file.path);
  file.position = at.position;
  file.identity = identity_of(file.id, file.position, head);
  if (!at.identity.empty() && !at.identity.starts_with(file.identity)) {
    const bool same_bytes = at.identity.find(file.identity.substr(file.identity.rfind(':'))) != std::string::npos;
    return changed(file, same_bytes ? "it is another file than the one that was being read (device or inode differ)"
                                    : "its first bytes differ from those that have been read");
  }
  if (next[0] != '\n' && next[1] != '\n' && next[1] != '\r') {
    return changed(file, fmt::format("its last line had no newline when it was read, and has been continued since "
                                     "(byte {})",
                                     at.position));
  }
  return Status::ok();
}

Status FileSource::start_file(InputFile& file) {
  Result<FileDescriptor> opened = open_file(file.path, O_RDONLY | O_NONBLOCK);
  if (!opened.is_ok()) {
    struct stat info {};
    if (::stat(file.path.c_str(), &info) != 0 && errno == ENOENT) return file_missing(file.path, "is gone");
    return Status::user(Code::kFileIo, opened.status().message());
  }
  file_ = std::move(opened).value();
  struct stat info {};
  if (::fstat(file_.get(), &info) != 0) return errno_status(errno, "read", file.path);
  if (!S_ISREG(info.st_mode)) return not_a_file(file.path, info.st_mode);
  if (file.position > 0 && FileId{info.st_dev, info.st_ino} != file.id) {
    return changed(file, "it has been replaced while the pipeline was running");
  }
  file.id = {info.st_dev, info.st_ino};
  if (has_header(settings_.format)) {
    MR_ASSIGN(const HeaderLine header, read_header_line(file_));
    if (header.bytes > 0) {
      Result<std::vector<int>> columns = read_csv_header(header.text, settings_.format.csv, settings_.schema);
      if (!columns.is_ok()) return columns.status().with_context(file.path);
      columns_ = std::move(columns).value();
    }
    file.position = std::max(file.position, header.bytes);
  }
  MR_ASSIGN(std::string head, read_head(file_, file.position));
  (void)::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  reader_.start(file_.get(), file.position);
  reader_.set_head(std::move(head));
  return Status::ok();
}

Status FileSource::end_file(InputFile& file) {
  struct stat info {};
  if (::fstat(file_.get(), &info) != 0) return errno_status(errno, "read", file.path);
  if (info.st_size < file.position) {
    return changed(file, fmt::format("it was cut to {} bytes after {} had been read", info.st_size, file.position));
  }
  file.identity = identity_of(file.id, file.position, reader_.head()).append(kReadToEnd);
  file_ = FileDescriptor();
  return Status::ok();
}

Status FileSource::poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) {
  (void)timeout_ms;  // a file never has to be waited for
  Arena& arena = *poll->arena;
  auto rows = std::make_shared<SourceRows>();
  auto* partition = arena.array<uint32_t>(limits.max_rows);
  LineReader::Lines lines;
  lines.max_rows = limits.max_rows;
  lines.max_bytes = limits.max_bytes;
  lines.payload = arena.array<std::string_view>(limits.max_rows);
  lines.offset = arena.array<int64_t>(limits.max_rows);
  lines.owners = &rows->owners;
  for (int visited = 0; current_ < files_.size() && visited < kMaxFilesPerPoll; current_++, visited++) {
    InputFile& file = files_[current_];
    if (file.gone) continue;
    if (!file_.is_open()) MR_RETURN_IF_ERROR(start_file(file));
    const uint32_t first = lines.count;
    if (!announce_columns(first == 0)) break;  // rows under another header come with the next poll
    bool at_end = false;
    const Status read = reader_.read(lines, &at_end);
    if (!read.is_ok()) return read.with_context(file.path);
    file.position = reader_.position();
    if (settings_.format == "csv") skip_byte_order_mark(lines, first);
    std::fill(partition + first, partition + lines.count, static_cast<uint32_t>(current_));
    poll->skipped_too_large.insert(poll->skipped_too_large.end(), std::exchange(lines.too_large, 0),
                                   static_cast<uint32_t>(current_));
    if (!at_end) break;
    MR_RETURN_IF_ERROR(end_file(file));
  }
  auto* timestamps = arena.array<int64_t>(lines.count);
  std::fill(timestamps, timestamps + lines.count, kNoTime);
  rows->partitions = partitions_;
  rows->partition = partition;
  rows->offset = lines.offset;
  rows->timestamp_ms = timestamps;
  rows->payload = lines.payload;
  rows->owners.push_back(poll->arena);
  poll->count = lines.count;
  poll->bytes = lines.bytes;
  poll->rows = std::move(rows);
  poll->end_of_input = current_ == files_.size();
  return Status::ok();
}

// The decoder learns the columns of the file that is being read; false: not in this poll.
bool FileSource::announce_columns(bool poll_is_empty) {
  CsvColumns* announced = settings_.format.csv_columns.get();
  if (!has_header(settings_.format) || announced == nullptr || columns_.empty()) return true;
  if (announced->version() > 0 && announced->fields() == columns_) return true;
  if (poll_is_empty) announced->announce(columns_);
  return poll_is_empty;
}

std::vector<SourcePosition> FileSource::positions() {
  if (file_.is_open()) {
    InputFile& file = files_[current_];
    file.identity = identity_of(file.id, file.position, reader_.head());
  }
  std::vector<SourcePosition> positions;
  positions.reserve(files_.size());
  for (const InputFile& file : files_) positions.push_back({{file.path, 0}, file.identity, file.position});
  return positions;
}

class FileSourcePlan : public SourcePlan {
 public:
  FileSourcePlan(FileSourceSettings settings, Location at) : settings_(std::move(settings)), at_(std::move(at)) {}

  bool plan(const SourcePlanContext& context, Diagnostics& diagnostics) override {
    if (context.format == "int64" || context.format == "double") {
      diagnostics.error(LintCode::kConflict, at_,
                        fmt::format("format {} is binary; a file is read line by line", context.format.name),
                        "use format: json, csv or text");
      return false;
    }
    settings_.format = context.format;
    settings_.schema = context.schema;
    return true;
  }
  bool bounded() const override { return !settings_.follow; }
  bool sequential() const override { return !settings_.follow; }
  std::string describe() const override { return "file " + settings_.path + (settings_.follow ? ", followed" : ""); }
  std::unique_ptr<Source> make(const SourceContext& context) const override {
    return settings_.follow ? make_follow_source(settings_, context) : make_file_source(settings_, context);
  }

 private:
  FileSourceSettings settings_;
  const Location at_;
};

void read_options(MapReader& map, FileSourceSettings& settings, Diagnostics& diagnostics) {
  const int64_t max_record = map.size_bytes_or("max_record", static_cast<int64_t>(settings.max_record_bytes));
  if (max_record < 1 || max_record > static_cast<int64_t>(kMaxFileRecordBytes)) {
    diagnostics.error(LintCode::kBadValue, map.child("max_record")->location(),
                      "max_record must be between 1B and 64MiB");
  } else {
    settings.max_record_bytes = static_cast<size_t>(max_record);
  }
  settings.follow = map.bool_or("follow", false);
  settings.restart_truncated = map.choice("on_truncate", {"restart", "fail"}, "restart") == "restart";
  if (const auto node = map.child("on_truncate"); node && !settings.follow) {
    diagnostics.error(LintCode::kConflict, node->key_location(), "on_truncate is for files that are followed",
                      "add follow: true");
  }
}

std::unique_ptr<SourcePlan> read_file_source(const ConfigNode& body, Diagnostics& diagnostics) {
  FileSourceSettings settings;
  const size_t errors = diagnostics.error_count();
  Location at = body.location();
  if (body.is_scalar()) {
    settings.path = as_string(body, diagnostics).value_or("");
  } else {
    MapReader map(body, diagnostics);
    settings.path = map.required_string("path");
    if (auto path = map.child("path")) at = path->location();
    read_options(map, settings, diagnostics);
    map.finish();
  }
  if (diagnostics.error_count() == errors && (settings.path.empty() || settings.path.ends_with('/'))) {
    diagnostics.error(LintCode::kBadValue, at, settings.path.empty() ? "path is empty" : "path names a directory",
                      "name a file, or a pattern such as in/*.jsonl");
  }
  if (diagnostics.error_count() != errors) return nullptr;
  return std::make_unique<FileSourcePlan>(std::move(settings), at);
}

}  // namespace

std::unique_ptr<Source> make_file_source(FileSourceSettings settings, const SourceContext& context) {
  return std::make_unique<FileSource>(std::move(settings), context);
}

void register_file_source(SourceRegistry& registry) { registry.add("file", read_file_source); }

}  // namespace millrace
