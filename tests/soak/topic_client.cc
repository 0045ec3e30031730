#include "tests/soak/topic_client.h"

#include <librdkafka/rdkafka.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>

namespace millrace {
namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;
struct ClientDeleter {
  void operator()(rd_kafka_t* client) const { rd_kafka_destroy(client); }
};
using Client = std::unique_ptr<rd_kafka_t, ClientDeleter>;
struct ListDeleter {
  void operator()(rd_kafka_topic_partition_list_t* list) const { rd_kafka_topic_partition_list_destroy(list); }
};
using List = std::unique_ptr<rd_kafka_topic_partition_list_t, ListDeleter>;

[[noreturn]] void fail(const std::string& what, rd_kafka_resp_err_t error) {
  throw std::runtime_error(what + ": " + rd_kafka_err2str(error));
}

// lost: producers; what became of the last record that was not delivered. Outlives the client.
Client make_client(rd_kafka_type_t type, const std::string& bootstrap, const Settings& settings,
                   rd_kafka_resp_err_t* lost = nullptr) {
  char error[512];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  if (lost != nullptr) {
    rd_kafka_conf_set_opaque(conf, lost);
    rd_kafka_conf_set_dr_msg_cb(conf, [](rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
      if (message->err) *static_cast<rd_kafka_resp_err_t*>(opaque) = message->err;
    });
  }
  rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap.c_str(), error, sizeof error);
  for (const auto& [name, value] : settings)
    if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), error, sizeof error) != RD_KAFKA_CONF_OK)
      throw std::runtime_error(error);
  rd_kafka_t* client = rd_kafka_new(type, conf, error, sizeof error);
  if (!client) throw std::runtime_error(error);
  return Client(client);
}

Client make_reader(const std::string& bootstrap, const std::string& group) {
  return make_client(RD_KAFKA_CONSUMER, bootstrap,
                     {{"group.id", group},
                      {"isolation.level", "read_committed"},
                      {"enable.auto.commit", "false"},
                      {"enable.partition.eof", "true"},
                      {"auto.offset.reset", "earliest"},
                      {"fetch.wait.max.ms", "50"}});
}

List partition_list(rd_kafka_t* client, const std::string& topic) {
  const struct rd_kafka_metadata* metadata = nullptr;
  rd_kafka_topic_t* handle = rd_kafka_topic_new(client, topic.c_str(), nullptr);
  const rd_kafka_resp_err_t error = rd_kafka_metadata(client, 0, handle, &metadata, 10'000);
  rd_kafka_topic_destroy(handle);
  if (error) fail(topic, error);
  List list(rd_kafka_topic_partition_list_new(4));
  for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), metadata->topics[0].partitions[i].id)->offset =
        RD_KAFKA_OFFSET_BEGINNING;
  rd_kafka_metadata_destroy(metadata);
  return list;
}

// Where a reader stands in each partition, and where that ends.
std::string standing(rd_kafka_t* client, rd_kafka_topic_partition_list_t* list) {
  rd_kafka_position(client, list);
  std::string text;
  for (int i = 0; i < list->cnt; i++) {
    const rd_kafka_topic_partition_t& at = list->elems[i];
    int64_t low = -1, high = -1;
    rd_kafka_query_watermark_offsets(client, at.topic, at.partition, &low, &high, 10'000);
    text += "; partition " + std::to_string(at.partition) + " at " + std::to_string(at.offset) + " of " +
            std::to_string(low) + " to " + std::to_string(high);
  }
  return text;
}

}  // namespace

