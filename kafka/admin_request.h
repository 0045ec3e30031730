// One call of librdkafka's admin API: its options, its reply queue and the wait for the answer. Internal to kafka/.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kafka/admin.h"
#include "kafka/client.h"

namespace millrace {

class AdminRequest {
 public:
  AdminRequest(rd_kafka_t* client, rd_kafka_admin_op_t operation, int timeout_ms);
  rd_kafka_AdminOptions_t* options() const { return options_.get(); }
  rd_kafka_queue_t* queue() const { return queue_.get(); }
  // The answer, owned by the request; what: "cannot create topic orders". Errors of the whole request only.
  Result<rd_kafka_event_t*> wait(const std::string& what);

 private:
  int timeout_ms_;
  Rd<rd_kafka_AdminOptions_t> options_;
  Rd<rd_kafka_queue_t> queue_;
  Rd<rd_kafka_event_t> event_;
};

// Any kind of client may ask. nullopt: no such topic; it is never created.
Result<std::optional<TopicInfo>> describe_topic(rd_kafka_t* client, const std::string& name, int timeout_ms);

// Succeeds when the topic exists afterwards, also if somebody else was faster.
Status create_topic(rd_kafka_t* client, const TopicSpec& spec, int timeout_ms);
Result<std::map<std::string, std::string>> topic_settings(rd_kafka_t* client, const std::string& name,
                                                          int timeout_ms);
// Offsets of RD_KAFKA_OFFSET_SPEC_EARLIEST, _LATEST or of a time (-1: none at or after it), in the order of
// `partitions`. Tried again while brokers are being elected or restarted.
Result<std::vector<int64_t>> list_offsets(rd_kafka_t* client, const std::vector<TopicPartition>& partitions,
                                          int64_t spec, int timeout_ms);

}  // namespace millrace
