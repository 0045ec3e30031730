// OperatorTable: which number each keyed operator has in the keys of the state. Numbers are stable through the progress
// record; an id that the record does not know gets a number that was never used, so that keys of an earlier operator
// can never be taken for its own. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "recovery/decision_log.h"
#include "recovery/progress.h"

namespace millrace {

inline constexpr uint32_t kKeyCodec = 1;  // shard and key bytes as DESIGN 3 says

struct OperatorTable {
  std::vector<OperatorProgress> operators;  // of the plan, in its order; changelog_topic is not filled
  uint16_t next_operator = 1;
  std::vector<std::string> fresh;  // ids whose state starts empty
  std::vector<uint16_t> dropped;   // numbers whose keys mean nothing any more
  bool reset = false;              // state was thrown away on purpose: a new generation
};

// Settles the plan's operators against the record (nullptr: first start). `lost`: ids whose state cannot be had and
// whose reset the user has accepted. Shards, key codec or a descriptor that differ are kStateIncompatible, unless
// settings.accept_reset; then what differs starts empty under a new number.
Result<OperatorTable> settle_operators(const RecoverySettings& settings, const ProgressRecord* record,
                                       const std::set<std::string>& lost, const Logger& log);

// The parts of a record that say whose state it is and what it is made of: everything but epoch, positions and sinks.
struct StateIdentity {
  std::string pipeline;
  std::string mode;
  uint64_t generation = 0;
  uint32_t shards = 0;
  std::vector<OperatorProgress> operators;
  uint16_t next_operator = 1;
};
void apply_identity(const StateIdentity& identity, ProgressRecord* record);

// Generation of a state that begins now: unlike that of any earlier state of the same name.
uint64_t first_generation(int64_t wall_ms);

}  // namespace millrace
