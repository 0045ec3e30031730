#include "operators/keyed_rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace millrace {

Status KeyedRows::look_up(const Batch& batch, uint32_t begin, uint32_t count, LaneCache& cache) {
  MR_CHECK(count <= kMaxRows && batch.key_bytes != nullptr && batch.shards != nullptr);
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t row = batch.row(begin + i);
    rows_[i] = row;
    keys_[i] = batch.key_bytes[row];
    shards_[i] = batch.shards[row];
  }
  return find(count, cache);
}

Status KeyedRows::look_up(const std::string_view* keys, const uint16_t* shards, uint32_t count, LaneCache& cache) {
  MR_CHECK(count <= kMaxRows);
  std::copy_n(keys, count, keys_.begin());
  std::copy_n(shards, count, shards_.begin());
  return find(count, cache);
}

Status KeyedRows::find(uint32_t count, LaneCache& cache) {
  table_keys_.clear();
  for (uint32_t i = 0; i < count; i++) {
    table_keys_.push_back(table_);
    table_keys_.append(keys_[i]);
  }
  const char* at = table_keys_.data();
  for (uint32_t i = 0; i < count; i++) {
    const size_t bytes = keys_[i].size() + 1;
    keys_[i] = {at, bytes};
    at += bytes;
  }
  return cache.lookup(keys_.data(), shards_.data(), count, states_.data());
}

RowErrors rows_with_long_keys(const Batch& batch) {
  constexpr size_t kLongest = LaneCache::kMaxKeyBytes - KeyedRows::kMaxPrefixBytes;
  RowErrors errors;
  for_each_live(batch, [&](uint32_t row) {
    if (batch.key_bytes[row].size() <= kLongest) return;
    errors.entries.push_back(
        {row, fmt::format("a key of {} bytes; the limit is {}", batch.key_bytes[row].size(), kLongest)});
  });
  return errors;
}

}  // namespace millrace
