#include "kafka/consumer.h"

#include <algorithm>
#include <set>
#include <utility>

#include "kafka/admin_request.h"
#include "kafka/client.h"

namespace millrace {
namespace {

// Taken from librdkafka at a time; more than a caller asks for is kept for the next poll.
constexpr size_t kTake = 2048;
constexpr int kWatermarkTimeoutMs = 2000;
constexpr int kResolveTimeoutMs = 1000;
// What librdkafka keeps per waiting message beside the payload (its rd_kafka_op_t and malloc); its byte bound does not
// count that, so the number of messages is bounded too.
constexpr size_t kMessageOverheadBytes = 320;

struct Assigned {
  TopicPartition at;
  const rd_kafka_topic_t* topic = nullptr;  // known with the first message
  int64_t position = 0;
};

RdClient::Settings consumer_settings(const KafkaConsumerOptions& options) {
  const size_t queue_kbytes = std::clamp<size_t>(options.queue_bytes / 1024, 256, 2'000'000);
  const size_t queue_messages = std::clamp<size_t>(options.queue_bytes / kMessageOverheadBytes, 10'000, 500'000);
  const size_t fetch_bytes = std::clamp<size_t>(options.queue_bytes / 16, 256u << 10, 2u << 20);
  return {{"group.id", options.group},
          {"enable.auto.commit", "false"},
          {"enable.auto.offset.store", "false"},
          {"auto.offset.reset", "error"},
          {"isolation.level", "read_committed"},
          {"check.crcs", "true"},
          {"enable.partition.eof", options.partition_eof ? "true" : "false"},
          {"fetch.wait.max.ms", std::to_string(options.fetch_wait_max_ms)},
          {"fetch.min.bytes", std::to_string(options.fetch_min_bytes)},
          {"fetch.queue.backoff.ms", "2"},
          {"fetch.error.backoff.ms", "100"},
          {"fetch.message.max.bytes", std::to_string(fetch_bytes)},
          // All partitions share one queue here (assign() forwards them to the consumer's), so both bounds are of the
          // whole consumer.
          {"queued.min.messages", std::to_string(queue_messages)},
          {"queued.max.messages.kbytes", std::to_string(queue_kbytes)},
          // A batch larger than the fetch size is still sent whole by the broker; this only guards against nonsense.
          {"receive.message.max.bytes", "536870912"}};
}

class RdConsumer : public KafkaConsumer, private RdClient::Observer {
 public:
  explicit RdConsumer(Logger log) : log_(std::move(log)), taken_(kTake) {}
  ~RdConsumer() override {
    release(taken_count_);
    if (client_) rd_kafka_assign(handle(), nullptr);
    queue_.reset();
  }
  Status open(const KafkaConfig& config, const KafkaConsumerOptions& options);

  Status assign(const std::vector<PartitionOffset>& partitions) override;
  Status poll(size_t max_records, size_t max_bytes, int timeout_ms, bool want_headers, KafkaPoll* poll) override;
  void read_headers(KafkaRecord* record) override;
  std::vector<int64_t> positions() const override;
  Result<std::vector<int64_t>> committed(const std::vector<TopicPartition>& partitions, int timeout_ms) override;
  Status commit(const std::vector<PartitionOffset>& offsets, int timeout_ms) override;
  std::shared_ptr<const void> group_metadata() override;
  bool connected() const override { return client_->watch().connected(); }
  std::vector<int64_t> lag() const override;

 private:
  rd_kafka_t* handle() const { return client_->get(); }
  void client_error(rd_kafka_resp_err_t error, const std::string& text) override;
  void release(size_t until);
  void resolve(int64_t logical, int64_t spec, std::vector<PartitionOffset>* partitions);
  std::vector<Rd<rd_kafka_topic_t>> learn_leaders();
  void take(int timeout_ms);
  uint32_t index_of(const rd_kafka_message_t& message);
  uint32_t find_index(const rd_kafka_message_t& message);
  void add_record(const rd_kafka_message_t& message, uint32_t index, KafkaPoll* poll);
  void add_headers(const rd_kafka_message_t& message);
  Status partition_error(const rd_kafka_message_t& message);
  Status out_of_range(const Assigned& assigned);

