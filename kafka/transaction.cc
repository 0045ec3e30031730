#include <algorithm>

#include "kafka/rd_producer.h"

namespace millrace {
namespace {

// One attempt of initialising; librdkafka goes on with it in the background.
constexpr int kInitSliceMs = 50;
constexpr int kAbortTimeoutMs = 5000;
constexpr int kSendOffsetsPauseMs = 20;

}  // namespace

Status RdProducer::init_transactions(int timeout_ms) {
  MR_CHECK(!options_.transactional_id.empty() && topics_.empty());
  const Deadline deadline(timeout_ms);
  for (;;) {
    const uint64_t answers = client_->watch().producer_id_answers();
    rd_kafka_error_t* error = rd_kafka_init_transactions(handle(), std::clamp(deadline.left_ms(), 1, kInitSliceMs));
    rd_kafka_poll(handle(), 0);
    if (error == nullptr) return this->error();
    const bool again = rd_kafka_error_is_retriable(error) || rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__TIMED_OUT;
    const Status status = describe(error, "cannot take over the transactional id " + options_.transactional_id);
    MR_RETURN_IF_ERROR(this->error());
    if (!again || deadline.passed()) return status;
    // Answered, and yet not ours: the coordinator is aborting the transaction that our predecessor left. librdkafka
    // would ask again after a fixed 500 ms, a new client asks at once.
    if (client_->watch().producer_id_answers() != answers) MR_RETURN_IF_ERROR(open());
  }
}

Status RdProducer::begin_transaction() {
  transaction_began_ms_ = 0;
  rd_kafka_error_t* error = rd_kafka_begin_transaction(handle());
  if (error == nullptr) return Status::ok();
  MR_RETURN_IF_ERROR(this->error());
  return describe(error, "cannot begin a transaction");
}

Status RdProducer::send_offsets(const GroupOffsets& group, const Deadline& deadline) {
  if (group.offsets.empty()) return Status::ok();
  const auto list = make_offset_list(group.offsets);
  const auto* metadata = static_cast<const rd_kafka_consumer_group_metadata_t*>(group.group_metadata.get());
  if (transaction_began_ms_ == 0) transaction_began_ms_ = steady_ms();
  for (;;) {
    rd_kafka_error_t* error =
        rd_kafka_send_offsets_to_transaction(handle(), list.get(), metadata, std::max(deadline.left_ms(), 1));
    if (error == nullptr) return Status::ok();
    const bool again = rd_kafka_error_is_retriable(error) && !deadline.passed();
    const Status status = describe(error, "cannot add offsets to the transaction");
    if (!again) return status;
    deadline.wait_ms(kSendOffsetsPauseMs);
  }
}

Result<CommitOutcome> RdProducer::commit_transaction(const std::vector<GroupOffsets>& groups) {
  const Deadline deadline(options_.transaction_timeout_ms);
  if (const Status flushed = flush(deadline.left_ms()); !flushed.is_ok()) return abort_reason(flushed);
  const uint64_t lost = client_->watch().lost();
  for (const GroupOffsets& group : groups) MR_RETURN_IF_ERROR(send_offsets(group, deadline));
  if (client_->watch().lost() != lost) {
    // Not committed for certain, since the commit was not asked for yet.
    return Status::external(Code::kTransactionAborted,
                            "the connection was lost while offsets were added to the "
                            "transaction");
  }
  return end_transaction(deadline, lost);
}

// When a transaction fails inside librdkafka (AddPartitionsToTxn refused), its records are purged and that is all that
// their deliveries tell; the reason comes from asking to commit, which it refuses without asking the broker, because
// deliveries have failed.
Status RdProducer::abort_reason(const Status& flushed) {
  if (!purged_.load(std::memory_order_acquire)) return flushed;
  rd_kafka_error_t* error = rd_kafka_commit_transaction(handle(), kAbortTimeoutMs);
  MR_CHECK(error != nullptr);
  const Status reason = describe(error, "the transaction failed");
  return reason.code() == Code::kTransactionAborted ? flushed : reason;
}

// Asks to commit, once per transaction. librdkafka repeats a lost EndTxn by itself,
// and the first one may still arrive, perhaps in the middle of the next transaction; so a success that needed a
// repetition does not count either.
Result<CommitOutcome> RdProducer::end_transaction(const Deadline& deadline, uint64_t lost_before) {
  const uint64_t sent_before = client_->watch().end_txn_sent();
  rd_kafka_error_t* error = rd_kafka_commit_transaction(handle(), std::max(deadline.left_ms(), 1000));
  const bool clean = client_->watch().lost() == lost_before;
  const bool sent = client_->watch().end_txn_sent() != sent_before;
  if (error == nullptr) {
    transaction_began_ms_ = 0;
    if (clean) return CommitOutcome::kCommitted;
    log_.warn("the connection was lost during a commit: its outcome is unknown");
    return CommitOutcome::kUnknown;
  }
  // After a timeout EndTxn may still wait in the client and go out before it is destroyed.
  const bool final_answer = rd_kafka_error_txn_requires_abort(error) || rd_kafka_error_is_fatal(error);
  const Status status = describe(error, "cannot commit");
  if (status.code() == Code::kFenced || (final_answer && !sent && clean)) return status;
  log_.warn("{}: the outcome of the commit is unknown", status.message());
  return CommitOutcome::kUnknown;
}

void RdProducer::abort_transaction() {
  const Rd<rd_kafka_error_t> error(rd_kafka_abort_transaction(handle(), kAbortTimeoutMs));
  transaction_began_ms_ = 0;
  if (error) log_.debug("kafka: the transaction was not aborted: {}", rd_kafka_error_string(error.get()));
}

}  // namespace millrace
