#include "sinks/memory_sink.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "sinks/record_encoder.h"

namespace millrace {

std::vector<MemoryRow> MemoryTable::take() {
  std::vector<MemoryRow> rows = std::move(visible_);
  visible_.clear();
  return rows;
}

class MemorySink : public Sink {
 public:
  MemorySink(std::string name, std::shared_ptr<MemoryTable> table, std::unique_ptr<RecordEncoder> rows,
             std::unique_ptr<RecordEncoder> values)
      : name_(std::move(name)), table_(std::move(table)), rows_(std::move(rows)), values_(std::move(values)) {}

  Status open(const SinkContext& context, bool first_start, const std::optional<SinkProgress>& progress) override {
    (void)first_start;
    context_ = context;
    table_->written_.clear();
    uint64_t decided = 0;
    if (progress) std::from_chars(progress->bytes.data(), progress->bytes.data() + progress->bytes.size(), decided);
    if (decided > 0) publish(decided);
    table_->prepared_.clear();
    return Status::ok();
  }

  Result<Written> write(const Batch& batch, uint32_t* cursor) override {
    if (*cursor == batch.live()) return Written::kOk;
    *cursor = batch.live();
    MR_RETURN_IF_ERROR(rows_ ? write_rows(batch) : write_dead_letters(batch));
    return Written::kOk;
  }
  Status flush(uint64_t epoch) override {
    (void)epoch;
    return Status::ok();
  }
  Result<SinkProgress> prepare(uint64_t epoch) override {
    if (!table_->staged_) return SinkProgress{name_, ""};
    table_->prepared_[epoch] = std::move(table_->written_);
    table_->written_.clear();
    return SinkProgress{name_, std::to_string(epoch)};
  }
  Status commit(uint64_t epoch) override {
    publish(epoch);
    return Status::ok();
  }

 private:
  // Epochs up to this one are decided.
  void publish(uint64_t epoch) {
    auto& prepared = table_->prepared_;
    const auto end = prepared.upper_bound(epoch);
    for (auto at = prepared.begin(); at != end; ++at) {
      for (MemoryRow& row : at->second) table_->visible_.push_back(std::move(row));
    }
    prepared.erase(prepared.begin(), end);
  }

  void add(MemoryRow row) { (table_->staged_ ? table_->written_ : table_->visible_).push_back(std::move(row)); }

  Status write_rows(const Batch& batch) {
    errors_.clear();
    rows_now_.clear();
    for (const EncodedRecord& record : rows_->encode(batch, errors_)) {
      Pending& pending = rows_now_.emplace_back();
      pending.row = record.row;
      pending.memory.columns = record.value;
      if (record.has_key) pending.memory.key = std::string(record.key);
      pending.memory.deleted = batch.change(record.row) != Change::kInsert;
      pending.memory.timestamp_ms = record.timestamp_ms;
    }
    if (values_) add_values(batch);
    for (Pending& pending : rows_now_) {
      if (!pending.failed) add(std::move(pending.memory));
    }
    for (const RowErrors::Entry& error : errors_.entries) {
      if (!context_.refuse) return Status::user(Code::kEvaluation, error.message);
      MR_RETURN_IF_ERROR(context_.refuse(batch, error.row, Code::kEvaluation, error.message));
    }
    return Status::ok();
  }

  // The `value` of each row; a row on which it fails is refused like one whose key fails.
  void add_values(const Batch& batch) {
    value_errors_.clear();
    const std::vector<EncodedRecord>& values = values_->encode(batch, value_errors_);
    size_t next = 0;
    for (Pending& pending : rows_now_) {
      while (next < values.size() && values[next].row < pending.row) next++;
      if (next == values.size() || values[next].row != pending.row) {
        pending.failed = true;
      } else if (!pending.memory.deleted) {
        pending.memory.value = values[next].value;
      }
    }
    for (RowErrors::Entry& error : value_errors_.entries) {
      const auto same = [&error](const RowErrors::Entry& known) { return known.row == error.row; };
      if (std::none_of(errors_.entries.begin(), errors_.entries.end(), same))
        errors_.entries.push_back(std::move(error));
    }
  }

