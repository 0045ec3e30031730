// ProcessOutput: the rows that emit steps show, in the order of the records or timers that they belong to, however the
// steps were evaluated. Belongs to its lane.
#pragma once

#include <vector>

#include "operators/operator.h"

namespace millrace {

class ProcessOutput {
 public:
  static constexpr uint32_t kMaxRows = 1024;  // of a batch

  explicit ProcessOutput(const Schema& schema) : schema_(schema) {}
  // Starts anew. Items (records, timers) are numbered from 0 below `items`.
  void begin(uint32_t items);
  // One emit step: columns of n rows; row r belongs to items[r]. `rows`: those that are shown, ascending; nullptr: all.
  // Steps of one item are added in order.
  void add(std::vector<ColumnPtr> columns, const std::vector<uint32_t>& items, const std::vector<uint32_t>* rows);
  // What the rows of an item carry, by item, and the items whose rows do not count.
  struct Items {
    const int64_t* event_time_ms;
    const int64_t* watermark_ms;
    const uint8_t* failed;  // 1: nothing of it is shown
  };
  // Emits the rows of the items before `end` and forgets all; adds their number to `emitted`.
  Status emit(const Items& items, uint32_t end, const ArenaPtr& arena, Collector& out, uint64_t& emitted);

 private:
  struct Part {
    std::vector<ColumnPtr> columns;
    uint32_t rows;
    const std::vector<uint32_t>* items;
  };
  struct Shown {
    uint32_t item, part, row;
  };
  void order(const Items& items, uint32_t end);
  bool single_part() const;
  Batch part_of_one(const Items& items, const ArenaPtr& arena);
  Batch gathered(const Items& items, size_t begin, size_t count, const ArenaPtr& arena) const;

  const Schema& schema_;
  std::vector<Part> parts_;
  std::vector<Shown> shown_, ordered_;
  std::vector<uint32_t> starts_;
  uint32_t items_ = 0;
};

}  // namespace millrace
