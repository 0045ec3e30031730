// RowOutput: encoded rows (operators/row_codec.h) on their way out of a state: batches of at most kMaxRows rows, each
// with what it means, its event time and watermark, and a column with its rank if the operator shows one. An instance
// belongs to one lane.
//
//   output.make_room(1, …); output.add(…);    per row
//   output.emit(…);                           what is left
#pragma once

#include <string_view>
#include <vector>

#include "operators/operator.h"
#include "operators/row_codec.h"

namespace millrace {

class RowOutput {
 public:
  static constexpr uint32_t kMaxRows = 1024;
  // key_columns: what a row that deletes its key shows; the rank counts as a column behind the others.
  RowOutput(const std::vector<Type>& types, bool with_rank, const std::vector<int>& key_columns);
  void open(ArenaPool& arenas) { arenas_ = &arenas; }

  struct Row {
    std::string_view bytes;  // read at once
    Change change = Change::kInsert;
    int64_t event_time_ms = kNoTime;
    int64_t watermark_ms = kNoTime;
    int64_t rank = 0;
  };
  // Emits what is there unless so many rows fit behind it: they will then stand in one batch.
  Status make_room(uint32_t rows, bool has_watermark, Collector& out, uint64_t& emitted);
  // Precondition: there is room. kStateCorrupt: the bytes are not those of a row.
  Status add(const Row& row);
  uint32_t rows() const { return rows_; }
  // Emits the rest, if any. `emitted` grows by the rows handed on.
  Status emit(bool has_watermark, Collector& out, uint64_t& emitted);

 private:
  void begin();

  ArenaPool* arenas_ = nullptr;
  const bool with_rank_;
  std::vector<bool> is_key_;  // of the columns of a row
  RowColumns columns_;
  ArenaPtr arena_;  // nullptr: no batch has begun
  uint32_t rows_ = 0;
  bool only_inserts_ = true;
  Change* changes_ = nullptr;  // these four: in the arena
  int64_t* event_times_ = nullptr;
  int64_t* watermarks_ = nullptr;
  int64_t* ranks_ = nullptr;
};

}  // namespace millrace
