#include "sources/follow_source.h"

#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "sources/followed_file.h"
#include "sources/input_file.h"
#include "sources/line_reader.h"

namespace millrace {
namespace {

constexpr int64_t kIdleMs = 5;   // between two looks at open files
constexpr int64_t kEffort = 10;  // looking takes at most one part in so many of the time
constexpr int kMaxFailedScans = 10;
// Paths that were not looked at for so long may have been rotated more than once.
constexpr int64_t kGapMs = 10'000;
// After so much of one file the next one has its turn.
constexpr int64_t kTurnBytes = 1 << 20;
constexpr int64_t kShortLine = 64 << 10;
// So many of the files that a listing names are kept open by a resume; the rest is for those it does not name.
constexpr size_t kMaxResumedOpen = kMaxOpenFiles / 4 * 3;

struct FoundFile {
  FileId id;
  int64_t size = 0;
  int64_t written_ns = 0;
};
// What the paths name now.
struct Listing {
  std::map<std::string, FoundFile> files;
  FilesById by_id;
  std::set<std::string> newest;  // paths of the kMaxResumedOpen that were written last (for a resume)
};

struct FollowedPath {
  std::string path;
  std::deque<FollowedFile> files;  // the first is being read, the others wait until it is done
  std::deque<FollowedFile> done;   // others have taken their place; late lines are read
  int64_t replaced_ms = 0;         // when the first file was found to be replaced or removed; 0: it is neither
};

class FollowSource : public Source {
 public:
  FollowSource(FileSourceSettings settings, const SourceContext& context)
      : settings_(std::move(settings)),
        log_(context.log),
        name_(context.source),
        accept_reset_(context.accept_reset),
        by_pattern_(is_pattern(settings_.path)),
        clock_(context.clock != nullptr ? *context.clock : system_clock_),
        reader_(line_options(settings_)) {}

  Status open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) override;
  Status poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) override;
  std::vector<SourcePosition> positions() override;
  void close() override;

 private:
  // What a look at a path leads to. kFull: there is more, but not in this poll.
  enum class Visit { kNothing, kRead, kFull };
  enum class Opened { kOpen, kNotNow, kGone };

  int64_t now_ms() const { return clock_.monotonic_us() / 1000; }
  bool is_seen(const FollowedFile& file) const { return file.seen_in == scans_; }
  bool is_ours(const std::string& path) const;
  Result<Listing> list() const;
  // Resuming (in open).
  Status resume_path(const SourcePosition& at, const Listing& listing);
  Status resume_file(const KnownFile& known, const Listing& listing, FollowedPath& path);
  Result<std::string> locate(const std::string& path, const KnownFile& known, const Listing& listing) const;
  Result<std::string> verify(FollowedFile& file, const KnownFile& known) const;
  Status check_between(const std::string& path, const std::string& old_path, const std::vector<KnownFile>& known) const;
  Status lost(const std::string& path, int64_t position) const;
  // Looking at paths.
  Status add_path(FollowedPath path);
  const std::shared_ptr<const std::vector<PartitionName>>& partition_names();
  Status scan();
  Status see(const std::string& path, const FoundFile& found);
  Result<bool> is_same_file(const FollowedFile& file, const std::string& path) const;
  FollowedFile* find(const FileId& id);
  void forget(const FileId& id);
  Status note_rotation(FollowedPath& path);
  // Reading.
  Status round(LineReader::Lines& lines, uint32_t* partition, SourcePoll* poll);
  Result<Visit> visit(FollowedPath& path, LineReader::Lines& lines);
  Result<Visit> visit_first(FollowedPath& path, LineReader::Lines& lines);
  Result<Visit> visit_done(FollowedPath& path, FollowedFile& file, LineReader::Lines& lines, bool* drop);
  Status look(FollowedFile& file, bool* linked);
  Result<Visit> read(FollowedFile& file, LineReader::Lines& lines, bool last);
  Status check_rewrite(FollowedFile& file);
  Status start_reading(FollowedFile& file, bool last, bool* wait);
  bool announce_columns(const FollowedFile& file, bool poll_is_empty);
  void finish_first(FollowedPath& path);
  void pop_first(FollowedPath& path);
  // Descriptors.
  Result<Opened> open_file(const FollowedPath& path, FollowedFile& file);
  void close_file(FollowedFile& file);
  void close_quiet_files();

