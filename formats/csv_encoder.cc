#include "base/check.h"
#include "formats/base64.h"
#include "formats/csv_decoder.h"
#include "formats/encode_values.h"

namespace millrace {
namespace {

class CsvRowEncoder final : public RowEncoder {
 public:
  CsvRowEncoder(const CsvOptions& options, const Schema& schema) : options_(options), columns_(schema.size()) {
    for (size_t i = 0; i < schema.size(); i++) {
      if (describes_record(schema[i])) continue;
      if (!written_.empty()) header_ += options_.delimiter;
      append_field(schema[i].name, header_);
      written_.push_back(i);
    }
  }

  void encode(const std::vector<ColumnPtr>& columns, uint32_t row, std::string& out,
              const std::vector<bool>* keep) override {
    MR_CHECK(columns.size() == columns_);
    const size_t begin = out.size();
    bool first = true;
    for (const size_t column : written_) {
      if (!first) out += options_.delimiter;
      first = false;
      if (keep != nullptr && !(*keep)[column]) {
        out += options_.null_text;
        continue;
      }
      MR_CHECK(columns[column] != nullptr);
      append_value(*columns[column], row, out);
    }
    // Readers skip empty lines.
    if (out.size() == begin) out.append(2, options_.quote);
  }
  const std::string& header() const override { return header_; }

 private:
  void append_value(const Column& column, uint32_t row, std::string& out) {
    if (column.is_null(row)) {
      out += options_.null_text;
      return;
    }
    switch (column.type.kind()) {
      case TypeKind::kString: return append_field(column.strings[row], out);
      case TypeKind::kBytes:
        scratch_.clear();
        append_base64(column.strings[row], scratch_);
        return append_field(scratch_, out);
      default:
        scratch_.clear();
        append_plain_text(column, row, scratch_);
        return append_field(scratch_, out);
    }
  }

  // In quotes if it would be read as something else without.
  void append_field(std::string_view text, std::string& out) const {
    const char special[] = {options_.delimiter, options_.quote, '\n', '\r'};
    const size_t first = text.find_first_of(std::string_view(special, sizeof special));
    if (text != options_.null_text && first == std::string_view::npos) {
      out += text;
      return;
    }
    out += options_.quote;
    for (const char c : text) {
      if (c == options_.quote) out += c;
      out += c;
    }
    out += options_.quote;
  }

  const CsvOptions options_;
  const size_t columns_;
  std::string header_;
  std::vector<size_t> written_;
  std::string scratch_;
};

}  // namespace

std::unique_ptr<RowEncoder> make_csv_encoder(const Format& format, const Schema& schema, std::string* error) {
  if (format.csv.quote == 0) {
    *error = "a csv sink needs a quote: values may hold delimiters";
    return nullptr;
  }
  bool any = false;
  for (const Field& field : schema) {
    if (describes_record(field)) continue;
    any = true;
    if (*error = csv_type_error(field.type); error->empty()) continue;
    *error = "column \"" + field.name + "\": " + *error;
    return nullptr;
  }
  if (!any) {
    *error = "format csv needs a column";
    return nullptr;
  }
  return std::make_unique<CsvRowEncoder>(format.csv, schema);
}

}  // namespace millrace
