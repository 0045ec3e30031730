#include "sinks/line_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "formats/base64.h"

namespace millrace {
namespace {

// Columns of dead_letter_schema().
enum DeadLetterColumn { kValue, kKey, kError, kOperator, kTopic, kPartition, kOffset };

void append_bytes(std::string_view name, const Column& column, uint32_t row, std::string& out) {
  out.append(",\"").append(name).append("_base64\":");
  if (column.is_null(row)) {
    out.append("null");
    return;
  }
  out.push_back('"');
  append_base64(column.strings[row], out);
  out.push_back('"');
}

}  // namespace

LineEncoder::LineEncoder(std::unique_ptr<RecordEncoder> encoder, bool dead_letters, std::string header, bool multiline)
    : encoder_(std::move(encoder)),
      dead_letters_(dead_letters),
      header_(std::move(header)),
      multiline_(multiline),
      dead_letter_schema_(dead_letter_schema()) {
  MR_CHECK(encoder_ != nullptr || dead_letters_);
}

Status LineEncoder::refuse_row(const SinkContext& context, const Batch& batch, uint32_t row, const std::string& why) {
  if (!context.refuse) return Status::user(Code::kEvaluation, why);
  return context.refuse(batch, row, Code::kEvaluation, why);
}

bool LineEncoder::is_dead_letters(const Batch& batch) const {
  if (encoder_ == nullptr) return true;
  if (!dead_letters_ || batch.columns.size() != dead_letter_schema_.size()) return false;
  for (size_t i = 0; i < dead_letter_schema_.size(); i++) {
    if (batch.columns[i] == nullptr || !(batch.columns[i]->type == dead_letter_schema_[i].type)) return false;
  }
  return true;
}

void LineEncoder::append_dead_letter(const Batch& batch, uint32_t row, std::string& out) const {
  static constexpr std::pair<DeadLetterColumn, const char*> kPlain[] = {{kError, "{\"error\":"},
                                                                        {kOperator, ",\"operator\":"},
                                                                        {kTopic, ",\"topic\":"},
                                                                        {kPartition, ",\"partition\":"},
                                                                        {kOffset, ",\"offset\":"}};
  for (const auto& [column, prefix] : kPlain) {
    out.append(prefix);
    append_json_value(*batch.columns[column], row, out);
  }
  append_bytes("key", *batch.columns[kKey], row, out);
  append_bytes("value", *batch.columns[kValue], row, out);
  out.push_back('}');
}

bool LineFormat::plan(const char* what, const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  if (!context.key_format.is_null()) {
    diagnostics.error(LintCode::kConflict, context.key_format.location(),
                      fmt::format("{} has no keys, so key_format means nothing", what));
  }
  schema_ = input.schema;
  dead_letters_ = context.dead_letters;
  dead_letters_only_ = context.dead_letters_only;
  needed_.assign(schema_.size(), true);
  if (dead_letters_only_) return diagnostics.error_count() == errors;

  const std::string& name = context.format.name;
  if (!holds_rows(context.format) && name != "string" && name != "text") {
    if (is_known_format(name)) {
      diagnostics.error(LintCode::kConflict, context.format_at,
                        fmt::format("{} holds lines of text; format {} is binary", what, name),
                        "use format: json, csv or text");
    } else {
      diagnostics.error(LintCode::kUnknownKind, context.format_at, fmt::format("unknown format \"{}\"", name),
                        did_you_mean(name, known_formats()));
    }
    return false;
  }
  options_.format = context.format;
  options_.tombstones = false;
  options_.upsert_key = input.key_columns;
  if (!context.value.is_null()) {
    Scope scope;
    scope.schema = &schema_;
    options_.value = compile_node(context.value, scope, diagnostics);
  }
  if (diagnostics.error_count() != errors) return false;
  std::string error;
  const std::unique_ptr<RecordEncoder> encoder = RecordEncoder::make(schema_, options_, &error);
  if (encoder == nullptr) {
    const Location& at = context.value.is_null() ? context.format_at : context.value.location();
    diagnostics.error(LintCode::kConflict, at, error);
    return false;
  }
  needed_ = encoder->columns_read();
  return true;
}

std::unique_ptr<LineEncoder> LineFormat::make() const {
  std::unique_ptr<RecordEncoder> encoder;
  if (!dead_letters_only_) {
    std::string error;
    encoder = RecordEncoder::make(schema_, options_, &error);
    MR_CHECK(encoder != nullptr);
  }
  const CsvOptions& csv = options_.format.csv;
  std::string header = encoder != nullptr && csv.header.value_or(true) ? encoder->header() : "";
  if (!header.empty()) header += '\n';
  return std::make_unique<LineEncoder>(std::move(encoder), dead_letters_, std::move(header),
                                       options_.format == "csv" && csv.multiline);
}

}  // namespace millrace
