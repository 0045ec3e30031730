#include "sources/line_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include <fmt/format.h>

#include "base/check.h"
#include "formats/format.h"

namespace millrace {
namespace {

constexpr size_t kFreeBlocks = 8;
// A call reads at most this many blocks, so that skipping a huge line does not hold up a barrier.
constexpr int kMaxReadsPerCall = 16;

size_t without_carriage_return(const char* line, size_t size) {
  return size > 0 && line[size - 1] == '\r' ? size - 1 : size;
}

}  // namespace

LineReader::LineReader(const Options& options)
    : block_bytes_(options.block_bytes),
      max_record_bytes_(options.max_record_bytes),
      quote_(options.quote),
      pool_(kFreeBlocks, 2 * options.block_bytes + 4096) {
  MR_CHECK(block_bytes_ >= 1);
}

void LineReader::start(int fd, int64_t position) {
  fd_ = fd;
  position_ = position;
  read_at_ = position;
  end_of_file_ = false;
  skipping_ = false;
  head_.clear();
  begin_ = scan_ = end_;
  quoted_ = false;
}

void LineReader::take_unfinished(bool take) {
  take_unfinished_ = take;
  if (!take) end_of_file_ = false;
}

Status LineReader::read(Lines& lines, bool* at_end) {
  *at_end = false;
  pinned_ = false;
  for (int reads = 0;;) {
    if (!cut(lines)) return Status::ok();
    if (end_of_file_) {
      *at_end = !take_unfinished_ || take_last(lines);
      end_of_file_ = take_unfinished_;
      return Status::ok();
    }
    if (reads++ == kMaxReadsPerCall) return Status::ok();
    MR_RETURN_IF_ERROR(refill());
  }
}

// Takes the complete lines of the buffer; false when `lines` is full.
bool LineReader::cut(Lines& lines) {
  while (begin_ < end_) {
    const char* line = data_ + begin_;
    const char* newline = find_newline();
    if (newline == nullptr) {
      if (!skipping_ && end_ - begin_ > max_record_bytes_ + 1) skipping_ = true;
      if (skipping_) begin_ = end_;
      return true;
    }
    const size_t length = static_cast<size_t>(newline - line);
    if (!take(lines, length, length + 1)) return false;
  }
  return true;
}

// The end of the line at begin_, with scan_ at it, so that it is found again at once if the line has to wait; nullptr,
// and everything is scanned, if it is not in the buffer.
const char* LineReader::find_newline() {
  while (true) {
    const char* from = data_ + scan_;
    const char* newline = static_cast<const char*>(std::memchr(from, '\n', end_ - scan_));
    scan_ = newline != nullptr ? static_cast<size_t>(newline - data_) : end_;
    if (quote_ == 0) return newline;
    if (std::count(from, static_cast<const char*>(data_ + scan_), quote_) % 2 != 0) quoted_ = !quoted_;
    if (newline == nullptr || !quoted_) return newline;
    scan_++;  // this one is part of a field
  }
}

// Consumes one line of `length` bytes; false, and nothing is consumed, when there is no room for it.
bool LineReader::take(Lines& lines, size_t length, size_t consumed) {
  const char* line = data_ + begin_;
  const size_t size = without_carriage_return(line, length);
  if (skipping_ || size > max_record_bytes_) {
    lines.too_large++;
    skipping_ = false;
  } else if (size > 0) {
    if (lines.count == lines.max_rows) return false;
    if (lines.count > 0 && lines.bytes + size > lines.max_bytes) return false;
    if (!pinned_) pin(lines);
    lines.payload[lines.count] = {line, size};
    lines.offset[lines.count] = position_;
    lines.count++;
    lines.bytes += size;
  }
  begin_ += consumed;
  scan_ = begin_;
  quoted_ = false;
  position_ = read_at_ - static_cast<int64_t>(end_ - begin_);
  return true;
}

// The last line of a file may lack its newline; false: no room for it.
bool LineReader::take_last(Lines& lines) {
  if (begin_ == end_ && !skipping_) return true;
  return take(lines, end_ - begin_, end_ - begin_);
}

void LineReader::pin(Lines& lines) {
  lines.owners->push_back(block_);
  pinned_ = true;
  shared_ = true;
}

Status LineReader::refill() {
  make_room();
  ssize_t got;
  do {
    got = ::pread(fd_, data_ + end_, capacity_ - end_, static_cast<off_t>(read_at_));
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    return Status::external(
        Code::kFileIo, fmt::format("cannot read at byte {}: {}", read_at_, std::generic_category().message(errno)));
  }
  if (got == 0) {
    end_of_file_ = true;
    return Status::ok();
  }
  if (head_.size() < kHeadBytes && static_cast<size_t>(read_at_) == head_.size()) {
    head_.append(data_ + end_, std::min(static_cast<size_t>(got), kHeadBytes - head_.size()));
  }
  end_ += static_cast<size_t>(got);
  read_at_ += got;
  return Status::ok();
}

// Moves the unfinished line to where there is room behind it. Bytes that other threads may look at (views and their
// padding) are never written.
void LineReader::make_room() {
  const size_t tail = end_ - begin_;
  const size_t wanted = std::max<size_t>(1, block_bytes_ / 4);
  size_t to;
  if (block_ && !shared_ && end_ + wanted <= capacity_) return;
  if (block_ && !shared_ && tail + wanted <= capacity_) {
    std::memmove(data_, data_ + begin_, tail);
    to = 0;
  } else if (block_ && shared_ && end_ + kPayloadPadding + tail + wanted <= capacity_) {
    to = end_ + kPayloadPadding;
    std::memcpy(data_ + to, data_ + begin_, tail);
  } else {
    // cut() has skipped what is longer than max_record_bytes_ + 1, so there is always room for one byte more.
    const size_t capacity = std::max(block_bytes_, std::min(2 * tail, max_record_bytes_ + 2));
    ArenaPtr block = pool_.take();
    char* data = static_cast<char*>(block->allocate(capacity + kPayloadPadding));
    if (tail > 0) std::memcpy(data, data_ + begin_, tail);
    block_ = std::move(block);
    data_ = data;
    capacity_ = capacity;
    shared_ = false;
    pinned_ = false;
    to = 0;
  }
  scan_ = to + (scan_ - begin_);
  begin_ = to;
  end_ = to + tail;
}

}  // namespace millrace
