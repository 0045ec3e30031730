#include "kafka/admin.h"

#include <algorithm>
#include <set>
#include <utility>

#include "kafka/admin_request.h"

namespace millrace {
namespace {

constexpr int kOnePoll = 20;

struct FreeNewTopic {
  void operator()(rd_kafka_NewTopic_t* topic) const { rd_kafka_NewTopic_destroy(topic); }
  void operator()(rd_kafka_ConfigResource_t* resource) const { rd_kafka_ConfigResource_destroy(resource); }
  void operator()(rd_kafka_TopicCollection_t* topics) const { rd_kafka_TopicCollection_destroy(topics); }
};

class RdAdmin : public KafkaAdmin, private RdClient::Observer {
 public:
  explicit RdAdmin(Logger log) : log_(std::move(log)) {}
  Status open(const KafkaConfig& config) {
    MR_ASSIGN(client_, RdClient::create(RD_KAFKA_PRODUCER, config, {}, log_, *this));
    return Status::ok();
  }
  Result<std::string> cluster_id(int timeout_ms) override;
  Result<std::optional<TopicInfo>> describe_topic(const std::string& name, int timeout_ms) override;
  Result<std::map<std::string, std::string>> topic_settings(const std::string& name, int timeout_ms) override;
  Status create_topic(const TopicSpec& spec, int timeout_ms) override;
  Result<std::vector<Watermarks>> watermarks(const std::vector<TopicPartition>& partitions, int timeout_ms) override;
  Result<std::vector<int64_t>> offsets_for_time(const std::vector<TopicPartition>& partitions, int64_t time_ms,
                                                int timeout_ms) override;
  Result<int> group_members(const std::string& group, int timeout_ms) override;

 private:
  rd_kafka_t* handle() const { return client_->get(); }
  void client_error(rd_kafka_resp_err_t error, const std::string& text) override {
    if (is_authorization(error)) refused_ = from_kafka(error, "cannot reach Kafka", text);
  }
  Status explain(Status status);
  Result<std::vector<int64_t>> offsets(const std::vector<TopicPartition>& partitions, int64_t spec, int timeout_ms);
  Result<int> group_members_once(const std::string& group, int timeout_ms);

