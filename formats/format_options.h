// Format: what `format:` of a source or sink says, a name and the options of the formats that have any. A value; the
// CsvColumns that copies share has a contract of its own.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config_node.h"
#include "base/status.h"
#include "base/type.h"

namespace millrace {

struct CsvOptions {
  char delimiter = ',';
  char quote = '"';           // 0: nothing is quoted
  std::string null_text;      // the unquoted field that is null
  std::optional<bool> header;  // as written; absent: true in files and streams, false in records of a topic
  Location header_at;
  bool multiline = false;  // line breaks inside quotes do not end a line
};

// Which field of the schema stands where in the records to come; nothing announced: they stand in the order of the
// schema. A source that reads header lines announces them before the payloads below; the decoder of the same source
// looks at it with every call. Both belong to the thread of that source, one incarnation after the other.
class CsvColumns {
 public:
  // By column of the records: the index in the schema, or -1 for a column that nobody declared.
  void announce(std::vector<int> fields) {
    fields_ = std::move(fields);
    version_++;
  }
  const std::vector<int>& fields() const { return fields_; }
  uint64_t version() const { return version_; }  // 0: nothing was announced

 private:
  std::vector<int> fields_;
  uint64_t version_ = 0;
};

struct Format {
  Format() = default;
  Format(std::string format_name) : name(std::move(format_name)) {}  // NOLINT: a bare name is a format
  Format(const char* format_name) : name(format_name) {}             // NOLINT

  std::string name = "json";
  CsvOptions csv;
  std::shared_ptr<CsvColumns> csv_columns;  // csv of a pipeline; may be nullptr

  // A friend, so that it takes part where a Format is compared and nowhere else.
  friend bool operator==(const Format& format, std::string_view name) { return std::string_view(format.name) == name; }
};

// Reads `format: NAME` or `format: {NAME: {OPTION: VALUE, …}}`; json after an error.
Format read_format(const ConfigNode& node, Diagnostics& diagnostics);
// Reports declared fields whose types the format of a source cannot hold, at the field. `node`: of `schema:`.
void check_schema(const Format& format, const Schema& schema, const ConfigNode& node, Diagnostics& diagnostics);

// The announcement for the records below a header line (without its line end; a byte order mark in front is skipped).
// kDecode (user): it is malformed, names a column twice or lacks a declared one.
Result<std::vector<int>> read_csv_header(std::string_view line, const CsvOptions& options, const Schema& schema);

}  // namespace millrace
