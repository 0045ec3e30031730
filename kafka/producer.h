// KafkaProducer: an idempotent or transactional producer. produce() from any thread; the transaction calls from one
// thread (they block); partitioner murmur2_random, lz4, acks=all, queue bounded in bytes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/batch.h"
#include "base/status.h"
#include "kafka/consumer.h"
#include "kafka/kafka_config.h"

namespace millrace {

struct KafkaProducerOptions {
  std::string transactional_id;  // empty: idempotent, no transactions
  int transaction_timeout_ms = 10'000;
  size_t queue_bytes = 64u << 20;
  int linger_ms = 5;  // commit and flush do not wait for it
  size_t max_message_bytes = 1'000'000;
};

enum class Produced { kQueued, kQueueFull, kTooLarge, kFailed };

// What became of a transaction. Unknown is neither success nor failure (DESIGN 4, rule 3).
enum class CommitOutcome { kCommitted, kUnknown };

// What a transaction commits for one consumer group.
struct GroupOffsets {
  std::vector<PartitionOffset> offsets;
  std::shared_ptr<const void> group_metadata;  // KafkaConsumer::group_metadata()
};

// A topic handle; owned by the producer, valid as long as it.
struct KafkaTopic;

struct KafkaRecordOut {
  int32_t partition = -1;    // -1: murmur2 of the key as Java does (random without a key)
  std::string_view key;      // data() == nullptr: none
  std::string_view value;    // data() == nullptr: a tombstone
  int64_t timestamp_ms = 0;  // kNoTime: now
  const Header* headers = nullptr;
  uint32_t header_count = 0;
};

// What a record counts for against limits: key, value, headers and framing.
size_t record_bytes(const KafkaRecordOut& record);

class KafkaProducer {
 public:
  static Result<std::unique_ptr<KafkaProducer>> create(const KafkaConfig& config, const KafkaProducerOptions& options,
                                                       Logger log);
  virtual ~KafkaProducer() = default;

  virtual Result<KafkaTopic*> topic(const std::string& name) = 0;  // once per topic, at open
  // Succeeds when the topic exists afterwards. Replication is the broker's default.
  virtual Status create_topic(const std::string& name, int partitions, int timeout_ms) {
    (void)partitions, (void)timeout_ms;
    return Status::internal("this producer cannot create topic " + name);
  }
  // Copies key and value into the client's queue. kQueueFull: try again after room(); kTooLarge: over max_message_bytes
  // (the caller's policy decides); kFailed: see error().
  virtual Produced produce(KafkaTopic* topic, const KafkaRecordOut& record) = 0;
  // The largest record_bytes() that the topic takes for certain: the client's limit, or the topic's own
  // max.message.bytes if that is smaller and the broker tells it. Asks the broker: at open.
  virtual size_t record_limit(KafkaTopic* topic) = 0;
  // Serves delivery reports for up to timeout_ms. Any thread.
  virtual void poll(int timeout_ms) = 0;
  // Waits until everything queued is delivered or failed. Returns error().
  virtual Status flush(int timeout_ms) = 0;
  // The first permanent error of any delivery or of the client (fenced: kFenced, retry never), ok while there is none.
  virtual Status error() const = 0;
  // Offset of the last delivered record of each partition of `topic` since the producer was made, or -1. Lower bounds
  // for changelog positions: complete when flush or commit_transaction returns. Any thread, without poll.
  virtual std::vector<int64_t> last_delivered(KafkaTopic* topic) const = 0;

  // Transactions. init blocks until the id is ours (fencing older owners), at most timeout_ms.
  virtual Status init_transactions(int timeout_ms) = 0;
  virtual Status begin_transaction() = 0;
  // Flushes, adds the offsets of every group (send-offsets once per entry), commits: called once per transaction.
  // Returns kCommitted only for a clean answer with no transport error or request timeout seen since send-offsets; a
  // Result error is a definite failure (fenced, aborted: nothing became visible). groups may be empty (sources that are
  // not on this cluster).
  virtual Result<CommitOutcome> commit_transaction(const std::vector<GroupOffsets>& groups) = 0;
  virtual void abort_transaction() = 0;  // best effort, bounded; the next incarnation's init settles it anyway
};

}  // namespace millrace
