// kafka: {topic, group, start, end, on_missing_topic} of a source.
#include <algorithm>
#include <set>
#include <utility>

#include "formats/rfc3339.h"
#include "kafka/topic_name.h"
#include "sources/kafka_source.h"

namespace millrace {
namespace {

class KafkaSourcePlan : public SourcePlan {
 public:
  KafkaSourcePlan(KafkaSourceOptions options, Location group_at)
      : options_(std::move(options)), group_at_(std::move(group_at)) {}

  bool plan(const SourcePlanContext& context, Diagnostics& diagnostics) override {
    if (context.format == "csv" && context.format.csv.header.value_or(false)) {
      diagnostics.error(LintCode::kConflict, context.format.csv.header_at,
                        "records of a topic have no header line above them",
                        "their columns stand in the order of the schema");
      return false;
    }
    const bool named = !options_.group.empty();
    if (!named) options_.group = context.pipeline;
    const std::string* twice = read_before(context);
    if (twice != nullptr && named) {
      diagnostics.error(LintCode::kDuplicateName, group_at_,
                        fmt::format("another source reads topic {} with group {} already", *twice, options_.group),
                        "a group holds one position per partition: name another one, or leave it out");
      return false;
    }
    if (twice != nullptr) options_.group += "." + context.source;
    settings_ = {options_.topics, options_.group};
    return true;
  }
  const KafkaSourceSettings* kafka() const override { return &settings_; }
  bool bounded() const override { return options_.bounded; }
  bool has_record_time() const override { return true; }
  std::string describe() const override {
    return fmt::format("kafka {} (group {})", fmt::join(options_.topics, ", "), options_.group);
  }
  std::unique_ptr<Source> make(const SourceContext& context) const override {
    return make_kafka_source(options_, context);
  }

 private:
  // The topic that another source reads with the same group; nullptr: none.
  const std::string* read_before(const SourcePlanContext& context) const {
    for (const KafkaSourceSettings& before : context.kafka_before) {
      if (before.group != options_.group) continue;
      for (const std::string& topic : options_.topics)
        if (std::find(before.topics.begin(), before.topics.end(), topic) != before.topics.end()) return &topic;
    }
    return nullptr;
  }
  KafkaSourceOptions options_;
  Location group_at_;
  KafkaSourceSettings settings_;
};

void read_topics(MapReader& map, KafkaSourceOptions& options) {
  Diagnostics& diagnostics = map.diagnostics();
  const auto node = map.required_child("topic");
  if (!node) return;
  const auto names = as_string_list(*node, diagnostics);
  if (!names) return;
  if (names->empty()) diagnostics.error(LintCode::kBadValue, node->location(), "topic names no topic");
  std::set<std::string> seen;
  for (size_t i = 0; i < names->size(); i++) {
    const std::string& name = (*names)[i];
    const Location& at = node->is_sequence() ? node->at(i).location() : node->location();
    if (!is_topic_name(name)) {
      diagnostics.error(LintCode::kBadValue, at, fmt::format("\"{}\" is not a topic name", name),
                        kTopicNameRule);
    } else if (!seen.insert(name).second) {
      diagnostics.error(LintCode::kDuplicateName, at, fmt::format("topic {} is listed twice", name));
    }
  }
  options.topics = *names;
}

// Epoch milliseconds or RFC 3339.
void read_timestamp(const ConfigNode& node, Diagnostics& diagnostics, KafkaSourceOptions& options) {
  int64_t us = 0;
  if (node.is_scalar() && parse_rfc3339(node.text(), &us)) {
    if (us < 0) {
      diagnostics.error(LintCode::kBadValue, node.location(), "Kafka knows no times before 1970");
      return;
    }
    options.start_ms = us / 1000;
    return;
  }
  if (const auto ms = as_int(node, 0, INT64_MAX / 1000, diagnostics)) options.start_ms = *ms;
}

void read_start(MapReader& map, KafkaSourceOptions& options) {
  Diagnostics& diagnostics = map.diagnostics();
  const auto node = map.child("start");
  if (!node || node->is_null()) return;
  if (node->is_mapping()) {
    MapReader start(*node, diagnostics);
    options.start = KafkaSourceOptions::Start::kTimestamp;
    if (const auto time = start.required_child("timestamp")) read_timestamp(*time, diagnostics, options);
    start.finish();
    return;
  }
  if (map.choice("start", {"earliest", "latest"}, "earliest") == "latest") {
    options.start = KafkaSourceOptions::Start::kLatest;
  }
}

}  // namespace

void register_kafka_source(SourceRegistry& registry) {
  registry.add("kafka", [](const ConfigNode& body, Diagnostics& diagnostics) -> std::unique_ptr<SourcePlan> {
    const size_t errors = diagnostics.error_count();
    KafkaSourceOptions options;
    MapReader map(body, diagnostics);
    read_topics(map, options);
    options.group = map.string_or("group", "");
    const auto group = map.child("group");
    read_start(map, options);
    options.bounded = map.choice("end", {"never", "latest"}, "never") == "latest";
    options.wait_for_topic = map.choice("on_missing_topic", {"wait", "fail"}, "wait") == "wait";
    if (const auto node = map.child("partitioned_by")) {
      diagnostics.error(LintCode::kUnsupported, node->key_location(), "partitioned_by is not supported yet",
                        "without it the pipeline gives the same results, at the cost of an exchange");
    }
    map.finish();
    if (diagnostics.error_count() != errors) return nullptr;
    return std::make_unique<KafkaSourcePlan>(std::move(options), group ? group->location() : Location{});
  });
}

}  // namespace millrace
