// read_to_end: reads partitions from given positions to ends that were captured before, as restoring a changelog and
// finding the last progress record need it. A partition is finished when its position as read_committed sees it (behind
// the last record, or that of an end-of-partition event, which skips aborted and control records) is at or past its
// end; counts of records say nothing in a compacted, transactional topic. A foreign transaction that is open below the
// end holds the reader up: it waits as long as any of its own ranges moves, and at most kNoProgressMs without.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "kafka/consumer.h"

namespace millrace {

inline constexpr int64_t kNoProgressMs = 180'000;

struct ReadRange {
  TopicPartition at;
  int64_t begin = 0;
  int64_t end = 0;
};

struct ReadLimits {
  int64_t no_progress_ms = kNoProgressMs;
  size_t poll_records = 8'192;
  size_t poll_bytes = 4u << 20;
  const std::atomic<bool>* stop = nullptr;  // looked at before each poll; true: ends with an error nobody will see
};

// Called for every record below its range's end, in offset order per range; the record's views are valid during the
// call, and its headers are not read (KafkaConsumer::read_headers). An error ends the reading.
using ReadVisitor = std::function<Status(size_t range, const KafkaRecord& record)>;

// kKafkaUnavailable (external) after no_progress_ms without movement, naming what was waited for; errors of the
// consumer as they are. Ranges with begin >= end are not read. Replaces the consumer's assignment and leaves its own
// behind; give every reading a consumer of its own, because librdkafka takes a second to follow a second assignment.
Status read_to_end(KafkaConsumer& consumer, const std::vector<ReadRange>& ranges, const ReadLimits& limits,
                   const Clock& clock, const Logger& log, const ReadVisitor& visit);

}  // namespace millrace
