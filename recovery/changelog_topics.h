// The internal topics of mode changelog: their names, the settings they are made with, and what is checked of topics
// that are there. Blocking; the decider's thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/log.h"
#include "base/status.h"
#include "kafka/admin.h"
#include "recovery/decision_log.h"

namespace millrace {

std::string progress_topic(const std::string& pipeline);
std::string changelog_topic(const std::string& pipeline, const std::string& operator_id);

// A stop has to wait for it; without an answer the whole start is tried again.
inline constexpr int kAdminTimeoutMs = 10'000;
// A tombstone must outlive every restore that may have read what it deletes.
inline constexpr int64_t kLeastDeleteRetentionMs = 3'600'000;

struct InternalTopics {
  // The shortest delete.retention.ms of the changelogs: half of it is the greatest age of a local store.
  int64_t delete_retention_ms = 0;
};

// Creates what is missing, checks what is there: kTopicSettings (user) names topic, setting, value found and wanted for
// everything that would lose state (cleanup.policy other than compact, partition count, delete.retention.ms too short).
Result<InternalTopics> ensure_internal_topics(KafkaAdmin& admin, const RecoverySettings& settings, const Logger& log);

}  // namespace millrace
