#include "operators/top_list.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace millrace {
namespace {

constexpr size_t kInsideBytes = 15;  // text that a std::string holds without memory of its own

// The first entry that ranks behind this order.
template <class Entries>
auto behind(Entries& entries, std::string_view order) {
  return std::upper_bound(entries.begin(), entries.end(), order,
                          [](std::string_view value, const TopList::Entry& entry) { return value < entry.order(); });
}

template <class Entries>
auto first_of(Entries& entries, std::string_view order) {
  return std::lower_bound(entries.begin(), entries.end(), order,
                          [](const TopList::Entry& entry, std::string_view value) { return entry.order() < value; });
}

}  // namespace

size_t TopList::heap_bytes_of(const Entry& entry) {
  return entry.bytes.capacity() > kInsideBytes ? entry.bytes.capacity() + 1 : 0;
}

size_t TopList::best(const TopRule& rule) const {
  if (!rule.keeps_all || entries_.size() <= rule.n) return entries_.size();
  if (!rule.ties) return rule.n;
  return static_cast<size_t>(behind(entries_, entries_[rule.n - 1].order()) - entries_.begin());
}

bool TopList::takes(std::string_view order, const TopRule& rule) const {
  if (rule.keeps_all || entries_.size() < rule.n) return true;
  const int compared = order.compare(entries_[rule.n - 1].order());
  return compared < 0 || (rule.ties && compared == 0);
}

bool TopList::is_full(std::string_view order, const TopRule& rule) const {
  if (rule.keeps_all) return entries_.size() >= TopRule::kMaxRows;
  if (!rule.ties || entries_.size() < TopRule::kMaxRows) return false;
  const std::string_view nth = entries_[rule.n - 1].order();
  if (order == nth) return true;
  // A better row pushes out all that tie with the n-th, unless some of them remain among the first n.
  return rule.n > 1 && entries_[rule.n - 2].order() == nth;
}

void TopList::insert(std::string_view order, std::string_view row, int64_t event_time_ms, const TopRule& rule) {
  Entry entry;
  if (!rule.ties && !rule.keeps_all && entries_.size() == rule.n) {
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
  const auto at = behind(entries_, order);
  if (static_cast<size_t>(at - entries_.begin()) < shown_end_) shown_end_++;
  entries_.insert(at, std::move(entry));
  if (rule.ties && !rule.keeps_all) {
    while (entries_.size() > rule.n && entries_.back().order() > entries_[rule.n - 1].order()) drop_last();
  }
  shown_end_ = std::min(shown_end_, entries_.size());
}

bool TopList::remove(std::string_view order, std::string_view row, int64_t event_time_ms) {
  const auto first = first_of(entries_, order);
  auto found = entries_.end();
  bool same_time = false;
  for (auto at = behind(entries_, order); at != first && !same_time;) {
    --at;
    if (at->row() != row) continue;
    same_time = at->event_time_ms == event_time_ms;
    if (same_time || found == entries_.end()) found = at;
  }
  if (found == entries_.end()) return false;
  remove_at(static_cast<size_t>(found - entries_.begin()));
  return true;
}

void TopList::remove_at(size_t index) {
  if (index < shown_end_) shown_end_--;
  keep_gone(entries_[index]);
  entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(index));
}

void TopList::drop_last() {
  keep_gone(entries_.back());
  entries_.pop_back();
}

// The entry leaves: readers are still to be told, if it was shown.
void TopList::keep_gone(Entry& entry) {
  if (entry.shown_rank != 0) {
    if (!gone_) gone_ = std::make_unique<std::vector<Entry>>();
    gone_->push_back(std::move(entry));
  } else {
    heap_bytes_ -= heap_bytes_of(entry);
  }
}

uint32_t TopList::rank(size_t index, const TopRule& rule) const {
  if (!rule.ties) return static_cast<uint32_t>(index + 1);
  return static_cast<uint32_t>(first_of(entries_, entries_[index].order()) - entries_.begin()) + 1;
}

const std::vector<TopList::Entry>& TopList::gone() const {
  static const std::vector<Entry> kNone;
  return gone_ ? *gone_ : kNone;
}

void TopList::reunite(const TopRule& rule) {
  if (!gone_) return;
  const auto by_bytes = [](const Entry& a, const Entry& b) {
    return std::tie(a.bytes, a.event_time_ms) < std::tie(b.bytes, b.event_time_ms);
  };
  std::vector<Entry*> entered;
  for (size_t i = 0, end = best(rule); i < end; i++) {
    if (entries_[i].shown_rank == 0) entered.push_back(&entries_[i]);
  }
  std::sort(entered.begin(), entered.end(), [&](const Entry* a, const Entry* b) { return by_bytes(*a, *b); });
  std::sort(gone_->begin(), gone_->end(), by_bytes);
  size_t next = 0;
  std::erase_if(*gone_, [&](const Entry& left) {
    while (next < entered.size() && by_bytes(*entered[next], left)) next++;
    if (next == entered.size() || by_bytes(left, *entered[next])) return false;
    entered[next++]->shown_rank = left.shown_rank;
    heap_bytes_ -= heap_bytes_of(left);
    return true;
  });
  shown_end_ = std::max(shown_end_, best(rule));
}

void TopList::mark_shown(const TopRule& rule) {
  uint32_t rank = 0;
  const size_t shown = best(rule);
  for (size_t i = 0; i < shown; i++) {
    const bool tied = rule.ties && i > 0 && entries_[i].order() == entries_[i - 1].order();
    if (!tied) rank = static_cast<uint32_t>(i + 1);
    entries_[i].shown_rank = rank;
  }
  for (size_t i = shown; i < shown_end_; i++) entries_[i].shown_rank = 0;
  shown_end_ = shown;
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
