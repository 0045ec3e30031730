#include "operators/top_list.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {
namespace {

constexpr size_t kInsideBytes = 15;  // text that a std::string holds without memory of its own

// The first entry that ranks behind this order.
auto behind(std::vector<TopList::Entry>& entries, std::string_view order) {
  return std::upper_bound(entries.begin(), entries.end(), order,
                          [](std::string_view value, const TopList::Entry& entry) { return value < entry.order(); });
}

}  // namespace

size_t TopList::heap_bytes_of(const Entry& entry) {
  return entry.bytes.capacity() > kInsideBytes ? entry.bytes.capacity() + 1 : 0;
}

bool TopList::takes(std::string_view order, const TopRule& rule) const {
  if (entries_.size() < rule.n) return true;
  const int compared = order.compare(entries_[rule.n - 1].order());
  return compared < 0 || (rule.ties && compared == 0);
}

bool TopList::is_full(std::string_view order, const TopRule& rule) const {
  if (!rule.ties || entries_.size() < TopRule::kMaxRows) return false;
  const std::string_view nth = entries_[rule.n - 1].order();
  if (order == nth) return true;
  // A better row pushes out all that tie with the n-th, unless some of them remain among the first n.
  return rule.n > 1 && entries_[rule.n - 2].order() == nth;
}

void TopList::insert(std::string_view order, std::string_view row, int64_t event_time_ms, const TopRule& rule) {
  Entry entry;
  if (!rule.ties && entries_.size() == rule.n) {
    // The memory of the row that leaves is used again.
    if (entries_.back().shown_rank == 0) {
      heap_bytes_ -= heap_bytes_of(entries_.back());
      entry.bytes = std::move(entries_.back().bytes);
      entries_.pop_back();
    } else {
      drop_last();
    }
  }
  entry.bytes.assign(order).append(row);
  entry.order_bytes = static_cast<uint32_t>(order.size());
  entry.event_time_ms = event_time_ms;
  heap_bytes_ += heap_bytes_of(entry);
  entries_.insert(behind(entries_, order), std::move(entry));
  if (!rule.ties) return;
  while (entries_.size() > rule.n && entries_.back().order() > entries_[rule.n - 1].order()) drop_last();
}

void TopList::drop_last() {
  Entry& last = entries_.back();
  if (last.shown_rank != 0) {
    if (!gone_) gone_ = std::make_unique<std::vector<Entry>>();
    gone_->push_back(std::move(last));
  } else {
    heap_bytes_ -= heap_bytes_of(last);
  }
  entries_.pop_back();
}

uint32_t TopList::rank(size_t index, const TopRule& rule) const {
  if (!rule.ties) return static_cast<uint32_t>(index + 1);
  const std::string_view order = entries_[index].order();
  const auto first =
      std::lower_bound(entries_.begin(), entries_.end(), order,
                       [](const Entry& entry, std::string_view value) { return entry.order() < value; });
  return static_cast<uint32_t>(first - entries_.begin()) + 1;
}

const std::vector<TopList::Entry>& TopList::gone() const {
  static const std::vector<Entry> kNone;
  return gone_ ? *gone_ : kNone;
}

void TopList::mark_shown(const TopRule& rule) {
  uint32_t rank = 0;
  for (size_t i = 0; i < entries_.size(); i++) {
    const bool tied = rule.ties && i > 0 && entries_[i].order() == entries_[i - 1].order();
    if (!tied) rank = static_cast<uint32_t>(i + 1);
    entries_[i].shown_rank = rank;
  }
  if (!gone_) return;
  for (const Entry& entry : *gone_) heap_bytes_ -= heap_bytes_of(entry);
  gone_.reset();
}

void TopList::encode(AccumulatorWriter& out) const {
  out.varint(entries_.size());
  for (const Entry& entry : entries_) {
    out.zigzag(entry.event_time_ms);
    out.varint(entry.order_bytes);
    out.string(entry.bytes);
  }
}

bool TopList::decode(AccumulatorReader& in) {
  MR_CHECK(entries_.empty());
  const uint64_t count = in.varint();
  if (count > TopRule::kMaxRows) return false;
  for (uint64_t i = 0; i < count && in.ok(); i++) {
    Entry entry;
    entry.event_time_ms = in.zigzag();
    const uint64_t order_bytes = in.varint();
    entry.bytes = in.string();
    if (order_bytes > entry.bytes.size()) return false;
    entry.order_bytes = static_cast<uint32_t>(order_bytes);
    if (i > 0 && entry.order() < entries_.back().order()) return false;
    heap_bytes_ += heap_bytes_of(entry);
    entries_.push_back(std::move(entry));
  }
  return in.ok();
}

}  // namespace millrace
