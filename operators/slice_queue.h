// SliceQueue: the slices of one key in a window that moves on: appended at its end, dropped at its start, and read as
// one block at any time with two merges, however many slices there are (two stacks; each slice is merged about three
// times in all). Blocks are copies. An instance belongs to one lane.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "operators/accumulator_set.h"

namespace millrace {

class SliceQueue {
 public:
  // set, the layout of blocks, outlives the instance.
  explicit SliceQueue(const AccumulatorSet& set);
  ~SliceQueue();
  SliceQueue(const SliceQueue&) = delete;
  SliceQueue& operator=(const SliceQueue&) = delete;

  // Precondition: end_ms is later than that of all before.
  void push(int64_t end_ms, const void* block);
  // Drops slices that end at or before end_ms.
  void evict(int64_t end_ms);
  bool empty() const { return last_end_ms_ <= evicted_ms_; }
  // Merges all slices into `block`, in order. False: a merge did not fit, here or before; the block is of no use, and
  // whether the slices fit when they are merged one by one has to be found out otherwise.
  bool read(void* block) const;
  size_t bytes() const;

 private:
  struct Slices {
    std::vector<int64_t> ends;
    std::vector<uint64_t> blocks;
  };
  void* block_of(Slices& slices, size_t index) const { return slices.blocks.data() + index * words_; }
  const void* block_of(const Slices& slices, size_t index) const { return slices.blocks.data() + index * words_; }
  // Appends a copy of `block`.
  void append(Slices& slices, int64_t end_ms, const void* block);
  void pop(Slices& slices);
  void merge(void* into, const void* from);
  void turn();

  const AccumulatorSet& set_;
  const size_t words_;
  Slices front_;           // the oldest last; each merged with all that are newer, up to the newest in front_
  Slices back_;            // those behind, the oldest first
  size_t back_begin_ = 0;  // dropped from back_
  std::vector<uint64_t> back_total_;
  bool broken_ = false;  // a merge did not fit
  int64_t last_end_ms_ = INT64_MIN;
  int64_t evicted_ms_ = INT64_MIN;
};

}  // namespace millrace