  const FileSourceSettings settings_;
  const Logger log_;
  const std::string name_;
  const bool accept_reset_;
  const bool by_pattern_;
  const SystemClock system_clock_;
  const Clock& clock_;
  LineReader reader_;
  std::optional<FileId> reading_;   // what the reader stands in
  std::deque<FollowedPath> paths_;  // by partition
  std::map<std::string, size_t> index_of_;
  std::map<std::pair<dev_t, ino_t>, size_t> owner_of_;  // file -> path that reads it
  std::shared_ptr<const std::vector<PartitionName>> partitions_;  // as of the last poll
  size_t open_files_ = 0;
  size_t next_path_ = 0;    // where the next round begins
  int64_t turn_bytes_ = 0;  // read of it since it has its turn
  uint64_t scans_ = 0;
  int failed_scans_ = 0;
  int64_t last_scan_ms_ = 0;
  int64_t next_scan_ms_ = 0;
  int64_t next_round_ms_ = 0;
};

int64_t time_ns(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

// The paths of the kMaxResumedOpen files that were written last.
std::set<std::string> newest_files(const Listing& listing) {
  std::vector<std::pair<int64_t, const std::string*>> written;
  written.reserve(listing.files.size());
  for (const auto& [path, found] : listing.files) written.emplace_back(found.written_ns, &path);
  const size_t count = std::min(written.size(), kMaxResumedOpen);
  std::partial_sort(written.begin(), written.begin() + static_cast<std::ptrdiff_t>(count), written.end(),
                    [](const auto& a, const auto& b) { return a.first > b.first; });
  std::set<std::string> newest;
  for (size_t i = 0; i < count; i++) newest.insert(*written[i].second);
  return newest;
}

// Would the path of an earlier run be read by this one?
bool FollowSource::is_ours(const std::string& path) const {
  if (!by_pattern_) return path == settings_.path;
  return ::fnmatch(settings_.path.c_str(), path.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0;
}

Result<Listing> FollowSource::list() const {
  std::vector<std::string> paths{settings_.path};
  if (by_pattern_) {
    Result<std::vector<std::string>> found = expand_pattern(settings_.path);
    if (!found.is_ok() && found.status().code() != Code::kFileMissing) return found.status();
    paths = found.is_ok() ? std::move(*found) : std::vector<std::string>();
  }
  Listing listing;
  for (const std::string& path : paths) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) continue;  // not there yet, or just being rotated
      return errno_status(errno, "open", path);
    }
    if (!S_ISREG(info.st_mode)) return not_a_file(path, info.st_mode);
    listing.files[path] = {{info.st_dev, info.st_ino}, info.st_size, time_ns(info.st_mtim)};
    listing.by_id.try_emplace({info.st_dev, info.st_ino}, path);
  }
  return listing;
}

Status FollowSource::open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) {
  (void)needs;
  close();
  MR_ASSIGN(Listing listing, list());
  listing.newest = newest_files(listing);
  for (const SourcePosition& at : resume) MR_RETURN_IF_ERROR(resume_path(at, listing));
  // The event time of the source is kept with its partitions: one stays although its files are gone.
  if (paths_.empty() && !resume.empty() && is_ours(resume.back().name.topic)) {
    MR_RETURN_IF_ERROR(add_path({resume.back().name.topic, {}, {}, 0}));
  }
  if (!by_pattern_ && index_of_.count(settings_.path) == 0) {
    MR_RETURN_IF_ERROR(add_path({settings_.path, {}, {}, 0}));
  }
  if (listing.files.empty()) log_.info("source {}: waiting for {}", name_, settings_.path);
  last_scan_ms_ = now_ms();
  return scan();
}

