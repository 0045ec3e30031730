#include "sources/follow_source.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "sources/followed_file.h"
#include "sources/input_file.h"
#include "sources/line_reader.h"

namespace millrace {
namespace {

constexpr int64_t kIdleMs = 5;  // between two looks at open files
constexpr int64_t kEffort = 10;  // looking takes at most one part in so many of the time

struct FoundFile {
  FileId id;
  int64_t size = 0;
};
using Listing = std::map<std::string, FoundFile>;

// A path, and the files that it has named: the first is being read, the others wait until that one is done.
struct FollowedPath {
  std::string path;
  std::deque<FollowedFile> files;
  SourcePosition last;  // while there is no file
  int64_t replaced_ms = 0;  // when the first file was found to be replaced or removed; 0: it is neither
};

class FollowSource : public Source {
 public:
  FollowSource(FileSourceSettings settings, const SourceContext& context)
      : settings_(std::move(settings)),
        log_(context.log),
        name_(context.source),
        accept_reset_(context.accept_reset),
        clock_(context.clock != nullptr ? *context.clock : system_clock_),
        reader_(line_options(settings_)) {}

  Status open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) override;
  Status poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) override;
  std::vector<SourcePosition> positions() override;
  void close() override;

 private:
  // What a look at a path leads to.
  enum class Visit { kNothing, kRead, kFull };

  int64_t now_ms() const { return clock_.monotonic_us() / 1000; }
  Result<Listing> list() const;
  Status resume_path(const SourcePosition& at, const Listing& listing);
  Status resume_file(FollowedPath& path, FollowedFile file, const SourcePosition& at);
  Status lost(const SourcePosition& at, bool replaced) const;
  Status add_path(FollowedPath path);
  void add_file(size_t index, FollowedFile file);
  Status scan();
  Status see(const std::string& path, const FoundFile& found);
  Status round(LineReader::Lines& lines, uint32_t* partition, SourcePoll* poll);
  Result<Visit> visit(size_t index, LineReader::Lines& lines);
  Status reopen(FollowedPath& path, bool* gone);
  Status check_size(FollowedFile& file);
  Result<Visit> read(FollowedPath& path, LineReader::Lines& lines, bool last);
  Status start_reading(FollowedFile& file, bool last, bool* wait);
  bool announce_columns(const FollowedFile& file, bool poll_is_empty);
  Status finish_file(size_t index);
  Status open_file(FollowedFile& file);
  void close_file(FollowedFile& file);
  void close_quiet_files();

  const FileSourceSettings settings_;
  const Logger log_;
  const std::string name_;
  const bool accept_reset_;
  const SystemClock system_clock_;
  const Clock& clock_;
  LineReader reader_;
  std::optional<FileId> reading_;  // what the reader stands in
  std::deque<FollowedPath> paths_;  // by partition
  std::map<std::string, size_t> index_of_;
  std::map<std::pair<dev_t, ino_t>, size_t> owner_of_;  // file -> path that reads it
  std::shared_ptr<const std::vector<PartitionName>> partitions_;
  size_t open_files_ = 0;
  size_t next_path_ = 0;  // where the next round begins
  uint64_t scans_ = 0;
  int64_t next_scan_ms_ = 0;
  int64_t next_round_ms_ = 0;
};

Result<Listing> FollowSource::list() const {
  std::vector<std::string> paths{settings_.path};
  if (is_pattern(settings_.path)) {
    Result<std::vector<std::string>> found = expand_pattern(settings_.path);
    if (!found.is_ok() && found.status().code() != Code::kFileMissing) return found.status();
    paths = found.is_ok() ? std::move(*found) : std::vector<std::string>();
  }
  Listing listing;
  for (const std::string& path : paths) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) continue;  // not there yet, or just being rotated
    if (!S_ISREG(info.st_mode)) return not_a_file(path, info.st_mode);
    listing[path] = {{info.st_dev, info.st_ino}, info.st_size};
  }
  return listing;
}