void TopicClient::create_topic(const std::string& topic, int partitions,
                               const std::map<std::string, std::string>& settings) const {
  const Client client = make_client(RD_KAFKA_PRODUCER, bootstrap_, {});
  char error[256];
  rd_kafka_NewTopic_t* spec = rd_kafka_NewTopic_new(topic.c_str(), partitions, 1, error, sizeof error);
  for (const auto& [name, value] : settings) rd_kafka_NewTopic_set_config(spec, name.c_str(), value.c_str());
  rd_kafka_queue_t* queue = rd_kafka_queue_new(client.get());
  rd_kafka_CreateTopics(client.get(), &spec, 1, nullptr, queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 20'000);
  const bool good = event != nullptr && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR;
  if (event) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  rd_kafka_NewTopic_destroy(spec);
  if (!good) throw std::runtime_error("cannot create topic " + topic);
}

void TopicClient::delete_topic(const std::string& topic) const {
  const Client client = make_client(RD_KAFKA_PRODUCER, bootstrap_, {});
  rd_kafka_DeleteTopic_t* spec = rd_kafka_DeleteTopic_new(topic.c_str());
  rd_kafka_queue_t* queue = rd_kafka_queue_new(client.get());
  rd_kafka_DeleteTopics(client.get(), &spec, 1, nullptr, queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 20'000);
  const bool good = event != nullptr && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR;
  if (event) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  rd_kafka_DeleteTopic_destroy(spec);
  if (!good) throw std::runtime_error("cannot delete topic " + topic);
  // All topics: asking for this one by name would create it again where the broker does so by itself.
  for (int attempt = 0; attempt < 200; attempt++) {
    const struct rd_kafka_metadata* metadata = nullptr;
    if (const auto error = rd_kafka_metadata(client.get(), 1, nullptr, &metadata, 10'000)) fail(topic, error);
    bool there = false;
    for (int i = 0; i < metadata->topic_cnt; i++) there = there || topic == metadata->topics[i].topic;
    rd_kafka_metadata_destroy(metadata);
    if (!there) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  throw std::runtime_error("topic " + topic + " does not go away");
}

void TopicClient::delete_records(const std::string& topic, int32_t partition, int64_t before) const {
  const Client client = make_client(RD_KAFKA_PRODUCER, bootstrap_, {});
  const List list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = before;
  rd_kafka_DeleteRecords_t* request = rd_kafka_DeleteRecords_new(list.get());
  rd_kafka_queue_t* queue = rd_kafka_queue_new(client.get());
  rd_kafka_DeleteRecords(client.get(), &request, 1, nullptr, queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 20'000);
  const bool good = event != nullptr && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR;
  if (event) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  rd_kafka_DeleteRecords_destroy(request);
  if (!good) throw std::runtime_error("cannot delete records of " + topic);
}

void TopicClient::produce(const std::string& topic, const std::string& key, const std::string& value,
                          int32_t partition) const {
  rd_kafka_resp_err_t lost = RD_KAFKA_RESP_ERR_NO_ERROR;
  const Client client = make_client(RD_KAFKA_PRODUCER, bootstrap_,
                                    {{"partitioner", "murmur2_random"}, {"message.max.bytes", "50000000"}}, &lost);
  rd_kafka_topic_t* handle = rd_kafka_topic_new(client.get(), topic.c_str(), nullptr);
  const int sent = rd_kafka_produce(handle, partition, RD_KAFKA_MSG_F_COPY, const_cast<char*>(value.data()),
                                    value.size(), key.data(), key.size(), nullptr);
  const rd_kafka_resp_err_t error = sent == 0 ? rd_kafka_flush(client.get(), 30'000) : rd_kafka_last_error();
  rd_kafka_topic_destroy(handle);
  if (error || lost) fail("produce to " + topic, error ? error : lost);
}

uint64_t TopicClient::load(const std::string& topic, const OrdersOptions& options, uint64_t first, uint64_t end,
                           uint64_t per_second, const std::function<bool()>& more) const {
  rd_kafka_resp_err_t lost = RD_KAFKA_RESP_ERR_NO_ERROR;
  const Client client = make_client(RD_KAFKA_PRODUCER, bootstrap_,
                                    {{"linger.ms", "5"},
                                     {"partitioner", "murmur2_random"},
                                     {"compression.type", "lz4"},
                                     {"enable.idempotence", "true"},
                                     {"message.timeout.ms", "0"},  // a broker that stands still loses nothing
                                     {"queue.buffering.max.messages", "100000"}},
                                    &lost);
  rd_kafka_topic_t* handle = rd_kafka_topic_new(client.get(), topic.c_str(), nullptr);
  const auto start = std::chrono::steady_clock::now();
  uint64_t i = first;
  for (; i < end || (more && more()); i++) {
    const Order order = order_at(options, i);
    const std::string value = to_json(order, i);
    while (rd_kafka_produce(handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, const_cast<char*>(value.data()),
                            value.size(), order.customer.data(), order.customer.size(), nullptr) == -1)
      rd_kafka_poll(client.get(), 5);
    if (i % 1000 == 0) rd_kafka_poll(client.get(), 0);
    if (per_second > 0 && i % 100 == 0)
      std::this_thread::sleep_until(start + std::chrono::microseconds((i - first) * 1'000'000 / per_second));
  }
  const rd_kafka_resp_err_t error = rd_kafka_flush(client.get(), 180'000);
  rd_kafka_topic_destroy(handle);
  if (error || lost) fail("load " + topic, error ? error : lost);
  return i;
}

void TopicClient::read_all(const std::string& topic, const std::function<void(const Record&)>& visit) const {
  const Client client = make_reader(bootstrap_, "millrace-soak-reader");
  rd_kafka_poll_set_consumer(client.get());
  const List list = partition_list(client.get(), topic);
  if (const auto error = rd_kafka_assign(client.get(), list.get())) fail("assign " + topic, error);
  int ended = 0;
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (ended < list->cnt) {
    rd_kafka_message_t* message = rd_kafka_consumer_poll(client.get(), 1000);
    if (!message) {
      if (std::chrono::steady_clock::now() > deadline)
        throw std::runtime_error("no end of " + topic + " within a minute" + standing(client.get(), list.get()));
      continue;
    }
    deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      ended++;
    } else if (!message->err) {
      rd_kafka_timestamp_type_t type;
      std::vector<std::pair<std::string, std::string>> headers;
      rd_kafka_headers_t* list_of = nullptr;
      if (!rd_kafka_message_headers(message, &list_of)) {
        const char* name = nullptr;
        const void* bytes = nullptr;
        size_t size = 0;
        for (size_t i = 0; !rd_kafka_header_get_all(list_of, i, &name, &bytes, &size); i++)
          headers.emplace_back(name, std::string(static_cast<const char*>(bytes), size));
      }
      visit({message->partition,
             message->offset,
             {static_cast<const char*>(message->key), message->key_len},
             {static_cast<const char*>(message->payload), message->len},
             message->payload == nullptr,
             rd_kafka_message_timestamp(message, &type),
             std::move(headers)});
    }
    rd_kafka_message_destroy(message);
  }
  rd_kafka_consumer_close(client.get());
}

int64_t TopicClient::end_offsets(const std::string& topic) const {
  const Client client = make_reader(bootstrap_, "millrace-soak-ends");
  const List list = partition_list(client.get(), topic);
  int64_t sum = 0;
  for (int i = 0; i < list->cnt; i++) {
    int64_t low = 0, high = 0;
    if (const auto error = rd_kafka_query_watermark_offsets(client.get(), topic.c_str(), list->elems[i].partition, &low,
                                                            &high, 10'000))
      fail("ends of " + topic, error);
    sum += high;
  }
  return sum;
}

int64_t TopicClient::committed_offsets(const std::string& group, const std::string& topic) const {
  // Not read_committed, which would wait until the transaction of a process that was killed is over.
  const Client client =
      make_client(RD_KAFKA_CONSUMER, bootstrap_, {{"group.id", group}, {"isolation.level", "read_uncommitted"}});
  const List list = partition_list(client.get(), topic);
  // A broker that has just started says for a moment that it does not coordinate the group.
  rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
  for (int attempt = 0; attempt < 50; attempt++) {
    error = rd_kafka_committed(client.get(), list.get(), 20'000);
    if (error != RD_KAFKA_RESP_ERR_NOT_COORDINATOR && error != RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  if (error) fail("committed offsets of " + group, error);
  int64_t sum = 0;
  for (int i = 0; i < list->cnt; i++) sum += list->elems[i].offset > 0 ? list->elems[i].offset : 0;
  return sum;
}

void TopicClient::commit_offset(const std::string& group, const std::string& topic, int32_t partition,
                                int64_t offset) const {
  const Client client = make_reader(bootstrap_, group);
  const List list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = offset;
  if (const auto error = rd_kafka_commit(client.get(), list.get(), 0)) fail("commit for " + group, error);
}

int TopicClient::partitions(const std::string& topic) const {
  const Client client = make_client(RD_KAFKA_PRODUCER, bootstrap_, {});
  return partition_list(client.get(), topic)->cnt;
}

}  // namespace millrace
