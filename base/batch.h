// Batch: what flows. Typed columns over shared arenas, with what the runtime needs to know of each row beside them.
//
// A batch is built by one thread and immutable afterwards; it may then be read from any thread. Copying a Batch copies
// references, never columns: the exchange hands every lane the same columns with a selection of its own, a filter only
// changes the selection, `extend` appends a column.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/arena.h"
#include "base/type.h"

namespace millrace {

// Event times and watermarks are milliseconds since the epoch. kNoTime: none yet; kEndOfTime: a bounded input has
// ended.
inline constexpr int64_t kNoTime = INT64_MIN;
inline constexpr int64_t kEndOfTime = INT64_MAX;

struct Span {
  uint32_t begin = 0;
  uint32_t count = 0;
};

struct Column;
using ColumnPtr = std::shared_ptr<const Column>;

// One column. Exactly one of the value arrays is set, by type.kind(); each has `rows` entries. The memory is kept alive
// by `owners`. The entry of a null row is defined (zero or empty) but means nothing.
struct Column {
  Type type;
  uint32_t rows = 0;
  const uint8_t* nulls = nullptr;             // 1 = null; nullptr: no row is null
  const uint8_t* bools = nullptr;             // kBool: 0 or 1
  const int64_t* ints = nullptr;              // kInt, kTimestamp (µs), kDuration (µs)
  const double* doubles = nullptr;            // kDouble
  const std::string_view* strings = nullptr;  // kString, kBytes; views into `owners`
  const Span* spans = nullptr;                // kList, kMap: rows of children[0] (kMap: keys; values in children[1])
  std::vector<ColumnPtr> children;            // kList: 1; kMap: 2; kStruct: one per field, same rows
  std::vector<std::shared_ptr<const void>> owners;

  bool is_null(uint32_t row) const { return nulls != nullptr && nulls[row] != 0; }
};

// The topic or file partition that a source row came from; a source numbers its partitions from 0.
struct PartitionName {
  std::string topic;  // Kafka topic, file path, or generator name
  int32_t partition = 0;
};

struct Header {
  std::string_view name;
  std::string_view value;
};

// Where the rows of a batch came from. Shared by every batch cut from the same poll; each array has one entry per
// physical row. payload and key are kept only while the plan needs them (dead letters, pass-through, record.key).
struct SourceRows {
  uint32_t source = 0;  // index in the plan's list of sources
  std::shared_ptr<const std::vector<PartitionName>> partitions;
  const uint32_t* partition = nullptr;        // index in partitions
  const int64_t* offset = nullptr;            // Kafka offset; file: byte offset of the line; generator: index
  const int64_t* timestamp_ms = nullptr;      // Kafka record timestamp; kNoTime if none
  const std::string_view* key = nullptr;      // data() == nullptr: no key
  const std::string_view* payload = nullptr;  // data() == nullptr: a tombstone
  const Span* headers = nullptr;              // rows of header_list
  const Header* header_list = nullptr;
  const uint8_t* canonical = nullptr;  // 1: payload is what the json encoder would write (pass-through)
  std::vector<std::shared_ptr<const void>> owners;
};

// What a row of an edge means. Append edges have kInsert only; upsert edges kInsert (new version) and kDelete; retract
// edges announce the old version with kRetract directly before the new one (or alone, when the row is gone).
enum class Change : uint8_t { kInsert, kDelete, kRetract };

// What a sender says about event time behind its last row: no row with a time up to the watermark is expected any more;
// idle: it has nothing at the moment, so nobody waits for its watermark. kEndOfTime: it has ended.
struct StreamTime {
  int64_t watermark_ms = kNoTime;
  bool idle = false;
  friend bool operator==(const StreamTime& a, const StreamTime& b) {
    return a.watermark_ms == b.watermark_ms && a.idle == b.idle;
  }
};

struct Batch {
  uint32_t rows = 0;               // physical rows
  std::vector<ColumnPtr> columns;  // by index in the edge's Schema; nullptr: no reader asked for it (projection)
  std::shared_ptr<const std::vector<uint32_t>> selection;  // live rows, ascending; nullptr: all of them
  const int64_t* event_time_ms = nullptr;                  // per physical row; never nullptr in a batch with rows
  const int64_t* watermark_ms =
      nullptr;                      // non-decreasing; the watermark left by the rows before; nullptr: no event time
  const Change* changes = nullptr;  // nullptr: all kInsert
  std::shared_ptr<const SourceRows> source_rows;  // nullptr behind a keyed operator
  // Set by the exchange for the operator behind it: key bytes (DESIGN 3, "Shard function") and their shard.
  const std::string_view* key_bytes = nullptr;
  const uint16_t* shards = nullptr;
  std::vector<std::shared_ptr<const void>> owners;  // of the arrays above
  size_t bytes = 0;                                 // approximate memory, the unit of queue bounds

  uint32_t live() const { return selection ? static_cast<uint32_t>(selection->size()) : rows; }
  uint32_t row(uint32_t i) const { return selection ? (*selection)[i] : i; }
  Change change(uint32_t row) const { return changes ? changes[row] : Change::kInsert; }
};

// Calls f(physical row) for each live row in order; the branch is taken once per batch.
template <class F>
inline void for_each_live(const Batch& batch, F&& f) {
  if (batch.selection) {
    for (uint32_t row : *batch.selection) f(row);
  } else {
    for (uint32_t row = 0; row < batch.rows; row++) f(row);
  }
}

// Builds a column row by row in an arena, for decoders and operators whose output has a known maximum of rows. Not
// thread-safe. Values arrive through the typed arrays; nulls() is allocated (zeroed) on first use.
class ColumnBuilder {
 public:
  ColumnBuilder(Type type, ArenaPtr arena, uint32_t max_rows);
  uint8_t* bools = nullptr;
  int64_t* ints = nullptr;
  double* doubles = nullptr;
  std::string_view* strings = nullptr;
  Span* spans = nullptr;
  uint8_t* nulls();
  void set_null(uint32_t row);  // also zeroes the value
  Arena& arena() { return *arena_; }
  const ArenaPtr& arena_ptr() const { return arena_; }
  const Type& type() const { return type_; }
  std::vector<ColumnPtr> children;  // the caller's for nested types
  ColumnPtr finish(uint32_t rows);

 private:
  Type type_;
  ArenaPtr arena_;
  uint32_t max_rows_;
  uint8_t* nulls_ = nullptr;
};

}  // namespace millrace