  std::unique_ptr<RdClient> client_;
  Logger log_;
  Rd<rd_kafka_queue_t> queue_;
  std::vector<Assigned> assigned_;
  uint32_t last_index_ = 0;
  // taken_[0, shown_) were shown by the last poll and are destroyed by the next; [shown_, taken_count_) wait.
  std::vector<rd_kafka_message_t*> taken_;
  size_t shown_ = 0;
  size_t taken_count_ = 0;
  size_t released_ = 0;
  std::vector<Header> headers_;
  std::vector<std::pair<size_t, size_t>> header_ranges_;  // record, first header: pointers are set when all are there
  Status failed_;                                         // every poll returns it until the next assign
};

Status RdConsumer::open(const KafkaConfig& config, const KafkaConsumerOptions& options) {
  MR_ASSIGN(client_, RdClient::create(RD_KAFKA_CONSUMER, config, consumer_settings(options), log_, *this));
  const rd_kafka_resp_err_t error = rd_kafka_poll_set_consumer(handle());
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return from_kafka(error, "cannot set up a Kafka consumer");
  queue_.reset(rd_kafka_queue_get_consumer(handle()));
  return Status::ok();
}

// Inside a poll, on the owner's thread.
void RdConsumer::client_error(rd_kafka_resp_err_t error, const std::string& text) {
  if (failed_.is_ok() && is_authorization(error)) failed_ = from_kafka(error, "cannot read from Kafka", text);
}

Status RdConsumer::assign(const std::vector<PartitionOffset>& partitions) {
  release(taken_count_);
  shown_ = released_ = taken_count_ = 0;
  failed_ = Status::ok();
  last_index_ = 0;
  assigned_.clear();
  std::vector<PartitionOffset> resolved = partitions;
  resolve(kOffsetBeginning, RD_KAFKA_OFFSET_SPEC_EARLIEST, &resolved);
  resolve(kOffsetEnd, RD_KAFKA_OFFSET_SPEC_LATEST, &resolved);
  for (const PartitionOffset& partition : resolved) {
    MR_CHECK(partition.offset != kOffsetNone);
    assigned_.push_back({partition.at, nullptr, partition.offset});
  }
  const std::vector<Rd<rd_kafka_topic_t>> topics = learn_leaders();
  const auto list = make_offset_list(resolved);
  const rd_kafka_resp_err_t error = rd_kafka_assign(handle(), list.get());
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return from_kafka(error, "cannot assign partitions");
  return Status::ok();
}

// Replaces `logical` by what it means now. librdkafka would do that too, but half a second later. What cannot be
// resolved (no broker) stays as it is.
void RdConsumer::resolve(int64_t logical, int64_t spec, std::vector<PartitionOffset>* partitions) {
  std::vector<TopicPartition> wanted;
  for (const PartitionOffset& partition : *partitions) {
    if (partition.offset == logical) wanted.push_back(partition.at);
  }
  const auto offsets = list_offsets(handle(), wanted, spec, kResolveTimeoutMs);
  if (!offsets.is_ok()) return;
  size_t next = 0;
  for (PartitionOffset& partition : *partitions) {
    if (partition.offset == logical) partition.offset = (*offsets)[next++];
  }
}

// Asks for the topics' leaders. librdkafka would notice that it does not know them only once a second. The handles keep
// what was learnt until the assignment does.
std::vector<Rd<rd_kafka_topic_t>> RdConsumer::learn_leaders() {
  std::set<std::string> names;
  for (const Assigned& assigned : assigned_) names.insert(assigned.at.topic);
  std::vector<Rd<rd_kafka_topic_t>> topics;
  const Deadline deadline(kResolveTimeoutMs);
  for (const std::string& name : names) {
    topics.emplace_back(rd_kafka_topic_new(handle(), name.c_str(), nullptr));
    const rd_kafka_metadata_t* metadata = nullptr;
    if (!topics.back() || deadline.passed()) continue;
    const rd_kafka_resp_err_t error =
        rd_kafka_metadata(handle(), 0, topics.back().get(), &metadata, std::max(deadline.left_ms(), 1));
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) rd_kafka_metadata_destroy(metadata);
  }
  return topics;
}

// Destroys messages [released_, until).
void RdConsumer::release(size_t until) {
  for (; released_ < until; released_++) rd_kafka_message_destroy(taken_[released_]);
}

// librdkafka's batch call waits until the batch is full or the time is over, so waiting is for a single message and
// what came with it is then taken without waiting.
void RdConsumer::take(int timeout_ms) {
  ssize_t count = rd_kafka_consume_batch_queue(queue_.get(), 0, taken_.data(), kTake);
  if (count == 0 && timeout_ms > 0) {
    count = rd_kafka_consume_batch_queue(queue_.get(), timeout_ms, taken_.data(), 1);
    if (count == 1) {
      const ssize_t more = rd_kafka_consume_batch_queue(queue_.get(), 0, taken_.data() + 1, kTake - 1);
      count += std::max<ssize_t>(more, 0);
    }
  }
  taken_count_ = static_cast<size_t>(std::max<ssize_t>(count, 0));
  shown_ = released_ = 0;
}

uint32_t RdConsumer::index_of(const rd_kafka_message_t& message) {
  const Assigned& last = assigned_[last_index_];
  if (last.topic != message.rkt || last.at.partition != message.partition) last_index_ = find_index(message);
  return last_index_;
}

uint32_t RdConsumer::find_index(const rd_kafka_message_t& message) {
  for (uint32_t i = 0; i < assigned_.size(); i++) {
    if (assigned_[i].topic == message.rkt && assigned_[i].at.partition == message.partition) return i;
  }
  const char* name = rd_kafka_topic_name(message.rkt);
  for (uint32_t i = 0; i < assigned_.size(); i++) {
    if (assigned_[i].at.partition == message.partition && assigned_[i].at.topic == name) {
      assigned_[i].topic = message.rkt;
      return i;
    }
  }
  MR_CHECK(!"a message of a partition that is not assigned");
  return 0;
}

Status RdConsumer::poll(size_t max_records, size_t max_bytes, int timeout_ms, bool want_headers, KafkaPoll* poll) {
  poll->records.clear();
  poll->ends.clear();
  headers_.clear();
  header_ranges_.clear();
  release(shown_);
  if (!failed_.is_ok()) return failed_;
  if (shown_ == taken_count_) take(timeout_ms);
  size_t bytes = 0;
  while (shown_ < taken_count_ && poll->records.size() < max_records) {
    const rd_kafka_message_t& message = *taken_[shown_];
    if (message.err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      bytes += message.len + message.key_len;
      if (bytes > max_bytes && !poll->records.empty()) break;
      const uint32_t index = index_of(message);
      add_record(message, index, poll);
      if (want_headers) {
        header_ranges_.emplace_back(poll->records.size() - 1, headers_.size());
        add_headers(message);
      }
    } else if (message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      const uint32_t index = index_of(message);
      assigned_[index].position = std::max(assigned_[index].position, message.offset);
      poll->ends.emplace_back(index, assigned_[index].position);
    } else {
      if (!poll->records.empty()) break;  // what came before it first
      shown_++;
      failed_ = partition_error(message);
      if (!failed_.is_ok()) return failed_;
      continue;
    }
    shown_++;
  }
  poll->more_waits = shown_ < taken_count_;
  for (size_t i = 0; i < header_ranges_.size(); i++) {
    const auto [record, first] = header_ranges_[i];
    const size_t end = i + 1 < header_ranges_.size() ? header_ranges_[i + 1].second : headers_.size();
    poll->records[record].headers = headers_.data() + first;
    poll->records[record].header_count = static_cast<uint32_t>(end - first);
  }
  return Status::ok();
}

void RdConsumer::add_record(const rd_kafka_message_t& message, uint32_t index, KafkaPoll* poll) {
  KafkaRecord& record = poll->records.emplace_back();
  record.partition_index = index;
  record.offset = message.offset;
  record.message = &message;
  rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
  const int64_t timestamp = rd_kafka_message_timestamp(&message, &type);
  record.timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || timestamp < 0 ? kNoTime : timestamp;
  if (message.key != nullptr) record.key = {static_cast<const char*>(message.key), message.key_len};
  if (message.payload != nullptr) record.value = {static_cast<const char*>(message.payload), message.len};
  assigned_[index].position = message.offset + 1;
}

void RdConsumer::read_headers(KafkaRecord* record) {
  headers_.clear();
  add_headers(*static_cast<const rd_kafka_message_t*>(record->message));
  record->headers = headers_.data();
  record->header_count = static_cast<uint32_t>(headers_.size());
}

void RdConsumer::add_headers(const rd_kafka_message_t& message) {
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return;
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
    Header& header = headers_.emplace_back();
    header.name = name;
    if (value != nullptr) header.value = {static_cast<const char*>(value), size};
  }
}

