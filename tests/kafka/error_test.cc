#include <doctest/doctest.h>

#include "kafka/client.h"

using namespace millrace;

namespace {

void check(rd_kafka_resp_err_t error, Code code, Fault fault, Retry retry) {
  const std::string name = rd_kafka_err2name(error);
  CAPTURE(name);
  const Status status = from_kafka(error, "cannot do it", "detail");
  CHECK(status.code() == code);
  CHECK(status.fault() == fault);
  CHECK(status.retry() == retry);
  CHECK(status.message().starts_with("cannot do it: "));
}

}  // namespace

TEST_CASE("every shape of being fenced is terminal") {
  for (auto error : {RD_KAFKA_RESP_ERR__FENCED, RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
                     RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING}) {
    check(error, Code::kFenced, Fault::kExternal, Retry::kNever);
  }
}

TEST_CASE("what the user must change is the user's fault") {
  check(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Code::kKafkaAuthorization, Fault::kUser, Retry::kNever);
  check(RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, Code::kKafkaAuthorization, Fault::kUser, Retry::kNever);
  check(RD_KAFKA_RESP_ERR__AUTHENTICATION, Code::kKafkaAuthorization, Fault::kUser, Retry::kNever);
  check(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, Code::kTopicMissing, Fault::kUser, Retry::kNever);
  check(RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, Code::kTopicMissing, Fault::kUser, Retry::kNever);
  check(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Code::kRecordTooLarge, Fault::kUser, Retry::kNever);
  check(RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, Code::kOffsetOutOfRange, Fault::kUser, Retry::kNever);
  check(RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, Code::kGroupHasMembers, Fault::kUser, Retry::kNever);
}

TEST_CASE("connections and timeouts are worth another try") {
  for (auto error : {RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
                     RD_KAFKA_RESP_ERR_NOT_COORDINATOR, RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT}) {
    check(error, Code::kKafkaUnavailable, Fault::kExternal, Retry::kBackoff);
  }
  check(RD_KAFKA_RESP_ERR_INVALID_TXN_STATE, Code::kTransactionAborted, Fault::kExternal, Retry::kBackoff);
}

TEST_CASE("anything else is a permanent answer") {
  check(RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION, Code::kKafkaProtocol, Fault::kExternal, Retry::kNever);
}

TEST_CASE("requests without an answer are counted, look-ups are not") {
  RequestWatch watch;
  watch.response_received(3, RD_KAFKA_RESP_ERR__TRANSPORT);   // Metadata
  watch.response_received(18, RD_KAFKA_RESP_ERR__TRANSPORT);  // ApiVersions
  CHECK(watch.lost() == 0);
  CHECK_FALSE(watch.connected());
  watch.response_received(3, RD_KAFKA_RESP_ERR_NO_ERROR);
  CHECK(watch.connected());
  watch.response_received(28, RD_KAFKA_RESP_ERR__TIMED_OUT);  // TxnOffsetCommit
  CHECK(watch.lost() == 1);
  watch.request_sent(26);
  CHECK(watch.end_txn_sent() == 1);
}
