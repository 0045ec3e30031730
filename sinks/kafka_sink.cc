#include "sinks/kafka_sink.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "kafka/producer.h"
#include "kafka/topic_name.h"

namespace millrace {
namespace {

constexpr int kCreateTimeoutMs = 10'000;
constexpr int kFlushTimeoutMs = 10'000;
constexpr size_t kWholeBatchBytes = 1'000'000;  // the client's largest batch

// Columns of dead_letter_schema().
enum DeadLetterColumn { kValue, kKey, kError, kOperator, kTopic, kPartition, kOffset };

std::string_view text_of(const Column& column, uint32_t row) {
  return column.is_null(row) ? std::string_view() : column.strings[row];
}

// A dead letter on its way: the raw value and key, with what is known of them in headers.
struct DeadLetterRecord {
  KafkaRecordOut record;
  std::array<Header, 6> headers;
  std::string partition, offset, value_bytes;  // what headers point at

  void add(std::string_view name, std::string_view value) {
    headers[record.header_count++] = {name, value};
    record.headers = headers.data();
  }
  DeadLetterRecord(const Batch& batch, uint32_t row) {
    const auto& columns = batch.columns;
    add("error", text_of(*columns[kError], row));
    add("operator", text_of(*columns[kOperator], row));
    partition = std::to_string(columns[kPartition]->ints[row]);
    offset = std::to_string(columns[kOffset]->ints[row]);
    if (!columns[kTopic]->is_null(row)) add("topic", columns[kTopic]->strings[row]);
    if (!columns[kPartition]->is_null(row)) add("partition", partition);
    if (!columns[kOffset]->is_null(row)) add("offset", offset);
    record.key = text_of(*columns[kKey], row);
    record.value = text_of(*columns[kValue], row);
    record.timestamp_ms = batch.event_time_ms == nullptr ? kNoTime : batch.event_time_ms[row];
  }
  DeadLetterRecord(const DeadLetterRecord&) = delete;
};

// How many live rows come before this one.
uint32_t live_index(const Batch& batch, uint32_t row) {
  if (!batch.selection) return row;
  const auto& rows = *batch.selection;
  return static_cast<uint32_t>(std::lower_bound(rows.begin(), rows.end(), row) - rows.begin());
}

class KafkaSink : public Sink {
 public:
  KafkaSink(std::string name, KafkaSinkSettings settings, std::unique_ptr<RecordEncoder> encoder, bool dead_letters)
      : name_(std::move(name)),
        settings_(std::move(settings)),
        encoder_(std::move(encoder)),
        dead_letters_(dead_letters),
        dead_letter_schema_(dead_letter_schema()) {}

  Status open(const SinkContext& context, bool first_start, const std::optional<SinkProgress>& progress) override;
  Result<Written> write(const Batch& batch, uint32_t* cursor) override;
  // What was written is in the producer; the decision flushes it.
  Status flush(uint64_t epoch) override {
    (void)epoch;
    warned_of_cut_ = false;
    return context_.producer->error();
  }
  Result<SinkProgress> prepare(uint64_t epoch) override {
    (void)epoch;
    return SinkProgress{name_, ""};
  }
  Status commit(uint64_t epoch) override {
    (void)epoch;
    return Status::ok();
  }
  uint64_t bytes_written() const override { return bytes_; }
  uint64_t dead_letters_cut() const override { return cut_; }

 private:
  Result<Written> produce(const KafkaRecordOut& record, const Batch& batch, uint32_t row);
  Result<Written> write_records(const Batch& batch, uint32_t* cursor);
  Result<Written> write_dead_letters(const Batch& batch, uint32_t* cursor);
  Status start_new_batch(const KafkaRecordOut& record);
  void cut(DeadLetterRecord& letter);
  bool is_dead_letters(const Batch& batch) const;
  Status refuse(const Batch& batch, uint32_t row, Code code, const std::string& why);

