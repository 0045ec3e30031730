// KeyedRows: live rows of a batch, a piece at a time, on their way to the states of their keys. The states of an
// operator with several tables stand under the key behind the table's byte. An instance belongs to one lane.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/batch.h"
#include "expr/expression.h"
#include "operators/state_tables.h"
#include "state/lane_cache.h"

namespace millrace {

class KeyedRows {
 public:
  static constexpr uint32_t kMaxRows = 1024;
  // What an operator puts in front of a key in its state: a table, a time.
  static constexpr size_t kMaxPrefixBytes = 16;
  explicit KeyedRows(StateTable table) : table_(static_cast<char>(table)) {}

  // Live rows [begin, begin + count) of the batch, count <= kMaxRows: finds or creates their states in the cache.
  // Precondition: the batch has keys, none longer than fits (rows_with_long_keys).
  Status look_up(const Batch& batch, uint32_t begin, uint32_t count, LaneCache& cache);
  // The same for keys from elsewhere; count <= kMaxRows.
  Status look_up(const std::string_view* keys, const uint16_t* shards, uint32_t count, LaneCache& cache);
  uint32_t row(uint32_t i) const { return rows_[i]; }
  uint16_t shard(uint32_t i) const { return shards_[i]; }
  void* state(uint32_t i) const { return states_[i]; }

 private:
  Status find(uint32_t count, LaneCache& cache);
  const char table_;
  std::vector<uint32_t> rows_ = std::vector<uint32_t>(kMaxRows);
  std::vector<std::string_view> keys_ = std::vector<std::string_view>(kMaxRows);
  std::vector<uint16_t> shards_ = std::vector<uint16_t>(kMaxRows);
  std::vector<void*> states_ = std::vector<void*>(kMaxRows);
  std::string table_keys_;
};

// Rows whose key leaves no room for a prefix in the state, as errors; almost always none.
RowErrors rows_with_long_keys(const Batch& batch);

}  // namespace millrace
