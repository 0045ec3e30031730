#include "operators/key_windows.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "base/check.h"

namespace millrace {
namespace {

// 1: versions that were shown have no event time; times that there are none of are written, too.
constexpr uint8_t kCodecVersion = 2;
constexpr uint8_t kFired = 1, kNextFired = 2, kClosed = 4, kHasNewest = 8;
constexpr uint8_t kHasTimer = 1, kHasClockTimer = 2, kHasForgetTimer = 4, kHasLargestGap = 8;

void write_bounds(const WindowBounds& bounds, AccumulatorWriter& out) {
  out.zigzag(bounds.start_ms);
  out.zigzag(bounds.end_ms - bounds.start_ms);
}

WindowBounds read_bounds(AccumulatorReader& in) {
  WindowBounds bounds;
  bounds.start_ms = in.zigzag();
  if (__builtin_add_overflow(bounds.start_ms, in.zigzag(), &bounds.end_ms)) bounds.end_ms = bounds.start_ms;
  return bounds;
}

// A time as its distance from another that is near it, modulo 2^64: any will do.
void write_near(int64_t time_ms, int64_t other_ms, AccumulatorWriter& out) {
  out.zigzag(static_cast<int64_t>(static_cast<uint64_t>(time_ms) - static_cast<uint64_t>(other_ms)));
}

int64_t read_near(int64_t other_ms, AccumulatorReader& in) {
  return static_cast<int64_t>(static_cast<uint64_t>(in.zigzag()) + static_cast<uint64_t>(other_ms));
}

Status corrupt() { return Status::terminal(Code::kStateCorrupt, "the windows of a key do not decode"); }

}  // namespace

void* KeyWindowsCodec::new_block() const {
  void* block = std::malloc(set_.size());
  if (block == nullptr) throw std::bad_alloc();
  set_.create(block);
  return block;
}

void KeyWindowsCodec::delete_block(void* block) const {
  if (block == nullptr) return;
  set_.destroy(block);
  std::free(block);
}

void* KeyWindowsCodec::copy_block(const void* block) const {
  std::string bytes;
  set_.encode(block, bytes);
  void* copy = new_block();
  const Status status = set_.decode(bytes, copy);
  MR_CHECK(status.is_ok());
  return copy;
}

void KeyWindowsCodec::create(void* state) const { new (state) KeyWindows(); }

void KeyWindowsCodec::destroy(void* state) const {
  KeyWindows& windows = of(state);
  for (KeyWindow& window : windows.windows) delete_block(window.block);
  windows.~KeyWindows();
}

void KeyWindowsCodec::encode_window(const KeyWindow& window, std::string& out) const {
  AccumulatorWriter writer(out);
  const bool has_newest = window.newest_ms != kNoTime;
  writer.byte(static_cast<uint8_t>((window.fired ? kFired : 0) | (window.next_fired ? kNextFired : 0) |
                                   (window.closed ? kClosed : 0) | (has_newest ? kHasNewest : 0)));
  write_bounds(window.bounds, writer);
  if (has_newest) write_near(window.newest_ms, window.bounds.start_ms, writer);
  writer.zigzag(window.gap_ms);
  writer.varint(window.rows_since);
  writer.varint(window.shown.size());
  for (const ShownWindow& shown : window.shown) {
    write_bounds(shown.bounds, writer);
    write_near(shown.event_time_ms, shown.bounds.end_ms, writer);
    writer.string(shown.values);
  }
  if (window.block == nullptr) return;
  // Behind its length, which is one byte as a rule.
  const size_t at = out.size();
  out.push_back(0);
  set_.encode(window.block, out);
  std::string length;
  AccumulatorWriter(length).varint(out.size() - at - 1);
  out.replace(at, 1, length);
}

void KeyWindowsCodec::encode(const void* state, std::string& out) const {
  const KeyWindows& windows = of(const_cast<void*>(state));
  AccumulatorWriter writer(out);
  writer.byte(kCodecVersion);
  const bool timer = windows.timer_ms != kNoTime;
  const bool clock_timer = windows.clock_timer_ms != kNoTime;
  const bool forget_timer = windows.forget_ms != kNoTime;
  const bool largest_gap = windows.largest_gap_ms > 0;
  writer.byte(static_cast<uint8_t>((timer ? kHasTimer : 0) | (clock_timer ? kHasClockTimer : 0) |
                                   (forget_timer ? kHasForgetTimer : 0) | (largest_gap ? kHasLargestGap : 0)));
  if (timer) writer.zigzag(windows.timer_ms);
  if (clock_timer) writer.zigzag(windows.clock_timer_ms);
  if (forget_timer) writer.zigzag(windows.forget_ms);
  if (largest_gap) writer.zigzag(windows.largest_gap_ms);
  writer.varint(windows.windows.size());
  for (const KeyWindow& window : windows.windows) encode_window(window, out);
}

Status KeyWindowsCodec::decode_window(AccumulatorReader& reader, uint8_t version, KeyWindow& window) const {
  uint8_t flags = version > 1 ? reader.byte() : kHasNewest;
  window.bounds = read_bounds(reader);
  if ((flags & kHasNewest) != 0) window.newest_ms = read_near(version > 1 ? window.bounds.start_ms : 0, reader);
  window.gap_ms = reader.zigzag();
  window.rows_since = reader.varint();
  if (version == 1) flags = reader.byte();
  if (flags > (kFired | kNextFired | kClosed | kHasNewest)) return corrupt();
  window.fired = (flags & kFired) != 0;
  window.next_fired = (flags & kNextFired) != 0;
  window.closed = (flags & kClosed) != 0;
  const uint64_t shown = reader.varint();
  for (uint64_t i = 0; i < shown && reader.ok(); i++) {
    ShownWindow& one = window.shown.emplace_back();
    one.bounds = read_bounds(reader);
    if (version > 1) one.event_time_ms = read_near(one.bounds.end_ms, reader);
    one.values = reader.string();
  }
  if (window.closed || !reader.ok()) return reader.ok() ? Status::ok() : corrupt();
  const std::string_view block = reader.string();
  if (!reader.ok()) return corrupt();
  window.block = new_block();
  return set_.decode(block, window.block);
}

Status KeyWindowsCodec::decode(std::string_view bytes, void* state) const {
  KeyWindows& windows = of(state);
  AccumulatorReader reader(bytes);
  const uint8_t version = reader.byte();
  if (version < 1 || version > kCodecVersion) return corrupt();
  const uint8_t has = version > 1 ? reader.byte() : kHasTimer | kHasClockTimer;
  if (has > (kHasTimer | kHasClockTimer | kHasForgetTimer | kHasLargestGap)) return corrupt();
  if ((has & kHasTimer) != 0) windows.timer_ms = reader.zigzag();
  if ((has & kHasClockTimer) != 0) windows.clock_timer_ms = reader.zigzag();
  if ((has & kHasForgetTimer) != 0) windows.forget_ms = reader.zigzag();
  if ((has & kHasLargestGap) != 0) windows.largest_gap_ms = reader.zigzag();
  const uint64_t count = reader.varint();
  for (uint64_t i = 0; i < count; i++) {
    if (!reader.ok()) return corrupt();
    MR_RETURN_IF_ERROR(decode_window(reader, version, windows.windows.emplace_back()));
  }
  for (const KeyWindow& window : windows.windows) {
    windows.largest_gap_ms = std::max(windows.largest_gap_ms, version > 1 ? 0 : window.gap_ms);
  }
  return reader.finished() ? Status::ok() : corrupt();
}

size_t KeyWindowsCodec::extra_bytes(const void* state) const {
  const KeyWindows& windows = of(const_cast<void*>(state));
  size_t bytes = windows.windows.capacity() * sizeof(KeyWindow);
  for (const KeyWindow& window : windows.windows) {
    if (window.block != nullptr) bytes += set_.size() + 16 + set_.extra_bytes(window.block);
    for (const ShownWindow& shown : window.shown) bytes += sizeof shown + shown.values.capacity();
  }
  return bytes;
}

}  // namespace millrace