  Logger log_;
  std::unique_ptr<RdClient> client_;
  Status refused_;
};

// A request that timed out because the broker refuses our credentials says so.
Status RdAdmin::explain(Status status) {
  rd_kafka_poll(handle(), 0);
  const bool hides_refusal = status.code() == Code::kKafkaUnavailable && !refused_.is_ok();
  return hides_refusal ? std::exchange(refused_, Status::ok()) : status;
}

Result<std::string> RdAdmin::cluster_id(int timeout_ms) {
  char* id = rd_kafka_clusterid(handle(), timeout_ms);
  if (id == nullptr) {
    return explain(from_kafka(RD_KAFKA_RESP_ERR__TIMED_OUT, "cannot learn the cluster's id"));
  }
  std::string text(id);
  rd_kafka_mem_free(handle(), id);
  return text;
}

Result<std::optional<TopicInfo>> RdAdmin::describe_topic(const std::string& name, int timeout_ms) {
  auto info = millrace::describe_topic(handle(), name, timeout_ms);
  if (!info.is_ok()) return explain(info.status());
  return info;
}

Result<std::map<std::string, std::string>> RdAdmin::topic_settings(const std::string& name, int timeout_ms) {
  auto settings = millrace::topic_settings(handle(), name, timeout_ms);
  if (!settings.is_ok()) return explain(settings.status());
  return settings;
}

Status RdAdmin::create_topic(const TopicSpec& spec, int timeout_ms) {
  return explain(millrace::create_topic(handle(), spec, timeout_ms));
}

Result<std::vector<int64_t>> RdAdmin::offsets(const std::vector<TopicPartition>& partitions, int64_t spec,
                                              int timeout_ms) {
  auto offsets = list_offsets(handle(), partitions, spec, timeout_ms);
  if (!offsets.is_ok()) return explain(offsets.status());
  return offsets;
}

Result<std::vector<Watermarks>> RdAdmin::watermarks(const std::vector<TopicPartition>& partitions, int timeout_ms) {
  const Deadline deadline(timeout_ms);
  MR_ASSIGN(const std::vector<int64_t> lows, offsets(partitions, RD_KAFKA_OFFSET_SPEC_EARLIEST, timeout_ms));
  MR_ASSIGN(const std::vector<int64_t> highs,
            offsets(partitions, RD_KAFKA_OFFSET_SPEC_LATEST, std::max(deadline.left_ms(), 1)));
  std::vector<Watermarks> result;
  for (size_t i = 0; i < partitions.size(); i++) result.push_back({lows[i], highs[i]});
  return result;
}

Result<std::vector<int64_t>> RdAdmin::offsets_for_time(const std::vector<TopicPartition>& partitions, int64_t time_ms,
                                                       int timeout_ms) {
  MR_CHECK(time_ms >= 0);
  const Deadline deadline(timeout_ms);
  MR_ASSIGN(std::vector<int64_t> found, offsets(partitions, time_ms, timeout_ms));
  if (std::find(found.begin(), found.end(), -1) == found.end()) return found;
  MR_ASSIGN(const std::vector<int64_t> highs,
            offsets(partitions, RD_KAFKA_OFFSET_SPEC_LATEST, std::max(deadline.left_ms(), 1)));
  for (size_t i = 0; i < found.size(); i++) {
    if (found[i] < 0) found[i] = highs[i];
  }
  return found;
}

Result<int> RdAdmin::group_members_once(const std::string& group, int timeout_ms) {
  const std::string what = fmt::format("cannot describe consumer group {}", group);
  AdminRequest request(handle(), RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, timeout_ms);
  const char* list[] = {group.c_str()};
  rd_kafka_DescribeConsumerGroups(handle(), list, 1, request.options(), request.queue());
  MR_ASSIGN(auto* event, request.wait(what));
  size_t count = 0;
  const auto** groups =
      rd_kafka_DescribeConsumerGroups_result_groups(rd_kafka_event_DescribeConsumerGroups_result(event), &count);
  if (count != 1) return from_kafka(RD_KAFKA_RESP_ERR__BAD_MSG, what);
  if (const rd_kafka_error_t* error = rd_kafka_ConsumerGroupDescription_error(groups[0])) {
    const rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    if (code == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND) return 0;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return from_kafka(code, what, rd_kafka_error_string(error));
  }
  return static_cast<int>(rd_kafka_ConsumerGroupDescription_member_count(groups[0]));
}

Result<int> RdAdmin::group_members(const std::string& group, int timeout_ms) {
  const Deadline deadline(timeout_ms);
  for (;;) {
    auto members = group_members_once(group, std::max(deadline.left_ms(), 1));
    if (members.is_ok() || members.status().retry() == Retry::kNever) return members;
    if (deadline.passed()) return explain(members.status());
    deadline.wait_ms(kOnePoll);
  }
}

Result<std::vector<int64_t>> list_offsets_once(rd_kafka_t* client, const std::vector<TopicPartition>& partitions,
                                               int64_t spec, int timeout_ms) {
  const std::string what = "cannot read the ends of partitions";
  const auto list = make_partition_list(partitions);
  for (int i = 0; i < list->cnt; i++) list->elems[i].offset = spec;
  AdminRequest request(client, RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout_ms);
  rd_kafka_ListOffsets(client, list.get(), request.options(), request.queue());
  MR_ASSIGN(auto* event, request.wait(what));
  size_t count = 0;
  const auto** answers = rd_kafka_ListOffsets_result_infos(rd_kafka_event_ListOffsets_result(event), &count);
  std::vector<int64_t> offsets(partitions.size(), -1);
  std::map<TopicPartition, size_t> index;
  for (size_t i = 0; i < partitions.size(); i++) index[partitions[i]] = i;
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    const auto* answer = rd_kafka_ListOffsetsResultInfo_topic_partition(answers[i]);
    if (answer->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return from_kafka(answer->err, fmt::format("{}: topic {} partition {}", what, answer->topic, answer->partition));
    }
    const auto at = index.find({answer->topic, answer->partition});
    if (at == index.end()) continue;
    offsets[at->second] = answer->offset;
    found++;
  }
  if (found != partitions.size()) return from_kafka(RD_KAFKA_RESP_ERR__BAD_MSG, what);
  return offsets;
}

Status request_topic(rd_kafka_t* client, const TopicSpec& spec, int timeout_ms) {
  const std::string what = fmt::format("cannot create topic {}", spec.name);
  char text[512] = "";
  const std::unique_ptr<rd_kafka_NewTopic_t, FreeNewTopic> topic(
      rd_kafka_NewTopic_new(spec.name.c_str(), spec.partitions, -1 /* the broker's default */, text, sizeof text));
  if (!topic) return Status::user(Code::kKafkaProtocol, fmt::format("{}: {}", what, text));
  for (const auto& [name, value] : spec.settings) {
    rd_kafka_NewTopic_set_config(topic.get(), name.c_str(), value.c_str());
  }
  AdminRequest request(client, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms);
  rd_kafka_NewTopic_t* list[] = {topic.get()};
  rd_kafka_CreateTopics(client, list, 1, request.options(), request.queue());
  MR_ASSIGN(auto* event, request.wait(what));
  size_t count = 0;
  const auto** answers = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
  if (count != 1) return from_kafka(RD_KAFKA_RESP_ERR__BAD_MSG, what);
  const rd_kafka_resp_err_t error = rd_kafka_topic_result_error(answers[0]);
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) return Status::ok();
  const char* detail = rd_kafka_topic_result_error_string(answers[0]);
  const bool impossible = error == RD_KAFKA_RESP_ERR_INVALID_PARTITIONS || error == RD_KAFKA_RESP_ERR_INVALID_CONFIG ||
                          error == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR ||
                          error == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION || error == RD_KAFKA_RESP_ERR_POLICY_VIOLATION;
  if (impossible) {
    return Status::user(Code::kTopicSettings, fmt::format("{}: {}", what, detail == nullptr ? "refused" : detail));
  }
  return from_kafka(error, what, detail == nullptr ? "" : detail);
}

