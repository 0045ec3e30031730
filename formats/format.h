// Formats: bytes <-> columns. One thread per decoder or encoder; they keep scratch memory between calls.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/batch.h"
#include "base/config_node.h"
#include "base/status.h"
#include "formats/format_options.h"

namespace millrace {

inline constexpr size_t kMaxJsonDepth = 128;
// What decoders may read behind the end of each payload (simdjson); sources allocate it.
inline constexpr size_t kPayloadPadding = 64;

struct DecodeRequest {
  Schema schema;                // declared fields
  std::vector<bool> wanted;     // per field: does the plan read it? others stay nullptr
  bool want_canonical = false;  // fill `canonical` (pass-through)
};

struct DecodeError {
  uint32_t row;
  std::string message;  // what is wrong with which field, without the payload
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  // Decodes payloads[0..rows) into one column per field (nullptr if not wanted), in `arena`. Strings may point into the
  // payloads, which must outlive the columns. Each payload is followed by kPayloadPadding readable bytes (any content).
  // A payload with data()==nullptr (tombstone) is an error row. Rows that fail are null in all columns and listed,
  // ascending, in errors. canonical: rows entries if requested, else nullptr.
  virtual std::vector<ColumnPtr> decode(const std::string_view* payloads, uint32_t rows, const ArenaPtr& arena,
                                        uint8_t* canonical, std::vector<DecodeError>& errors) = 0;
};

// Appends the encoding of one value of a column to a buffer.
class ValueEncoder {
 public:
  virtual ~ValueEncoder() = default;
  virtual void encode(const Column& column, uint32_t row, std::string& out) = 0;
};

// Decoder for a format (bytes, csv, double, int64, json, string or text). Those other than json and csv have one field
// `value`. nullptr and a diagnostic at `at` when the name or the schema does not fit.
std::unique_ptr<Decoder> make_decoder(const Format& format, DecodeRequest request, const Location& at,
                                      Diagnostics& diagnostics);
// The schema that a format implies when none is written (string, text, bytes, int64, double: one field `value`); empty
// for json and csv.
Schema implied_schema(const std::string& format);
bool is_known_format(const std::string& name);
std::vector<std::string> known_formats();

// Encoder of single values in format `name` for a column of `type`; nullptr with a message in *error if the type does
// not fit. json takes any type (timestamps as epoch milliseconds, bytes as base64, null as null); int64 takes int and
// timestamp; double takes double; string and text take string, int, double, bool, timestamp (RFC 3339 is string()'s
// job: here epoch milliseconds); bytes takes bytes and string; csv takes none, it holds whole rows.
std::unique_ptr<ValueEncoder> make_value_encoder(const std::string& name, const Type& type, std::string* error);

// Whole rows, all columns in declared order; the workhorse of sinks.
class RowEncoder {
 public:
  virtual ~RowEncoder() = default;
  // Appends the row of `columns` (by index of the schema). keep: if given, only these columns have values, the rest are
  // null (deletes).
  virtual void encode(const std::vector<ColumnPtr>& columns, uint32_t row, std::string& out,
                      const std::vector<bool>* keep = nullptr) = 0;
  // What stands once above rows that are lines (csv: the names of the columns), without a line end; mostly empty.
  virtual const std::string& header() const = 0;
};

// Whether a format holds rows (json, csv), not single values only.
bool holds_rows(const Format& format);
// nullptr with a message in *error if the format holds no rows, or a column does not fit it.
std::unique_ptr<RowEncoder> make_row_encoder(const Format& format, const Schema& schema, std::string* error);

// One JSON object per row.
class JsonRowEncoder final : public RowEncoder {
 public:
  explicit JsonRowEncoder(const Schema& schema);
  void encode(const std::vector<ColumnPtr>& columns, uint32_t row, std::string& out,
              const std::vector<bool>* keep = nullptr) override;
  const std::string& header() const override { return header_; }

 private:
  size_t columns_;
  std::vector<std::pair<size_t, std::string>> written_;  // column and its {"name":  ,"name":
  const std::string header_;                             // none
};

// Appends `text` as a JSON string with quotes; invalid UTF-8 becomes U+FFFD.
void append_json_string(std::string_view text, std::string& out);
void append_json_double(
    double value, std::string& out);  // shortest that reads back; integral values as 1.0; NaN and infinities as null
void append_json_value(const Column& column, uint32_t row, std::string& out);

// Reads a schema mapping ({order_id: string, tags: [string], at: timestamp_ms, nested: {a: int}}).
Schema read_schema(const ConfigNode& node, Diagnostics& diagnostics);

}  // namespace millrace
