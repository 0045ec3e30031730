#include "kafka/kafka_config.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "kafka/client.h"

namespace millrace {
namespace {

using std::string_view_literals::operator""sv;

// Sorted. Left out on purpose: what the guarantees rest on (isolation, offsets, acknowledgements, idempotence,
// partitioner, checksums, callbacks) and what runs or loads other people's code (plugins, kinit command, SSL engines).
constexpr std::array kAllowed = {
    "batch.num.messages"sv,
    "batch.size"sv,
    "broker.address.family"sv,
    "broker.address.ttl"sv,
    "client.dns.lookup"sv,
    "client.id"sv,
    "client.rack"sv,
    "compression.codec"sv,
    "compression.level"sv,
    "compression.type"sv,
    "connections.max.idle.ms"sv,
    "enable.sasl.oauthbearer.unsecure.jwt"sv,
    "enable.ssl.certificate.verification"sv,
    "fetch.error.backoff.ms"sv,
    "fetch.max.bytes"sv,
    "fetch.message.max.bytes"sv,
    "fetch.min.bytes"sv,
    "fetch.queue.backoff.ms"sv,
    "fetch.wait.max.ms"sv,
    "linger.ms"sv,
    "max.partition.fetch.bytes"sv,
    "message.max.bytes"sv,
    "metadata.max.age.ms"sv,
    "queued.max.messages.kbytes"sv,
    "queued.min.messages"sv,
    "receive.message.max.bytes"sv,
    "reconnect.backoff.max.ms"sv,
    "reconnect.backoff.ms"sv,
    "retry.backoff.max.ms"sv,
    "retry.backoff.ms"sv,
    "security.protocol"sv,
    "socket.connection.setup.timeout.ms"sv,
    "socket.receive.buffer.bytes"sv,
    "socket.send.buffer.bytes"sv,
    "socket.timeout.ms"sv,
    "topic.metadata.refresh.interval.ms"sv,
};

// Refused although they begin with sasl. or ssl.: they run a command or load a library.
constexpr std::array kRefused = {"sasl.kerberos.kinit.cmd"sv, "ssl.engine.location"sv, "ssl.providers"sv};

std::vector<std::string> allowed_names() {
  std::vector<std::string> names(kAllowed.begin(), kAllowed.end());
  for (const char* name : {"sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password", "ssl.ca.location",
                           "ssl.ca.pem", "ssl.certificate.location", "ssl.certificate.pem", "ssl.key.location",
                           "ssl.key.password", "ssl.key.pem", "ssl.keystore.location", "ssl.keystore.password",
                           "ssl.endpoint.identification.algorithm", "ssl.cipher.suites"}) {
    names.emplace_back(name);
  }
  return names;
}

// True when librdkafka takes the value; an unknown property is not a bad value.
rd_kafka_conf_res_t try_property(const std::string& name, const std::string& value) {
  const Rd<rd_kafka_conf_t> scratch(rd_kafka_conf_new());
  char text[512] = "";
  return rd_kafka_conf_set(scratch.get(), name.c_str(), value.c_str(), text, sizeof text);
}

void read_property(const std::string& name, const ConfigNode& value, Diagnostics& diagnostics, KafkaConfig& config) {
  const Location& at = value.key_location();
  if (!is_allowed_kafka_property(name)) {
    std::string hint = did_you_mean(name, allowed_names());
    if (hint.empty()) hint = "allowed are security.protocol, sasl.*, ssl.* and client tuning: docs/sources/kafka.md";
    diagnostics.error(LintCode::kProperty, at, fmt::format("the Kafka property {} is not allowed", name), hint);
    return;
  }
  if (!value.is_scalar()) {
    diagnostics.error(LintCode::kWrongType, value.location(),
                      fmt::format("the Kafka property {} wants one value", name));
    return;
  }
  switch (try_property(name, value.text())) {
    case RD_KAFKA_CONF_OK: config.properties[name] = value.text(); return;
    case RD_KAFKA_CONF_UNKNOWN:
      diagnostics.error(LintCode::kProperty, at, fmt::format("the Kafka client knows no property {}", name),
                        did_you_mean(name, allowed_names()));
      return;
    default:  // librdkafka's text may repeat the value, which may be a secret
      diagnostics.error(LintCode::kBadValue, value.location(),
                        fmt::format("invalid value of the Kafka property {}", name));
  }
}

}  // namespace

bool is_allowed_kafka_property(const std::string& name) {
  if (std::find(kRefused.begin(), kRefused.end(), name) != kRefused.end()) return false;
  if (name.starts_with("sasl.") || name.starts_with("ssl.")) return true;
  return std::binary_search(kAllowed.begin(), kAllowed.end(), std::string_view(name));
}

KafkaConfig read_kafka_config(const ConfigNode& node, Diagnostics& diagnostics) {
  KafkaConfig config;
  MapReader map(node, diagnostics);
  config.brokers = map.required_string("brokers");
  if (const auto properties = map.child("properties"); properties && !properties->is_null()) {
    if (!properties->is_mapping()) {
      diagnostics.error(LintCode::kWrongType, properties->location(),
                        "kafka.properties wants a map of names to values");
    } else {
      for (size_t i = 0; i < properties->size(); i++) {
        read_property(properties->key_at(i), properties->at(i), diagnostics, config);
      }
    }
  }
  map.finish();
  return config;
}

}  // namespace millrace
