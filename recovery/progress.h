// ProgressRecord: what a decision makes durable (DESIGN 4): the epoch, where every source partition stands, what the
// sinks prepared, what the state is made of, and where the changelog of that epoch starts. One value type and one codec
// for all recovery modes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/batch.h"
#include "base/status.h"
#include "sinks/sink.h"
#include "sources/source.h"

namespace millrace {

// One partition of one source, with the event-time state that lateness depends on (never judged differently after a
// restart).
struct PartitionProgress {
  SourcePosition at;
  int64_t max_event_time_ms = kNoTime;
  int64_t watermark_ms = kNoTime;
  bool idle = false;
};

struct SourceProgress {
  std::string source;  // name in the pipeline
  std::vector<PartitionProgress> partitions;
};

// What the state is made of; compared at start (kStateIncompatible says which operator and how).
struct OperatorProgress {
  std::string id;
  uint16_t number = 0;          // in the keys of the store; never reused for another id
  std::string descriptor;       // OperatorPlan::state_descriptor()
  std::string changelog_topic;  // mode changelog; names the owner of the topic
};

// Lower bound of what the changelog holds beyond this record's state, per partition (mode changelog): every record
// below `offset` is part of that state. Replaying a few of them again is harmless, since values are absolute.
struct ChangelogPosition {
  std::string topic;
  int32_t partition = 0;
  int64_t offset = 0;
  int64_t floor = 0;  // records below belong to a state that was reset on purpose: never read
};

struct ProgressRecord {
  uint64_t epoch = 0;
  std::string pipeline;
  std::string mode;
  // Names one life of the state: the wall clock of the first start, plus one for every reset on purpose. A local store
  // of another generation is replayed in full.
  uint64_t generation = 0;
  uint64_t writer = 0;  // RecoverySettings::writer of who decided it
  uint32_t shards = 16;
  uint32_t key_codec = 1;
  int64_t decided_wall_ms = 0;  // age of a local store (delete.retention.ms)
  std::string manifest;         // snapshot mode
  std::vector<SourceProgress> sources;
  std::vector<SinkProgress> sinks;
  std::vector<OperatorProgress> operators;  // in plan order
  uint16_t next_operator = 1;               // number of the next operator that the state does not know yet
  std::vector<ChangelogPosition> changelog;
  bool finished = false;  // all inputs ended and everything was decided

  // Versioned binary with a CRC32C or XXH64 checksum; parse returns kProgressCorrupt for anything else.
  std::string encode() const;
  static Result<ProgressRecord> parse(std::string_view bytes);
};

}  // namespace millrace
