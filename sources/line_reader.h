// LineReader: cuts a file into lines without copying them. Blocks are read with pread into pooled memory; the views
// that it hands out point into those blocks, which live as long as somebody holds the owners that came with them. One
// thread; the owners may be released on any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/arena.h"
#include "base/status.h"

namespace millrace {

class LineReader {
 public:
  struct Options {
    size_t block_bytes = 256 << 10;      // >= 1: what one read asks for
    size_t max_record_bytes = 16 << 20;  // longer lines (without their end) are skipped
    char quote = 0;                      // not 0: line ends between two of these belong to the line (csv)
  };
  explicit LineReader(const Options& options);

  // What one poll collects; filled by read() from `count` on.
  struct Lines {
    uint32_t max_rows = 0;  // room in the arrays
    size_t max_bytes = 0;   // stop before a line that would exceed it, but take at least one
    std::string_view* payload = nullptr;
    int64_t* offset = nullptr;  // byte offset of the line in its file
    uint32_t count = 0;
    size_t bytes = 0;        // of payload
    uint32_t too_large = 0;  // lines skipped since the caller last looked
    std::vector<std::shared_ptr<const void>>* owners = nullptr;
  };

  // Starts at byte `position` of the file, which must be where a line begins. The descriptor stays the caller's and
  // open until the next start().
  void start(int fd, int64_t position);
  // false: a last line without its end stays in the file until it has one, and read() may go on when the file has
  // grown. true at first; start() does not change it.
  void take_unfinished(bool take);
  // Appends lines until `lines` is full, the file has ended (*at_end) or enough was read for one call. Lines end in \n
  // or \r\n, the last one need not (but see take_unfinished); empty ones are skipped. Every payload is followed by
  // kPayloadPadding readable bytes.
  Status read(Lines& lines, bool* at_end);
  // Where the next line begins; inside a line that is being skipped: where that one begins.
  int64_t position() const { return position_; }
  // The file's first bytes as they were read (empty unless it was started at 0), at most kHeadBytes.
  static constexpr size_t kHeadBytes = 4096;
  const std::string& head() const { return head_; }
  void set_head(std::string head) { head_ = std::move(head); }

 private:
  bool cut(Lines& lines);
  bool take(Lines& lines, size_t size, size_t consumed);
  bool take_last(Lines& lines);
  Status refill();
  void make_room();
  void pin(Lines& lines);
  const char* find_newline();

  const size_t block_bytes_;
  const size_t max_record_bytes_;
  const char quote_;
  ArenaPool pool_;
  int fd_ = -1;
  int64_t position_ = 0;
  int64_t read_at_ = 0;  // offset in the file of data_[end_]
  bool take_unfinished_ = true;
  bool end_of_file_ = false;
  bool skipping_ = false;  // inside a line that is too large
  std::string head_;

  ArenaPtr block_;
  char* data_ = nullptr;
  size_t capacity_ = 0;  // kPayloadPadding more are allocated
  size_t begin_ = 0;     // of the next line
  size_t scan_ = 0;      // no line ends in [begin_, scan_)
  bool quoted_ = false;  // an odd number of quotes stands in [begin_, scan_)
  size_t end_ = 0;
  bool shared_ = false;  // views into the block were handed out: what lies before end_ + kPayloadPadding is read only
  bool pinned_ = false;  // this call has put the block among the owners
};

}  // namespace millrace
