// FakeCluster: topics, transactions and groups of a Kafka cluster in memory, with the isolation that recovery relies
// on: read_committed readers stop at the first open transaction, aborted records and markers take up offsets, a newer
// owner of a transactional id fences the older one and aborts its transaction. One thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "kafka/admin.h"
#include "kafka/consumer.h"
#include "kafka/producer.h"
#include "recovery/modes.h"

namespace millrace {

struct FakeCluster {
  enum class Visibility { kCommitted, kOpen, kAborted, kMarker };
  struct Record {
    std::optional<std::string> key;
    std::optional<std::string> value;
    Visibility visibility = Visibility::kCommitted;
    int64_t offset = 0;
    std::vector<std::string> headers;  // their names
  };
  struct Log {
    int64_t low = 0;
    int64_t high = 0;
    std::vector<Record> records;  // ascending offsets; compaction leaves gaps
  };
  struct Topic {
    std::map<std::string, std::string> settings;
    std::vector<Log> partitions;
  };
  std::map<std::string, Topic> topics;
  std::map<std::string, std::map<TopicPartition, int64_t>> groups;
  std::map<std::string, int> members;
  std::map<std::string, int> owners;  // by transactional id: the epoch of its owner

  ManualClock clock{1'700'000'000'000};

  // What the next calls do instead of succeeding.
  enum class Commit { kSucceed, kLostAfter, kLostBefore, kFail };
  Commit next_commit = Commit::kSucceed;
  int queue_full_times = 0;
  std::string unreadable_topic;  // its last partition: polls fail
  bool deliver_at_once = true;       // false: delivery reports come with flush
  bool purge_hides_fencing = false;  // a fenced producer's error() only tells of purged records
  // Calls in order, for the start order.
  std::vector<std::string> calls;

  KafkaClients clients();
  void make_topic(const std::string& name, int partitions, std::map<std::string, std::string> settings);
  int64_t append(const std::string& topic, int32_t partition, std::optional<std::string> key,
                 std::optional<std::string> value, Visibility visibility = Visibility::kCommitted);
  // Keeps the newest committed record of each key, as the log cleaner would.
  void compact(const std::string& topic);
  // The newest committed value of each key; tombstones are left out.
  std::map<std::string, std::string> table(const std::string& topic) const;
};

}  // namespace millrace
