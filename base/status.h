// Status and Result: how data and environment errors travel. A Status says what went wrong (a stable code), whose fault
// it is, and whether trying again can help; the supervisor of a pipeline decides from these alone. Configuration errors
// are Diagnostics (base/diagnostics.h); bugs are MR_CHECK (base/check.h). Values; any thread.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/check.h"

namespace millrace {

// Stable numbers, printed as MRnnnn and documented in docs/errors.md. 1xxx: configuration, 2xxx: records,
// 3xxx: Kafka, 4xxx: state and files, 5xxx: recovery, 9xxx: bugs.
enum class Code : int {
  kOk = 0,
  // 2xxx: a record
  kDecode = 2001,          // payload does not decode
  kEvaluation = 2002,      // an expression failed on a record (overflow, null operand, division by zero …)
  kRecordTooLarge = 2003,  // larger than a limit of ours or of the broker
  kPartitionedBy = 2004,   // a record's key hash disagrees with its partition
  // 3xxx: Kafka
  kKafkaUnavailable = 3001,
  kTopicMissing = 3002,
  kOffsetOutOfRange = 3003,
  kTopicRecreated = 3004,
  kPartitionsChanged = 3005,
  kFenced = 3006,
  kUnknownOutcome = 3007,  // a transaction whose outcome we did not learn
  kTransactionAborted = 3008,
  kKafkaAuthorization = 3009,
  kGroupHasMembers = 3010,
  kTopicSettings = 3011,  // an internal topic exists with settings that lose state
  kKafkaProtocol = 3012,  // any other permanent answer of a broker
  kClusterMismatch = 3013,
  // 4xxx: state and files
  kStateLocked = 4001,
  kStateCorrupt = 4002,
  kDiskFull = 4003,
  kFileIo = 4004,
  kStateIncompatible = 4005,  // shards, key codec or operator descriptors differ from what is stored
  kFileMissing = 4006,
  kFileChanged = 4007,  // an input or output file is not the one that the progress record describes
  kAdmin = 4010,        // the admin port: address, token file, bind
  // 5xxx: recovery
  kProgressContradicted = 5001,  // group offsets disagree with the progress record
  kProgressCorrupt = 5002,
  kChangelogGap = 5003,
  kStopTimeout = 5004,
  // 9xxx
  kInternal = 9001,
};

enum class Fault { kUser, kExternal, kInternal };
enum class Retry { kNever, kBackoff };

class [[nodiscard]] Status {
 public:
  Status() = default;
  static Status ok() { return {}; }
  static Status user(Code code, std::string message) {
    return Status(code, Fault::kUser, Retry::kNever, std::move(message));
  }
  static Status external(Code code, std::string message) {
    return Status(code, Fault::kExternal, Retry::kBackoff, std::move(message));
  }
  // An environment error that trying again cannot mend (fenced, locked, disk full).
  static Status terminal(Code code, std::string message) {
    return Status(code, Fault::kExternal, Retry::kNever, std::move(message));
  }
  static Status internal(std::string message) {
    return Status(Code::kInternal, Fault::kInternal, Retry::kNever, std::move(message));
  }

  bool is_ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  Fault fault() const { return fault_; }
  Retry retry() const { return retry_; }
  const std::string& message() const { return message_; }
  // "MR3006: the producer was fenced …", the form of logs and exit messages.
  std::string to_string() const;
  // The same error with "context: " in front of the message.
  Status with_context(const std::string& context) const;

 private:
  Status(Code code, Fault fault, Retry retry, std::string message)
      : code_(code), fault_(fault), retry_(retry), message_(std::move(message)) {}
  Code code_ = Code::kOk;
  Fault fault_ = Fault::kInternal;
  Retry retry_ = Retry::kNever;
  std::string message_;
};

// A value or the Status that explains its absence. value() on an error is a bug.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                                       // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) { MR_CHECK(!status_.is_ok()); }  // NOLINT
  bool is_ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & {
    MR_CHECK(value_.has_value());
    return *value_;
  }
  const T& value() const& {
    MR_CHECK(value_.has_value());
    return *value_;
  }
  T&& value() && {
    MR_CHECK(value_.has_value());
    return std::move(*value_);
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

#define MR_RETURN_IF_ERROR(expression)                                                        \
  do {                                                                                        \
    if (::millrace::Status mr_status_ = (expression); !mr_status_.is_ok()) return mr_status_; \
  } while (0)
#define MR_CONCAT_INNER(a, b) a##b
#define MR_CONCAT(a, b) MR_CONCAT_INNER(a, b)
// MR_ASSIGN(auto x, f()): declares x from a Result, or returns its Status.
#define MR_ASSIGN_INNER(temporary, declaration, expression) \
  auto temporary = (expression);                            \
  if (!temporary.is_ok()) return temporary.status();        \
  declaration = std::move(temporary).value()
#define MR_ASSIGN(declaration, expression) MR_ASSIGN_INNER(MR_CONCAT(mr_result_, __LINE__), declaration, expression)

}  // namespace millrace
