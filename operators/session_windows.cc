// window: {session: {gap}}: rows of a key of which each is at most a gap behind another. A row opens
// [time, time + gap); windows that overlap or touch are one. So a row exactly one gap later still belongs, and a
// session is over when the watermark has reached its end.
//
// What closed sessions covered is remembered until no row that is in time can touch them any more: a late row that
// belongs to one is late, and opens no second session over the same time (BEAM-3568 is what happens otherwise). That is
// the largest gap behind its end that a row may have: max_gap, or without that the largest of the key so far.
#include <algorithm>

#include "operators/key_window_kind.h"

namespace millrace {
namespace {

class SessionWindows : public KeyWindowKind {
 public:
  explicit SessionWindows(const KeyWindowParts& parts)
      : parts_(parts),
        emit_(parts.program.emit),
        lateness_ms_(parts.program.window.allowed_lateness_ms),
        largest_gap_ms_(std::max(parts.program.window.gap_ms, parts.program.window.max_gap_ms)),
        max_duration_ms_(parts.program.window.max_duration_ms) {}

  Result<Taken> add(KeyWindows& windows, KeyWindowRow& row) override;
  int64_t next_due_ms(const KeyWindows& windows) const override;
  Result<uint64_t> fire(KeyWindows& windows, std::string_view key, int64_t now_ms) override;
  Status show_changed(KeyWindows& windows, std::string_view key, int64_t watermark_ms) override;
  int64_t forget_ms(const KeyWindows& windows) const override;
  void forget(KeyWindows& windows, int64_t now_ms) const override;

 private:
  // The sessions [first, last) that a row joins; first == last: it opens one.
  struct Join {
    size_t first = 0;
    size_t last = 0;
    KeyWindow result;  // without block and shown
    bool over = false;  // it belongs to a session that is closed
  };
  Join join(const KeyWindows& windows, const KeyWindowRow& row) const;
  bool fits(int64_t start_ms, int64_t newest_ms) const {
    return max_duration_ms_ == 0 || newest_ms - start_ms < max_duration_ms_;
  }
  // The block of the joined session with the row in it; nullptr: it does not fit, *refusal says why.
  void* fold(KeyWindows& windows, const Join& join, KeyWindowRow& row, std::string* refusal) const;
  KeyWindow& replace(KeyWindows& windows, Join join, void* block) const;
  Status show_row(KeyWindow& window, const KeyWindowRow& row);
  bool shows_early(const KeyWindow& window, const KeyWindowRow& row) const {
    return emit_.mode == EmitMode::kClose &&
           ((emit_.early_count > 0 && window.rows_since >= static_cast<uint64_t>(emit_.early_count)) || row.early_when);
  }
  Status show(std::string_view key, KeyWindow& window, const KeyWindowOutput::At& at);
  int64_t due_ms(const KeyWindow& window) const {
    return window.fired ? window.bounds.end_ms + lateness_ms_ : window.bounds.end_ms;
  }
  // How long a closed session is remembered behind its end.
  int64_t kept_ms(const KeyWindows& windows) const {
    return lateness_ms_ + (largest_gap_ms_ > 0 ? largest_gap_ms_ : windows.largest_gap_ms);
  }

