#include "pipeline/testing/test_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "formats/encode_values.h"
#include "formats/format.h"
#include "pipeline/testing/test_values.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxPartition = 999;
const std::vector<std::string> kRecordWords = {"value", "key", "headers", "partition", "timestamp", "topic"};

bool contains(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A map that describes a record rather than its row: it has a `value`, and is not simply a row of columns that happen
// to be called like the words of a record.
bool is_record(const ConfigNode& node, const Schema& schema) {
  if (!node.is_mapping() || !node.find("value")) return false;
  if (find_column(schema, "value") < 0) return true;
  bool all_words = true, all_columns = true;
  for (size_t i = 0; i < node.size(); i++) {
    all_words = all_words && contains(kRecordWords, node.key_at(i));
    all_columns = all_columns && find_column(schema, node.key_at(i)) >= 0;
  }
  return all_words && !all_columns;
}

// The columns of a row as a json document has them; nullopt after an error.
std::optional<Json> row_values(const ConfigNode& node, const RecordShape& shape, Diagnostics& diagnostics) {
  std::vector<std::string> names;
  for (const Field& field : shape.schema) names.push_back(field.name);
  Json row = Json::object();
  bool good = true;
  for (size_t i = 0; i < node.size(); i++) {
    const std::string& name = node.key_at(i);
    const int column = find_column(shape.schema, name);
    if (column < 0) {
      std::string hint = did_you_mean(name, names);
      if (hint.empty()) hint = "write the payload as text to send fields that the schema does not declare";
      diagnostics.error(LintCode::kUnknownField, node.at(i).key_location(),
                        fmt::format("source \"{}\" has no column \"{}\"", shape.source, name), hint);
      good = false;
      continue;
    }
    auto value = read_typed(node.at(i), shape.schema[static_cast<size_t>(column)].type, true, diagnostics);
    good = good && value.has_value();
    if (value) row[name] = std::move(*value);
  }
  return good ? std::optional<Json>(std::move(row)) : std::nullopt;
}

// A row as a line of CSV, its columns in the order of the schema; false: a value needs quotes and there are none.
bool append_csv(const Json& row, const RecordShape& shape, std::string& line) {
  const CsvOptions& csv = shape.format.csv;
  for (size_t i = 0; i < shape.schema.size(); i++) {
    if (i > 0) line += csv.delimiter;
    const auto value = row.find(shape.schema[i].name);
    if (value == row.end() || value->is_null()) {
      line += csv.null_text;
      continue;
    }
    const std::string text = value->is_string() ? value->get<std::string>() : value->dump();
    const std::string special = std::string("\r\n") + csv.delimiter + (csv.quote != 0 ? csv.quote : '\n');
    if (text.find_first_of(special) == std::string::npos && text != csv.null_text) {
      line += text;
      continue;
    }
    if (csv.quote == 0) return false;
    line += csv.quote;
    for (char c : text) line.append(c == csv.quote ? 2 : 1, c);
    line += csv.quote;
  }
  return true;
}

std::optional<std::string> encoded_row(const ConfigNode& node, const RecordShape& shape, Diagnostics& diagnostics) {
  const auto row = row_values(node, shape, diagnostics);
  if (!row) return std::nullopt;
  if (shape.format == "json") return row->dump();
  std::string line;
  if (append_csv(*row, shape, line)) return line;
  diagnostics.error(LintCode::kBadValue, node.location(), "a value of this row needs quotes, and the format has none");
  return std::nullopt;
}

// The one value of a record whose format holds no rows.
std::optional<std::string> single_value(const ConfigNode& node, const RecordShape& shape, Diagnostics& diagnostics) {
  std::string payload;
  if (shape.format == "int64") {
    const auto value = as_int(node, INT64_MIN, INT64_MAX, diagnostics);
    if (!value) return std::nullopt;
    append_big_endian(static_cast<uint64_t>(*value), payload);
    return payload;
  }
  if (shape.format == "double") {
    const auto value = as_double(node, diagnostics);
    if (!value) return std::nullopt;
    append_big_endian(std::bit_cast<uint64_t>(*value), payload);
    return payload;
  }
  return as_string(node, diagnostics);
}

// Payload of a row or of the value of a record; false after an error.
bool read_payload(const ConfigNode& node, const RecordShape& shape, MemoryRecord& record, Diagnostics& diagnostics) {
  if (node.is_scalar()) {
    record.payload = single_value(node, shape, diagnostics);
  } else if (node.is_mapping() && holds_rows(shape.format)) {
    record.payload = encoded_row(node, shape, diagnostics);
  } else if (node.is_mapping() && node.size() == 1 && node.key_at(0) == "value" && node.at(0).is_scalar()) {
    record.payload = single_value(node.at(0), shape, diagnostics);
  } else {
    const std::string wanted = holds_rows(shape.format) ? "a row as a map, or a payload as text" : "a payload";
    diagnostics.error(LintCode::kWrongType, node.location(),
                      fmt::format("expected {} of source \"{}\" (format {})", wanted, shape.source, shape.format.name));
  }
  return record.payload.has_value();
}

void read_headers(const ConfigNode& node, MemoryRecord& record, Diagnostics& diagnostics) {
  if (!node.is_mapping()) {
    diagnostics.error(LintCode::kWrongType, node.location(), "headers map names to texts");
    return;
  }
  for (size_t i = 0; i < node.size(); i++)
    record.headers.emplace_back(node.key_at(i), as_string(node.at(i), diagnostics).value_or(""));
}

// The keys beside `value`.
void read_record_keys(MapReader& map, const RecordShape& shape, WrittenRecord& written, Diagnostics& diagnostics) {
  for (const char* key : {"key", "headers", "timestamp", "topic"}) {
    const auto node = shape.kafka ? std::nullopt : map.child(key);
    if (node)
      diagnostics.error(
          LintCode::kConflict, node->key_location(),
          fmt::format("records of source \"{}\" have no {}: it is not a kafka source", shape.source, key));
  }
  written.partition.partition = static_cast<int32_t>(map.int_or("partition", 0, 0, kMaxPartition));
  if (!shape.kafka) return;
  if (const auto key = map.child("key"); key && !key->is_null())
    written.record.key = as_string(*key, diagnostics).value_or("");
  if (const auto headers = map.child("headers")) read_headers(*headers, written.record, diagnostics);
  if (const auto timestamp = map.child("timestamp")) {
    written.has_timestamp = true;
    written.record.timestamp_ms = read_time_ms(*timestamp, diagnostics).value_or(0);
  }
  const auto topic = map.child("topic");
  if (!topic) return;
  written.partition.topic = as_string(*topic, diagnostics).value_or("");
  if (!contains(shape.topics, written.partition.topic))
    diagnostics.error(LintCode::kBadValue, topic->location(),
                      fmt::format("source \"{}\" does not read topic \"{}\"", shape.source, written.partition.topic),
                      did_you_mean(written.partition.topic, shape.topics));
}

}  // namespace

std::optional<WrittenRecord> read_record(const ConfigNode& node, const RecordShape& shape, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  WrittenRecord written;
  written.partition.topic = shape.topics.empty() ? shape.source : shape.topics[0];
  written.partition_at = node.location();
  if (!is_record(node, shape.schema)) {
    read_payload(node, shape, written.record, diagnostics);
  } else {
    MapReader map(node, diagnostics);
    const auto value = map.child("value");
    if (value && !value->is_null()) read_payload(*value, shape, written.record, diagnostics);
    read_record_keys(map, shape, written, diagnostics);
    map.finish();
  }
  if (diagnostics.error_count() != errors) return std::nullopt;
  return written;
}

}  // namespace millrace
