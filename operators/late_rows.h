// LateRows: rows that no window took, on their way to <id>.late: the columns of the input, then window_start,
// window_end and watermark. Columns of the input that have one of these names are replaced where they stand. An
// instance belongs to one lane.
#pragma once

#include <memory>
#include <vector>

#include "base/edge.h"
#include "operators/operator.h"
#include "operators/window.h"

namespace millrace {

class LateRows {
 public:
  static Edge edge(const Schema& input);

  explicit LateRows(const Schema& input);
  // Row `row` of the batch is late for all its windows at this watermark; `last` is the one with the latest end. The
  // batch must stay the same until emit().
  void add(const Batch& batch, const ArenaPtr& arena, uint32_t row, const WindowBounds& last, int64_t watermark_ms);
  // Hands the rows on, if there are any.
  Status emit(const Batch& batch, Collector& out);

 private:
  std::vector<int> sources_;  // of the columns: one of the input, or -1 - the one that is added
  ArenaPtr arena_;
  std::shared_ptr<std::vector<uint32_t>> rows_;
  std::unique_ptr<ColumnBuilder> starts_, ends_, watermarks_;
};

}  // namespace millrace