  const std::string name_;
  const KafkaSinkSettings settings_;
  const std::unique_ptr<RecordEncoder> encoder_;
  const bool dead_letters_;
  const Schema dead_letter_schema_;
  SinkContext context_;
  KafkaTopic* topic_ = nullptr;
  // Of the batch that waits for room.
  const std::vector<EncodedRecord>* records_ = nullptr;
  size_t next_record_ = 0;
  RowErrors errors_;
  uint64_t bytes_ = 0;
  // Dead letters.
  size_t letter_limit_ = SIZE_MAX;  // of one, and of a batch of them at the broker
  size_t letter_bytes_ = 0;         // that may share a batch with the next one
  uint64_t cut_ = 0;
  bool warned_of_cut_ = false;  // in this epoch
};

Status KafkaSink::open(const SinkContext& context, bool first_start, const std::optional<SinkProgress>& progress) {
  (void)first_start, (void)progress;
  MR_CHECK(context.producer != nullptr);
  context_ = context;
  records_ = nullptr;
  auto topic = context_.producer->topic(settings_.topic);
  if (!topic.is_ok() && topic.status().code() == Code::kTopicMissing && settings_.create_partitions > 0) {
    MR_RETURN_IF_ERROR(context_.producer->create_topic(settings_.topic, settings_.create_partitions, kCreateTimeoutMs));
    context_.log.info("sink {}: created topic {} with {} partitions", name_, settings_.topic,
                      settings_.create_partitions);
    topic = context_.producer->topic(settings_.topic);
  }
  if (!topic.is_ok() && topic.status().code() == Code::kTopicMissing) {
    return Status::user(Code::kTopicMissing,
                        topic.status().message() + "; create it, or add `create: {partitions: N}` to the sink");
  }
  MR_ASSIGN(topic_, std::move(topic));
  if (dead_letters_) letter_limit_ = context_.producer->record_limit(topic_);
  return Status::ok();
}

Result<Written> KafkaSink::write(const Batch& batch, uint32_t* cursor) {
  if (*cursor >= batch.live()) return Written::kOk;
  return is_dead_letters(batch) ? write_dead_letters(batch, cursor) : write_records(batch, cursor);
}

Result<Written> KafkaSink::write_records(const Batch& batch, uint32_t* cursor) {
  MR_CHECK(encoder_ != nullptr);
  if (*cursor == 0 || records_ == nullptr) {
    errors_.clear();
    records_ = &encoder_->encode(batch, errors_);
    next_record_ = 0;
  }
  for (; next_record_ < records_->size(); next_record_++) {
    const EncodedRecord& encoded = (*records_)[next_record_];
    KafkaRecordOut record;
    if (encoded.has_key) record.key = {encoded.key.data() ? encoded.key.data() : "", encoded.key.size()};
    if (!encoded.tombstone) record.value = {encoded.value.data() ? encoded.value.data() : "", encoded.value.size()};
    record.timestamp_ms = encoded.timestamp_ms;
    record.headers = encoded.headers;
    record.header_count = encoded.header_count;
    MR_ASSIGN(const Written written, produce(record, batch, encoded.row));
    if (written == Written::kRetry) {
      *cursor = live_index(batch, encoded.row);
      return Written::kRetry;
    }
  }
  records_ = nullptr;
  *cursor = batch.live();
  for (const RowErrors::Entry& error : errors_.entries) {
    MR_RETURN_IF_ERROR(refuse(batch, error.row, Code::kEvaluation, error.message));
  }
  return Written::kOk;
}

Result<Written> KafkaSink::produce(const KafkaRecordOut& record, const Batch& batch, uint32_t row) {
  switch (context_.producer->produce(topic_, record)) {
    case Produced::kQueued: bytes_ += record.key.size() + record.value.size(); return Written::kOk;
    case Produced::kQueueFull: context_.producer->poll(0); return Written::kRetry;
    case Produced::kTooLarge:
      MR_RETURN_IF_ERROR(refuse(batch, row, Code::kRecordTooLarge,
                                fmt::format("a record of {} bytes is larger than the limit of topic {}",
                                            record.key.size() + record.value.size(), settings_.topic)));
      return Written::kOk;
    case Produced::kFailed: break;
  }
  MR_RETURN_IF_ERROR(context_.producer->error());
  return Status::external(Code::kTransactionAborted, fmt::format("cannot produce to topic {}", settings_.topic));
}

Result<Written> KafkaSink::write_dead_letters(const Batch& batch, uint32_t* cursor) {
  for (; *cursor < batch.live(); ++*cursor) {
    const uint32_t row = batch.row(*cursor);
    DeadLetterRecord letter(batch, row);
    const bool is_cut = record_bytes(letter.record) > letter_limit_;
    if (is_cut) cut(letter);
    MR_RETURN_IF_ERROR(start_new_batch(letter.record));
    MR_ASSIGN(const Written written, produce(letter.record, batch, row));
    if (written == Written::kRetry) return Written::kRetry;
    letter_bytes_ += record_bytes(letter.record);
    if (!is_cut) continue;
    cut_++;
    if (std::exchange(warned_of_cut_, true)) continue;
    context_.log.warn("sink {}: a dead letter of {} bytes was cut to the {} bytes that topic {} takes", name_,
                      letter.value_bytes, letter_limit_, settings_.topic);
  }
  return Written::kOk;
}

// The topic's limit is one of whole batches. Where it is smaller than the client's batches, dead letters that do not
// fit into one together are kept apart.
Status KafkaSink::start_new_batch(const KafkaRecordOut& record) {
  if (letter_limit_ >= kWholeBatchBytes) return Status::ok();
  if (letter_bytes_ == 0 || letter_bytes_ + record_bytes(record) <= letter_limit_) return Status::ok();
  letter_bytes_ = 0;
  return context_.producer->flush(kFlushTimeoutMs);
}

// The beginning of a record that the topic would not take, with the size of the whole in the header `truncated`: where
// it came from is known, and a dead letter must not stop the pipeline.
void KafkaSink::cut(DeadLetterRecord& letter) {
  KafkaRecordOut& record = letter.record;
  letter.value_bytes = std::to_string(record.value.size());
  letter.add("truncated", letter.value_bytes);
  std::string_view& error = letter.headers[0].value;
  error = error.substr(0, letter_limit_ / 4);
  record.key = record.key.substr(0, letter_limit_ / 4);
  const size_t over = record_bytes(record) - std::min(letter_limit_, record_bytes(record));
  record.value = record.value.substr(0, record.value.size() - std::min(over, record.value.size()));
}

bool KafkaSink::is_dead_letters(const Batch& batch) const {
  if (encoder_ == nullptr) return true;
  if (!dead_letters_ || batch.columns.size() != dead_letter_schema_.size()) return false;
  for (size_t i = 0; i < dead_letter_schema_.size(); i++) {
    if (batch.columns[i] == nullptr || !(batch.columns[i]->type == dead_letter_schema_[i].type)) return false;
  }
  return true;
}

Status KafkaSink::refuse(const Batch& batch, uint32_t row, Code code, const std::string& why) {
  if (!context_.refuse) return Status::user(code, why);
  return context_.refuse(batch, row, code, why);
}

struct KafkaSinkConfig {
  KafkaSinkSettings settings;
  ConfigNode key;
};

class KafkaSinkPlan : public SinkPlan {
 public:
  explicit KafkaSinkPlan(KafkaSinkConfig config) : config_(std::move(config)) {}

