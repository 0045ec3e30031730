// window: {sliding: {size}}: Kafka Streams' sliding windows, anchored at the rows of a key. For each time t of a row
// there is the window [t - size, t], and, if another row follows within size + 1, the window [t + 1, t + 1 + size];
// both ends belong to it. What is kept is one block per time of a row; a window is their merge when it is shown.
#include <algorithm>

#include "operators/key_window_kind.h"

namespace millrace {
namespace {

class SlidingWindows : public KeyWindowKind {
 public:
  explicit SlidingWindows(const KeyWindowParts& parts)
      : parts_(parts),
        emit_(parts.program.emit),
        size_ms_(parts.program.window.size_ms),
        lateness_ms_(parts.program.window.allowed_lateness_ms),
        waits_(emit_.mode == EmitMode::kUpdate || emit_.early_every_ms > 0) {}

  Result<Taken> add(KeyWindows& windows, KeyWindowRow& row) override;
  int64_t next_due_ms(const KeyWindows& windows) const override;
  Result<uint64_t> fire(KeyWindows& windows, std::string_view key, int64_t now_ms) override;
  Status show_changed(KeyWindows& windows, std::string_view key, int64_t watermark_ms) override;

 private:
  using Points = std::vector<KeyWindow>;
  // A window: the point that owns it, and which of its two it is.
  struct Ref {
    size_t point;
    bool next;  // the one behind the point
  };
  WindowBounds bounds_of(const KeyWindow& point, bool next) const {
    const int64_t time_ms = point.bounds.start_ms;
    return next ? WindowBounds{time_ms + 1, time_ms + 1 + size_ms_} : WindowBounds{time_ms - size_ms_, time_ms};
  }
  // The window behind a point exists if a row follows in it, unless that row's own window is the same.
  bool has_next(const Points& points, size_t point) const {
    if (point + 1 >= points.size()) return false;
    const int64_t end_ms = bounds_of(points[point], true).end_ms;
    if (points[point + 1].bounds.start_ms > end_ms) return false;
    const auto at = lower(points, end_ms);
    return at == points.size() || points[at].bounds.start_ms != end_ms;
  }
  static size_t lower(const Points& points, int64_t time_ms) {
    return static_cast<size_t>(
        std::lower_bound(points.begin(), points.end(), time_ms,
                         [](const KeyWindow& point, int64_t time) { return point.bounds.start_ms < time; }) -
        points.begin());
  }
  // Windows that hold the rows of a point, by their end; created: and the one that begins behind it, which is new, too.
  std::vector<Ref> windows_of(const Points& points, size_t point, bool created) const;
  void sort_by_end(const Points& points, std::vector<Ref>& refs) const;
  bool is_closed(const WindowBounds& bounds, int64_t watermark_ms) const {
    return watermark_ms != kNoTime && bounds.end_ms + lateness_ms_ <= watermark_ms;
  }
  void insert(Points& points, size_t at, const KeyWindowRow& row, void* block) const;
  Status show(KeyWindows& windows, std::string_view key, const Ref& ref, const KeyWindowOutput::At& at);
  // Bits of rows_since.
  static uint64_t flag(bool next) { return next ? 2 : 1; }
  static bool& fired(Points& points, const Ref& ref) {
    return ref.next ? points[ref.point].next_fired : points[ref.point].fired;
  }
  // A row has come into a window, or made it.
  Status touch(KeyWindows& windows, const KeyWindowRow& row, const Ref& ref);
  // Shows the windows that wait, up to one that closes at this time.
  Status show_waiting(KeyWindows& windows, std::string_view key, int64_t closed_ms, int64_t watermark_ms);
  // When a point's window is shown by time: at its end, final: when it is closed.
  int64_t shown_at_ms(const KeyWindow& point, bool next) const {
    return bounds_of(point, next).end_ms + (emit_.mode == EmitMode::kFinal ? lateness_ms_ : 0);
  }
  int64_t dropped_at_ms(const KeyWindow& point) const { return bounds_of(point, true).end_ms + lateness_ms_; }