// Ok: nothing to stop for, librdkafka goes on by itself.
Status RdConsumer::partition_error(const rd_kafka_message_t& message) {
  const rd_kafka_resp_err_t error = message.err;
  const char* text = rd_kafka_message_errstr(&message);
  if (error == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED || is_transient(error)) {
    log_.debug("kafka: {}: {}", rd_kafka_err2name(error), text);
    return Status::ok();
  }
  const std::string name = message.rkt == nullptr ? "" : rd_kafka_topic_name(message.rkt);
  const auto found = std::find_if(assigned_.begin(), assigned_.end(), [&](const Assigned& candidate) {
    return candidate.at.topic == name && candidate.at.partition == message.partition;
  });
  if (found == assigned_.end()) return from_kafka(error, fmt::format("cannot read topic {}", name), text);
  const Assigned& assigned = *found;
  const bool truncated = error == RD_KAFKA_RESP_ERR__LOG_TRUNCATION;
  if (error == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || error == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE || truncated) {
    return out_of_range(assigned);
  }
  return from_kafka(error, fmt::format("cannot read topic {} partition {}", assigned.at.topic, assigned.at.partition),
                    text);
}

Status RdConsumer::out_of_range(const Assigned& assigned) {
  const auto& [at, topic, position] = assigned;
  (void)topic;
  int64_t low = 0;
  int64_t high = 0;
  const rd_kafka_resp_err_t error =
      rd_kafka_query_watermark_offsets(handle(), at.topic.c_str(), at.partition, &low, &high, kWatermarkTimeoutMs);
  const std::string where =
      fmt::format("topic {} partition {}: position {} does not exist", at.topic, at.partition, position);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return Status::user(Code::kOffsetOutOfRange, where);
  const std::string lost = position < low ? fmt::format("; {} records were lost", low - position) : std::string();
  return Status::user(Code::kOffsetOutOfRange,
                      fmt::format("{}, the log holds offsets {} to {}{}", where, low, high, lost));
}

