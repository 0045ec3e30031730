// KeyEncoder: key bytes and shard of every row, for the exchange in front of a keyed operator. An instance belongs to
// one thread.
//
// Key bytes are a contract with what is stored (and with Java's partitioner): one string or bytes part is its bytes;
// one int or timestamp (µs) is 8 bytes, big-endian two's complement; one bool is one byte, 0 or 1; several parts are,
// for each, its length as 4 bytes big-endian and those bytes; no part at all is the empty key. The shard is
// (murmur2(bytes) & 0x7fffffff) % shards.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/batch.h"
#include "operators/operator_plan.h"
#include "operators/projection.h"

namespace millrace {

// Whether values of this type can be (part of) a key: string, bytes, int, timestamp, bool.
bool is_key_type(const Type& type);

// Splits key bytes into those of its parts. False if they are not the key bytes of that many parts.
bool split_key(std::string_view key, size_t parts, std::string_view* out);
// Writes part bytes to row `row` of a column of its type; text is copied into the column's arena. False if malformed.
bool decode_key_part(std::string_view part, ColumnBuilder& out, uint32_t row);

class KeyEncoder {
 public:
  // input: the schema that the parts of the key read. Precondition: 0 < shards < 65536.
  KeyEncoder(const KeySpec& key, const Schema& input, uint32_t shards);
  // The batch with key_bytes and shards set for its live rows, in memory of `arena` or of the key's column. Rows with a
  // null in the key, or whose key fails to evaluate or is too long for the state, leave the batch and are appended to
  // errors.
  Batch encode(const Batch& batch, const ArenaPtr& arena, RowErrors& errors);

 private:
  void reject_nulls(const Batch& batch, const std::vector<ColumnPtr>& parts, RowErrors& errors) const;
  static void reject_long(const std::string_view* keys, Batch& batch, RowErrors& errors);
  static void reject_large_keys(const std::string_view* keys, Batch& batch, RowErrors& errors);
  void write_single(const Batch& batch, const Column& column, Arena& arena, std::string_view* keys) const;
  void write_compound(const Batch& batch, const std::vector<ColumnPtr>& parts, Arena& arena,
                      std::string_view* keys) const;

  Projection projection_;
  std::vector<std::string> names_;  // of the parts, for messages
  uint32_t shards_;
};

}  // namespace millrace