Status FollowSource::open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) {
  (void)needs;
  close();
  MR_ASSIGN(const Listing listing, list());
  for (const SourcePosition& at : resume) {
    if (at.position > 0) MR_RETURN_IF_ERROR(resume_path(at, listing));
  }
  if (!is_pattern(settings_.path) && index_of_.count(settings_.path) == 0) {
    MR_RETURN_IF_ERROR(add_path({settings_.path, {}, {{settings_.path, 0}, "", 0}, 0}));
    if (listing.empty()) log_.info("source {}: waiting for {}", name_, settings_.path);
  }
  if (partitions_ == nullptr) partitions_ = std::make_shared<const std::vector<PartitionName>>();
  return scan();
}

void FollowSource::close() {
  paths_.clear();
  index_of_.clear();
  owner_of_.clear();
  partitions_.reset();
  reading_.reset();
  open_files_ = 0;
  next_path_ = 0;
  next_scan_ms_ = next_round_ms_ = 0;
}

Status FollowSource::add_path(FollowedPath path) {
  if (paths_.size() >= kMaxFiles) {
    return Status::user(Code::kFileIo, fmt::format("{} has matched more than {} files", settings_.path, kMaxFiles));
  }
  auto names = std::make_shared<std::vector<PartitionName>>();
  if (partitions_ != nullptr) *names = *partitions_;
  names->push_back({path.path, 0});
  partitions_ = std::move(names);
  index_of_[path.path] = paths_.size();
  paths_.push_back(std::move(path));
  return Status::ok();
}

void FollowSource::add_file(size_t index, FollowedFile file) {
  FollowedPath& path = paths_[index];
  owner_of_[{file.id.device, file.id.inode}] = index;
  file.grown_ms = now_ms();
  if (!path.files.empty() && path.replaced_ms == 0) path.replaced_ms = now_ms();
  path.files.push_back(std::move(file));
}

// Finds the file of a position again, whatever it is called by now.
Status FollowSource::resume_path(const SourcePosition& at, const Listing& listing) {
  const std::string& path = at.name.topic;
  const bool there = listing.count(path) > 0;
  FollowedPath followed{path, {}, at, 0};
  const auto drop = [&](const char* why) {
    log_.info("source {}: {} {}", name_, path, why);
    return there ? add_path(std::move(followed)) : Status::ok();
  };
  if (at.identity.ends_with(kFileGone)) return drop("had been removed after it was read to its end");
  FollowedFile file;
  if (!parse_file_id(at.identity, &file.id)) return lost(at, there);
  for (const auto& [name, found] : listing)
    if (found.id == file.id && (file.path.empty() || name == path)) file.path = name;
  if (file.path.empty()) {
    MR_ASSIGN(file.path, find_renamed(path, file.id));
  }
  if (file.path.empty()) {
    if (at.identity.ends_with(kReadToEnd) && !there) return drop("is gone; it had been read to its end");
    if (!accept_reset_) return lost(at, there);
    return drop("is gone before it was read to its end (--accept-reset)");
  }
  if (file.path != path && there && !is_pattern(settings_.path) && !accept_reset_) {
    MR_ASSIGN(const std::string between, find_rotated_between(path, file.path));
    if (!between.empty()) {
      return Status::user(Code::kFileChanged,
                          fmt::format("{}: it was rotated more than once while nobody read it, and {} has come in "
                                      "between; read both with a pattern such as {}*, or go on without with "
                                      "--accept-reset",
                                      path, between, path));
    }
  }
  return resume_file(followed, std::move(file), at);
}

Status FollowSource::resume_file(FollowedPath& path, FollowedFile file, const SourcePosition& at) {
  MR_RETURN_IF_ERROR(open_file(file));
  Result<std::string> head = verify_read(file.file, file.id, file.size, at);
  if (head.is_ok()) {
    file.head = std::move(*head);
    file.position = file.read_size = at.position;
    if (file.is_at_end()) close_file(file);
  } else if (head.status().code() != Code::kFileChanged || !(settings_.restart_truncated || accept_reset_)) {
    return head.status();
  } else {
    log_.warn("source {}: {} is read from its beginning: {}", name_, file.path, head.status().message());
  }
  MR_RETURN_IF_ERROR(add_path(std::move(path)));
  add_file(paths_.size() - 1, std::move(file));
  return Status::ok();
}

