#include "formats/format.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "formats/csv_decoder.h"
#include "formats/encode_values.h"
#include "formats/json_decoder.h"
#include "formats/json_node.h"
#include "formats/utf8.h"

namespace millrace {
namespace {

enum class PlainFormat { kString, kBytes, kInt64, kDouble };

PlainFormat plain_format(const std::string& name) {
  if (name == "string" || name == "text") return PlainFormat::kString;
  if (name == "bytes") return PlainFormat::kBytes;
  if (name == "int64") return PlainFormat::kInt64;
  MR_CHECK(name == "double");
  return PlainFormat::kDouble;
}

// string, text, bytes, int64, double: the payload is the one field.
class PlainDecoder final : public Decoder {
 public:
  PlainDecoder(PlainFormat format, const DecodeRequest& request)
      : format_(format),
        type_(request.schema[0].type),
        wanted_(request.wanted[0]),
        want_canonical_(request.want_canonical) {}

  std::vector<ColumnPtr> decode(const std::string_view* payloads, uint32_t rows, const ArenaPtr& arena,
                                uint8_t* canonical, std::vector<DecodeError>& errors) override {
    // Never what the json encoder would write.
    if (want_canonical_ && canonical) std::memset(canonical, 0, rows);
    ColumnBuilder builder(type_, arena, rows);
    for (uint32_t row = 0; row < rows; row++) {
      const char* error = decode_row(payloads[row], row, builder);
      if (!error) continue;
      builder.set_null(row);
      errors.push_back({row, error});
    }
    std::vector<ColumnPtr> columns(1);
    if (wanted_) columns[0] = builder.finish(rows);
    return columns;
  }

 private:
  const char* decode_row(std::string_view payload, uint32_t row, ColumnBuilder& builder) const {
    if (payload.data() == nullptr) return "no payload (a tombstone)";
    if (payload.size() > kMaxPayloadBytes) return "payload larger than 64 MiB";
    switch (format_) {
      case PlainFormat::kString:
        if (!is_valid_utf8(payload)) return "invalid UTF-8";
        builder.strings[row] = payload;
        return nullptr;
      case PlainFormat::kBytes: builder.strings[row] = payload; return nullptr;
      case PlainFormat::kInt64:
        if (payload.size() != 8) return "an int64 has exactly 8 bytes";
        builder.ints[row] = static_cast<int64_t>(read_big_endian(payload.data()));
        return nullptr;
      case PlainFormat::kDouble:
        if (payload.size() != 8) return "a double has exactly 8 bytes";
        builder.doubles[row] = std::bit_cast<double>(read_big_endian(payload.data()));
        return nullptr;
    }
    return nullptr;
  }

  const PlainFormat format_;
  const Type type_;
  const bool wanted_;
  const bool want_canonical_;
};

int64_t int_of(const Column& column, uint32_t row) {
  return column.type.kind() == TypeKind::kInt ? column.ints[row] : whole_millis(column.ints[row]);
}

class JsonValueEncoder final : public ValueEncoder {
 public:
  void encode(const Column& column, uint32_t row, std::string& out) override { append_json_value(column, row, out); }
};

class PlainValueEncoder final : public ValueEncoder {
 public:
  explicit PlainValueEncoder(PlainFormat format) : format_(format) {}

  void encode(const Column& column, uint32_t row, std::string& out) override {
    if (column.is_null(row)) return;
    switch (format_) {
      case PlainFormat::kInt64: append_big_endian(static_cast<uint64_t>(int_of(column, row)), out); return;
      case PlainFormat::kDouble: append_big_endian(std::bit_cast<uint64_t>(column.doubles[row]), out); return;
      case PlainFormat::kBytes: out += column.strings[row]; return;
      case PlainFormat::kString: append_plain_text(column, row, out); return;
    }
  }

