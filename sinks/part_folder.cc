#include "sinks/part_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"

namespace millrace {
namespace {

constexpr size_t kMaxBufferedBytes = 16 << 20;
// Of the parts that one epoch closes; the progress record must fit a Kafka message.
constexpr size_t kMaxClosedBytes = 512 << 10;

}  // namespace

PartFolder::PartFolder(PathTemplate path, Settings settings, Logger log)
    : path_(std::move(path)),
      settings_(std::move(settings)),
      log_(std::move(log)),
      spill_bytes_(
          std::clamp<size_t>(kMaxBufferedBytes / std::max<size_t>(settings_.max_open, 1), 4 << 10, 256 << 10)) {
  MR_CHECK(settings_.max_open >= 1);
}

Status PartFolder::changed(const std::string& what) const {
  return Status::user(Code::kFileChanged, fmt::format("{}; put it back as it was, or start the pipeline without its "
                                                      "state (the parts in {} are then written anew)",
                                                      what, path_.root()));
}

void PartFolder::close() {
  parts_.clear();
  by_folder_.clear();
  closed_.clear();
  closed_bytes_ = 0;
  hidden_ = FileDescriptor();
  root_ = FileDescriptor();
}

Status PartFolder::start() {
  close();
  MR_RETURN_IF_ERROR(open_root(false));
  replaces_ = true;
  next_number_ = 1;
  return remove_hidden({});
}

Status PartFolder::resume(const FolderProgress& progress) {
  close();
  MR_RETURN_IF_ERROR(check_same(progress));
  MR_RETURN_IF_ERROR(open_root(progress.next_number > 1));
  next_number_ = progress.next_number;
  replaces_ = progress.replaces;
  MR_RETURN_IF_ERROR(commit(progress));
  for (size_t i = 0; i < progress.open.size(); i++) {
    MR_RETURN_IF_ERROR(resume_part(progress.open[i], progress.part_name(progress.closed.size() + i)));
  }
  return remove_hidden(progress.open);
}

Status PartFolder::check_same(const FolderProgress& progress) const {
  if (progress.path != path_.text()) {
    return changed(fmt::format("rows are committed to {}, but the path is now {}", progress.path, path_.text()));
  }
  if (progress.extension != settings_.extension && !progress.open.empty()) {
    return changed(fmt::format("parts in {} end in .{}, but the format now is .{}", progress.path, progress.extension,
                               settings_.extension));
  }
  return Status::ok();
}

Status PartFolder::append(std::string_view folder, std::string_view line, int64_t now_ms) {
  MR_RETURN_IF_ERROR(part_of(folder, now_ms));
  MarkedFile& file = parts_.front().file;
  file.buffer() += line;
  file.buffer() += '\n';
  bytes_written_ += line.size() + 1;
  MR_RETURN_IF_ERROR(file.spill(spill_bytes_));
  if (settings_.roll_bytes > 0 && file.bytes() >= settings_.roll_bytes) return close_part(parts_.begin());
  return Status::ok();
}

// The part of a folder is in front afterwards.
Status PartFolder::part_of(std::string_view folder, int64_t now_ms) {
  if (!parts_.empty() && parts_.front().progress.folder == folder) return Status::ok();
  const auto found = by_folder_.find(folder);
  if (found != by_folder_.end()) {
    parts_.splice(parts_.begin(), parts_, found->second);
    return Status::ok();
  }
  if (parts_.size() >= settings_.max_open) MR_RETURN_IF_ERROR(close_part(std::prev(parts_.end())));
  return begin_part(folder, now_ms);
}

Status PartFolder::begin_part(std::string_view folder, int64_t now_ms) {
  MR_ASSIGN(FileDescriptor file, open_hidden(next_number_, O_CREAT | O_EXCL));
  hidden_dirty_ = true;
  Part part;
  part.progress.number = next_number_++;
  part.progress.folder = folder;
  part.progress.begun_ms = now_ms;
  MR_RETURN_IF_ERROR(part.file.start(std::move(file)));
  part.file.buffer() = settings_.header;
  parts_.push_front(std::move(part));
  by_folder_.emplace(folder, parts_.begin());
  return Status::ok();
}

// Synced at once: an epoch may close more parts than there are descriptors.
Status PartFolder::close_part(Parts::iterator part) {
  MR_RETURN_IF_ERROR(part->file.flush());
  MR_RETURN_IF_ERROR(part->file.sync());
  part->progress.mark = part->file.mark();
  closed_bytes_ += encoded_bytes(part->progress);
  if (closed_bytes_ > kMaxClosedBytes) {
    return Status::user(Code::kFileIo,
                        fmt::format("{}: an epoch would finish more than {} parts; choose columns with fewer values, "
                                    "a larger max_open or roll size, or a shorter commit_interval",
                                    path_.text(), closed_.size()));
  }
  closed_.push_back(std::move(part->progress));
  by_folder_.erase(closed_.back().folder);
  parts_.erase(part);
  return Status::ok();
}

Result<FolderProgress> PartFolder::flush(uint64_t epoch, int64_t now_ms) {
  for (auto part = parts_.begin(); part != parts_.end();) {
    const auto next = std::next(part);
    const bool old = settings_.roll_age_ms >= 0 && now_ms - part->progress.begun_ms >= settings_.roll_age_ms;
    if (old) {
      MR_RETURN_IF_ERROR(close_part(part));
    } else {
      MR_RETURN_IF_ERROR(part->file.flush());
      part->progress.mark = part->file.mark();
    }
    part = next;
  }
  FolderProgress progress;
  progress.epoch = epoch;
  progress.next_number = next_number_;
  progress.replaces = replaces_;
  progress.extension = settings_.extension;
  progress.path = path_.text();
  for (const Part& part : parts_) progress.open.push_back(part.progress);
  progress.closed = std::move(closed_);
  closed_.clear();
  closed_bytes_ = 0;
  return progress;
}

Status PartFolder::sync() {
  for (Part& part : parts_) MR_RETURN_IF_ERROR(part.file.sync());
  if (hidden_dirty_) MR_RETURN_IF_ERROR(sync_folder(hidden_));
  hidden_dirty_ = false;
  return Status::ok();
}

Status PartFolder::commit(const FolderProgress& progress) {
  if (progress.replaces) {
    MR_RETURN_IF_ERROR(remove_old(progress));
    replaces_ = false;
  }
  std::vector<Visible> parts;
  for (size_t i = 0; i < progress.closed.size(); i++) parts.push_back({&progress.closed[i], progress.part_name(i)});
  return publish(std::move(parts));
}

Status PartFolder::finish(const FolderProgress& progress) {
  std::vector<Visible> parts;
  for (size_t i = 0; i < progress.open.size(); i++) {
    MR_RETURN_IF_ERROR(cut_to(progress.open[i]));
    parts.push_back({&progress.open[i], progress.part_name(progress.closed.size() + i)});
  }
  parts_.clear();
  by_folder_.clear();
  closed_.clear();
  closed_bytes_ = 0;
  MR_RETURN_IF_ERROR(publish(std::move(parts)));
  return remove_hidden({});
}

// Takes away what an open part got after the record. It may have been closed since, or be visible already.
Status PartFolder::cut_to(const PartProgress& part) {
  for (Part& open : parts_) {
    if (open.progress.number != part.number) continue;
    MR_RETURN_IF_ERROR(open.file.cut(part.mark));
    return open.file.sync();
  }
  Result<FileDescriptor> file = open_hidden(part.number, 0);
  if (!file.is_ok()) return file.status();
  if (!file->is_open()) return Status::ok();
  MarkedFile marked;
  MR_ASSIGN(const bool found, marked.resume(&*file, part.mark));
  if (!found) return changed(fmt::format("{}/{} was changed", hidden_.path(), hidden_name(part.number)));
  return marked.sync();
}

Status PartFolder::resume_part(const PartProgress& part, const std::string& name) {
  MR_ASSIGN(FileDescriptor file, open_hidden(part.number, 0));
  if (!file.is_open()) {
    // The run had ended: its open parts became visible.
    MR_ASSIGN(const FileDescriptor folder, open_folder(part.folder));
    return check_published({&part, name}, folder);
  }
  Part resumed;
  resumed.progress = part;
  MR_ASSIGN(const bool found, resumed.file.resume(&file, part.mark));
  if (!found) {
    return changed(fmt::format("{}/{} does not begin with the {} bytes that are committed to it", hidden_.path(),
                               hidden_name(part.number), part.mark.length));
  }
  parts_.push_back(std::move(resumed));
  by_folder_.emplace(part.folder, std::prev(parts_.end()));
  return Status::ok();
}

// Renames parts into their folders, a folder at a time; durable afterwards.
Status PartFolder::publish(std::vector<Visible> parts) {
  if (parts.empty()) return Status::ok();
  std::stable_sort(parts.begin(), parts.end(),
                   [](const Visible& a, const Visible& b) { return a.part->folder < b.part->folder; });
  FileDescriptor folder;
  for (size_t i = 0; i < parts.size(); i++) {
    const bool first = i == 0 || parts[i].part->folder != parts[i - 1].part->folder;
    if (first && i > 0) MR_RETURN_IF_ERROR(sync_folder(folder));
    if (first) {
      MR_ASSIGN(folder, open_folder(parts[i].part->folder));
    }
    MR_RETURN_IF_ERROR(publish_part(parts[i], folder));
  }
  MR_RETURN_IF_ERROR(sync_folder(folder));
  return sync_folder(hidden_);
}

Status PartFolder::publish_part(const Visible& part, const FileDescriptor& folder) {
  const std::string hidden = hidden_name(part.part->number);
  if (::renameat2(hidden_.get(), hidden.c_str(), folder.get(), part.name.c_str(), RENAME_NOREPLACE) == 0) {
    return Status::ok();
  }
  if (errno == ENOENT) return check_published(part, folder);
  if (errno == EINVAL) {  // a file system without RENAME_NOREPLACE
    struct stat info {};
    errno = EEXIST;
    if (::fstatat(folder.get(), part.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 &&
        ::renameat(hidden_.get(), hidden.c_str(), folder.get(), part.name.c_str()) == 0) {
      return Status::ok();
    }
  }
  if (errno != EEXIST) return errno_status(errno, "rename", folder.path() + "/" + part.name);
  return changed(fmt::format("{}/{} is there already", folder.path(), part.name));
}

// A part of the record that is not hidden any more: visible as it was committed, or taken away by a reader since.
Status PartFolder::check_published(const Visible& part, const FileDescriptor& folder) {
  const std::string path = folder.path() + "/" + part.name;
  const int fd = ::openat(folder.get(), part.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    log_.warn("{} had become visible and is not there any more", path);
    return Status::ok();
  }
  if (fd < 0) return errno_status(errno, "open", path);
  const FileDescriptor file(fd, path);
  MarkedFile marked;
  MR_ASSIGN(const bool same, marked.recognise(file, part.part->mark));
  return same ? Status::ok() : changed(fmt::format("{} was changed", path));
}

}  // namespace millrace
