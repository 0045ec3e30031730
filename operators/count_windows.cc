// window: {count: {size: N}}: every N rows of a key.
#include "operators/key_window_kind.h"

namespace millrace {
namespace {

class CountWindows : public KeyWindowKind {
 public:
  explicit CountWindows(const KeyWindowParts& parts) : parts_(parts) {}

  Result<Taken> add(KeyWindows& windows, KeyWindowRow& row) override {
    Taken taken;
    if (windows.windows.empty()) windows.windows.emplace_back().block = parts_.codec.new_block();
    KeyWindow& window = windows.windows.front();
    taken.refusal = row.fold_into(window.block);
    if (!taken.refusal.empty()) return taken;
    window.rows_since++;
    const auto rows = AccumulatorSet::header(window.block).rows();
    const bool full = rows >= static_cast<uint64_t>(parts_.program.window.count);
    const bool each = parts_.program.emit.mode == EmitMode::kEach;
    if (full || each) {
      MR_RETURN_IF_ERROR(show(row.key, window, row.at(each ? row.time_ms : kNoTime)));
    }
    if (!full) return taken;
    taken.fired = 1;
    // What was shown of a full window stays.
    parts_.codec.delete_block(window.block);
    windows.windows.clear();
    return taken;
  }

  Status show_changed(KeyWindows& windows, std::string_view key, int64_t watermark_ms) override {
    for (KeyWindow& window : windows.windows) {
      if (window.rows_since > 0) MR_RETURN_IF_ERROR(show(key, window, {watermark_ms, kNoTime, kNoRow}));
    }
    return Status::ok();
  }

 private:
  Status show(std::string_view key, KeyWindow& window, const KeyWindowOutput::At& at) const {
    window.rows_since = 0;
    return parts_.output.show(key, window.block, {}, window.shown, at);
  }

  const KeyWindowParts parts_;
};

}  // namespace

std::unique_ptr<KeyWindowKind> make_count_windows(const KeyWindowParts& parts) {
  return std::make_unique<CountWindows>(parts);
}

}  // namespace millrace