// A missing topic looks like one without leaders.
Status require_topics(rd_kafka_t* client, const std::vector<TopicPartition>& partitions, int timeout_ms) {
  std::set<std::string> names;
  for (const TopicPartition& at : partitions) names.insert(at.topic);
  for (const std::string& name : names) {
    MR_ASSIGN(const auto info, millrace::describe_topic(client, name, timeout_ms));
    if (!info) return Status::user(Code::kTopicMissing, fmt::format("topic {} does not exist", name));
  }
  return Status::ok();
}

}  // namespace

AdminRequest::AdminRequest(rd_kafka_t* client, rd_kafka_admin_op_t operation, int timeout_ms)
    : timeout_ms_(std::max(timeout_ms, 1)),
      options_(rd_kafka_AdminOptions_new(client, operation)),
      queue_(rd_kafka_queue_new(client)) {
  char text[256] = "";
  MR_CHECK(rd_kafka_AdminOptions_set_request_timeout(options_.get(), timeout_ms_, text, sizeof text) ==
           RD_KAFKA_RESP_ERR_NO_ERROR);
}

Result<rd_kafka_event_t*> AdminRequest::wait(const std::string& what) {
  // librdkafka ends the request at its timeout; the margin lets its own explanation arrive.
  event_.reset(rd_kafka_queue_poll(queue_.get(), timeout_ms_ + 500));
  if (!event_) return from_kafka(RD_KAFKA_RESP_ERR__TIMED_OUT, what);
  const rd_kafka_resp_err_t error = rd_kafka_event_error(event_.get());
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return event_.get();
  const char* text = rd_kafka_event_error_string(event_.get());
  return from_kafka(error, what, text == nullptr ? "" : text);
}