  const KeyWindowParts parts_;
  const EmitSpec& emit_;
  const int64_t lateness_ms_;
  const int64_t largest_gap_ms_;  // 0: unknown
  const int64_t max_duration_ms_;
};

// Windows are few and in order of their start. One that may not grow any more (max_duration) lets the row open the
// next, which ends where that begins.
SessionWindows::Join SessionWindows::join(const KeyWindows& windows, const KeyWindowRow& row) const {
  Join join;
  KeyWindow alone;
  alone.bounds = {row.time_ms, row.time_ms + row.gap_ms};
  alone.newest_ms = row.time_ms;
  alone.gap_ms = row.gap_ms;
  KeyWindow& result = join.result;
  result = alone;
  bool any = false;
  for (size_t i = 0; i < windows.windows.size(); i++) {
    const KeyWindow& window = windows.windows[i];
    if (result.bounds.start_ms > window.bounds.end_ms || window.bounds.start_ms > result.bounds.end_ms) continue;
    if (window.closed) {
      join.over = true;
      continue;
    }
    const int64_t start_ms = std::min(result.bounds.start_ms, window.bounds.start_ms);
    const int64_t newest_ms = std::max(result.newest_ms, window.newest_ms);
    if (!fits(start_ms, newest_ms)) {
      if (window.bounds.start_ms > row.time_ms) {
        result.bounds.end_ms = std::min(result.bounds.end_ms, window.bounds.start_ms);
        if (any) break;
      } else if (any) {
        // The row stands where a session ends and this one begins, and the two are not one: it belongs to this one.
        result = alone;
        any = false;
        i--;
      }
      continue;
    }
    if (!any) join.first = i;
    any = true;
    join.last = i + 1;
    result.bounds = {start_ms, std::max(result.bounds.end_ms, window.bounds.end_ms)};
    result.newest_ms = newest_ms;
    result.gap_ms = std::max(result.gap_ms, window.gap_ms);
    result.rows_since += window.rows_since;
  }
  if (max_duration_ms_ > 0) {
    result.bounds.end_ms = std::min(result.bounds.end_ms, result.bounds.start_ms + max_duration_ms_);
  }
  if (any) {
    join.over = false;
    return join;
  }
  const auto behind = std::upper_bound(
      windows.windows.begin(), windows.windows.end(), result.bounds.start_ms,
      [](int64_t start_ms, const KeyWindow& window) { return start_ms < window.bounds.start_ms; });
  join.first = join.last = static_cast<size_t>(behind - windows.windows.begin());
  return join;
}

Result<KeyWindowKind::Taken> SessionWindows::add(KeyWindows& windows, KeyWindowRow& row) {
  Taken taken;
  // What is forgotten stays so, whatever gap the row has.
  if (largest_gap_ms_ == 0 && row.watermark_ms != kNoTime && row.watermark_ms != kEndOfTime) {
    forget(windows, row.watermark_ms);
  }
  Join joined = join(windows, row);
  const WindowBounds bounds = joined.result.bounds;
  const bool passed = row.watermark_ms != kNoTime && bounds.end_ms + lateness_ms_ <= row.watermark_ms;
  if (joined.over || passed) {
    taken.late = true;
    taken.late_for = bounds;
    return taken;
  }
  void* block = fold(windows, joined, row, &taken.refusal);
  if (block == nullptr) return taken;
  KeyWindow& window = replace(windows, std::move(joined), block);
  if (largest_gap_ms_ == 0) windows.largest_gap_ms = std::max(windows.largest_gap_ms, row.gap_ms);
  window.rows_since++;
  window.fired = row.watermark_ms != kNoTime && window.bounds.end_ms <= row.watermark_ms;
  MR_RETURN_IF_ERROR(show_row(window, row));
  return taken;
}

void* SessionWindows::fold(KeyWindows& windows, const Join& join, KeyWindowRow& row, std::string* refusal) const {
  if (join.last - join.first == 1) {
    void* block = windows.windows[join.first].block;
    *refusal = row.fold_into(block);
    return refusal->empty() ? block : nullptr;
  }
  // A new block, so that a row that does not fit leaves no trace.
  void* block = join.first == join.last ? parts_.codec.new_block()
                                        : parts_.codec.copy_block(windows.windows[join.first].block);
  for (size_t i = join.first + 1; i < join.last; i++) {
    const KeyWindow& window = windows.windows[i];
    if (window.block != nullptr && !parts_.set.merge(block, window.block)) *refusal = "overflow when sessions merge";
  }
  if (refusal->empty()) *refusal = row.fold_into(block);
  if (refusal->empty()) return block;
  parts_.codec.delete_block(block);
  return nullptr;
}

// Sessions [first, last) become one. (A closed one between them stays what it is: it is not part of the result.)
KeyWindow& SessionWindows::replace(KeyWindows& windows, Join join, void* block) const {
  std::vector<KeyWindow>& all = windows.windows;
  join.result.block = block;
  for (size_t i = join.first; i < join.last; i++) {
    KeyWindow& window = all[i];
    if (window.closed) continue;
    join.result.shown.insert(join.result.shown.end(), std::make_move_iterator(window.shown.begin()),
                             std::make_move_iterator(window.shown.end()));
    if (window.block != block) parts_.codec.delete_block(window.block);
    window.block = nullptr;
  }
  std::vector<KeyWindow> closed;
  for (size_t i = join.first; i < join.last; i++) {
    if (all[i].closed) closed.push_back(std::move(all[i]));
  }
  const auto at = static_cast<ptrdiff_t>(join.first);
  all.erase(all.begin() + at, all.begin() + static_cast<ptrdiff_t>(join.last));
  all.insert(all.begin() + at, std::make_move_iterator(closed.begin()), std::make_move_iterator(closed.end()));
  return *all.insert(all.begin() + at, std::move(join.result));
}

Status SessionWindows::show_row(KeyWindow& window, const KeyWindowRow& row) {
  if (emit_.mode == EmitMode::kEach) return show(row.key, window, row.at(row.time_ms));
  if (window.fired) {
    if (emit_.mode != EmitMode::kClose || !emit_.late_updates) return Status::ok();
    return show(row.key, window, row.at(window.bounds.end_ms - 1));
  }
  return shows_early(window, row) ? show(row.key, window, row.at(kNoTime)) : Status::ok();
}

Status SessionWindows::show(std::string_view key, KeyWindow& window, const KeyWindowOutput::At& at) {
  window.rows_since = 0;
  MR_RETURN_IF_ERROR(parts_.output.show(key, window.block, window.bounds, window.shown, at));
  if (!emit_.discarding) return Status::ok();
  parts_.set.destroy(window.block);
  parts_.set.create(window.block);
  return Status::ok();
}

int64_t SessionWindows::next_due_ms(const KeyWindows& windows) const {
  int64_t due = kEndOfTime;
  for (const KeyWindow& window : windows.windows) {
    if (!window.closed) due = std::min(due, due_ms(window));
  }
  return due;
}

// While a session is open, fire() forgets.
int64_t SessionWindows::forget_ms(const KeyWindows& windows) const {
  int64_t end_ms = kNoTime;
  for (const KeyWindow& window : windows.windows) {
    if (!window.closed) return kEndOfTime;
    end_ms = std::max(end_ms, window.bounds.end_ms);
  }
  return end_ms == kNoTime ? kEndOfTime : end_ms + kept_ms(windows);
}

void SessionWindows::forget(KeyWindows& windows, int64_t now_ms) const {
  const int64_t end_ms = now_ms - kept_ms(windows);
  std::erase_if(windows.windows,
                [&](const KeyWindow& window) { return window.closed && window.bounds.end_ms <= end_ms; });
  if (windows.windows.empty()) windows.largest_gap_ms = 0;
}

Result<uint64_t> SessionWindows::fire(KeyWindows& windows, std::string_view key, int64_t now_ms) {
  uint64_t fired = 0;
  for (KeyWindow& window : windows.windows) {
    if (window.closed) continue;
    const int64_t end_ms = window.bounds.end_ms;
    // In time for windows behind this one: the row has the last moment of the session.
    const KeyWindowOutput::At at{now_ms - 2, end_ms - 1, kNoRow};
    if (!window.fired && now_ms >= end_ms) {
      window.fired = true;
      fired++;
      if (emit_.mode == EmitMode::kClose) MR_RETURN_IF_ERROR(show(key, window, at));
    }
    if (now_ms < end_ms + lateness_ms_) continue;
    if (emit_.mode == EmitMode::kFinal) MR_RETURN_IF_ERROR(show(key, window, at));
    if (emit_.mode == EmitMode::kUpdate && window.rows_since > 0) {
      MR_RETURN_IF_ERROR(show(key, window, {now_ms - 2, kNoTime, kNoRow}));
    }
    window.closed = true;
    window.shown.clear();
    parts_.codec.delete_block(window.block);
    window.block = nullptr;
  }
  forget(windows, now_ms);
  return fired;
}

Status SessionWindows::show_changed(KeyWindows& windows, std::string_view key, int64_t watermark_ms) {
  for (KeyWindow& window : windows.windows) {
    if (window.closed || window.rows_since == 0) continue;
    // What has been shown at its end is shown again by late rows alone.
    if (emit_.mode == EmitMode::kClose && window.fired) continue;
    MR_RETURN_IF_ERROR(show(key, window, {watermark_ms, kNoTime, kNoRow}));
  }
  return Status::ok();
}

}  // namespace

std::unique_ptr<KeyWindowKind> make_session_windows(const KeyWindowParts& parts) {
  return std::make_unique<SessionWindows>(parts);
}

}  // namespace millrace
