#include "operators/window_assigner.h"

#include <fmt/format.h>

#include <algorithm>

#include "operators/projection.h"

namespace millrace {
namespace {

using Kind = WindowSpec::Kind;

constexpr WindowBounds kAllTime = {-kMaxWindowTimeMs, kGlobalEndMs};

int64_t floor_ms(int64_t us) { return us / 1000 - (us % 1000 < 0 ? 1 : 0); }

bool in_range(int64_t time_ms) { return time_ms >= -kMaxWindowTimeMs && time_ms <= kMaxWindowTimeMs; }

}  // namespace

int64_t window_start(int64_t time_ms, int64_t every_ms, int64_t offset_ms) {
  int64_t behind = (time_ms - offset_ms) % every_ms;
  if (behind < 0) behind += every_ms;
  return time_ms - behind;
}

WindowAssigner::WindowAssigner(const WindowSpec& spec, bool needs_event_time)
    : spec_(spec),
      needs_event_time_(needs_event_time),
      single_(spec.kind == Kind::kTumbling || spec.kind == Kind::kGlobal || spec.kind == Kind::kNone) {
  MR_CHECK(single_ || spec.kind == Kind::kHopping || spec.kind == Kind::kCustom);
  if (spec.assign) evaluator_ = make_evaluator(spec.assign);
  if (single_ && spec.kind != Kind::kTumbling) last_ = kAllTime;
}

void WindowAssigner::move_to(int64_t time_ms) {
  if (spec_.kind != Kind::kTumbling) return;
  last_.start_ms = window_start(time_ms, spec_.every_ms, spec_.offset_ms);
  last_.end_ms = last_.start_ms + spec_.size_ms;
}

const std::vector<WindowBounds>& WindowAssigner::assign(uint32_t row, int64_t time_ms) {
  windows_.clear();
  if (single_) {
    windows_.push_back(assign_single(time_ms));
  } else if (spec_.kind == Kind::kHopping) {
    assign_hopping(time_ms);
  } else {
    assign_custom(row);
  }
  return windows_;
}

void WindowAssigner::assign_hopping(int64_t time_ms) {
  const int64_t last_start = window_start(time_ms, spec_.every_ms, spec_.offset_ms);
  const int64_t count = (last_start + spec_.size_ms - time_ms - 1) / spec_.every_ms;
  for (int64_t i = count; i >= 0; i--) {
    const int64_t start = last_start - i * spec_.every_ms;
    windows_.push_back({start, start + spec_.size_ms});
  }
}

void WindowAssigner::assign_custom(uint32_t row) {
  const Span list = assigned_->spans[row];
  const Column& bounds = *assigned_->children[0];
  const Column& times = *bounds.children[0];
  for (uint32_t i = list.begin; i < list.begin + list.count; i++) {
    const uint32_t at = bounds.spans[i].begin;
    windows_.push_back({floor_ms(times.ints[at]), floor_ms(times.ints[at + 1])});
  }
  if (windows_.size() < 2) return;
  std::sort(windows_.begin(), windows_.end(), [](const WindowBounds& a, const WindowBounds& b) {
    return a.end_ms != b.end_ms ? a.end_ms < b.end_ms : a.start_ms < b.start_ms;
  });
  windows_.erase(std::unique(windows_.begin(), windows_.end()), windows_.end());
}

void WindowAssigner::evaluate(const Batch& batch, const ArenaPtr& arena, RowErrors& errors) {
  if (needs_event_time_) check_times(batch, errors);
  if (!evaluator_) return;
  assigned_ = evaluator_->evaluate(batch, arena, errors);
  sort_errors(errors);
  check_custom(without_rows(batch, errors), errors);
  sort_errors(errors);
}

void WindowAssigner::check_times(const Batch& batch, RowErrors& errors) const {
  for_each_live(batch, [&](uint32_t row) {
    const int64_t time_ms = batch.event_time_ms[row];
    if (in_range(time_ms) || (time_ms == kNoTime && spec_.kind == Kind::kGlobal)) return;
    errors.entries.push_back({row, time_ms == kNoTime ? std::string("the row has no event time")
                                                      : fmt::format("the event time {} ms is out of range", time_ms)});
  });
}

void WindowAssigner::check_custom(const Batch& batch, RowErrors& errors) const {
  for_each_live(batch, [&](uint32_t row) {
    std::string message = refusal_of(row);
    if (!message.empty()) errors.entries.push_back({row, std::move(message)});
  });
}

std::string WindowAssigner::refusal_of(uint32_t row) const {
  if (assigned_->is_null(row)) return "assign gives null";
  const Span list = assigned_->spans[row];
  if (list.count > kMaxWindowsPerRow) {
    return fmt::format("assign gives {} windows; the limit is {}", list.count, kMaxWindowsPerRow);
  }
  const Column& bounds = *assigned_->children[0];
  for (uint32_t i = list.begin; i < list.begin + list.count; i++) {
    const uint32_t at = bounds.is_null(i) ? 0 : bounds.spans[i].begin;
    if (bounds.is_null(i) || bounds.spans[i].count != 2) return "assign gives a window that is not [start, end]";
    const Column& times = *bounds.children[0];
    if (times.is_null(at) || times.is_null(at + 1)) return "assign gives a window with a null";
    const WindowBounds window = {floor_ms(times.ints[at]), floor_ms(times.ints[at + 1])};
    if (window.end_ms <= window.start_ms) return "assign gives a window that does not end after its start";
    if (!in_range(window.start_ms) || !in_range(window.end_ms)) return "assign gives a window that is out of range";
  }
  return {};
}

}  // namespace millrace
