// Memory source: records that a test hands in, in the place of any connector. Not a kind of pipeline files; `millrace
// test` puts it under the names of the sources it replaces.
//
// The feed is the outside world: it keeps everything that was ever sent and outlives the pipeline's incarnations, so
// that after a crash a source goes on where its progress record says, as it would in Kafka or in a file. One thread
// uses a feed and its sources (the simulated executor's).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sources/source_plan.h"

namespace millrace {

struct MemoryRecord {
  uint32_t partition = 0;  // index in the feed's partitions
  std::optional<std::string> key;
  std::optional<std::string> payload;  // nullopt: a tombstone
  int64_t timestamp_ms = kNoTime;
  std::vector<std::pair<std::string, std::string>> headers;
};

class MemoryFeed {
 public:
  // Precondition: at least one partition.
  explicit MemoryFeed(std::vector<PartitionName> partitions);

  // Appends a record to its partition. Precondition: end() was not called.
  void send(MemoryRecord record);
  // The event time of a partition has come this far although no record says so (SourcePoll::event_time_marks).
  void mark(uint32_t partition, int64_t event_time_ms);
  // Nothing comes any more: the input is bounded after all.
  void end() { ended_ = true; }
  bool has_ended() const { return ended_; }

  const std::vector<PartitionName>& partitions() const { return *partitions_; }
  // The source that was opened last has handed out everything there is.
  bool is_drained() const { return read_ == entries_.size(); }
  // How much it has handed out, in records and marks.
  size_t position() const { return read_; }

 private:
  friend class MemorySource;
  // A record, or a mark behind the records before it.
  struct Entry {
    uint32_t partition = 0;
    int64_t offset = 0;  // of the record; a mark has that of the partition's next record
    std::optional<MemoryRecord> record;
    int64_t mark_ms = kNoTime;
  };
  std::shared_ptr<const std::vector<PartitionName>> partitions_;
  std::vector<Entry> entries_;         // in the order in which they were sent
  std::vector<int64_t> next_offsets_;  // by partition
  std::vector<int64_t> group_;         // committed offsets by partition; empty: none
  size_t read_ = 0;                    // by the source that was opened last
  bool ended_ = false;
};

struct MemorySourceSettings {
  // Positions that are decided are kept outside of the pipeline's state, as in a consumer group; a start without state
  // goes on there. Kafka.
  bool keeps_offsets = false;
};

// `replaced` is the plan of the connector in whose place the source stands; what it says of its records stays true.
std::unique_ptr<SourcePlan> make_memory_source_plan(std::unique_ptr<SourcePlan> replaced,
                                                    std::shared_ptr<MemoryFeed> feed, MemorySourceSettings settings);

}  // namespace millrace