void FollowSource::close() {
  paths_.clear();
  index_of_.clear();
  owner_of_.clear();
  partitions_.reset();
  reading_.reset();
  open_files_ = next_path_ = 0;
  turn_bytes_ = 0;
  failed_scans_ = 0;
  next_scan_ms_ = next_round_ms_ = 0;
}

Status FollowSource::add_path(FollowedPath path) {
  if (paths_.size() >= kMaxFiles) {
    return Status::user(Code::kFileIo, fmt::format("{} has matched more than {} files", settings_.path, kMaxFiles));
  }
  index_of_[path.path] = paths_.size();
  for (const auto* files : {&path.files, &path.done})
    for (const FollowedFile& file : *files) owner_of_[{file.id.device, file.id.inode}] = paths_.size();
  paths_.push_back(std::move(path));
  return Status::ok();
}

const std::shared_ptr<const std::vector<PartitionName>>& FollowSource::partition_names() {
  if (partitions_ != nullptr && partitions_->size() == paths_.size()) return partitions_;
  auto names = std::make_shared<std::vector<PartitionName>>();
  names->reserve(paths_.size());
  for (const FollowedPath& path : paths_) names->push_back({path.path, 0});
  partitions_ = std::move(names);
  return partitions_;
}

// Finds the files of a position again, whatever they are called by now.
Status FollowSource::resume_path(const SourcePosition& at, const Listing& listing) {
  const std::string& path = at.name.topic;
  const std::optional<std::vector<KnownFile>> known = decode_files(at);
  if (!known || (known->empty() && at.position > 0)) {
    if (!accept_reset_) return file_changed(path, "its position is not one of a followed file");
    log_.warn("source {}: {} is read from its beginning: its position is unknown (--accept-reset)", name_, path);
    return Status::ok();
  }
  FollowedPath followed{path, {}, {}, 0};
  for (const KnownFile& file : *known) MR_RETURN_IF_ERROR(resume_file(file, listing, followed));
  if (followed.files.empty() && followed.done.empty()) return Status::ok();
  if (!by_pattern_ && !followed.files.empty() && followed.files.back().path != path) {
    MR_RETURN_IF_ERROR(check_between(path, followed.files.back().path, *known));
  }
  return add_path(std::move(followed));
}

Status FollowSource::resume_file(const KnownFile& known, const Listing& listing, FollowedPath& path) {
  if (owner_of_.count({known.id.device, known.id.inode}) > 0) return Status::ok();
  FollowedFile file;
  file.id = known.id;
  file.grown_ms = file.seen_ms = now_ms();
  MR_ASSIGN(file.path, locate(path.path, known, listing));
  std::string why;
  if (!file.path.empty()) {
    MR_RETURN_IF_ERROR(file.open());
    MR_ASSIGN(why, verify(file, known));
    // Another file may have got the inode; then this one is gone.
    if (!why.empty() && (known.done || file.path != path.path)) file.path.clear();
  }
  if (file.path.empty()) {
    if (known.done) return Status::ok();
    if (!known.at_end && !accept_reset_) return lost(path.path, known.position);
    log_.warn("source {}: {} is gone; it had been read up to byte {}{}", name_, path.path, known.position,
              known.at_end ? "; whether something was appended after that is not known" : " (--accept-reset)");
    return Status::ok();
  }
  if (!why.empty()) {
    if (!settings_.restart_truncated && !accept_reset_) return file_changed(path.path, why);
    log_.warn("source {}: {} is read from its beginning: {}", name_, file.path, why);
    file.start_over();
  }
  // A file that is closed is lost, with what was appended since the last look, when it is removed or leaves its folder.
  const bool stays_open = listing.files.count(file.path) == 0 || listing.newest.count(file.path) > 0;
  if (stays_open && open_files_ < kMaxOpenFiles) {
    open_files_++;
  } else {
    file.file = FileDescriptor();
  }
  (known.done ? path.done : path.files).push_back(std::move(file));
  return Status::ok();
}

