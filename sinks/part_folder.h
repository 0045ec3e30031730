// PartFolder: the durable half of a file sink that writes a folder of parts. Parts grow in a hidden folder
// (ROOT/.millrace-parts) and are renamed to ROOT/FOLDER/part-EPOCH-N.EXT by the commit of the epoch that has closed
// them, so that whatever is visible was decided and never changes. A FolderProgress says what a restart finds again.
// One thread; the root is locked against a second writer.
//
// Symbolic links below the root are not followed, and names are looked up from one open folder to the next, so that a
// row cannot be written elsewhere.
#pragma once

#include <list>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "sinks/folder_progress.h"
#include "sinks/marked_file.h"
#include "sinks/path_template.h"

namespace millrace {

class PartFolder {
 public:
  struct Settings {
    std::string extension;     // of parts, without the dot
    std::string header;        // first bytes of every part; may be empty
    size_t max_open = 100;     // parts that are open at once; the least recently written is closed for one more
    uint64_t roll_bytes = 0;   // a part of this size is closed; 0: no limit
    int64_t roll_age_ms = -1;  // a part this old is closed at the end of an epoch; -1: no limit
  };
  PartFolder(PathTemplate path, Settings settings, Logger log);

  // Starts without state: parts of earlier runs stay visible until the first commit.
  Status start();
  // Goes on behind the epoch of the record, and makes visible what it has closed. kFileChanged (user): the marked bytes
  // are not there any more, or path or format are not those of the record.
  Status resume(const FolderProgress& progress);

  // Appends a line (without its end) to the part of a folder (PathTemplate::folder_of).
  Status append(std::string_view folder, std::string_view line, int64_t now_ms);
  // Ends an epoch: everything appended is flushed and parts that are old enough are closed. Returns its record.
  Result<FolderProgress> flush(uint64_t epoch, int64_t now_ms);
  // What was flushed is durable afterwards.
  Status sync();
  // The epoch of this record is decided: what it has closed becomes visible. Idempotent.
  Status commit(const FolderProgress& progress);
  // The run has ended with this record: the open parts become visible too, as far as it says. Idempotent.
  Status finish(const FolderProgress& progress);
  // Forgets everything in memory and releases the folder; the parts stay as they are.
  void close();

  uint64_t bytes_written() const { return bytes_written_; }
  size_t open_parts() const { return parts_.size(); }

 private:
  struct Part {
    PartProgress progress;  // the mark is of the last flush
    MarkedFile file;
  };
  using Parts = std::list<Part>;  // most recently written first
  struct FolderHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  // Where a part of a record becomes visible.
  struct Visible {
    const PartProgress* part;
    std::string name;
  };

  Status open_root(bool must_exist);
  Status check_same(const FolderProgress& progress) const;
  Status remove_hidden(const std::vector<PartProgress>& except);
  Status remove_old(const FolderProgress& except);
  Status remove_old_below(const FileDescriptor& folder, const std::string& path, size_t level,
                          const std::set<std::string>& keep, size_t* removed);
  Result<FileDescriptor> open_hidden(uint64_t number, int flags);
  Status resume_part(const PartProgress& part, const std::string& name);
  Status part_of(std::string_view folder, int64_t now_ms);
  Status begin_part(std::string_view folder, int64_t now_ms);
  Status close_part(Parts::iterator part);
  Status cut_to(const PartProgress& part);
  Result<FileDescriptor> open_folder(const std::string& folder);
  Status publish(std::vector<Visible> parts);
  Status publish_part(const Visible& part, const FileDescriptor& folder);
  Status check_published(const Visible& part, const FileDescriptor& folder);
  Status changed(const std::string& what) const;
  static std::string hidden_name(uint64_t number);
  static Status sync_folder(const FileDescriptor& folder);

  const PathTemplate path_;
  const Settings settings_;
  const Logger log_;
  const size_t spill_bytes_;  // of each part, so that all buffers together are bounded
  FileDescriptor root_;
  FileDescriptor hidden_;      // ROOT/.millrace-parts
  bool hidden_dirty_ = false;  // names in it are not durable yet
  bool replaces_ = false;
  uint64_t next_number_ = 1;
  Parts parts_;
  std::unordered_map<std::string, Parts::iterator, FolderHash, std::equal_to<>> by_folder_;
  std::vector<PartProgress> closed_;  // in the open epoch
  size_t closed_bytes_ = 0;           // of their encoding
  uint64_t bytes_written_ = 0;
};

}  // namespace millrace
