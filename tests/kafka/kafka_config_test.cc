#include "kafka/kafka_config.h"

#include <doctest/doctest.h>

using namespace millrace;

namespace {

KafkaConfig read(const std::string& text, Diagnostics& diagnostics) {
  const auto none = [](const std::string&) { return std::optional<std::string>(); };
  const ConfigNode node = ConfigNode::parse("test.yaml", text, none, diagnostics);
  return read_kafka_config(node, diagnostics);
}

}  // namespace

TEST_CASE("properties: connection and tuning are allowed, what the guarantees rest on is not") {
  for (const char* name : {"security.protocol", "sasl.mechanisms", "sasl.password", "ssl.ca.location", "ssl.key.pem",
                           "linger.ms", "client.id", "fetch.message.max.bytes"}) {
    CHECK_MESSAGE(is_allowed_kafka_property(name), name);
  }
  for (const char* name :
       {"isolation.level", "enable.auto.commit", "auto.offset.reset", "transactional.id", "acks", "enable.idempotence",
        "partitioner", "check.crcs", "group.id", "bootstrap.servers", "plugin.library.paths", "sasl.kerberos.kinit.cmd",
        "ssl.engine.location", "ssl.providers", "interceptors", "nonsense", ""}) {
    CHECK_MESSAGE(!is_allowed_kafka_property(name), name);
  }
}

TEST_CASE("a configuration is read") {
  Diagnostics diagnostics;
  const KafkaConfig config =
      read("brokers: a:1,b:2\nproperties:\n  security.protocol: PLAINTEXT\n  linger.ms: 20\n", diagnostics);
  CHECK_FALSE(diagnostics.has_errors());
  CHECK(config.brokers == "a:1,b:2");
  CHECK(config.properties.size() == 2);
  CHECK(config.properties.at("linger.ms") == "20");
}

TEST_CASE("mistakes are reported where they stand, without secrets") {
  Diagnostics diagnostics;
  read(
      "brokers: a:1\nproperties:\n  isolation.level: read_uncommitted\n  security.protocoll: SSL\n"
      "  linger.ms: s3cret\n  sasl.pasword: s3cret\n",
      diagnostics);
  REQUIRE(diagnostics.all().size() == 4);
  CHECK(diagnostics.all()[0].code == LintCode::kProperty);
  CHECK(diagnostics.all()[0].at.line == 3);
  CHECK(diagnostics.all()[0].at.column == 3);
  CHECK(diagnostics.all()[1].hint.find("security.protocol") != std::string::npos);
  CHECK(diagnostics.all()[2].code == LintCode::kBadValue);
  CHECK(diagnostics.all()[2].at.line == 5);
  for (const Diagnostic& diagnostic : diagnostics.all()) {
    CHECK(diagnostic.message.find("s3cret") == std::string::npos);
    CHECK(diagnostic.hint.find("s3cret") == std::string::npos);
  }
}

TEST_CASE("brokers are required and other keys are refused") {
  Diagnostics diagnostics;
  read("propertys: {}\n", diagnostics);
  REQUIRE(diagnostics.all().size() == 2);
  CHECK(diagnostics.all()[0].code == LintCode::kMissingKey);
  CHECK(diagnostics.all()[1].code == LintCode::kUnknownKey);
}