Result<std::string> FollowSource::locate(const std::string& path, const KnownFile& known,
                                         const Listing& listing) const {
  const auto same = listing.files.find(path);
  if (same != listing.files.end() && same->second.id == known.id) return path;
  const auto other = listing.by_id.find({known.id.device, known.id.inode});
  if (other != listing.by_id.end()) return other->second;
  if (!is_ours(path)) return std::string();
  MR_ASSIGN(std::string renamed, find_renamed(path, known.id));
  // Nothing of it was read, so nothing but its name tells it from a file that got its inode.
  if (known.position == 0 && !is_rotated_name(path, renamed)) renamed.clear();
  return renamed;
}

// Takes over where the record stands, and says why the file is not the one of the record; empty: it is.
Result<std::string> FollowSource::verify(FollowedFile& file, const KnownFile& known) const {
  if (file.size < known.position)
    return fmt::format("it has {} bytes, but {} have been read", file.size, known.position);
  MR_ASSIGN(file.head, read_head(file.file, known.position));
  if (identity_of(file.id, known.position, file.head) != known.identity)
    return std::string("its first bytes differ from those that have been read");
  file.position = file.read_size = known.position;
  if (known.position == 0) return std::string();
  char next[2] = {'\n', '\n'};  // the last byte that was read, and the one behind it
  if (::pread(file.file.get(), next, 2, static_cast<off_t>(known.position - 1)) < 1)
    return errno_status(errno, "read", file.path);
  file.ended_inside = next[0] != '\n';
  if (file.ended_inside && !known.done && next[1] != '\n' && next[1] != '\r' && !accept_reset_) {
    return file_changed(file.path, fmt::format("its last line had no newline when it was read, and has been continued "
                                               "since (byte {})",
                                               known.position));
  }
  return std::string();
}

// What was rotated twice while nobody looked has left a file that nobody has seen.
Status FollowSource::check_between(const std::string& path, const std::string& old_path,
                                   const std::vector<KnownFile>& known) const {
  MR_ASSIGN(const std::string between, find_rotated_between(path, old_path, known));
  if (between.empty()) return Status::ok();
  if (accept_reset_) {
    log_.warn("source {}: {} is not read: it came between two rotations (--accept-reset)", name_, between);
    return Status::ok();
  }
  return Status::user(Code::kFileChanged,
                      fmt::format("{}: it was rotated more than once while nobody read it, and {} has come in between; "
                                  "read both with a pattern such as {}*, or go on without it with --accept-reset",
                                  path, between, path));
}

Status FollowSource::lost(const std::string& path, int64_t position) const {
  struct stat info {};
  const bool replaced = ::stat(path.c_str(), &info) == 0;
  return Status::user(replaced ? Code::kFileChanged : Code::kFileMissing,
                      fmt::format("{}: {}, and the file that was read up to byte {} is not found in its folder{}; put "
                                  "it back, or go on without it with --accept-reset",
                                  path, replaced ? "it is another file now" : "it is gone", position,
                                  is_ours(path) ? "" : " (" + settings_.path + " does not match it any more)"));
}

// Looks at the paths: new ones, and those that name another file by now. A folder may be missing for a moment.
Status FollowSource::scan() {
  const int64_t begin = now_ms();
  const Result<Listing> listing = list();
  if (!listing.is_ok()) {
    if (scans_ == 0 || ++failed_scans_ == kMaxFailedScans) return listing.status();
    next_scan_ms_ = begin + kScanMs;
    return Status::ok();
  }
  failed_scans_ = 0;
  scans_++;
  for (const auto& [path, found] : listing->files) MR_RETURN_IF_ERROR(see(path, found));
  const int64_t end = now_ms();
  last_scan_ms_ = end;
  next_scan_ms_ = end + std::max(kScanMs, kEffort * (end - begin));
  return Status::ok();
}

