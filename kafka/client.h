// What consumer, producer and admin share: ownership of librdkafka's objects, the settings of a client, its log and the
// watch on its requests, and from_kafka(), the one place that converts errors. Internal to kafka/: the only header that
// shows librdkafka's types.
#pragma once

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "kafka/consumer.h"
#include "kafka/kafka_config.h"

namespace millrace {

struct RdDelete {
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
  void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
  void operator()(rd_kafka_topic_partition_list_t* list) const { rd_kafka_topic_partition_list_destroy(list); }
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
  void operator()(rd_kafka_event_t* event) const { rd_kafka_event_destroy(event); }
  void operator()(rd_kafka_error_t* error) const { rd_kafka_error_destroy(error); }
  void operator()(rd_kafka_headers_t* headers) const { rd_kafka_headers_destroy(headers); }
  void operator()(rd_kafka_AdminOptions_t* options) const { rd_kafka_AdminOptions_destroy(options); }
};
template <class T>
using Rd = std::unique_ptr<T, RdDelete>;

// Converts an error of librdkafka or of a broker; `what` says what was being done ("cannot commit offsets"), `detail`
// is librdkafka's own text if there is one. Fenced (in each of its shapes) is terminal; authorization, missing topics
// and records too large are the user's; connections and timeouts are external and worth another try.
Status from_kafka(rd_kafka_resp_err_t error, const std::string& what, const std::string& detail = "");
// Takes ownership of the error. Precondition: error != nullptr.
Status from_kafka(rd_kafka_error_t* error, const std::string& what);

bool is_fenced(rd_kafka_resp_err_t error);
// The broker refuses us: wrong credentials or a missing permission.
bool is_authorization(rd_kafka_resp_err_t error);
// Worth another try with the same handle: connections, timeouts, elections.
bool is_transient(rd_kafka_resp_err_t error);

// Milliseconds of a clock that goes on while the process is stopped.
int64_t steady_ms();

// A time limit for a call that may wait several times.
class Deadline {
 public:
  explicit Deadline(int timeout_ms) : end_ms_(steady_ms() + timeout_ms) {}
  int left_ms() const;
  bool passed() const { return left_ms() == 0; }
  // Sleeps for ms, at most until the deadline.
  void wait_ms(int ms) const;

 private:
  int64_t end_ms_;
};

Rd<rd_kafka_topic_partition_list_t> make_partition_list(const std::vector<TopicPartition>& partitions);
// kOffsetNone, kOffsetBeginning and kOffsetEnd become librdkafka's own.
Rd<rd_kafka_topic_partition_list_t> make_offset_list(const std::vector<PartitionOffset>& offsets);

// Told by librdkafka on its broker threads what becomes of each request; the error callback cannot be used for that,
// because it keeps quiet about closed connections and about errors that repeat.
class RequestWatch {
 public:
  // Requests (other than those that only look things up) that ended without an answer: connection lost or timed out.
  uint64_t lost() const { return lost_.load(std::memory_order_acquire); }
  uint64_t end_txn_sent() const { return end_txn_sent_.load(std::memory_order_acquire); }
  uint64_t producer_id_answers() const { return producer_id_answers_.load(std::memory_order_acquire); }
  // The last thing heard from any broker was an answer.
  bool connected() const { return connected_.load(std::memory_order_acquire); }

  void request_sent(int api_key);
  void response_received(int api_key, rd_kafka_resp_err_t error);
  void disconnected() { connected_.store(false, std::memory_order_release); }

 private:
  std::atomic<uint64_t> lost_{0};
  std::atomic<uint64_t> end_txn_sent_{0};
  std::atomic<uint64_t> producer_id_answers_{0};
  std::atomic<bool> connected_{false};
};

// One rd_kafka_t. Made with settings of ours, then the allow-listed ones of the user, who may tune but not weaken.
// Callbacks and interceptors point back to it, so it neither moves nor is copied.
class RdClient {
 public:
  using Settings = std::vector<std::pair<std::string, std::string>>;
  class Observer {
   public:
    virtual ~Observer() = default;
    // Producers: every message, acknowledged or failed; on librdkafka's broker threads.
    virtual void acknowledged(const rd_kafka_message_t& message) { (void)message; }
    // An error of the client itself; on whichever thread polls.
    virtual void client_error(rd_kafka_resp_err_t error, const std::string& text) = 0;
  };

  // `observer` outlives the client.
  static Result<std::unique_ptr<RdClient>> create(rd_kafka_type_t type, const KafkaConfig& config,
                                                  const Settings& settings, Logger log, Observer& observer);
  RdClient(const RdClient&) = delete;
  RdClient& operator=(const RdClient&) = delete;
  ~RdClient();

  rd_kafka_t* get() const { return handle_; }
  const RequestWatch& watch() const { return watch_; }

 private:
  RdClient(Logger log, Observer& observer) : log_(std::move(log)), observer_(observer) {}
  Status open(rd_kafka_type_t type, const KafkaConfig& config, const Settings& settings);
  Status configure(rd_kafka_conf_t* conf, const KafkaConfig& config, const Settings& settings);
  static void on_log(const rd_kafka_t* handle, int level, const char* facility, const char* text);
  static void on_error(rd_kafka_t* handle, int error, const char* reason, void* opaque);
  static rd_kafka_resp_err_t on_new(rd_kafka_t* handle, const rd_kafka_conf_t* conf, void* self, char* error_text,
                                    size_t error_size);

  Logger log_;
  Observer& observer_;
  RequestWatch watch_;
  rd_kafka_t* handle_ = nullptr;
};

}  // namespace millrace
