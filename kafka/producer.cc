#include "kafka/producer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "kafka/admin_request.h"
#include "kafka/rd_producer.h"

namespace millrace {
namespace {

constexpr int kTopicTimeoutMs = 10'000;
constexpr int kTopicPauseMs = 20;
// What librdkafka keeps per queued message beside the payload; its byte bound does not count that, so the number of
// messages is bounded too.
constexpr size_t kMessageOverheadBytes = 256;
// Framing of a record that counts against the broker's limit.
constexpr size_t kRecordFramingBytes = 128;

RdClient::Settings producer_settings(const KafkaProducerOptions& options) {
  const size_t queue_kbytes = std::clamp<size_t>(options.queue_bytes / 1024, 1024, 2'000'000);
  const size_t queue_messages = std::clamp<size_t>(options.queue_bytes / kMessageOverheadBytes, 10'000, 10'000'000);
  const size_t message_bytes = std::clamp<size_t>(options.max_message_bytes, 1000, 1'000'000'000);
  RdClient::Settings settings = {{"enable.idempotence", "true"},
                                 {"acks", "all"},
                                 {"partitioner", "murmur2_random"},
                                 {"compression.type", "lz4"},
                                 {"linger.ms", std::to_string(options.linger_ms)},
                                 {"batch.size", "1000000"},
                                 {"batch.num.messages", "50000"},
                                 {"message.max.bytes", std::to_string(message_bytes)},
                                 {"queue.buffering.max.kbytes", std::to_string(queue_kbytes)},
                                 {"queue.buffering.max.messages", std::to_string(queue_messages)},
                                 // Reaping idle connections is no reason to doubt a commit.
                                 {"connections.max.idle.ms", "0"}};
  if (!options.transactional_id.empty()) {
    settings.emplace_back("transactional.id", options.transactional_id);
    settings.emplace_back("transaction.timeout.ms", std::to_string(options.transaction_timeout_ms));
    // A request may not outlive the transaction; librdkafka insists.
    settings.emplace_back("socket.timeout.ms", std::to_string(std::min(options.transaction_timeout_ms, 10'000)));
  }
  return settings;
}

Rd<rd_kafka_headers_t> copy_headers(const KafkaRecordOut& record) {
  Rd<rd_kafka_headers_t> headers(rd_kafka_headers_new(record.header_count));
  for (uint32_t i = 0; i < record.header_count; i++) {
    const auto& [name, value] = record.headers[i];
    rd_kafka_header_add(headers.get(), name.data(), static_cast<ssize_t>(name.size()), value.data(),
                        static_cast<ssize_t>(value.size()));
  }
  return headers;
}

// 0 means "now" to librdkafka, and Kafka knows no times before the epoch: those become its first millisecond.
int64_t timestamp_of(const KafkaRecordOut& record) {
  if (record.timestamp_ms == kNoTime) return 0;
  return std::max<int64_t>(record.timestamp_ms, 1);
}

}  // namespace

size_t record_bytes(const KafkaRecordOut& record) {
  size_t bytes = record.key.size() + record.value.size() + kRecordFramingBytes;
  for (uint32_t i = 0; i < record.header_count; i++) {
    bytes += record.headers[i].name.size() + record.headers[i].value.size() + 10;
  }
  return bytes;
}

Status RdProducer::open() {
  MR_ASSIGN(client_, RdClient::create(RD_KAFKA_PRODUCER, config_, producer_settings(options_), log_, *this));
  return Status::ok();
}

RdProducer::~RdProducer() {
  // What is queued would be retried in vain while the client closes.
  if (client_) rd_kafka_purge(handle(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  for (const auto& topic : topics_) topic->handle.reset();
  client_.reset();  // ends the threads that write to topics_
}

// A KafkaTopic stays for good even if its topic does not exist yet: librdkafka keeps the first opaque.
KafkaTopic* RdProducer::find_or_add(const std::string& name) {
  std::lock_guard lock(mutex_);
  for (const auto& topic : topics_) {
    if (topic->name == name) return topic.get();
  }
  auto topic = std::make_unique<KafkaTopic>();
  topic->name = name;
  // A fresh configuration would not have our partitioner.
  rd_kafka_topic_conf_t* conf = rd_kafka_default_topic_conf_dup(handle());
  rd_kafka_topic_conf_set_opaque(conf, topic.get());
  topic->handle.reset(rd_kafka_topic_new(handle(), name.c_str(), conf));
  if (!topic->handle) return nullptr;
  topics_.push_back(std::move(topic));
  return topics_.back().get();
}

// Asks for the topic without creating it, and gives the client its leaders, so that the first records do not wait.
Result<int32_t> RdProducer::partition_count(KafkaTopic* topic) {
  const std::string what = fmt::format("cannot use topic {}", topic->name);
  const Deadline deadline(kTopicTimeoutMs);
  for (;;) {
    const rd_kafka_metadata_t* metadata = nullptr;
    rd_kafka_resp_err_t error =
        rd_kafka_metadata(handle(), 0, topic->handle.get(), &metadata, std::max(deadline.left_ms(), 1));
    int32_t partitions = 0;
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      error = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR__BAD_MSG;
      partitions = metadata->topic_cnt == 1 ? metadata->topics[0].partition_cnt : 0;
      rd_kafka_metadata_destroy(metadata);
    }
    if (error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
      return Status::user(Code::kTopicMissing, fmt::format("topic {} does not exist", topic->name));
    }
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR && partitions > 0) return partitions;
    if (deadline.passed() || !is_transient(error)) {
      MR_RETURN_IF_ERROR(this->error());
      return from_kafka(error, what);
    }
    deadline.wait_ms(kTopicPauseMs);
  }
}

Result<KafkaTopic*> RdProducer::topic(const std::string& name) {
  KafkaTopic* topic = find_or_add(name);
  if (topic == nullptr) return from_kafka(rd_kafka_last_error(), fmt::format("cannot use topic {}", name));
  {
    std::lock_guard lock(mutex_);
    if (!topic->delivered.empty()) return topic;
  }
  MR_ASSIGN(const int32_t partitions, partition_count(topic));
  std::vector<std::atomic<int64_t>> delivered(static_cast<size_t>(partitions));
  for (auto& offset : delivered) offset.store(-1, std::memory_order_relaxed);
  std::lock_guard lock(mutex_);  // two sinks may open the same topic at once
  if (topic->delivered.empty()) topic->delivered = std::move(delivered);
  return topic;
}

Status RdProducer::create_topic(const std::string& name, int partitions, int timeout_ms) {
  TopicSpec spec;
  spec.name = name;
  spec.partitions = partitions;
  return millrace::create_topic(handle(), spec, timeout_ms);
}

Produced RdProducer::produce(KafkaTopic* topic, const KafkaRecordOut& record) {
  if (record_bytes(record) > options_.max_message_bytes) return Produced::kTooLarge;
  if (flushing_.load(std::memory_order_acquire) > 0) return Produced::kQueueFull;
  if (transaction_began_ms_.load(std::memory_order_relaxed) == 0) transaction_began_ms_ = steady_ms();
  std::array<rd_kafka_vu_t, 7> fields;
  fields[0].vtype = RD_KAFKA_VTYPE_RKT;
  fields[0].u.rkt = topic->handle.get();
  fields[1].vtype = RD_KAFKA_VTYPE_PARTITION;
  fields[1].u.i32 = record.partition;
  fields[2].vtype = RD_KAFKA_VTYPE_VALUE;
  fields[2].u.mem = {const_cast<char*>(record.value.data()), record.value.size()};
  fields[3].vtype = RD_KAFKA_VTYPE_KEY;
  fields[3].u.mem = {const_cast<char*>(record.key.data()), record.key.size()};
  fields[4].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
  fields[4].u.i64 = timestamp_of(record);
  fields[5].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
  fields[5].u.i = RD_KAFKA_MSG_F_COPY;
  size_t count = 6;
  Rd<rd_kafka_headers_t> headers;
  if (record.header_count > 0) {
    headers = copy_headers(record);
    fields[count].vtype = RD_KAFKA_VTYPE_HEADERS;
    fields[count++].u.headers = headers.get();
  }
  const Rd<rd_kafka_error_t> error(rd_kafka_produceva(handle(), fields.data(), count));
  if (!error) {
    (void)headers.release();  // the message's now
    return Produced::kQueued;
  }
  const rd_kafka_resp_err_t code = rd_kafka_error_code(error.get());
  if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) return Produced::kQueueFull;
  if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) return Produced::kTooLarge;
  fail(describe(code, fmt::format("cannot produce to topic {}", topic->name), rd_kafka_error_string(error.get())));
  return Produced::kFailed;
}

size_t RdProducer::record_limit(KafkaTopic* topic) {
  const auto settings = millrace::topic_settings(handle(), topic->name, kTopicTimeoutMs);
  if (!settings.is_ok()) {  // no right to ask, for example
    log_.warn("topic {}: its max.message.bytes is not known: {}", topic->name, settings.status().message());
    return options_.max_message_bytes;
  }
  const auto found = settings->find("max.message.bytes");
  if (found == settings->end()) return options_.max_message_bytes;
  size_t limit = 0;
  const auto [end, error] = std::from_chars(found->second.data(), found->second.data() + found->second.size(), limit);
  return error == std::errc() ? std::min(limit, options_.max_message_bytes) : options_.max_message_bytes;
}

void RdProducer::poll(int timeout_ms) {
  const int before = rd_kafka_outq_len(handle());
  if (before == 0) {
    rd_kafka_poll(handle(), timeout_ms);
    return;
  }
  // Deliveries do not come through poll, so it would sleep through them.
  const Deadline deadline(timeout_ms);
  while (rd_kafka_poll(handle(), 0) == 0 && rd_kafka_outq_len(handle()) >= before && !deadline.passed()) {
    deadline.wait_ms(1);
  }
}

Status RdProducer::flush(int timeout_ms) {
  flushing_.fetch_add(1, std::memory_order_acq_rel);
  const rd_kafka_resp_err_t error = rd_kafka_flush(handle(), timeout_ms);
  flushing_.fetch_sub(1, std::memory_order_acq_rel);
  MR_RETURN_IF_ERROR(this->error());
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return Status::ok();
  return from_kafka(error,
                    fmt::format("{} records are not delivered after {} ms", rd_kafka_outq_len(handle()), timeout_ms));
}

Status RdProducer::error() const {
  if (failed_.load(std::memory_order_acquire)) {
    std::lock_guard lock(mutex_);
    return failure_;
  }
  char text[512] = "";
  const rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(handle(), text, sizeof text);
  return fatal == RD_KAFKA_RESP_ERR_NO_ERROR ? Status::ok() : describe(fatal, "the producer failed", text);
}

std::vector<int64_t> RdProducer::last_delivered(KafkaTopic* topic) const {
  std::vector<int64_t> offsets;
  offsets.reserve(topic->delivered.size());
  for (const auto& offset : topic->delivered) offsets.push_back(offset.load(std::memory_order_acquire));
  return offsets;
}

void RdProducer::acknowledged(const rd_kafka_message_t& message) {
  auto* topic = static_cast<KafkaTopic*>(rd_kafka_topic_opaque(message.rkt));
  if (message.err == RD_KAFKA_RESP_ERR_NO_ERROR) [[likely]] {
    const auto partition = static_cast<size_t>(message.partition);
    if (message.offset < 0 || partition >= topic->delivered.size()) return;
    topic->delivered[partition].store(message.offset, std::memory_order_release);
    return;
  }
  if (message.err == RD_KAFKA_RESP_ERR__PURGE_QUEUE || message.err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT) {
    purged_.store(true, std::memory_order_release);
  }
  if (failed_.load(std::memory_order_acquire)) return;
  fail(describe(message.err,
                fmt::format("a record was not delivered to topic {} partition {}", topic->name, message.partition),
                ""));
}

void RdProducer::client_error(rd_kafka_resp_err_t error, const std::string& text) {
  char fatal[8] = "";
  const bool is_fatal = rd_kafka_fatal_error(handle(), fatal, sizeof fatal) != RD_KAFKA_RESP_ERR_NO_ERROR;
  if (is_fatal || is_authorization(error) || is_fenced(error)) fail(describe(error, "the producer failed", text));
}

void RdProducer::fail(Status status) {
  std::lock_guard lock(mutex_);
  if (failed_.load(std::memory_order_relaxed)) return;
  failure_ = std::move(status);
  failed_.store(true, std::memory_order_release);
}

bool RdProducer::transaction_timed_out() const {
  const int64_t began = transaction_began_ms_.load();
  const bool transactional = !options_.transactional_id.empty();
  return transactional && began != 0 && steady_ms() - began >= options_.transaction_timeout_ms;
}

// The coordinator fences a producer whose transaction it timed out exactly as it fences one that a newer instance has
// replaced. The age of the transaction tells: too old is our own fault and cured by the restart path.
Status RdProducer::describe(rd_kafka_resp_err_t error, const std::string& what, const std::string& detail) const {
  if (is_fenced(error) && transaction_timed_out()) {
    return Status::external(Code::kTransactionAborted,
                            fmt::format("{}: the transaction was open for longer than its timeout of {} ms", what,
                                        options_.transaction_timeout_ms));
  }
  return from_kafka(error, what, detail);
}

Status RdProducer::describe(rd_kafka_error_t* error, const std::string& what) const {
  const Rd<rd_kafka_error_t> owned(error);
  return describe(rd_kafka_error_code(error), what, rd_kafka_error_string(error));
}

Result<std::unique_ptr<KafkaProducer>> KafkaProducer::create(const KafkaConfig& config,
                                                             const KafkaProducerOptions& options, Logger log) {
  auto producer = std::make_unique<RdProducer>(config, options, std::move(log));
  MR_RETURN_IF_ERROR(producer->open());
  return std::unique_ptr<KafkaProducer>(std::move(producer));
}

}  // namespace millrace