FollowedFile* FollowSource::find(const FileId& id) {
  const auto owner = owner_of_.find({id.device, id.inode});
  if (owner == owner_of_.end()) return nullptr;
  for (auto* files : {&paths_[owner->second].files, &paths_[owner->second].done})
    for (FollowedFile& file : *files)
      if (file.id == id) return &file;
  return nullptr;
}

Status FollowSource::see(const std::string& path, const FoundFile& found) {
  FollowedFile* known = find(found.id);
  if (known != nullptr && is_seen(*known)) return Status::ok();  // a link to it
  if (known != nullptr && !known->file.is_open() && known->path != path) {
    MR_ASSIGN(const bool same, is_same_file(*known, path));
    if (!same) {
      forget(found.id);
      known = nullptr;
    }
  }
  if (known != nullptr) {
    known->path = path;
    known->seen_in = scans_;
    known->seen_ms = now_ms();
    known->size = found.size;
    return Status::ok();
  }
  if (index_of_.count(path) == 0) MR_RETURN_IF_ERROR(add_path({path, {}, {}, 0}));
  const size_t index = index_of_[path];
  FollowedPath& owner = paths_[index];
  FollowedFile file;
  file.path = path;
  file.id = found.id;
  file.size = found.size;
  file.seen_in = scans_;
  file.grown_ms = file.seen_ms = now_ms();
  if (!owner.files.empty()) MR_RETURN_IF_ERROR(note_rotation(owner));
  owner_of_[{file.id.device, file.id.inode}] = index;
  owner.files.push_back(std::move(file));
  // One that waits or is empty may lose its name before it is read.
  FollowedFile& last = owner.files.back();
  const bool keep = owner.files.size() > 1 || found.size == 0;
  if (keep && open_files_ < kMaxOpenFiles / 2 && last.open().is_ok()) open_files_++;
  return Status::ok();
}

Status FollowSource::note_rotation(FollowedPath& path) {
  log_.info("source {}: {} was rotated", name_, path.path);
  if (path.replaced_ms == 0) path.replaced_ms = now_ms();
  if (by_pattern_ || now_ms() - last_scan_ms_ < kGapMs) return Status::ok();
  MR_ASSIGN(const std::string renamed, find_renamed(path.path, path.files.back().id));
  std::vector<KnownFile> known;
  for (const auto& [id, owner] : owner_of_) known.push_back({{id.first, id.second}, {}, 0, false, false});
  return renamed.empty() ? Status::ok() : check_between(path.path, renamed, known);
}

// Is the file of this path the closed one that we know, renamed, or a new one that has got its inode?
Result<bool> FollowSource::is_same_file(const FollowedFile& file, const std::string& path) const {
  FollowedFile now;
  now.path = path;
  now.id = file.id;
  const Status opened = now.open();
  if (!opened.is_ok()) return true;  // renamed again: the next scan tells
  now.position = file.position;
  now.head = file.head;
  now.ended_inside = file.ended_inside;
  MR_ASSIGN(const std::string why, now.find_rewrite());
  return why.empty();
}

// The file is gone, without having been read to its end unless it is_read.
void FollowSource::forget(const FileId& id) {
  const auto owner = owner_of_.find({id.device, id.inode});
  FollowedPath& path = paths_[owner->second];
  if (!path.files.empty() && path.files.front().id == id) return pop_first(path);
  const auto is_it = [&id](const FollowedFile& file) { return file.id == id; };
  for (auto* files : {&path.files, &path.done}) {
    for (FollowedFile& file : *files)
      if (is_it(file)) close_file(file);
    std::erase_if(*files, is_it);
  }
  owner_of_.erase({id.device, id.inode});
}

