#include "recovery/changelog_topics.h"

#include <algorithm>
#include <charconv>

namespace millrace {

namespace {

constexpr int64_t kDeleteRetentionMs = 7LL * 24 * 3'600'000;

TopicSpec changelog_spec(const RecoverySettings& settings, const std::string& operator_id) {
  TopicSpec spec;
  spec.name = changelog_topic(settings.pipeline, operator_id);
  spec.partitions = settings.changelog_partitions;
  spec.replication = settings.changelog_replication;
  spec.settings = {{"cleanup.policy", "compact"},
                   {"segment.bytes", "52428800"},
                   {"delete.retention.ms", std::to_string(kDeleteRetentionMs)},
                   {"max.compaction.lag.ms", "3600000"}};
  return spec;
}

// One key, rewritten ten times a second: small segments, cleaned as soon as they are rolled, keep the read at start
// short.
TopicSpec progress_spec(const RecoverySettings& settings) {
  TopicSpec spec;
  spec.name = progress_topic(settings.pipeline);
  spec.partitions = 1;
  spec.replication = settings.changelog_replication;
  spec.settings = {{"cleanup.policy", "compact"},
                   {"segment.bytes", "1048576"},
                   {"min.cleanable.dirty.ratio", "0.01"},
                   {"max.compaction.lag.ms", "3600000"}};
  return spec;
}

Status wrong(const std::string& topic, const std::string& setting, const std::string& found,
             const std::string& wanted) {
  return Status::user(Code::kTopicSettings,
                      fmt::format("topic {}: {} is {}, must be {}; mend the topic (kafka-configs.sh), or delete it if "
                                  "its state may be lost",
                                  topic, setting, found, wanted));
}

struct Checked {
  int64_t delete_retention_ms = kDeleteRetentionMs;
};

Result<Checked> check_topic(KafkaAdmin& admin, const TopicSpec& spec, const TopicInfo& found) {
  if (found.partitions != spec.partitions) {
    return wrong(spec.name, "the number of partitions", std::to_string(found.partitions),
                 std::to_string(spec.partitions));
  }
  using Settings = std::map<std::string, std::string>;
  MR_ASSIGN(Settings settings, admin.topic_settings(spec.name, kAdminTimeoutMs));
  const std::string& policy = settings["cleanup.policy"];
  if (policy != "compact") return wrong(spec.name, "cleanup.policy", "\"" + policy + "\"", "\"compact\"");
  Checked checked;
  if (auto at = settings.find("delete.retention.ms"); at != settings.end()) {
    const std::string& text = at->second;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), checked.delete_retention_ms);
    if (error != std::errc() || end != text.data() + text.size()) checked.delete_retention_ms = 0;
  }
  bool tombstones_matter = spec.settings.count("delete.retention.ms") != 0;
  if (tombstones_matter && checked.delete_retention_ms < kLeastDeleteRetentionMs) {
    return wrong(spec.name, "delete.retention.ms", settings["delete.retention.ms"],
                 fmt::format("at least {} ({} is recommended)", kLeastDeleteRetentionMs, kDeleteRetentionMs));
  }
  return checked;
}

Result<Checked> ensure_topic(KafkaAdmin& admin, const TopicSpec& spec, const Logger& log) {
  MR_ASSIGN(std::optional<TopicInfo> found, admin.describe_topic(spec.name, kAdminTimeoutMs));
  if (!found) {
    MR_RETURN_IF_ERROR(admin.create_topic(spec, kAdminTimeoutMs));
    log.info("topic {} created: {} partitions, compacted", spec.name, spec.partitions);
    MR_ASSIGN(found, admin.describe_topic(spec.name, kAdminTimeoutMs));
    if (!found) {
      return Status::external(Code::kKafkaUnavailable,
                              fmt::format("topic {} was created, but the broker does not show it yet", spec.name));
    }
  }
  return check_topic(admin, spec, *found);
}

}  // namespace

std::string progress_topic(const std::string& pipeline) { return pipeline + ".progress"; }

std::string changelog_topic(const std::string& pipeline, const std::string& operator_id) {
  return pipeline + "." + operator_id + ".changelog";
}

Result<InternalTopics> ensure_internal_topics(KafkaAdmin& admin, const RecoverySettings& settings, const Logger& log) {
  MR_RETURN_IF_ERROR([&] {
    Result<Checked> progress = ensure_topic(admin, progress_spec(settings), log);
    return progress.is_ok() ? Status::ok() : progress.status();
  }());
  InternalTopics topics{kDeleteRetentionMs};
  for (const RecoverySettings::Keyed& op : settings.operators) {
    MR_ASSIGN(Checked checked, ensure_topic(admin, changelog_spec(settings, op.id), log));
    topics.delete_retention_ms = std::min(topics.delete_retention_ms, checked.delete_retention_ms);
  }
  return topics;
}

}  // namespace millrace
