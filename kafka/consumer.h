// KafkaConsumer: reads assigned partitions (never subscribes: the pipeline assigns all partitions itself and the group
// only stores offsets). All calls from one thread, the owner's; librdkafka's own threads are hidden.
// isolation.level=read_committed, auto.offset.reset=error, check.crcs=true; the prefetch queue is bounded in bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/batch.h"
#include "base/status.h"
#include "kafka/kafka_config.h"

namespace millrace {

struct TopicPartition {
  std::string topic;
  int32_t partition = 0;
  friend auto operator<=>(const TopicPartition&, const TopicPartition&) = default;
};

inline constexpr int64_t kOffsetNone = -1;       // nothing committed
inline constexpr int64_t kOffsetBeginning = -2;  // the low watermark
inline constexpr int64_t kOffsetEnd = -3;        // the high watermark at assign

struct PartitionOffset {
  TopicPartition at;
  int64_t offset = kOffsetNone;
};

struct KafkaConsumerOptions {
  std::string group;               // also used for committed offsets; required
  size_t queue_bytes = 32u << 20;  // prefetch bound of the whole consumer
  int fetch_wait_max_ms = 20;
  int fetch_min_bytes = 1;  // the broker answers when it has so many, or after fetch_wait_max_ms
  bool partition_eof = true;  // report ends of partitions
};

// One polled record. Views are valid until the next poll.
struct KafkaRecord {
  uint32_t partition_index = 0;  // index in the assignment
  int64_t offset = 0;
  int64_t timestamp_ms = kNoTime;
  std::string_view key;    // data() == nullptr: none
  std::string_view value;  // data() == nullptr: a tombstone
  const Header* headers = nullptr;
  uint32_t header_count = 0;
  const void* message = nullptr;  // for read_headers
};

struct KafkaPoll {
  std::vector<KafkaRecord> records;
  // partition_index, position: the end of the partition as read_committed sees it was reached at this position.
  std::vector<std::pair<uint32_t, int64_t>> ends;
  bool more_waits = false;  // records stand ready for the next poll
};

class KafkaConsumer {
 public:
  static Result<std::unique_ptr<KafkaConsumer>> create(const KafkaConfig& config, const KafkaConsumerOptions& options,
                                                       Logger log);
  virtual ~KafkaConsumer() = default;
  // Replaces the assignment and starts at the given offsets.
  virtual Status assign(const std::vector<PartitionOffset>& partitions) = 0;
  // Up to max_records records or max_bytes of payload, waiting at most timeout_ms for the first. Errors of a partition
  // (offset out of range: kOffsetOutOfRange with topic, partition, wanted offset and what exists; topic gone:
  // kTopicMissing; authorization) are returned; broker connection trouble is not an error (librdkafka reconnects): see
  // connected(). Reuses *poll's memory.
  virtual Status poll(size_t max_records, size_t max_bytes, int timeout_ms, bool want_headers, KafkaPoll* poll) = 0;
  // Fills in the headers of one record of the last poll, which was made without: parsing them costs more than all the
  // rest of a small record. They are valid until the next call of read_headers or poll.
  virtual void read_headers(KafkaRecord* record) = 0;
  // Position behind the last record returned by poll, per assigned partition (aborted and control records are skipped
  // over when an end was reported).
  virtual std::vector<int64_t> positions() const = 0;
  // Stable committed offsets of the group, kOffsetNone where there is none. Retries UNSTABLE_OFFSET_COMMIT and
  // transport errors until timeout_ms; every partition's error is checked.
  virtual Result<std::vector<int64_t>> committed(const std::vector<TopicPartition>& partitions, int timeout_ms) = 0;
  // Commits outside a transaction, synchronously (first start, re-commits).
  virtual Status commit(const std::vector<PartitionOffset>& offsets, int timeout_ms) = 0;
  // Opaque group metadata for KafkaProducer::send_offsets; cheap.
  virtual std::shared_ptr<const void> group_metadata() = 0;
  virtual bool connected() const = 0;
  // Messages and bytes waiting in the prefetch queue are part of lag: high watermark minus position, per partition; -1
  // unknown.
  virtual std::vector<int64_t> lag() const = 0;
};

}  // namespace millrace