// Opens a file if it is closed, under another name if it was renamed. kNotNow: too many are open, or it is just being
// renamed. kGone: it was removed.
Result<FollowSource::Opened> FollowSource::open_file(const FollowedPath& path, FollowedFile& file) {
  if (file.file.is_open()) return Opened::kOpen;
  if (open_files_ >= kMaxOpenFiles) close_quiet_files();
  if (open_files_ >= kMaxOpenFiles) return Opened::kNotNow;
  if (!file.open().is_ok()) {
    MR_ASSIGN(const std::string renamed, find_renamed(path.path, file.id));
    if (renamed.empty()) return Opened::kGone;
    file.path = renamed;
    if (const Status again = file.open(); !again.is_ok()) {
      struct stat info {};
      if (again.code() == Code::kFileChanged || ::stat(renamed.c_str(), &info) != 0) return Opened::kNotNow;
      return again;
    }
  }
  open_files_++;
  return Opened::kOpen;
}

void FollowSource::close_file(FollowedFile& file) {
  if (reading_ == file.id) reading_.reset();
  if (!file.file.is_open()) return;
  file.file = FileDescriptor();
  open_files_--;
}

// Closes half of the files that can be opened again, the quietest first.
void FollowSource::close_quiet_files() {
  std::vector<FollowedFile*> quiet;
  for (FollowedPath& path : paths_)
    for (auto* files : {&path.files, &path.done})
      for (FollowedFile& file : *files)
        if (file.file.is_open() && is_seen(file)) quiet.push_back(&file);
  std::sort(quiet.begin(), quiet.end(),
            [](const FollowedFile* a, const FollowedFile* b) { return a->grown_ms < b->grown_ms; });
  quiet.resize((quiet.size() + 1) / 2);
  for (FollowedFile* file : quiet) close_file(*file);
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
  MR_RETURN_IF_ERROR(round(lines, partition, poll));
  if (lines.count == 0 && poll->skipped_too_large.empty() && timeout_ms > 0) {
    const int64_t wait_ms = std::min(next_round_ms_, next_scan_ms_) - now_ms();
    if (wait_ms > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(std::min<int64_t>(wait_ms, timeout_ms)));
      MR_RETURN_IF_ERROR(round(lines, partition, poll));
    }
  }
  auto* timestamps = arena.array<int64_t>(lines.count);
  std::fill(timestamps, timestamps + lines.count, kNoTime);
  rows->partitions = partition_names();
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

// Looks at each path once, beginning with the one whose turn it is, until the poll is full.
Status FollowSource::round(LineReader::Lines& lines, uint32_t* partition, SourcePoll* poll) {
  const int64_t begin = now_ms();
  if (begin >= next_scan_ms_) MR_RETURN_IF_ERROR(scan());
  if (begin < next_round_ms_) return Status::ok();
  bool idle = true;
  const size_t count = paths_.size();
  for (size_t i = 0; i < count; i++) {
    const size_t index = (next_path_ + i) % count;
    const uint32_t first = lines.count;
    const size_t bytes = lines.bytes;
    MR_ASSIGN(const Visit visited, visit(paths_[index], lines));
    std::fill(partition + first, partition + lines.count, static_cast<uint32_t>(index));
    poll->skipped_too_large.insert(poll->skipped_too_large.end(), std::exchange(lines.too_large, 0),
                                   static_cast<uint32_t>(index));
    idle = idle && visited == Visit::kNothing;
    if (visited != Visit::kFull) continue;
    if (i > 0) turn_bytes_ = 0;
    turn_bytes_ += static_cast<int64_t>(lines.bytes - bytes);
    next_path_ = index;
    if (turn_bytes_ < kTurnBytes) return Status::ok();
    turn_bytes_ = 0;
    next_path_ = (index + 1) % count;
    return Status::ok();
  }
  turn_bytes_ = 0;
  if (count > 0) next_path_ = (next_path_ + 1) % count;
  const int64_t end = now_ms();
  if (idle) next_round_ms_ = end + std::max(kIdleMs, kEffort * (end - begin));
  return Status::ok();
}

