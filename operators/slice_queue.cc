#include "operators/slice_queue.h"

namespace millrace {

SliceQueue::SliceQueue(const AccumulatorSet& set) : set_(set), words_(set.size() / sizeof(uint64_t)) {
  back_total_.resize(words_);
  set_.create(back_total_.data());
}

SliceQueue::~SliceQueue() {
  while (!front_.ends.empty()) pop(front_);
  while (!back_.ends.empty()) pop(back_);
  set_.destroy(back_total_.data());
}

size_t SliceQueue::bytes() const {
  size_t bytes = sizeof(SliceQueue) + back_total_.capacity() * sizeof(uint64_t) + set_.extra_bytes(back_total_.data());
  for (const Slices* slices : {&front_, &back_}) {
    bytes += slices->ends.capacity() * sizeof(int64_t) + slices->blocks.capacity() * sizeof(uint64_t);
    if (set_.trivially_destructible()) continue;
    for (size_t i = 0; i < slices->ends.size(); i++) bytes += set_.extra_bytes(block_of(*slices, i));
  }
  return bytes;
}

void SliceQueue::append(Slices& slices, int64_t end_ms, const void* block) {
  slices.ends.push_back(end_ms);
  slices.blocks.resize(slices.ends.size() * words_);
  void* copy = block_of(slices, slices.ends.size() - 1);
  set_.create(copy);
  merge(copy, block);
}

void SliceQueue::pop(Slices& slices) {
  set_.destroy(block_of(slices, slices.ends.size() - 1));
  slices.ends.pop_back();
  slices.blocks.resize(slices.ends.size() * words_);
}

void SliceQueue::merge(void* into, const void* from) {
  if (!set_.merge(into, from)) broken_ = true;
}

void SliceQueue::push(int64_t end_ms, const void* block) {
  MR_CHECK(end_ms > last_end_ms_);
  last_end_ms_ = end_ms;
  append(back_, end_ms, block);
  merge(back_total_.data(), block);
}

void SliceQueue::evict(int64_t end_ms) {
  evicted_ms_ = std::max(evicted_ms_, end_ms);
  while (!front_.ends.empty() && front_.ends.back() <= end_ms) pop(front_);
  if (!front_.ends.empty()) return;
  const size_t begin = back_begin_;
  while (back_begin_ < back_.ends.size() && back_.ends[back_begin_] <= end_ms) back_begin_++;
  if (back_begin_ > begin) turn();
}

// What is left in back_ goes to front_, each slice merged with those behind it.
void SliceQueue::turn() {
  for (size_t i = back_.ends.size(); i-- > back_begin_;) {
    append(front_, back_.ends[i], block_of(back_, i));
    const size_t n = front_.ends.size();
    if (n > 1) merge(block_of(front_, n - 1), block_of(front_, n - 2));
  }
  while (!back_.ends.empty()) pop(back_);
  back_begin_ = 0;
  set_.destroy(back_total_.data());
  set_.create(back_total_.data());
}

bool SliceQueue::read(void* block) const {
  if (broken_) return false;
  if (!front_.ends.empty() && !set_.merge(block, block_of(front_, front_.ends.size() - 1))) return false;
  return back_.ends.empty() || set_.merge(block, back_total_.data());
}

}  // namespace millrace