  bool plan(const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) override;
  std::vector<bool> needed_inputs() const override { return needed_; }
  SinkGuarantee guarantee() const override { return SinkGuarantee::kTransaction; }
  const KafkaSinkSettings* kafka() const override { return &config_.settings; }
  bool takes_payload() const override {
    return options_.format == "json" && options_.value == nullptr && !dead_letters_only_;
  }
  void use_payload() override { options_.passthrough = true; }
  std::string describe() const override { return "kafka " + config_.settings.topic; }
  std::unique_ptr<Sink> make() const override;

 private:
  void compile(const SinkPlanContext& context, Diagnostics& diagnostics);

  KafkaSinkConfig config_;
  std::string name_;
  Schema schema_;
  RecordEncoderOptions options_;
  std::vector<bool> needed_;
  bool dead_letters_ = false;
  bool dead_letters_only_ = false;
};

void KafkaSinkPlan::compile(const SinkPlanContext& context, Diagnostics& diagnostics) {
  Scope scope;
  scope.schema = &schema_;
  if (!context.value.is_null()) options_.value = compile_node(context.value, scope, diagnostics);
  if (!config_.key.is_null()) options_.key = compile_node(config_.key, scope, diagnostics);
  if (context.key_format.is_null()) return;
  const auto format = as_string(context.key_format, diagnostics);
  if (!format) return;
  if (!is_known_format(*format)) {
    diagnostics.error(LintCode::kUnknownKind, context.key_format.location(),
                      fmt::format("unknown format \"{}\"", *format), did_you_mean(*format, known_formats()));
  } else if (config_.key.is_null()) {
    diagnostics.error(LintCode::kConflict, context.key_format.location(), "key_format without a key",
                      "add `key: EXPRESSION` to kafka");
  } else {
    options_.key_format = *format;
  }
}

bool KafkaSinkPlan::plan(const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  name_ = context.sink;
  schema_ = input.schema;
  dead_letters_ = context.dead_letters;
  dead_letters_only_ = context.dead_letters_only;
  needed_.assign(schema_.size(), true);
  if (dead_letters_only_) return true;
  options_.format = context.format;
  options_.upsert_key = input.key_columns;
  if (!is_known_format(context.format.name)) {
    diagnostics.error(LintCode::kUnknownKind, context.format_at,
                      fmt::format("unknown format \"{}\"", context.format.name),
                      did_you_mean(context.format.name, known_formats()));
  }
  if (context.format == "csv" && context.format.csv.header.value_or(false)) {
    diagnostics.error(LintCode::kConflict, context.format.csv.header_at,
                      "records of a topic have no header line above them", "columns stand in declared order");
  }
  compile(context, diagnostics);
  if (diagnostics.error_count() != errors) return false;
  std::string error;
  const std::unique_ptr<RecordEncoder> encoder = RecordEncoder::make(schema_, options_, &error);
  if (encoder == nullptr) {
    const Location& value_at = context.value.is_null() ? context.format_at : context.value.location();
    diagnostics.error(LintCode::kConflict,
                      error.starts_with("key") || error.starts_with("a key") ? config_.key.location() : value_at,
                      error);
    return false;
  }
  needed_ = encoder->columns_read();
  return true;
}

std::unique_ptr<Sink> KafkaSinkPlan::make() const {
  std::unique_ptr<RecordEncoder> encoder;
  if (!dead_letters_only_) {
    std::string error;
    encoder = RecordEncoder::make(schema_, options_, &error);
    MR_CHECK(encoder != nullptr);
  }
  return make_kafka_sink(name_, config_.settings, std::move(encoder), dead_letters_);
}

}  // namespace

std::unique_ptr<Sink> make_kafka_sink(const std::string& name, KafkaSinkSettings settings,
                                      std::unique_ptr<RecordEncoder> encoder, bool dead_letters) {
  return std::make_unique<KafkaSink>(name, std::move(settings), std::move(encoder), dead_letters);
}

void register_kafka_sink(SinkRegistry& registry) {
  registry.add("kafka", [](const ConfigNode& body, Diagnostics& diagnostics) -> std::unique_ptr<SinkPlan> {
    const size_t errors = diagnostics.error_count();
    KafkaSinkConfig config;
    MapReader map(body, diagnostics);
    config.settings.topic = map.required_string("topic");
    if (const auto topic = map.child("topic"); topic && topic->is_scalar() && !is_topic_name(config.settings.topic)) {
      diagnostics.error(LintCode::kBadValue, topic->location(),
                        fmt::format("\"{}\" is not a topic name", config.settings.topic), kTopicNameRule);
    }
    if (const auto key = map.child("key")) config.key = *key;
    if (const auto create = map.child("create"); create && !create->is_null()) {
      MapReader topic(*create, diagnostics);
      topic.required_child("partitions");
      config.settings.create_partitions = static_cast<int>(topic.int_or("partitions", 1, 1, 10'000));
      topic.finish();
    }
    map.finish();
    if (diagnostics.error_count() != errors) return nullptr;
    return std::make_unique<KafkaSinkPlan>(std::move(config));
  });
}

}  // namespace millrace