  const KeyWindowParts parts_;
  const EmitSpec& emit_;
  const int64_t size_ms_;
  const int64_t lateness_ms_;
  const bool waits_;  // windows that have changed are shown later
};

std::vector<SlidingWindows::Ref> SlidingWindows::windows_of(const Points& points, size_t point, bool created) const {
  std::vector<Ref> refs;
  const int64_t time_ms = points[point].bounds.start_ms;
  for (size_t i = lower(points, time_ms - size_ms_ - 1); i < points.size(); i++) {
    if (points[i].bounds.start_ms > time_ms + size_ms_) break;
    if ((i < point || (i == point && created)) && has_next(points, i)) refs.push_back({i, true});
    if (i >= point) refs.push_back({i, false});
  }
  sort_by_end(points, refs);
  return refs;
}

void SlidingWindows::sort_by_end(const Points& points, std::vector<Ref>& refs) const {
  std::sort(refs.begin(), refs.end(), [&](const Ref& a, const Ref& b) {
    return bounds_of(points[a.point], a.next).end_ms < bounds_of(points[b.point], b.next).end_ms;
  });
}

Result<KeyWindowKind::Taken> SlidingWindows::add(KeyWindows& windows, KeyWindowRow& row) {
  Taken taken;
  Points& points = windows.windows;
  // The last window that could hold it.
  const WindowBounds last{row.time_ms, row.time_ms + size_ms_};
  if (is_closed(last, row.watermark_ms)) {
    taken.late = true;
    taken.late_for = last;
    return taken;
  }
  const size_t at = lower(points, row.time_ms);
  const bool known = at < points.size() && points[at].bounds.start_ms == row.time_ms;
  void* block = known ? points[at].block : parts_.codec.new_block();
  taken.refusal = row.fold_into(block);
  if (!taken.refusal.empty()) {
    if (!known) parts_.codec.delete_block(block);
    return taken;
  }
  if (!known) insert(points, at, row, block);
  const bool shows_late = emit_.mode == EmitMode::kClose && lateness_ms_ > 0;
  if (!waits_ && !shows_late && emit_.mode != EmitMode::kEach) return taken;
  for (const Ref& ref : windows_of(points, at, !known)) MR_RETURN_IF_ERROR(touch(windows, row, ref));
  return taken;
}

Status SlidingWindows::touch(KeyWindows& windows, const KeyWindowRow& row, const Ref& ref) {
  Points& points = windows.windows;
  KeyWindow& owner = points[ref.point];
  const WindowBounds bounds = bounds_of(owner, ref.next);
  if (is_closed(bounds, row.watermark_ms)) return Status::ok();
  if (emit_.mode == EmitMode::kEach) return show(windows, row.key, ref, row.at(row.time_ms));
  if (emit_.mode == EmitMode::kClose && row.watermark_ms != kNoTime && bounds.end_ms <= row.watermark_ms) {
    fired(points, ref) = true;
    return emit_.late_updates ? show(windows, row.key, ref, row.at(bounds.end_ms)) : Status::ok();
  }
  if (waits_) owner.rows_since |= flag(ref.next);
  return Status::ok();
}

// A point of the row's time, which has a block already.
void SlidingWindows::insert(Points& points, size_t at, const KeyWindowRow& row, void* block) const {
  KeyWindow point;
  point.bounds = {row.time_ms, row.time_ms};
  point.block = block;
  const WindowBounds own = bounds_of(point, false);
  // A window that can take no row any more is not shown, for the first time, by one.
  point.fired = is_closed(own, row.watermark_ms);
  // The same window may have been that behind an earlier point: from now on it is this one's.
  const size_t before = lower(points, own.start_ms - 1);
  if (before < at && points[before].bounds.start_ms == own.start_ms - 1) {
    KeyWindow& owner = points[before];
    point.fired = point.fired || owner.next_fired;
    if ((owner.rows_since & flag(true)) != 0) point.rows_since |= flag(false);
    owner.rows_since &= ~flag(true);
    const auto shown = std::find_if(owner.shown.begin(), owner.shown.end(),
                                    [&](const ShownWindow& version) { return version.bounds == own; });
    if (shown != owner.shown.end()) {
      point.shown.push_back(std::move(*shown));
      owner.shown.erase(shown);
    }
  }
  points.insert(points.begin() + static_cast<ptrdiff_t>(at), std::move(point));
}

Status SlidingWindows::show(KeyWindows& windows, std::string_view key, const Ref& ref, const KeyWindowOutput::At& at) {
  Points& points = windows.windows;
  KeyWindow& owner = points[ref.point];
  owner.rows_since &= ~flag(ref.next);
  const WindowBounds bounds = bounds_of(owner, ref.next);
  void* merged = parts_.codec.new_block();
  bool fits = true;
  for (size_t i = lower(points, bounds.start_ms); i < points.size(); i++) {
    if (points[i].bounds.start_ms > bounds.end_ms) break;
    fits = fits && parts_.set.merge(merged, points[i].block);
  }
  if (!fits) {
    parts_.codec.delete_block(merged);
    return parts_.output.fail(key, "the window does not fit", bounds, at);
  }
  // The versions of a point's two windows stand side by side.
  std::vector<ShownWindow> versions;
  for (size_t i = 0; i < owner.shown.size(); i++) {
    if (!(owner.shown[i].bounds == bounds)) continue;
    versions.push_back(std::move(owner.shown[i]));
    owner.shown.erase(owner.shown.begin() + static_cast<ptrdiff_t>(i));
    break;
  }
  const Status status = parts_.output.show(key, merged, bounds, versions, at);
  for (ShownWindow& version : versions) owner.shown.push_back(std::move(version));
  parts_.codec.delete_block(merged);
  return status;
}

int64_t SlidingWindows::next_due_ms(const KeyWindows& windows) const {
  int64_t due = kEndOfTime;
  for (const KeyWindow& point : windows.windows) {
    if (!point.fired) due = std::min(due, shown_at_ms(point, false));
    if (!point.next_fired) due = std::min(due, shown_at_ms(point, true));
    due = std::min(due, dropped_at_ms(point));
    // What waits is shown before a row comes that is too late for it.
    for (const bool next : {false, true}) {
      if (emit_.mode != EmitMode::kUpdate || (point.rows_since & flag(next)) == 0) continue;
      due = std::min(due, bounds_of(point, next).end_ms + lateness_ms_);
    }
  }
  return due;
}

Result<uint64_t> SlidingWindows::fire(KeyWindows& windows, std::string_view key, int64_t now_ms) {
  uint64_t count = 0;
  Points& points = windows.windows;
  const bool shows = emit_.mode == EmitMode::kClose || emit_.mode == EmitMode::kFinal;
  for (size_t i = 0; i < points.size(); i++) {
    for (const bool next : {false, true}) {
      bool& done = fired(points, {i, next});
      if (done || shown_at_ms(points[i], next) > now_ms) continue;
      done = true;
      if (next && !has_next(points, i)) continue;
      count++;
      if (!shows) continue;
      MR_RETURN_IF_ERROR(show(windows, key, {i, next}, {now_ms - 1, bounds_of(points[i], next).end_ms, kNoRow}));
    }
  }
  if (emit_.mode == EmitMode::kUpdate) MR_RETURN_IF_ERROR(show_waiting(windows, key, now_ms, now_ms - 1));
  std::erase_if(points, [&](KeyWindow& point) {
    if (dropped_at_ms(point) > now_ms) return false;
    parts_.codec.delete_block(point.block);
    return true;
  });
  return count;
}

Status SlidingWindows::show_changed(KeyWindows& windows, std::string_view key, int64_t watermark_ms) {
  return show_waiting(windows, key, kEndOfTime, watermark_ms);
}

Status SlidingWindows::show_waiting(KeyWindows& windows, std::string_view key, int64_t closed_ms,
                                    int64_t watermark_ms) {
  Points& points = windows.windows;
  std::vector<Ref> waiting;
  for (size_t i = 0; i < points.size(); i++) {
    for (const bool next : {false, true}) {
      if ((points[i].rows_since & flag(next)) == 0) continue;
      if (bounds_of(points[i], next).end_ms + lateness_ms_ > closed_ms) continue;
      points[i].rows_since &= ~flag(next);
      // What has been shown at its end is shown again by late rows alone.
      if (emit_.mode != EmitMode::kClose || !fired(points, {i, next})) waiting.push_back({i, next});
    }
  }
  sort_by_end(points, waiting);
  for (const Ref& ref : waiting) MR_RETURN_IF_ERROR(show(windows, key, ref, {watermark_ms, kNoTime, kNoRow}));
  return Status::ok();
}

}  // namespace

std::unique_ptr<KeyWindowKind> make_sliding_windows(const KeyWindowParts& parts) {
  return std::make_unique<SlidingWindows>(parts);
}

}  // namespace millrace
