// RecordEncoder: the rows of a batch as records (key, value, tombstone, time), the side of a sink that does not depend
// on where the records go. One thread per encoder; it reuses its memory from batch to batch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/batch.h"
#include "expr/expression.h"
#include "formats/format.h"

namespace millrace {

// Views are valid until the next call of encode() and while the batch lives.
struct EncodedRecord {
  std::string_view key;
  bool has_key = false;    // false: no key, or a null one
  std::string_view value;  // empty if tombstone
  bool tombstone = false;
  int64_t timestamp_ms = 0;         // the row's event time
  const Header* headers = nullptr;  // for the sink to set
  uint32_t header_count = 0;
  uint32_t row = 0;  // of the batch
};

struct RecordEncoderOptions {
  Format format = {};
  ExpressionPtr value = nullptr;     // nullptr: all columns (json, csv), or the only column
  ExpressionPtr key = nullptr;       // nullptr: records have no key
  std::string key_format = "";       // empty: string and bytes as they are, int as decimal text
  std::vector<int> upsert_key = {};  // Edge::key_columns of the input; empty for append edges
  // What a deleted row becomes. true (Kafka): a tombstone; a delete without a key is a row error. false: the key
  // columns with the rest null (json, csv), else an empty value.
  bool tombstones = true;
  // The input's rows are those of a json source, unchanged: a canonical payload is the value, without a copy.
  bool passthrough = false;
};

class RecordEncoder {
 public:
  // nullptr with a message in *error if formats, types and options do not fit together; lint calls this to find out.
  static std::unique_ptr<RecordEncoder> make(const Schema& schema, RecordEncoderOptions options, std::string* error);
  ~RecordEncoder();

  // The records of the live rows, in order. Rows whose expressions fail are not among them: they are appended to
  // `errors` in row order. A null value is `null` in json and a tombstone in the formats of single values. A kRetract
  // row vanishes when the next live row is its new version (same upsert key, same record key); else it is a delete.
  // Precondition: batch has the columns that columns_read() names.
  const std::vector<EncodedRecord>& encode(const Batch& batch, RowErrors& errors);
  template <class F>
  void encode(const Batch& batch, RowErrors& errors, F&& per_record) {
    for (const EncodedRecord& record : encode(batch, errors)) per_record(record);
  }
  // What stands once above values that are lines (csv: the names of the columns); empty for most.
  const std::string& header() const { return header_; }
  // Per column of the schema: is it read?
  std::vector<bool> columns_read() const;

 private:
  // One expression whose values become bytes.
  struct Part {
    ExpressionPtr expression;
    std::unique_ptr<Evaluator> evaluator;  // nullptr: a plain column
    std::unique_ptr<ValueEncoder> encoder;
    bool as_is = false;  // views of the column are the bytes
    ColumnPtr column;    // of the current batch
  };
  // Where the bytes of a record stand in buffer_, which moves while it grows.
  struct Slot {
    uint32_t record;
    bool is_key;
    size_t begin;
    size_t size;
  };
  enum class Fate : uint8_t { kWrite, kDelete, kSkip };

  RecordEncoder(const Schema& schema, RecordEncoderOptions options);
  static bool make_part(const ExpressionPtr& expression, const std::string& format, Part* part, std::string* error);
  void evaluate(Part& part, const Batch& batch, RowErrors& errors);
  void evaluate_parts(const Batch& batch, RowErrors& errors);
  bool same_upsert_key(const Batch& batch, uint32_t a, uint32_t b) const;
  bool same_record_key(uint32_t a, uint32_t b);
  Fate fate_of(const Batch& batch, uint32_t position);
  void add_key(uint32_t row, EncodedRecord& record);
  void add_value(const Batch& batch, uint32_t row, EncodedRecord& record);
  void add_deletion(const Batch& batch, uint32_t row, EncodedRecord& record);
  void note_slot(bool is_key, size_t begin);
  void fill_views();

  const Schema schema_;
  const RecordEncoderOptions options_;
  Part key_;
  Part value_;
  bool value_is_row_ = false;                // the value is all columns
  std::unique_ptr<RowEncoder> row_encoder_;  // nullptr: the format holds no rows
  std::string header_;
  std::vector<bool> upsert_columns_;

  ArenaPtr arena_;  // results of expressions
  std::string buffer_;
  std::vector<EncodedRecord> records_;
  std::vector<Slot> slots_;
  std::vector<uint8_t> failed_;  // per physical row; empty if no row failed
  RowErrors key_errors_;
  RowErrors value_errors_;
  std::string scratch_a_;
  std::string scratch_b_;
};

}  // namespace millrace
