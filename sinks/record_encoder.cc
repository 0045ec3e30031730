#include "sinks/record_encoder.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {
namespace {

// A batch of large records must not keep its memory for ever.
constexpr size_t kKeptBufferBytes = size_t{4} << 20;

bool is_text(const Type& type) { return type.kind() == TypeKind::kString || type.kind() == TypeKind::kBytes; }

// Equality of two values of one column; null equals null.
bool same_value(const Column& column, uint32_t a, uint32_t b) {
  if (column.is_null(a) || column.is_null(b)) return column.is_null(a) && column.is_null(b);
  if (column.ints) return column.ints[a] == column.ints[b];
  if (column.strings) return column.strings[a] == column.strings[b];
  if (column.bools) return column.bools[a] == column.bools[b];
  if (column.doubles) {
    const double x = column.doubles[a], y = column.doubles[b];
    return x == y || (x != x && y != y);
  }
  // Nested types are equal if they are written alike.
  std::string text_a, text_b;
  append_json_value(column, a, text_a);
  append_json_value(column, b, text_b);
  return text_a == text_b;
}

// Entries of both in row order, one per row.
void merge_errors(RowErrors& a, RowErrors& b, RowErrors& out) {
  const size_t start = out.entries.size();
  for (RowErrors* from : {&a, &b})
    for (RowErrors::Entry& entry : from->entries) out.entries.push_back(std::move(entry));
  const auto first = out.entries.begin() + static_cast<std::ptrdiff_t>(start);
  std::stable_sort(first, out.entries.end(), [](const auto& x, const auto& y) { return x.row < y.row; });
  const auto last = std::unique(first, out.entries.end(), [](const auto& x, const auto& y) { return x.row == y.row; });
  out.entries.erase(last, out.entries.end());
}

}  // namespace

RecordEncoder::RecordEncoder(const Schema& schema, RecordEncoderOptions options)
    : schema_(schema), options_(std::move(options)), arena_(std::make_shared<Arena>()) {
  upsert_columns_.assign(schema_.size(), false);
  for (int column : options_.upsert_key) upsert_columns_[static_cast<size_t>(column)] = true;
}

RecordEncoder::~RecordEncoder() = default;

bool RecordEncoder::make_part(const ExpressionPtr& expression, const std::string& format, Part* part,
                              std::string* error) {
  part->expression = expression;
  part->as_is = is_text(expression->type()) &&
                (format == "bytes" ||
                 ((format == "string" || format == "text") && expression->type().kind() == TypeKind::kString));
  part->encoder = make_value_encoder(format, expression->type(), error);
  if (!part->encoder) return false;
  if (expression->plain_column() < 0) part->evaluator = make_evaluator(expression);
  return true;
}

std::unique_ptr<RecordEncoder> RecordEncoder::make(const Schema& schema, RecordEncoderOptions options,
                                                   std::string* error) {
  if (!is_known_format(options.format.name)) {
    *error = "unknown format \"" + options.format.name + "\"";
    return nullptr;
  }
  std::unique_ptr<RecordEncoder> made(new RecordEncoder(schema, std::move(options)));
  const RecordEncoderOptions& given = made->options_;
  if (given.key) {
    std::string format = given.key_format;
    const TypeKind kind = given.key->type().kind();
    if (format.empty()) {
      if (!is_text(given.key->type()) && kind != TypeKind::kInt) {
        *error = "a key of type " + given.key->type().to_string() + " needs a key_format";
        return nullptr;
      }
      format = kind == TypeKind::kBytes ? "bytes" : "string";
    }
    if (!make_part(given.key, format, &made->key_, error)) {
      *error = "key: " + *error;
      return nullptr;
    }
  }
  if (holds_rows(given.format)) {
    made->row_encoder_ = make_row_encoder(given.format, schema, error);
    if (!made->row_encoder_) return nullptr;
  }
  if (given.value) {
    if (!make_part(given.value, given.format.name, &made->value_, error)) return nullptr;
  } else if (made->row_encoder_) {
    made->value_is_row_ = true;
    made->header_ = made->row_encoder_->header();
  } else {
    // record.* columns stand behind the declared ones.
    if (schema.empty() || describes_record(schema[0]) || (schema.size() > 1 && !describes_record(schema[1]))) {
      *error = "format " + given.format.name + " holds one value; say which with value:";
      return nullptr;
    }
    made->value_.encoder = make_value_encoder(given.format.name, schema[0].type, error);
    if (!made->value_.encoder) return nullptr;
  }
  return made;
}

std::vector<bool> RecordEncoder::columns_read() const {
  std::vector<bool> read(schema_.size(), false);
  for (size_t i = 0; i < schema_.size(); i++) read[i] = !options_.value && !describes_record(schema_[i]);
  for (const ExpressionPtr& expression : {options_.value, options_.key}) {
    if (!expression) continue;
    for (int column : expression->columns())
      if (column < static_cast<int>(read.size())) read[static_cast<size_t>(column)] = true;
  }
  for (int column : options_.upsert_key) read[static_cast<size_t>(column)] = true;
  return read;
}

void RecordEncoder::evaluate(Part& part, const Batch& batch, RowErrors& errors) {
  part.column = part.evaluator ? part.evaluator->evaluate(batch, arena_, errors)
                               : batch.columns[static_cast<size_t>(part.expression->plain_column())];
  MR_CHECK(part.column != nullptr);
}

