#include "operators/key_windows.h"

#include <cstdlib>
#include <new>

#include "base/check.h"

namespace millrace {
namespace {

// 1: versions that were shown have no event time.
constexpr uint8_t kCodecVersion = 2;
constexpr uint8_t kFired = 1, kNextFired = 2, kClosed = 4;

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

// Near the end of the window, or kNoTime: the difference, modulo 2^64.
void write_event_time(const ShownWindow& shown, AccumulatorWriter& out) {
  out.zigzag(static_cast<int64_t>(static_cast<uint64_t>(shown.event_time_ms) -
                                  static_cast<uint64_t>(shown.bounds.end_ms)));
}

int64_t read_event_time(const WindowBounds& bounds, AccumulatorReader& in) {
  return static_cast<int64_t>(static_cast<uint64_t>(in.zigzag()) + static_cast<uint64_t>(bounds.end_ms));
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

void KeyWindowsCodec::create(void* state) const { *static_cast<KeyWindows**>(state) = new KeyWindows(); }

void KeyWindowsCodec::destroy(void* state) const {
  KeyWindows& windows = of(state);
  for (KeyWindow& window : windows.windows) delete_block(window.block);
  delete &windows;
}

void KeyWindowsCodec::encode_window(const KeyWindow& window, std::string& out) const {
  AccumulatorWriter writer(out);
  write_bounds(window.bounds, writer);
  writer.zigzag(window.newest_ms);
  writer.zigzag(window.gap_ms);
  writer.varint(window.rows_since);
  writer.byte(static_cast<uint8_t>((window.fired ? kFired : 0) | (window.next_fired ? kNextFired : 0) |
                                   (window.closed ? kClosed : 0)));
  writer.varint(window.shown.size());
  for (const ShownWindow& shown : window.shown) {
    write_bounds(shown.bounds, writer);
    write_event_time(shown, writer);
    writer.string(shown.values);
  }
  if (window.block == nullptr) return;
  std::string block;
  set_.encode(window.block, block);
  writer.string(block);
}

void KeyWindowsCodec::encode(const void* state, std::string& out) const {
  const KeyWindows& windows = of(const_cast<void*>(state));
  AccumulatorWriter writer(out);
  writer.byte(kCodecVersion);
  writer.zigzag(windows.timer_ms);
  writer.zigzag(windows.clock_timer_ms);
  writer.varint(windows.windows.size());
  for (const KeyWindow& window : windows.windows) encode_window(window, out);
}

Status KeyWindowsCodec::decode_window(AccumulatorReader& reader, uint8_t codec_version, KeyWindow& window) const {
  window.bounds = read_bounds(reader);
  window.newest_ms = reader.zigzag();
  window.gap_ms = reader.zigzag();
  window.rows_since = reader.varint();
  const uint8_t flags = reader.byte();
  if (flags > (kFired | kNextFired | kClosed)) return corrupt();
  window.fired = (flags & kFired) != 0;
  window.next_fired = (flags & kNextFired) != 0;
  window.closed = (flags & kClosed) != 0;
  const uint64_t shown = reader.varint();
  for (uint64_t i = 0; i < shown && reader.ok(); i++) {
    ShownWindow& version = window.shown.emplace_back();
    version.bounds = read_bounds(reader);
    if (codec_version > 1) version.event_time_ms = read_event_time(version.bounds, reader);
    version.values = reader.string();
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
  windows.timer_ms = reader.zigzag();
  windows.clock_timer_ms = reader.zigzag();
  const uint64_t count = reader.varint();
  for (uint64_t i = 0; i < count; i++) {
    if (!reader.ok()) return corrupt();
    MR_RETURN_IF_ERROR(decode_window(reader, version, windows.windows.emplace_back()));
  }
  return reader.finished() ? Status::ok() : corrupt();
}

size_t KeyWindowsCodec::extra_bytes(const void* state) const {
  const KeyWindows& windows = of(const_cast<void*>(state));
  size_t bytes = sizeof(KeyWindows) + windows.windows.capacity() * sizeof(KeyWindow);
  for (const KeyWindow& window : windows.windows) {
    if (window.block != nullptr) bytes += set_.size() + 16 + set_.extra_bytes(window.block);
    for (const ShownWindow& shown : window.shown) bytes += sizeof shown + shown.values.capacity();
  }
  return bytes;
}

}  // namespace millrace
