#include "operators/timer_queue.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "state/state_layers.h"

namespace millrace {
namespace {

constexpr size_t kTimeBytes = 8;
// What is read of one shard at a time, at least.
constexpr size_t kMinReadBytes = 2 * 1024;
constexpr size_t kMinCompactBytes = 4 * 1024;

uint64_t first_bytes_of(std::string_view key) {
  uint64_t word = 0;
  if (!key.empty()) std::memcpy(&word, key.data(), std::min<size_t>(key.size(), sizeof word));
  return __builtin_bswap64(word);
}

int64_t read_time_ms(const char* bytes) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, kTimeBytes);
  return static_cast<int64_t>(__builtin_bswap64(word) ^ uint64_t{1} << 63);
}

}  // namespace

bool TimerHeap::later(const Entry& a, const Entry& b) const {
  if (a.time_ms != b.time_ms) return a.time_ms > b.time_ms;
  if (a.first_bytes != b.first_bytes) return a.first_bytes > b.first_bytes;
  return key(a) > key(b);
}

int TimerHeap::compare(const Entry& entry, int64_t time_ms, std::string_view other) const {
  if (entry.time_ms != time_ms) return entry.time_ms < time_ms ? -1 : 1;
  return key(entry).compare(other);
}

void TimerHeap::append(int64_t time_ms, uint16_t shard, std::string_view key) {
  MR_CHECK(key.size() <= UINT32_MAX);
  entries_.push_back({time_ms, first_bytes_of(key), text_.size(), static_cast<uint32_t>(key.size()), shard});
  text_.insert(text_.end(), key.begin(), key.end());
}

void TimerHeap::push(int64_t time_ms, uint16_t shard, std::string_view key) {
  append(time_ms, shard, key);
  std::push_heap(entries_.begin(), entries_.end(), [this](const Entry& a, const Entry& b) { return later(a, b); });
}

void TimerHeap::pop() {
  std::pop_heap(entries_.begin(), entries_.end(), [this](const Entry& a, const Entry& b) { return later(a, b); });
  dead_bytes_ += entries_.back().key_bytes;
  entries_.pop_back();
  if (dead_bytes_ > kMinCompactBytes && dead_bytes_ * 2 > text_.size()) compact();
}

void TimerHeap::drop_appended() {
  text_.resize(entries_.back().offset);
  entries_.pop_back();
}

void TimerHeap::compact() {
  std::vector<char> text;
  text.reserve(text_.size() - dead_bytes_);
  for (Entry& entry : entries_) {
    const std::string_view from = key(entry);
    entry.offset = text.size();
    text.insert(text.end(), from.begin(), from.end());
  }
  text_ = std::move(text);
  dead_bytes_ = 0;
}

void TimerHeap::clear() {
  // The room stays for the next epoch unless this one was out of the ordinary.
  if (entries_.capacity() > 4 * entries_.size() + 256) entries_.shrink_to_fit();
  if (text_.capacity() > 4 * text_.size() + kMinCompactBytes) text_.shrink_to_fit();
  entries_.clear();
  text_.clear();
  dead_bytes_ = 0;
}

int64_t TimerHeap::drop_later_half(std::string* first_dropped) {
  MR_CHECK(entries_.size() >= 2);
  const auto earlier = [this](const Entry& a, const Entry& b) { return later(b, a); };
  const auto half = entries_.begin() + static_cast<ptrdiff_t>(entries_.size() / 2);
  std::nth_element(entries_.begin(), half, entries_.end(), earlier);
  const int64_t time_ms = half->time_ms;
  first_dropped->assign(key(*half));
  entries_.erase(half, entries_.end());
  entries_.shrink_to_fit();
  compact();
  std::make_heap(entries_.begin(), entries_.end(), [this](const Entry& a, const Entry& b) { return later(a, b); });
  return time_ms;
}

Status TimerQueue::open(const OperatorContext& context, Options options) {
  MR_CHECK(context.state != nullptr && context.lane < context.lanes);
  state_ = context.state;
  operator_id_ = context.operator_id;
  lane_ = context.lane;
  lanes_ = context.lanes;
  shards_ = context.shards;
  options_ = options;
  return read_on();
}

void TimerQueue::add(int64_t time_ms, uint16_t shard, std::string_view key) { fresh_.push(time_ms, shard, key); }

int64_t TimerQueue::earliest() const {
  int64_t time_ms = horizon_.none ? kEndOfTime : horizon_.time_ms;
  if (!fresh_.empty()) time_ms = std::min(time_ms, fresh_.entries().front().time_ms);
  if (!settled_.empty()) time_ms = std::min(time_ms, settled_.entries().front().time_ms);
  return time_ms;
}

TimerHeap* TimerQueue::earlier_heap() {
  if (fresh_.empty()) return settled_.empty() ? nullptr : &settled_;
  if (settled_.empty()) return &fresh_;
  const TimerHeap::Entry& top = fresh_.entries().front();
  return settled_.compare(settled_.entries().front(), top.time_ms, fresh_.key(top)) <= 0 ? &settled_ : &fresh_;
}

bool TimerQueue::is_behind_horizon(const TimerHeap& heap, const TimerHeap::Entry& entry) const {
  return !horizon_.none && heap.compare(entry, horizon_.time_ms, horizon_.key) >= 0;
}