Result<FollowSource::Visit> FollowSource::visit(FollowedPath& path, LineReader::Lines& lines) {
  MR_ASSIGN(Visit visited, visit_first(path, lines));
  for (size_t i = 0; i < path.done.size() && visited != Visit::kFull;) {
    bool drop = false;
    MR_ASSIGN(const Visit late, visit_done(path, path.done[i], lines, &drop));
    if (late != Visit::kNothing) visited = late;
    if (drop) {
      forget(FileId(path.done[i].id));
    } else {
      i++;
    }
  }
  return visited;
}

Result<FollowSource::Visit> FollowSource::visit_first(FollowedPath& path, LineReader::Lines& lines) {
  if (path.files.empty()) return Visit::kNothing;
  FollowedFile& file = path.files.front();
  if (!file.file.is_open()) {
    if (file.is_read() && path.files.size() == 1 && is_seen(file)) return Visit::kNothing;
    MR_ASSIGN(const Opened opened, open_file(path, file));
    if (opened == Opened::kGone) {
      if (!file.is_read() && !accept_reset_) return lost(path.path, file.position);
      pop_first(path);
    }
    if (opened != Opened::kOpen) return Visit::kNothing;
  }
  bool linked = true;
  MR_RETURN_IF_ERROR(look(file, &linked));
  const int64_t now = now_ms();
  const bool replaced = path.files.size() > 1 || !linked;
  if (!replaced) path.replaced_ms = 0;
  if (replaced && path.replaced_ms == 0) path.replaced_ms = now;
  if (!file.is_read()) {
    file.grown_ms = now;
    return read(file, lines, false);
  }
  const int64_t quiet_ms = now - std::max(file.grown_ms, path.replaced_ms);
  if ((replaced && quiet_ms >= kQuietMs) || (!is_seen(file) && quiet_ms >= kIdleCloseMs)) {
    MR_ASSIGN(const Visit visited, read(file, lines, true));
    if (visited != Visit::kFull) finish_first(path);
    return visited == Visit::kNothing ? Visit::kRead : visited;
  }
  if (!replaced && is_seen(file) && quiet_ms >= kIdleCloseMs) close_file(file);
  return Visit::kNothing;
}

// Another file has taken the place of this one. *drop: nothing more is expected of it.
Result<FollowSource::Visit> FollowSource::visit_done(FollowedPath& path, FollowedFile& file, LineReader::Lines& lines,
                                                     bool* drop) {
  bool linked = true;
  if (!file.file.is_open()) {
    const bool over = !is_seen(file) && now_ms() - std::max(file.grown_ms, file.seen_ms) >= kLateMs;
    *drop = over && file.is_read();
    if (file.is_read()) return Visit::kNothing;
    MR_ASSIGN(const Opened opened, open_file(path, file));
    *drop = opened == Opened::kGone;
    if (opened != Opened::kOpen) return Visit::kNothing;
  }
  MR_RETURN_IF_ERROR(look(file, &linked));
  const int64_t now = now_ms();
  if (!file.is_read()) {
    file.grown_ms = now;
    return read(file, lines, false);
  }
  const int64_t quiet_ms = now - std::max(file.grown_ms, file.seen_ms);
  if ((!linked && quiet_ms >= kQuietMs) || (!is_seen(file) && quiet_ms >= kLateMs)) {
    MR_ASSIGN(const Visit visited, read(file, lines, true));
    *drop = visited != Visit::kFull;
    return visited;
  }
  if (is_seen(file) && now - file.grown_ms >= kLateMs) close_file(file);
  return Visit::kNothing;
}