std::vector<int64_t> RdConsumer::positions() const {
  std::vector<int64_t> positions;
  positions.reserve(assigned_.size());
  for (const Assigned& assigned : assigned_) positions.push_back(assigned.position);
  return positions;
}

Result<std::vector<int64_t>> RdConsumer::committed(const std::vector<TopicPartition>& partitions, int timeout_ms) {
  const Deadline deadline(timeout_ms);
  for (;;) {
    const auto list = make_partition_list(partitions);
    rd_kafka_resp_err_t error = rd_kafka_committed(handle(), list.get(), std::clamp(deadline.left_ms(), 1, 2000));
    for (int i = 0; error == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++) error = list->elems[i].err;
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      std::vector<int64_t> offsets;
      for (const TopicPartition& at : partitions) {
        const auto* found = rd_kafka_topic_partition_list_find(list.get(), at.topic.c_str(), at.partition);
        offsets.push_back(found != nullptr && found->offset >= 0 ? found->offset : kOffsetNone);
      }
      return offsets;
    }
    if (!is_transient(error) || deadline.passed()) return from_kafka(error, "cannot read committed offsets");
    deadline.wait_ms(20);
  }
}

Status RdConsumer::commit(const std::vector<PartitionOffset>& offsets, int timeout_ms) {
  if (offsets.empty()) return Status::ok();
  const Deadline deadline(timeout_ms);
  for (;;) {
    const auto list = make_offset_list(offsets);
    const Rd<rd_kafka_queue_t> replies(rd_kafka_queue_new(handle()));
    rd_kafka_resp_err_t error = rd_kafka_commit_queue(handle(), list.get(), replies.get(), nullptr, nullptr);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      const Rd<rd_kafka_event_t> event(rd_kafka_queue_poll(replies.get(), std::max(deadline.left_ms(), 1)));
      error = event ? rd_kafka_event_error(event.get()) : RD_KAFKA_RESP_ERR__TIMED_OUT;
      const auto* answers = event ? rd_kafka_event_topic_partition_list(event.get()) : nullptr;
      for (int i = 0; answers != nullptr && error == RD_KAFKA_RESP_ERR_NO_ERROR && i < answers->cnt; i++) {
        error = answers->elems[i].err;
      }
    }
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return Status::ok();
    if (!is_transient(error) || deadline.passed()) return from_kafka(error, "cannot commit offsets");
    deadline.wait_ms(20);
  }
}

std::shared_ptr<const void> RdConsumer::group_metadata() {
  return std::shared_ptr<const void>(rd_kafka_consumer_group_metadata(handle()), [](const void* metadata) {
    if (metadata == nullptr) return;
    rd_kafka_consumer_group_metadata_destroy(
        static_cast<rd_kafka_consumer_group_metadata_t*>(const_cast<void*>(metadata)));
  });
}

std::vector<int64_t> RdConsumer::lag() const {
  std::vector<int64_t> lags;
  for (const Assigned& assigned : assigned_) {
    int64_t low = -1;
    int64_t high = -1;
    const rd_kafka_resp_err_t error =
        rd_kafka_get_watermark_offsets(handle(), assigned.at.topic.c_str(), assigned.at.partition, &low, &high);
    const bool known = error == RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0 && assigned.position >= 0;
    lags.push_back(known ? std::max<int64_t>(high - assigned.position, 0) : -1);
  }
  return lags;
}

}  // namespace

Result<std::unique_ptr<KafkaConsumer>> KafkaConsumer::create(const KafkaConfig& config,
                                                             const KafkaConsumerOptions& options, Logger log) {
  MR_CHECK(!options.group.empty());
  auto consumer = std::make_unique<RdConsumer>(std::move(log));
  MR_RETURN_IF_ERROR(consumer->open(config, options));
  return std::unique_ptr<KafkaConsumer>(std::move(consumer));
}

}  // namespace millrace