Result<std::optional<TopicInfo>> describe_topic(rd_kafka_t* client, const std::string& name, int timeout_ms) {
  const std::string what = fmt::format("cannot describe topic {}", name);
  const Deadline deadline(timeout_ms);
  const char* names[] = {name.c_str()};
  const std::unique_ptr<rd_kafka_TopicCollection_t, FreeNewTopic> topics(
      rd_kafka_TopicCollection_of_topic_names(names, 1));
  for (;;) {
    AdminRequest request(client, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, std::max(deadline.left_ms(), 1));
    rd_kafka_DescribeTopics(client, topics.get(), request.options(), request.queue());
    MR_ASSIGN(auto* event, request.wait(what));
    size_t count = 0;
    const auto** answers = rd_kafka_DescribeTopics_result_topics(rd_kafka_event_DescribeTopics_result(event), &count);
    if (count != 1) return from_kafka(RD_KAFKA_RESP_ERR__BAD_MSG, what);
    const rd_kafka_error_t* error = rd_kafka_TopicDescription_error(answers[0]);
    const rd_kafka_resp_err_t code = error == nullptr ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_error_code(error);
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) return std::optional<TopicInfo>();
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
      TopicInfo info;
      info.name = name;
      const rd_kafka_Uuid_t* id = rd_kafka_TopicDescription_topic_id(answers[0]);
      const bool has_id = id != nullptr && (rd_kafka_Uuid_least_significant_bits(id) != 0 ||
                                            rd_kafka_Uuid_most_significant_bits(id) != 0);
      if (has_id) info.topic_id = rd_kafka_Uuid_base64str(id);
      size_t partitions = 0;
      rd_kafka_TopicDescription_partitions(answers[0], &partitions);
      info.partitions = static_cast<int32_t>(partitions);
      return std::optional<TopicInfo>(std::move(info));
    }
    if (!is_transient(code) || deadline.passed()) return from_kafka(code, what, rd_kafka_error_string(error));
    deadline.wait_ms(kOnePoll);
  }
}

Result<std::map<std::string, std::string>> topic_settings(rd_kafka_t* client, const std::string& name,
                                                          int timeout_ms) {
  const std::string what = fmt::format("cannot read the settings of topic {}", name);
  const std::unique_ptr<rd_kafka_ConfigResource_t, FreeNewTopic> resource(
      rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name.c_str()));
  AdminRequest request(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms);
  rd_kafka_ConfigResource_t* list[] = {resource.get()};
  rd_kafka_DescribeConfigs(client, list, 1, request.options(), request.queue());
  MR_ASSIGN(auto* event, request.wait(what));
  size_t count = 0;
  const auto** answers =
      rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
  if (count != 1) return from_kafka(RD_KAFKA_RESP_ERR__BAD_MSG, what);
  const rd_kafka_resp_err_t error = rd_kafka_ConfigResource_error(answers[0]);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return from_kafka(error, what);
  const auto** entries = rd_kafka_ConfigResource_configs(answers[0], &count);
  std::map<std::string, std::string> settings;
  for (size_t i = 0; i < count; i++) {
    const char* value = rd_kafka_ConfigEntry_value(entries[i]);
    settings[rd_kafka_ConfigEntry_name(entries[i])] = value == nullptr ? "" : value;
  }
  return settings;
}

Result<std::vector<int64_t>> list_offsets(rd_kafka_t* client, const std::vector<TopicPartition>& partitions,
                                          int64_t spec, int timeout_ms) {
  if (partitions.empty()) return std::vector<int64_t>();
  const Deadline deadline(timeout_ms);
  for (;;) {
    auto offsets = list_offsets_once(client, partitions, spec, std::max(deadline.left_ms(), 1));
    if (offsets.is_ok()) return offsets;
    if (offsets.status().retry() == Retry::kNever || deadline.passed()) return offsets;
    MR_RETURN_IF_ERROR(require_topics(client, partitions, std::max(deadline.left_ms(), 1)));
    deadline.wait_ms(kOnePoll);
  }
}

Status create_topic(rd_kafka_t* client, const TopicSpec& spec, int timeout_ms) {
  const Deadline deadline(timeout_ms);
  const Status requested = request_topic(client, spec, std::max(deadline.left_ms(), 1));
  if (!requested.is_ok() && requested.retry() == Retry::kNever) return requested;
  // Brokers learn of a new topic a little after the controller has answered. After a timeout it may be there too.
  do {
    auto info = describe_topic(client, spec.name, std::max(deadline.left_ms(), 1));
    if (info.is_ok() && info->has_value()) return Status::ok();
    if (!info.is_ok() && info.status().retry() == Retry::kNever) return info.status();
    deadline.wait_ms(kOnePoll);
  } while (!deadline.passed());
  if (!requested.is_ok()) return requested;
  return Status::external(Code::kKafkaUnavailable, fmt::format("topic {} was created but does not appear", spec.name));
}

Result<std::unique_ptr<KafkaAdmin>> KafkaAdmin::create(const KafkaConfig& config, Logger log) {
  auto admin = std::make_unique<RdAdmin>(std::move(log));
  MR_RETURN_IF_ERROR(admin->open(config));
  return std::unique_ptr<KafkaAdmin>(std::move(admin));
}

}  // namespace millrace