  // Unlike in a file, value and key are text: a test is read by people.
  Status write_dead_letters(const Batch& batch) {
    const Schema schema = dead_letter_schema();
    for_each_live(batch, [&](uint32_t row) {
      MemoryRow memory;
      for (size_t i = 0; i < schema.size(); i++) {
        const Column& column = *batch.columns[i];
        memory.columns += i == 0 ? "{" : ",";
        append_json_string(schema[i].name, memory.columns);
        memory.columns += ':';
        if (schema[i].type.kind() == TypeKind::kBytes && !column.is_null(row)) {
          append_json_string(column.strings[row], memory.columns);
        } else {
          append_json_value(column, row, memory.columns);
        }
      }
      memory.columns += '}';
      if (batch.event_time_ms != nullptr) memory.timestamp_ms = batch.event_time_ms[row];
      add(std::move(memory));
    });
    return Status::ok();
  }

  struct Pending {
    uint32_t row = 0;
    bool failed = false;
    MemoryRow memory;
  };
  const std::string name_;
  const std::shared_ptr<MemoryTable> table_;
  const std::unique_ptr<RecordEncoder> rows_;    // nullptr: dead letters only
  const std::unique_ptr<RecordEncoder> values_;  // nullptr: no `value`
  SinkContext context_;
  std::vector<Pending> rows_now_;
  RowErrors errors_;
  RowErrors value_errors_;
};

MemorySinkPlan::MemorySinkPlan(std::unique_ptr<SinkPlan> replaced, std::shared_ptr<MemoryTable> table,
                               MemorySinkSettings settings)
    : replaced_(std::move(replaced)), table_(std::move(table)), settings_(std::move(settings)) {}

MemorySinkPlan::~MemorySinkPlan() = default;

// The connector was planned before it was replaced, so whatever is wrong with key and value was reported.
bool MemorySinkPlan::plan(const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) {
  name_ = context.sink;
  dead_letters_only_ = context.dead_letters_only;
  schema_ = input.schema;
  for (const Field& field : schema_) {
    if (dead_letters_only_ && field.type.kind() == TypeKind::kBytes) {
      columns_.push_back({field.name, Type(TypeKind::kString)});
    } else if (!describes_record(field)) {
      columns_.push_back(field);
    }
  }
  if (dead_letters_only_) return true;
  upsert_key_ = input.key_columns;
  Scope scope;
  scope.schema = &schema_;
  if (!context.value.is_null()) value_ = compile_node(context.value, scope, diagnostics);
  if (!settings_.key.is_null()) key_ = compile_node(settings_.key, scope, diagnostics);
  // A key that is not text by itself is shown as JSON.
  RecordEncoderOptions options;
  options.key = key_;
  std::string error;
  if (key_ != nullptr && RecordEncoder::make(schema_, options, &error) == nullptr) key_format_ = "json";
  return (value_ != nullptr || context.value.is_null()) && (key_ != nullptr || settings_.key.is_null());
}

SinkGuarantee MemorySinkPlan::guarantee() const {
  if (settings_.staged) return SinkGuarantee::kPrepared;
  return replaced_->guarantee() == SinkGuarantee::kNothing ? SinkGuarantee::kNothing : SinkGuarantee::kNone;
}

std::optional<Type> MemorySinkPlan::value_type() const {
  if (value_ == nullptr) return std::nullopt;
  return value_->type();
}

std::unique_ptr<Sink> MemorySinkPlan::make() const {
  if (dead_letters_only_) return std::make_unique<MemorySink>(name_, table_, nullptr, nullptr);
  std::string error;
  RecordEncoderOptions options;
  options.key = key_;
  options.key_format = key_format_;
  options.upsert_key = upsert_key_;
  options.tombstones = false;
  auto rows = RecordEncoder::make(schema_, options, &error);
  MR_CHECK(rows != nullptr);
  std::unique_ptr<RecordEncoder> values;
  if (value_ != nullptr) {
    options.value = value_;
    values = RecordEncoder::make(schema_, options, &error);
    MR_CHECK(values != nullptr);
  }
  return std::make_unique<MemorySink>(name_, table_, std::move(rows), std::move(values));
}

}  // namespace millrace
