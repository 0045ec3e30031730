#include "kafka/client.h"

#include <poll.h>
#include <time.h>

#include <algorithm>

namespace millrace {
namespace {

// Numbers of the Kafka protocol.
constexpr int kApiMetadata = 3;
constexpr int kApiFindCoordinator = 10;
constexpr int kApiSaslHandshake = 17;
constexpr int kApiVersions = 18;
constexpr int kApiInitProducerId = 22;
constexpr int kApiEndTxn = 26;
constexpr int kApiSaslAuthenticate = 36;

constexpr const char* kInterceptor = "millrace";

// Requests that only look things up or set a connection up: losing one changes nothing at a broker.
bool changes_nothing(int api_key) {
  return api_key == kApiMetadata || api_key == kApiFindCoordinator || api_key == kApiSaslHandshake ||
         api_key == kApiVersions || api_key == kApiSaslAuthenticate;
}

rd_kafka_resp_err_t request_sent(rd_kafka_t*, int, const char*, int32_t, int16_t api_key, int16_t, int32_t, size_t,
                                 void* watch) {
  static_cast<RequestWatch*>(watch)->request_sent(api_key);
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t response_received(rd_kafka_t*, int, const char*, int32_t, int16_t api_key, int16_t, int32_t, size_t,
                                      int64_t, rd_kafka_resp_err_t error, void* watch) {
  static_cast<RequestWatch*>(watch)->response_received(api_key, error);
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t message_acknowledged(rd_kafka_t*, rd_kafka_message_t* message, void* observer) {
  static_cast<RdClient::Observer*>(observer)->acknowledged(*message);
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

LogLevel level_of(int syslog_level) {
  // Even its errors are about connections that librdkafka mends by itself; what it cannot mend comes back as a Status.
  return syslog_level <= 4 ? LogLevel::kWarn : LogLevel::kDebug;
}

}  // namespace

bool is_fenced(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    // librdkafka would go on with a new epoch; the broker has forgotten the id, so another owner may have come and
    // gone.
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING: return true;
    default: return false;
  }
}

bool is_authorization(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
    case RD_KAFKA_RESP_ERR_SECURITY_DISABLED:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION: return true;
    default: return false;
  }
}

bool is_transient(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__WAIT_CACHE:
    case RD_KAFKA_RESP_ERR__NOENT:  // no leader (yet)
    case RD_KAFKA_RESP_ERR__RETRY:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
    case RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS:
    case RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT:
    case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED: return true;
    default: return false;
  }
}

Status from_kafka(rd_kafka_resp_err_t error, const std::string& what, const std::string& detail) {
  const char* text = rd_kafka_err2str(error);
  std::string message = fmt::format("{}: {}", what, text);
  if (!detail.empty() && detail != text) message += fmt::format(" ({})", detail);
  if (is_fenced(error)) {
    return Status::terminal(Code::kFenced, message + "; another instance of this pipeline has taken over");
  }
  if (is_authorization(error)) return Status::user(Code::kKafkaAuthorization, message);
  if (is_transient(error)) return Status::external(Code::kKafkaUnavailable, message);
  switch (error) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: return Status::user(Code::kTopicMissing, message);
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE: return Status::user(Code::kRecordTooLarge, message);
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR__LOG_TRUNCATION: return Status::user(Code::kOffsetOutOfRange, message);
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP:
      return Status::user(Code::kGroupHasMembers, message + "; the group is used by other consumers");
    // What the restart path cures: a new producer starts from what was decided.
    case RD_KAFKA_RESP_ERR_INVALID_TXN_STATE:
    case RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
    case RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID:
    case RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED:
    case RD_KAFKA_RESP_ERR__INCONSISTENT:
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT: return Status::external(Code::kTransactionAborted, message);
    default: return Status::terminal(Code::kKafkaProtocol, message);
  }
}

Status from_kafka(rd_kafka_error_t* error, const std::string& what) {
  MR_CHECK(error != nullptr);
  const Rd<rd_kafka_error_t> owned(error);
  return from_kafka(rd_kafka_error_code(error), what, rd_kafka_error_string(error));
}

int64_t steady_ms() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

int Deadline::left_ms() const { return static_cast<int>(std::max<int64_t>(0, end_ms_ - steady_ms())); }

void Deadline::wait_ms(int ms) const {
  (void)::poll(nullptr, 0, std::min(ms, left_ms()));  // between two requests to a broker, on a thread that may block
}

Rd<rd_kafka_topic_partition_list_t> make_partition_list(const std::vector<TopicPartition>& partitions) {
  Rd<rd_kafka_topic_partition_list_t> list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
  for (const TopicPartition& at : partitions) {
    rd_kafka_topic_partition_list_add(list.get(), at.topic.c_str(), at.partition);
  }
  return list;
}

Rd<rd_kafka_topic_partition_list_t> make_offset_list(const std::vector<PartitionOffset>& offsets) {
  Rd<rd_kafka_topic_partition_list_t> list(rd_kafka_topic_partition_list_new(static_cast<int>(offsets.size())));
  for (const PartitionOffset& entry : offsets) {
    auto* element = rd_kafka_topic_partition_list_add(list.get(), entry.at.topic.c_str(), entry.at.partition);
    MR_CHECK(entry.offset >= kOffsetEnd);
    element->offset = entry.offset;
    if (entry.offset == kOffsetNone) element->offset = RD_KAFKA_OFFSET_INVALID;
    if (entry.offset == kOffsetBeginning) element->offset = RD_KAFKA_OFFSET_BEGINNING;
    if (entry.offset == kOffsetEnd) element->offset = RD_KAFKA_OFFSET_END;
  }
  return list;
}

