#include "formats/csv_decoder.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "formats/base64.h"
#include "formats/csv_scan.h"
#include "formats/json_decoder.h"
#include "formats/json_node.h"
#include "formats/rfc3339.h"
#include "formats/utf8.h"

namespace millrace {
namespace {

constexpr int64_t kMicrosPerMilli = 1000;
constexpr int64_t kMicrosPerSecond = 1'000'000;

// The outcome of reading one field; nullptr: fine.
using FieldError = const char*;
constexpr FieldError kWrongType = "";  // "expected TYPE"

std::errc parse_int(std::string_view text, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (error == std::errc() && end != text.data() + text.size()) return std::errc::invalid_argument;
  return error;
}

// Decimal digits with an optional point and exponent: no infinities, NaN or hexadecimal digits.
FieldError parse_number(std::string_view text, double* value) {
  if (text.find_first_not_of("0123456789+-.eE") != std::string_view::npos) return kWrongType;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) return kWrongType;
  if (error == std::errc()) return nullptr;
  // Too small is rounded to zero, too large is an error; from_chars does not say which.
  *value = std::strtod(std::string(text).c_str(), nullptr);
  return std::isfinite(*value) ? nullptr : "number out of range";
}

FieldError parse_double(std::string_view text, double* value) {
  if (text == "NaN") *value = std::nan("");
  else if (text == "Infinity") *value = HUGE_VAL;
  else if (text == "-Infinity") *value = -HUGE_VAL;
  else return parse_number(text, value);
  return nullptr;
}

FieldError parse_bool(std::string_view text, uint8_t* value) {
  const auto is = [text](std::string_view word) {
    if (text.size() != word.size()) return false;
    for (size_t i = 0; i < text.size(); i++)
      if ((text[i] | 0x20) != word[i]) return false;
    return true;
  };
  *value = is("true") ? 1 : 0;
  return *value != 0 || is("false") ? nullptr : kWrongType;
}

FieldError parse_timestamp(std::string_view text, TimestampUnit unit, int64_t* micros) {
  if (unit == TimestampUnit::kRfc3339) return parse_rfc3339(text, micros) ? nullptr : "not an RFC 3339 timestamp";
  const int64_t scale = unit == TimestampUnit::kMicros    ? 1
                        : unit == TimestampUnit::kSeconds ? kMicrosPerSecond
                                                          : kMicrosPerMilli;
  const std::errc error = parse_int(text, micros);
  bool in_range = error == std::errc() && !__builtin_mul_overflow(*micros, scale, micros);
  if (error == std::errc::invalid_argument) {
    double seconds;
    if (unit != TimestampUnit::kSeconds || parse_number(text, &seconds) != nullptr) return kWrongType;
    // 1e12 seconds are far out of range, and their microseconds still fit.
    in_range = std::abs(seconds) < 1e12;
    if (in_range) *micros = std::llround(seconds * kMicrosPerSecond);
  }
  if (!in_range || *micros < kMinTimestampUs || *micros > kMaxTimestampUs) return "timestamp out of range";
  return nullptr;
}

class CsvDecoder final : public Decoder {
 public:
  CsvDecoder(DecodeRequest request, const Format& format)
      : schema_(std::move(request.schema)),
        wanted_(std::move(request.wanted)),
        want_canonical_(request.want_canonical),
        options_(format.csv),
        columns_(format.csv_columns) {
    for (size_t i = 0; i < schema_.size(); i++) fields_.push_back(static_cast<int>(i));
  }

  std::vector<ColumnPtr> decode(const std::string_view* payloads, uint32_t rows, const ArenaPtr& arena,
                                uint8_t* canonical, std::vector<DecodeError>& errors) override {
    if (want_canonical_ && canonical) std::memset(canonical, 0, rows);
    if (columns_ && columns_->version() != version_) {
      version_ = columns_->version();
      fields_ = columns_->fields();
    }
    builders_.clear();
    for (const Field& field : schema_) builders_.emplace_back(field.type, arena, rows);
    for (uint32_t row = 0; row < rows; row++) {
      if (decode_row(payloads[row], row)) continue;
      for (ColumnBuilder& builder : builders_) builder.set_null(row);
      errors.push_back({row, std::move(message_)});
    }
    std::vector<ColumnPtr> columns(schema_.size());
    for (size_t i = 0; i < columns.size(); i++)
      if (wanted_[i]) columns[i] = builders_[i].finish(rows);
    builders_.clear();
    return columns;
  }

 private:
  bool decode_row(std::string_view payload, uint32_t row);
  FieldError store(ColumnBuilder& builder, const CsvScan::FieldText& field, uint32_t row);
  FieldError store_text(ColumnBuilder& builder, std::string_view text, uint32_t row);
  bool fail_row(std::string message) {
    message_ = std::move(message);
    return false;
  }
  bool fail_scan(const CsvScan& scan, size_t column);
  bool fail_field(int field, size_t column, FieldError error);