// Reads until the earliest timer in memory is the earliest of all, or none that is due is left in the state.
Status TimerQueue::read_due(int64_t limit_ms) {
  while (!horizon_.none && horizon_.time_ms <= limit_ms) {
    TimerHeap* heap = earlier_heap();
    if (heap != nullptr && !is_behind_horizon(*heap, heap->entries().front())) break;
    MR_RETURN_IF_ERROR(read_on());
  }
  return Status::ok();
}

// Moves the horizon on by about half the bound: reads a part of every shard; where the first part ends is the horizon.
Status TimerQueue::read_on() {
  const size_t own_shards = (shards_ - lane_ + lanes_ - 1) / lanes_;
  const size_t budget = std::max(options_.max_bytes / 2 / std::max<size_t>(own_shards, 1), kMinReadBytes);
  const std::string begin(state_key(horizon_.time_ms, horizon_.key));
  const std::string end(1, static_cast<char>(options_.tag + 1));
  MR_CHECK(options_.tag < UINT8_MAX);
  Horizon next;
  next.none = true;
  TimerHeap read;
  bool malformed = false;
  for (size_t shard = lane_; shard < shards_; shard += lanes_) {
    size_t used = 0;
    const auto visit = [&](std::string_view stored, std::string_view) {
      malformed = malformed || stored.size() <= kTimeBytes;
      if (malformed) return false;
      const int64_t time_ms = read_time_ms(stored.data() + 1);
      const std::string_view key = stored.substr(1 + kTimeBytes);
      if (used > budget) {
        if (next.none || std::pair(time_ms, key) < std::pair(next.time_ms, std::string_view(next.key))) {
          next = {false, time_ms, std::string(key)};
        }
        return false;
      }
      read.append(time_ms, static_cast<uint16_t>(shard), key);
      used += sizeof(TimerHeap::Entry) + key.size();
      return true;
    };
    MR_RETURN_IF_ERROR(state_->scan(static_cast<uint16_t>(shard), operator_id_, begin, end, visit));
    if (malformed) return Status::terminal(Code::kStateCorrupt, "a timer does not decode");
  }
  horizon_ = std::move(next);
  for (const TimerHeap::Entry& entry : read.entries()) {
    if (!is_behind_horizon(read, entry)) settled_.push(entry.time_ms, entry.shard, read.key(entry));
  }
  return Status::ok();
}

Result<bool> TimerQueue::fire(int64_t limit_ms, size_t max_timers,
                              const std::function<Status(const DueTimer&)>& fired) {
  for (size_t n = 0;; n++) {
    MR_RETURN_IF_ERROR(read_due(limit_ms));
    TimerHeap* heap = earlier_heap();
    if (heap == nullptr || heap->entries().front().time_ms > limit_ms) return true;
    if (n >= max_timers) return false;
    MR_RETURN_IF_ERROR(fired(take(*heap)));
  }
}

// Takes the first timer out, wherever it stands.
DueTimer TimerQueue::take(TimerHeap& heap) {
  const TimerHeap::Entry top = heap.entries().front();
  firing_key_.assign(heap.key(top));
  firing_ = {top.time_ms, top.shard, firing_key_};
  drop_equal(fresh_, firing_);
  firing_settled_ = drop_equal(settled_, firing_);
  if (firing_settled_) fired_.append(firing_.time_ms, firing_.shard, firing_.key);
  return firing_;
}

void TimerQueue::put_off() {
  if (firing_settled_) {
    fired_.drop_appended();
  } else {
    put_off_.append(firing_.time_ms, firing_.shard, firing_.key);
  }
}

bool TimerQueue::drop_equal(TimerHeap& heap, const DueTimer& timer) {
  bool any = false;
  while (!heap.empty() && heap.compare(heap.entries().front(), timer.time_ms, timer.key) == 0) {
    heap.pop();
    any = true;
  }
  return any;
}

std::string_view TimerQueue::state_key(int64_t time_ms, std::string_view key) {
  const uint64_t word = __builtin_bswap64(static_cast<uint64_t>(time_ms) ^ uint64_t{1} << 63);
  char bytes[1 + kTimeBytes];
  bytes[0] = static_cast<char>(options_.tag);
  std::memcpy(bytes + 1, &word, kTimeBytes);
  state_key_.assign(bytes, sizeof bytes).append(key);
  return state_key_;
}

void TimerQueue::cut(DeltaBuilder& delta) {
  // A timer that fired and was added again stays: the last entry counts.
  for (const TimerHeap::Entry& entry : fired_.entries()) {
    delta.remove(entry.shard, operator_id_, state_key(entry.time_ms, fired_.key(entry)));
  }
  fired_.clear();
  for (const TimerHeap::Entry& entry : fresh_.entries()) {
    const std::string_view key = fresh_.key(entry);
    delta.put(entry.shard, operator_id_, state_key(entry.time_ms, key), {});
    if (!is_behind_horizon(fresh_, entry)) settled_.push(entry.time_ms, entry.shard, key);
  }
  fresh_.clear();
  for (const TimerHeap::Entry& entry : put_off_.entries()) {
    delta.put(entry.shard, operator_id_, state_key(entry.time_ms, put_off_.key(entry)), {});
  }
  put_off_.clear();
  while (settled_.bytes() > options_.max_bytes && settled_.size() >= 2) {
    std::string key;
    const int64_t time_ms = settled_.drop_later_half(&key);
    horizon_ = {false, time_ms, std::move(key)};
  }
}

}  // namespace millrace