Status FollowSource::look(FollowedFile& file, bool* linked) {
  MR_RETURN_IF_ERROR(file.look(linked));
  if (file.size >= file.read_size || file.size < file.position) return Status::ok();
  file.read_size = file.size;  // an unfinished line was cut
  if (reading_ == file.id) reading_.reset();
  return Status::ok();
}

// Was the file written anew? Then it is read from its beginning.
Status FollowSource::check_rewrite(FollowedFile& file) {
  MR_ASSIGN(const std::string why, file.find_rewrite());
  if (!why.empty()) {
    if (!settings_.restart_truncated) return file_changed(file.path, why);
    log_.warn("source {}: {} is read from its beginning: {}", name_, file.path, why);
    file.start_over();
    if (reading_ == file.id) reading_.reset();
  }
  return Status::ok();
}

// Reads on. last: nobody writes to the file any more, so that its last line may lack its end.
Result<FollowSource::Visit> FollowSource::read(FollowedFile& file, LineReader::Lines& lines, bool last) {
  const int64_t size = file.size;
  if (!file.in_backlog || size < file.position) MR_RETURN_IF_ERROR(check_rewrite(file));
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
  file.in_backlog = !at_end;
  if (!at_end) return Visit::kFull;
  file.read_size = std::max(size, file.position);
  if (last) {
    MR_ASSIGN(file.ended_inside, file.ends_inside());
    if (reading_ == file.id) reading_.reset();
  }
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
  // What the reader has of an unfinished line may have been written anew; a long one is not worth reading again.
  const int64_t unfinished = file.in_backlog ? 0 : file.read_size - file.position;
  if (reading_ != file.id || reader_.position() != file.position || (unfinished > 0 && unfinished < kShortLine)) {
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

// The first file of a path was read to its end and is replaced, removed or not found any more.
void FollowSource::finish_first(FollowedPath& path) {
  FollowedFile& file = path.files.front();
  file.seen_ms = now_ms();
  log_.info("source {}: {} was read to its end, byte {}{}", name_, path.path, file.position,
            path.files.size() > 1 ? "; on to the file that has taken its place" : "");
  path.done.push_back(std::move(file));
  path.files.pop_front();
  path.replaced_ms = path.files.size() > 1 ? now_ms() : 0;
}

// The first file of a path is gone.
void FollowSource::pop_first(FollowedPath& path) {
  FollowedFile& file = path.files.front();
  if (file.is_at_end())
    log_.info("source {}: {} was removed; at the last look it had been read to its end", name_, file.path);
  else
    log_.warn("source {}: {} was removed; its bytes from {} on are lost", name_, file.path, file.position);
  close_file(file);
  owner_of_.erase({file.id.device, file.id.inode});
  path.files.pop_front();
  path.replaced_ms = path.files.size() > 1 ? now_ms() : 0;
}

std::vector<SourcePosition> FollowSource::positions() {
  const auto known = [](const FollowedFile& file, bool done) {
    return KnownFile{file.id, identity_of(file.id, file.position, file.head), file.position, file.is_at_end(), done};
  };
  std::vector<SourcePosition> positions;
  positions.reserve(paths_.size());
  for (FollowedPath& path : paths_) {
    std::optional<KnownFile> current;
    std::vector<KnownFile> others;
    for (FollowedFile& file : path.files) {
      bool linked = true;
      if (file.file.is_open() && current) (void)file.look(&linked);
      if (current)
        others.push_back(known(file, false));
      else
        current = known(file, false);
    }
    for (const FollowedFile& file : path.done) others.push_back(known(file, true));
    positions.push_back({{path.path, 0}, encode_files(current, others), current ? current->position : 0});
  }
  return positions;
}

}  // namespace

std::unique_ptr<Source> make_follow_source(FileSourceSettings settings, const SourceContext& context) {
  return std::make_unique<FollowSource>(std::move(settings), context);
}

}  // namespace millrace
