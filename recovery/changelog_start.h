// What mode changelog asks Kafka before it restores anything: the last progress record, and whether the group offsets
// agree with it. Blocking; the decider's thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "kafka/admin.h"
#include "kafka/consumer.h"
#include "recovery/decision_log.h"
#include "recovery/progress.h"
#include "recovery/topic_reader.h"

namespace millrace {

// The last decided record on the pipeline's progress topic, read committed up to the end captured now. Precondition:
// init_transactions has returned, so that no older incarnation can add one. nullopt: none yet. kProgressCorrupt when
// it does not parse or is that of another pipeline.
Result<std::optional<ProgressRecord>> read_last_progress(KafkaAdmin& admin, KafkaConsumer& consumer,
                                                         const std::string& pipeline, const ReadLimits& limits,
                                                         const Clock& clock, const Logger& log);

using GroupConsumers = std::map<std::string, std::unique_ptr<KafkaConsumer>>;  // by group

// Compares the stable group offsets of this cluster's Kafka sources with the record. An offset that differs is
// kProgressContradicted (user) with topic, partition and both offsets; with settings.accept_reset it replaces the
// position in *record, whose event time for that partition begins anew. A missing offset is no contradiction: offsets
// expire and groups are deleted, while the record is the truth; *missing says that the next decision has to write them.
Status compare_group_offsets(const RecoverySettings& settings, GroupConsumers& consumers, ProgressRecord* record,
                             bool* missing, const Logger& log);

}  // namespace millrace