Status FollowSource::lost(const SourcePosition& at, bool replaced) const {
  const std::string& path = at.name.topic;
  return Status::user(
      replaced ? Code::kFileChanged : Code::kFileMissing,
      fmt::format("{}: {}, and the file that was read up to byte {} is not in its folder; put it back, or go on "
                  "without it with --accept-reset",
                  path, replaced ? "it is another file now" : "it is gone", at.position));
}

// Looks at the paths: new ones, and those that name another file by now.
Status FollowSource::scan() {
  const int64_t begin = now_ms();
  scans_++;
  MR_ASSIGN(const Listing listing, list());
  for (const auto& [path, found] : listing) MR_RETURN_IF_ERROR(see(path, found));
  const int64_t end = now_ms();
  next_scan_ms_ = end + std::max(kScanMs, kEffort * (end - begin));
  return Status::ok();
}

Status FollowSource::see(const std::string& path, const FoundFile& found) {
  const auto owner = owner_of_.find({found.id.device, found.id.inode});
  if (owner != owner_of_.end()) {
    for (FollowedFile& file : paths_[owner->second].files) {
      if (file.id != found.id) continue;
      file.path = path;
      file.seen_in = scans_;
      if (!file.file.is_open()) file.size = found.size;
    }
    return Status::ok();
  }
  if (index_of_.count(path) == 0) MR_RETURN_IF_ERROR(add_path({path, {}, {{path, 0}, "", 0}, 0}));
  FollowedFile file;
  file.path = path;
  file.id = found.id;
  file.size = found.size;
  file.seen_in = scans_;
  const size_t index = index_of_[path];
  if (!paths_[index].files.empty()) log_.info("source {}: {} was rotated", name_, path);
  add_file(index, std::move(file));
  return Status::ok();
}

Status FollowSource::open_file(FollowedFile& file) {
  if (file.file.is_open()) return Status::ok();
  if (open_files_ >= kMaxOpenFiles) close_quiet_files();
  if (open_files_ >= kMaxOpenFiles) {
    return Status::user(Code::kFileIo, fmt::format("{}: more than {} files that were replaced or removed are not read "
                                                   "to their end yet",
                                                   settings_.path, kMaxOpenFiles));
  }
  MR_RETURN_IF_ERROR(file.open());
  open_files_++;
  return Status::ok();
}

void FollowSource::close_file(FollowedFile& file) {
  if (!file.file.is_open()) return;
  file.file = FileDescriptor();
  open_files_--;
  if (reading_ == file.id) reading_.reset();
}

// Closes half of the files that can be opened again, the quietest first.
void FollowSource::close_quiet_files() {
  std::vector<FollowedFile*> files;
  for (FollowedPath& path : paths_)
    if (!path.files.empty() && path.files.front().file.is_open() && path.replaced_ms == 0)
      files.push_back(&path.files.front());
  std::sort(files.begin(), files.end(),
            [](const FollowedFile* a, const FollowedFile* b) { return a->grown_ms < b->grown_ms; });
  files.resize((files.size() + 1) / 2);
  for (FollowedFile* file : files) close_file(*file);
}