void RequestWatch::request_sent(int api_key) {
  if (api_key == kApiEndTxn) end_txn_sent_.fetch_add(1, std::memory_order_acq_rel);
}

void RequestWatch::response_received(int api_key, rd_kafka_resp_err_t error) {
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (api_key == kApiInitProducerId) producer_id_answers_.fetch_add(1, std::memory_order_acq_rel);
    if (!connected_.load(std::memory_order_relaxed)) connected_.store(true, std::memory_order_release);
    return;
  }
  connected_.store(false, std::memory_order_release);
  if (!changes_nothing(api_key)) lost_.fetch_add(1, std::memory_order_acq_rel);
}

Result<std::unique_ptr<RdClient>> RdClient::create(rd_kafka_type_t type, const KafkaConfig& config,
                                                   const Settings& settings, Logger log, Observer& observer) {
  std::unique_ptr<RdClient> client(new RdClient(std::move(log), observer));
  MR_RETURN_IF_ERROR(client->open(type, config, settings));
  return client;
}

RdClient::~RdClient() {
  // Without closing: our consumers never join their group, and closing would wait for a coordinator that may be away.
  if (handle_ != nullptr) rd_kafka_destroy_flags(handle_, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

Status RdClient::open(rd_kafka_type_t type, const KafkaConfig& config, const Settings& settings) {
  Rd<rd_kafka_conf_t> conf(rd_kafka_conf_new());
  MR_RETURN_IF_ERROR(configure(conf.get(), config, settings));
  char text[512] = "";
  handle_ = rd_kafka_new(type, conf.get(), text, sizeof text);
  if (handle_ == nullptr) {
    return Status::user(Code::kKafkaProtocol, fmt::format("cannot set up a Kafka client: {}", text));
  }
  (void)conf.release();  // the handle's now
  return Status::ok();
}

Status RdClient::configure(rd_kafka_conf_t* conf, const KafkaConfig& config, const Settings& settings) {
  char text[512] = "";
  // Defaults of every client, which the user may tune.
  const Settings defaults = {
      {"bootstrap.servers", config.brokers},          {"client.id", "millrace"},  {"reconnect.backoff.ms", "10"},
      {"reconnect.backoff.max.ms", "1000"},           {"retry.backoff.ms", "10"}, {"socket.timeout.ms", "10000"},
      {"socket.connection.setup.timeout.ms", "10000"}};
  const Settings fixed = {{"allow.auto.create.topics", "false"},
                          {"enable.metrics.push", "false"},
                          {"log.connection.close", "false"},
                          {"socket.nagle.disable", "true"},
                          {"socket.keepalive.enable", "true"}};
  auto set = [&](const std::string& name, const std::string& value) {
    return rd_kafka_conf_set(conf, name.c_str(), value.c_str(), text, sizeof text) == RD_KAFKA_CONF_OK;
  };
  for (const auto& [name, value] : defaults) MR_CHECK(set(name, value));
  for (const auto& [name, value] : settings) MR_CHECK(set(name, value));
  for (const auto& [name, value] : config.properties) {
    if (!is_allowed_kafka_property(name)) {
      return Status::user(Code::kKafkaProtocol, fmt::format("the Kafka property {} is not allowed", name));
    }
    // librdkafka's text may repeat the value, which may be a secret.
    if (!set(name, value)) {
      return Status::user(Code::kKafkaProtocol, fmt::format("invalid value of the Kafka property {}", name));
    }
  }
  for (const auto& [name, value] : fixed) MR_CHECK(set(name, value));
  rd_kafka_conf_set_opaque(conf, this);
  rd_kafka_conf_set_log_cb(conf, &RdClient::on_log);
  rd_kafka_conf_set_error_cb(conf, &RdClient::on_error);
  MR_CHECK(rd_kafka_conf_interceptor_add_on_new(conf, kInterceptor, &RdClient::on_new, this) ==
           RD_KAFKA_RESP_ERR_NO_ERROR);
  return Status::ok();
}

rd_kafka_resp_err_t RdClient::on_new(rd_kafka_t* handle, const rd_kafka_conf_t*, void* self, char*, size_t) {
  auto* client = static_cast<RdClient*>(self);
  rd_kafka_interceptor_add_on_request_sent(handle, kInterceptor, &millrace::request_sent, &client->watch_);
  rd_kafka_interceptor_add_on_response_received(handle, kInterceptor, &millrace::response_received, &client->watch_);
  if (rd_kafka_type(handle) == RD_KAFKA_PRODUCER) {
    rd_kafka_interceptor_add_on_acknowledgement(handle, kInterceptor, &message_acknowledged, &client->observer_);
  }
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

void RdClient::on_log(const rd_kafka_t* handle, int level, const char* facility, const char* text) {
  const auto* client = static_cast<const RdClient*>(rd_kafka_opaque(handle));
  // Properties of the other kind of client, which one configuration for both naturally has.
  const bool about_settings = std::string_view(facility) == "CONFWARN";
  const LogLevel ours = about_settings ? LogLevel::kDebug : level_of(level);
  if (client->log_.is_enabled(ours)) client->log_.write(ours, fmt::format("kafka: {}: {}", facility, text));
}

void RdClient::on_error(rd_kafka_t* handle, int error, const char* reason, void* opaque) {
  auto* client = static_cast<RdClient*>(opaque);
  const auto code = static_cast<rd_kafka_resp_err_t>(error);
  if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) client->watch_.disconnected();
  if (code == RD_KAFKA_RESP_ERR__FATAL) {
    char text[512] = "";
    const rd_kafka_resp_err_t cause = rd_kafka_fatal_error(handle, text, sizeof text);
    client->observer_.client_error(cause, text);
  } else {
    client->observer_.client_error(code, reason == nullptr ? "" : reason);
  }
}

}  // namespace millrace