  const Schema schema_;
  const std::vector<bool> wanted_;
  const bool want_canonical_;
  const CsvOptions options_;
  const std::shared_ptr<CsvColumns> columns_;
  uint64_t version_ = 0;
  std::vector<int> fields_;  // by column of a record: the field of the schema, or -1
  std::vector<ColumnBuilder> builders_;
  std::string message_;
};

bool CsvDecoder::decode_row(std::string_view payload, uint32_t row) {
  if (payload.data() == nullptr) return fail_row("no payload (a tombstone)");
  if (payload.size() > kMaxPayloadBytes) return fail_row("payload larger than 64 MiB");
  if (!is_valid_utf8(payload)) return fail_row("invalid UTF-8");
  // A record of a topic may bring the end of its line along.
  if (payload.ends_with('\n')) payload.remove_suffix(payload.ends_with("\r\n") ? 2 : 1);
  CsvScan scan(payload, options_.delimiter, options_.quote);
  CsvScan::FieldText field;
  size_t column = 0;
  for (; scan.next(&field); column++) {
    if (column >= fields_.size()) continue;  // only counted
    const int index = fields_[column];
    if (index < 0) continue;
    const FieldError error = store(builders_[static_cast<size_t>(index)], field, row);
    if (error != nullptr) return fail_field(index, column, error);
  }
  if (scan.error() != nullptr) return fail_scan(scan, column);
  if (column == fields_.size()) return true;
  return fail_row("expected " + std::to_string(fields_.size()) + " columns, found " + std::to_string(column));
}

FieldError CsvDecoder::store(ColumnBuilder& builder, const CsvScan::FieldText& field, uint32_t row) {
  std::string_view text = field.text;
  if (!field.quoted && text == options_.null_text) {
    builder.set_null(row);
    return nullptr;
  }
  if (field.escaped) {
    auto* memory = static_cast<char*>(builder.arena().allocate(text.size()));
    text = CsvScan::unescape(text, options_.quote, memory);
  }
  switch (builder.type().kind()) {
    case TypeKind::kString: builder.strings[row] = text; return nullptr;
    case TypeKind::kInt: {
      const std::errc error = parse_int(text, &builder.ints[row]);
      if (error == std::errc()) return nullptr;
      return error == std::errc::result_out_of_range ? "integer out of range" : kWrongType;
    }
    case TypeKind::kDouble: return parse_double(text, &builder.doubles[row]);
    case TypeKind::kBool: return parse_bool(text, &builder.bools[row]);
    case TypeKind::kTimestamp: return parse_timestamp(text, builder.type().unit(), &builder.ints[row]);
    default: break;
  }
  MR_CHECK(builder.type().kind() == TypeKind::kBytes);  // excluded by the precondition
  auto* memory = static_cast<char*>(builder.arena().allocate(base64_decoded_bound(text.size())));
  size_t size;
  if (!decode_base64(text, memory, &size)) return "not base64";
  builder.strings[row] = {memory, size};
  return nullptr;
}

bool CsvDecoder::fail_scan(const CsvScan& scan, size_t column) {
  std::string message = "column " + std::to_string(column + 1) + ": " + scan.error();
  if (scan.unclosed() && !options_.multiline) message += " (multiline: true lets it go on in the next line)";
  return fail_row(std::move(message));
}

bool CsvDecoder::fail_field(int field, size_t column, FieldError error) {
  const Field& declared = schema_[static_cast<size_t>(field)];
  std::string message = "field \"" + declared.name + "\" (column " + std::to_string(column + 1) + "): ";
  message += error == kWrongType ? "expected " + declared_type_name(declared.type) : error;
  return fail_row(std::move(message));
}

}  // namespace

std::string csv_type_error(const Type& type) {
  switch (type.kind()) {
    case TypeKind::kBool:
    case TypeKind::kInt:
    case TypeKind::kDouble:
    case TypeKind::kString:
    case TypeKind::kBytes:
    case TypeKind::kTimestamp: return "";
    default: return "format csv cannot hold a value of type " + type.to_string();
  }
}

std::unique_ptr<Decoder> make_csv_decoder(DecodeRequest request, const Format& format) {
  MR_CHECK(request.wanted.size() == request.schema.size());
  return std::make_unique<CsvDecoder>(std::move(request), format);
}

Result<std::vector<int>> read_csv_header(std::string_view line, const CsvOptions& options, const Schema& schema) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
  CsvScan scan(line, options.delimiter, options.quote);
  CsvScan::FieldText field;
  std::vector<int> fields;
  std::vector<bool> found(schema.size(), false);
  std::string names;
  while (scan.next(&field)) {
    std::string name(field.text);
    if (field.escaped) name.resize(CsvScan::unescape(field.text, options.quote, name.data()).size());
    const int index = find_column(schema, name);
    if (index >= 0 && found[static_cast<size_t>(index)])
      return Status::user(Code::kDecode, "the header names column \"" + name + "\" twice");
    if (index >= 0) found[static_cast<size_t>(index)] = true;
    fields.push_back(index);
    if (names.size() < 200) names += (names.empty() ? "" : ", ") + name;
  }
  if (scan.error() != nullptr) return Status::user(Code::kDecode, std::string("the header has ") + scan.error());
  for (size_t i = 0; i < found.size(); i++) {
    if (found[i]) continue;
    return Status::user(Code::kDecode, "the header has no column \"" + schema[i].name + "\"; its columns are " + names);
  }
  return fields;
}

}  // namespace millrace