 private:
  const PlainFormat format_;
};

bool takes(PlainFormat format, TypeKind kind) {
  switch (format) {
    case PlainFormat::kInt64: return kind == TypeKind::kInt || kind == TypeKind::kTimestamp;
    case PlainFormat::kDouble: return kind == TypeKind::kDouble;
    case PlainFormat::kBytes: return kind == TypeKind::kBytes || kind == TypeKind::kString;
    case PlainFormat::kString:
      return kind == TypeKind::kString || kind == TypeKind::kInt || kind == TypeKind::kDouble ||
             kind == TypeKind::kBool || kind == TypeKind::kTimestamp;
  }
  return false;
}

}  // namespace

void append_plain_text(const Column& column, uint32_t row, std::string& out) {
  switch (column.type.kind()) {
    case TypeKind::kString: out += column.strings[row]; return;
    case TypeKind::kBool: out += column.bools[row] ? "true" : "false"; return;
    case TypeKind::kDouble: {
      const double value = column.doubles[row];
      if (std::isfinite(value)) return append_json_double(value, out);
      out += std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
      return;
    }
    default: append_decimal(int_of(column, row), out); return;
  }
}

std::vector<std::string> known_formats() { return {"bytes", "csv", "double", "int64", "json", "string", "text"}; }

bool is_known_format(const std::string& name) {
  for (const std::string& known : known_formats())
    if (name == known) return true;
  return false;
}

Schema implied_schema(const std::string& format) {
  if (format == "json" || format == "csv" || !is_known_format(format)) return {};
  switch (plain_format(format)) {
    case PlainFormat::kString: return {{"value", Type(TypeKind::kString)}};
    case PlainFormat::kBytes: return {{"value", Type(TypeKind::kBytes)}};
    case PlainFormat::kInt64: return {{"value", Type(TypeKind::kInt)}};
    case PlainFormat::kDouble: return {{"value", Type(TypeKind::kDouble)}};
  }
  return {};
}

bool holds_rows(const Format& format) { return format == "json" || format == "csv"; }

std::unique_ptr<RowEncoder> make_row_encoder(const Format& format, const Schema& schema, std::string* error) {
  if (format == "json") return std::make_unique<JsonRowEncoder>(schema);
  if (format == "csv") return make_csv_encoder(format, schema, error);
  *error = "format " + format.name + " holds one value; say which with value:";
  return nullptr;
}

std::unique_ptr<Decoder> make_decoder(const Format& format, DecodeRequest request, const Location& at,
                                      Diagnostics& diagnostics) {
  MR_CHECK(request.wanted.size() == request.schema.size());
  if (!is_known_format(format.name)) {
    diagnostics.error(LintCode::kUnknownKind, at, "unknown format \"" + format.name + "\"",
                      did_you_mean(format.name, known_formats()));
    return nullptr;
  }
  if (!holds_rows(format)) {
    const Schema implied = implied_schema(format.name);
    if (!(request.schema == implied)) {
      diagnostics.error(
          LintCode::kBadValue, at,
          "format " + format.name + " has exactly the schema {value: " + implied[0].type.to_string() + "}");
      return nullptr;
    }
    return std::make_unique<PlainDecoder>(plain_format(format.name), request);
  }
  const bool csv = format == "csv";
  for (const Field& field : request.schema) {
    const std::string reason = csv ? csv_type_error(field.type) : undecodable_reason(field.type);
    if (reason.empty()) continue;
    diagnostics.error(LintCode::kBadValue, at, "field \"" + field.name + "\": " + reason);
    return nullptr;
  }
  return csv ? make_csv_decoder(std::move(request), format) : make_json_decoder(std::move(request));
}

std::unique_ptr<ValueEncoder> make_value_encoder(const std::string& name, const Type& type, std::string* error) {
  if (!is_known_format(name)) {
    *error = "unknown format \"" + name + "\"";
    return nullptr;
  }
  if (name == "json") return std::make_unique<JsonValueEncoder>();
  if (name == "csv") {
    *error = "format csv holds rows, not single values; choose their columns with select";
    return nullptr;
  }
  const PlainFormat format = plain_format(name);
  if (!takes(format, type.kind())) {
    *error = "format " + name + " cannot hold a value of type " + type.to_string();
    return nullptr;
  }
  return std::make_unique<PlainValueEncoder>(format);
}

}  // namespace millrace