void RecordEncoder::evaluate_parts(const Batch& batch, RowErrors& errors) {
  key_.column.reset();
  value_.column.reset();
  if (arena_.use_count() == 1 && arena_->bytes() <= kKeptBufferBytes) {
    arena_->reset();
  } else {
    arena_ = std::make_shared<Arena>();
  }
  key_errors_.clear();
  value_errors_.clear();
  if (key_.expression) evaluate(key_, batch, key_errors_);
  if (!value_.expression) {
    if (value_.encoder) value_.column = batch.columns[0];
  } else if (!batch.changes || !value_.evaluator) {
    evaluate(value_, batch, value_errors_);
  } else {
    // Rows that go away have no value to compute, nor to fail at.
    Batch inserted = batch;
    auto rows = std::make_shared<std::vector<uint32_t>>();
    for_each_live(batch, [&](uint32_t row) {
      if (batch.change(row) == Change::kInsert) rows->push_back(row);
    });
    inserted.selection = std::move(rows);
    evaluate(value_, inserted, value_errors_);
  }
  failed_.clear();
  if (key_errors_.empty() && value_errors_.empty()) return;
  failed_.assign(batch.rows, 0);
  for (const RowErrors* found : {&key_errors_, &value_errors_})
    for (const RowErrors::Entry& entry : found->entries) failed_[entry.row] = 1;
  merge_errors(key_errors_, value_errors_, errors);
}

bool RecordEncoder::same_upsert_key(const Batch& batch, uint32_t a, uint32_t b) const {
  // Without key columns only the neighbour that the operator has put there can be the new version.
  if (options_.upsert_key.empty()) return b == a + 1;
  for (int column : options_.upsert_key)
    if (!same_value(*batch.columns[static_cast<size_t>(column)], a, b)) return false;
  return true;
}

bool RecordEncoder::same_record_key(uint32_t a, uint32_t b) {
  if (!key_.column) return true;
  scratch_a_.clear();
  scratch_b_.clear();
  key_.encoder->encode(*key_.column, a, scratch_a_);
  key_.encoder->encode(*key_.column, b, scratch_b_);
  return scratch_a_ == scratch_b_;
}

RecordEncoder::Fate RecordEncoder::fate_of(const Batch& batch, uint32_t position) {
  const uint32_t row = batch.row(position);
  if (!failed_.empty() && failed_[row]) return Fate::kSkip;
  switch (batch.change(row)) {
    case Change::kInsert: return Fate::kWrite;
    case Change::kDelete: return Fate::kDelete;
    case Change::kRetract: break;
  }
  if (position + 1 == batch.live()) return Fate::kDelete;
  const uint32_t next = batch.row(position + 1);
  // Directly behind it: a filter may have taken out the new version and others between.
  const bool replaced = next == row + 1 && batch.change(next) == Change::kInsert && same_upsert_key(batch, row, next) &&
                        same_record_key(row, next);
  return replaced ? Fate::kSkip : Fate::kDelete;
}

void RecordEncoder::note_slot(bool is_key, size_t begin) {
  slots_.push_back({static_cast<uint32_t>(records_.size() - 1), is_key, begin, buffer_.size() - begin});
}

void RecordEncoder::add_key(uint32_t row, EncodedRecord& record) {
  if (!key_.column || key_.column->is_null(row)) return;
  record.has_key = true;
  if (key_.as_is) {
    record.key = key_.column->strings[row];
    return;
  }
  const size_t begin = buffer_.size();
  key_.encoder->encode(*key_.column, row, buffer_);
  note_slot(true, begin);
}

void RecordEncoder::add_value(const Batch& batch, uint32_t row, EncodedRecord& record) {
  const size_t begin = buffer_.size();
  if (value_is_row_) {
    const SourceRows* source = options_.passthrough ? batch.source_rows.get() : nullptr;
    if (source && source->canonical && source->canonical[row]) {
      record.value = source->payload[row];
      return;
    }
    row_encoder_->encode(batch.columns, row, buffer_);
  } else if (value_.as_is && !value_.column->is_null(row)) {
    record.value = value_.column->strings[row];
    return;
  } else {
    record.tombstone = !row_encoder_ && value_.column->is_null(row);
    value_.encoder->encode(*value_.column, row, buffer_);
  }
  note_slot(false, begin);
}

void RecordEncoder::add_deletion(const Batch& batch, uint32_t row, EncodedRecord& record) {
  record.tombstone = options_.tombstones || !row_encoder_;
  if (record.tombstone) return;
  const size_t begin = buffer_.size();
  row_encoder_->encode(batch.columns, row, buffer_, &upsert_columns_);
  note_slot(false, begin);
}

void RecordEncoder::fill_views() {
  for (const Slot& slot : slots_) {
    const std::string_view bytes(buffer_.data() + slot.begin, slot.size);
    (slot.is_key ? records_[slot.record].key : records_[slot.record].value) = bytes;
  }
}

const std::vector<EncodedRecord>& RecordEncoder::encode(const Batch& batch, RowErrors& errors) {
  if (buffer_.capacity() > kKeptBufferBytes) std::string().swap(buffer_);
  buffer_.clear();
  records_.clear();
  slots_.clear();
  RowErrors found;
  evaluate_parts(batch, found);
  RowErrors keyless;
  const uint32_t live = batch.live();
  for (uint32_t position = 0; position < live; position++) {
    const Fate fate = fate_of(batch, position);
    if (fate == Fate::kSkip) continue;
    const uint32_t row = batch.row(position);
    EncodedRecord& record = records_.emplace_back();
    record.row = row;
    record.timestamp_ms = batch.event_time_ms[row];
    add_key(row, record);
    if (fate == Fate::kWrite) {
      add_value(batch, row, record);
    } else if (options_.tombstones && !record.has_key) {
      records_.pop_back();
      keyless.entries.push_back({row, "a delete without a key"});
    } else {
      add_deletion(batch, row, record);
    }
  }
  fill_views();
  merge_errors(found, keyless, errors);
  return records_;
}

}  // namespace millrace