Status FollowSource::poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) {
  Arena& arena = *poll->arena;
  auto rows = std::make_shared<SourceRows>();
  auto* partition = arena.array<uint32_t>(limits.max_rows);
  LineReader::Lines lines;
  lines.max_rows = limits.max_rows;
  lines.max_bytes = limits.max_bytes;
  lines.payload = arena.array<std::string_view>(limits.max_rows);
  lines.offset = arena.array<int64_t>(limits.max_rows);
  lines.owners = &rows->owners;
  const int64_t deadline = now_ms() + timeout_ms;
  while (true) {
    MR_RETURN_IF_ERROR(round(lines, partition, poll));
    const int64_t now = now_ms();
    if (lines.count > 0 || !poll->skipped_too_large.empty() || now >= deadline) break;
    const int64_t wait = std::min(deadline, std::min(next_round_ms_, next_scan_ms_)) - now;
    std::this_thread::sleep_for(std::chrono::milliseconds(std::max<int64_t>(wait, 1)));
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
  return Status::ok();
}

// Looks at each path once, beginning where the last round was full.
Status FollowSource::round(LineReader::Lines& lines, uint32_t* partition, SourcePoll* poll) {
  const int64_t begin = now_ms();
  if (begin >= next_scan_ms_) MR_RETURN_IF_ERROR(scan());
  if (begin < next_round_ms_) return Status::ok();
  bool idle = true;
  const size_t count = paths_.size();
  for (size_t i = 0; i < count; i++) {
    const size_t index = (next_path_ + i) % count;
    const uint32_t first = lines.count;
    MR_ASSIGN(const Visit visited, visit(index, lines));
    std::fill(partition + first, partition + lines.count, static_cast<uint32_t>(index));
    poll->skipped_too_large.insert(poll->skipped_too_large.end(), std::exchange(lines.too_large, 0),
                                   static_cast<uint32_t>(index));
    idle = idle && visited == Visit::kNothing;
    if (visited != Visit::kFull) continue;
    next_path_ = index;
    return Status::ok();
  }
  if (count > 0) next_path_ = (next_path_ + 1) % count;
  const int64_t end = now_ms();
  if (idle) next_round_ms_ = end + std::max(kIdleMs, kEffort * (end - begin));
  return Status::ok();
}

Result<FollowSource::Visit> FollowSource::visit(size_t index, LineReader::Lines& lines) {
  FollowedPath& path = paths_[index];
  if (path.files.empty()) return Visit::kNothing;
  FollowedFile& file = path.files.front();
  if (!file.file.is_open()) {
    const bool unchanged = file.size <= file.read_size && file.size >= file.position;
    if (unchanged && path.files.size() == 1 && file.seen_in == scans_) return Visit::kNothing;
    bool gone = false;
    MR_RETURN_IF_ERROR(reopen(path, &gone));
    if (gone) {
      MR_RETURN_IF_ERROR(finish_file(index));
      return Visit::kNothing;
    }
  }
  bool linked = true;
  MR_RETURN_IF_ERROR(file.look(&linked));
  MR_RETURN_IF_ERROR(check_size(file));
  const int64_t now = now_ms();
  if (!linked && path.replaced_ms == 0) path.replaced_ms = now;
  if (file.size > file.read_size) {
    file.grown_ms = now;
    return read(path, lines, false);
  }
  const int64_t quiet_ms = now - std::max(file.grown_ms, path.replaced_ms);
  if (path.replaced_ms != 0 && quiet_ms >= kQuietMs) {
    MR_ASSIGN(const Visit visited, read(path, lines, true));
    if (visited != Visit::kFull) MR_RETURN_IF_ERROR(finish_file(index));
    return visited;
  }
  if (path.replaced_ms == 0 && quiet_ms >= kIdleCloseMs) close_file(file);
  return Visit::kNothing;
}

// Opens the first file of a path, under another name if it was renamed while it was closed. *gone: it was removed.
Status FollowSource::reopen(FollowedPath& path, bool* gone) {
  FollowedFile& file = path.files.front();
  const Status opened = open_file(file);
  if (!opened.is_ok()) {
    MR_ASSIGN(const std::string renamed, find_renamed(path.path, file.id));
    if (renamed.empty()) {
      if (!file.is_at_end()) return lost({{path.path, 0}, "", file.position}, path.files.size() > 1);
      *gone = true;
      return Status::ok();
    }
    file.path = renamed;
    MR_RETURN_IF_ERROR(open_file(file));
  }
  if (file.position == 0 || file.size < file.position) return Status::ok();
  const SourcePosition at{{path.path, 0}, identity_of(file.id, file.position, file.head), file.position};
  const Result<std::string> head = verify_read(file.file, file.id, file.size, at);
  return head.is_ok() ? Status::ok() : head.status();
}

// A file that has become shorter than what was read of it was written anew.
Status FollowSource::check_size(FollowedFile& file) {
  if (file.size >= file.position) return Status::ok();
  const std::string what = fmt::format("{}: it was cut to {} bytes after {} had been read", file.path, file.size,
                                       file.position);
  if (!settings_.restart_truncated) {
    return Status::user(Code::kFileChanged, what + "; `on_truncate: restart` reads such files from their beginning");
  }
  log_.warn("source {}: {}; it is read from its beginning", name_, what);
  file.position = file.read_size = 0;
  file.head.clear();
  file.has_columns = false;
  if (reading_ == file.id) reading_.reset();
  return Status::ok();
}

// Reads the first file of a path. last: nobody writes to it any more, so that its last line may lack its end.
Result<FollowSource::Visit> FollowSource::read(FollowedPath& path, LineReader::Lines& lines, bool last) {
  FollowedFile& file = path.files.front();
  const int64_t size = file.size;
  bool wait = false;
  MR_RETURN_IF_ERROR(start_reading(file, last, &wait));
  if (wait) {
    file.read_size = size;
    return Visit::kNothing;
  }
  if (!announce_columns(file, lines.count == 0)) return Visit::kFull;  // rows under another header: the next poll
  const uint32_t first = lines.count;
  bool at_end = false;
  const Status status = reader_.read(lines, &at_end);
  if (!status.is_ok()) return status.with_context(file.path);
  MR_RETURN_IF_ERROR(file.advance(reader_.position()));
  if (settings_.format == "csv") skip_byte_order_mark(lines, first);
  if (!at_end) return Visit::kFull;
  file.read_size = std::max(size, file.position);
  return Visit::kRead;
}

// The reader stands at the next line of the file. *wait: its header line is not complete yet.
Status FollowSource::start_reading(FollowedFile& file, bool last, bool* wait) {
  if (has_header(settings_.format) && !file.has_columns) {
    MR_ASSIGN(const HeaderLine header, read_header_line(file.file));
    *wait = !header.complete && !last;
    if (*wait) return Status::ok();
    if (header.bytes > 0) {
      Result<std::vector<int>> columns = read_csv_header(header.text, settings_.format.csv, settings_.schema);
      if (!columns.is_ok()) return columns.status().with_context(file.path);
      file.columns = std::move(*columns);
    }
    file.has_columns = true;
    if (file.position < header.bytes) MR_RETURN_IF_ERROR(file.advance(header.bytes));
  }
  if (reading_ != file.id || reader_.position() != file.position) {
    reader_.start(file.file.get(), file.position);
    reading_ = file.id;
  }
  reader_.take_unfinished(last);
  return Status::ok();
}

bool FollowSource::announce_columns(const FollowedFile& file, bool poll_is_empty) {
  CsvColumns* announced = settings_.format.csv_columns.get();
  if (!has_header(settings_.format) || announced == nullptr || file.columns.empty()) return true;
  if (announced->version() > 0 && announced->fields() == file.columns) return true;
  if (poll_is_empty) announced->announce(file.columns);
  return poll_is_empty;
}

// The first file of a path was read to its end and is replaced or gone. One that a pattern finds under another name goes
// on under that name, so that it is not taken for a new one.
Status FollowSource::finish_file(size_t index) {
  MR_RETURN_IF_ERROR(scan());
  FollowedPath& path = paths_[index];
  FollowedFile file = std::move(path.files.front());
  path.files.pop_front();
  path.replaced_ms = path.files.size() > 1 ? now_ms() : 0;
  path.last = {{path.path, 0}, identity_of(file.id, file.position, file.head).append(kFileGone), file.position};
  owner_of_.erase({file.id.device, file.id.inode});
  log_.info("source {}: {} was read to its end, byte {}{}", name_, path.path, file.position,
            path.files.empty() ? ", and removed" : "; on to the file that has taken its place");
  if (file.seen_in != scans_) {
    close_file(file);
    return Status::ok();
  }
  if (index_of_.count(file.path) == 0) MR_RETURN_IF_ERROR(add_path({file.path, {}, {{file.path, 0}, "", 0}, 0}));
  add_file(index_of_[file.path], std::move(file));
  return Status::ok();
}

std::vector<SourcePosition> FollowSource::positions() {
  std::vector<SourcePosition> positions;
  positions.reserve(paths_.size());
  for (const FollowedPath& path : paths_) {
    if (path.files.empty()) {
      positions.push_back(path.last);
    } else {
      const FollowedFile& file = path.files.front();
      positions.push_back({{path.path, 0}, file.identity(), file.position});
    }
  }
  return positions;
}

}  // namespace

std::unique_ptr<Source> make_follow_source(FileSourceSettings settings, const SourceContext& context) {
  return std::make_unique<FollowSource>(std::move(settings), context);
}

}  // namespace millrace
