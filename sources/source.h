// Source: where records come from. The runtime gives every source a thread of its own: open, poll, positions and close
// are called there and nowhere else, so a source has no mutex. Decoding, event time, error policy and counting are the
// runtime's, the same for every source.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/batch.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"

namespace millrace {

// Where one partition of a source stands. `identity` names what the position counts in (Kafka: topic id, file: inode
// and a checksum of the first bytes), so that a recreated topic or a replaced file is noticed; empty: unknown.
struct SourcePosition {
  PartitionName name;
  std::string identity;
  int64_t position = 0;  // next offset (Kafka), byte (file), index (generator)
};

// One poll. The arrays of `rows` are filled in `arena`; payloads are followed by kPayloadPadding (formats/format.h)
// readable bytes.
struct SourcePoll {
  ArenaPtr arena;                    // in: where to put things
  uint32_t count = 0;                // rows polled
  std::shared_ptr<SourceRows> rows;  // out
  std::vector<ColumnPtr> columns;    // generator only: columns of the schema, decoded already
  // Event times that partitions (by index) are known to have reached without a row that says so; after the rows.
  std::vector<std::pair<uint32_t, int64_t>> event_time_marks;
  size_t bytes = 0;                  // payload bytes
  bool end_of_input = false;         // bounded input: nothing comes after this poll
  bool more_waits = false;           // out: rows stand ready for the next poll
  std::vector<uint32_t>
      skipped_too_large;  // partition index of records over the size limit that were skipped (counted as dropped)
};

struct SourceLimits {
  uint32_t max_rows = 1024;
  size_t max_bytes = 64 * 1024;  // a single larger record is still returned, alone
};

// What the plan reads beside the payload.
struct SourceNeeds {
  bool key = false;
  bool headers = false;
  bool wanted_payload = true;
};

class Source {
 public:
  virtual ~Source() = default;
  // Starts reading. `resume`: positions of the progress record; empty: first start (the source applies `start`). A
  // partition that resume does not know starts at its beginning. Checks identities: kTopicRecreated, kPartitionsChanged
  // (keyed), kOffsetOutOfRange, kFileChanged, with the exact gap and the way out.
  virtual Status open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) = 0;
  // Up to limits.max_rows rows, waiting at most timeout_ms for the first. Zero rows without end_of_input: nothing there
  // now.
  virtual Status poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) = 0;
  // Positions behind the last poll, for every partition. Called between polls, at barriers.
  virtual std::vector<SourcePosition> positions() = 0;
  // Records behind the newest known end (all partitions), and by how many milliseconds the reader lags (broker
  // timestamp of the last record against the clock); -1: unknown.
  struct Lag {
    int64_t records = -1;
    int64_t behind_ms = -1;
  };
  virtual Lag lag() { return {}; }
  virtual bool connected() const { return true; }
  // The epoch that ended at these positions is decided. Only in modes whose decision does not hold the offsets (local,
  // none): Kafka sources commit them to the group, at most once a second and again at least once a minute. Failure is
  // logged, not fatal: the progress record is the truth.
  virtual void released(const std::vector<SourcePosition>& positions) { (void)positions; }
  virtual void close() {}
};

}  // namespace millrace
