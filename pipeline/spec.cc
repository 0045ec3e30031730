#include "pipeline/spec.h"

#include <algorithm>
#include <set>

#include "formats/format.h"

namespace millrace {
namespace {

const std::vector<std::string> kSourceKeys = {"format", "schema", "on_error", "event_time", "watermark"};
// Kinds of sources, operators and sinks that later versions will have.
const std::vector<std::string> kLaterKinds = {"http", "postgres"};
const std::vector<std::string> kSinkKeys = {"input", "format", "value", "key_format"};

std::string list_of(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

// The one key of `map` that names a registered kind; reports none, several and near misses.
template <class Registry>
std::string find_kind(MapReader& map, const Registry& registry, const std::vector<std::string>& other_keys,
                      const char* what, Diagnostics& diagnostics) {
  std::vector<std::string> kinds = registry.kinds();
  std::string found;
  const ConfigNode& node = map.node();
  for (size_t i = 0; i < node.size(); i++) {
    const std::string& key = node.key_at(i);
    if (std::find(kinds.begin(), kinds.end(), key) == kinds.end()) continue;
    if (!found.empty()) {
      diagnostics.error(LintCode::kConflict, node.at(i).key_location(),
                        std::string(what) + " has two kinds, " + found + " and " + key);
      map.child(key);  // reported here, not again as an unknown key
      continue;
    }
    found = key;
  }
  if (!found.empty()) return found;
  for (size_t i = 0; i < node.size(); i++) {
    const std::string& key = node.key_at(i);
    if (std::find(other_keys.begin(), other_keys.end(), key) != other_keys.end()) continue;
    if (std::find(kLaterKinds.begin(), kLaterKinds.end(), key) != kLaterKinds.end()) {
      map.child(key);
      diagnostics.error(LintCode::kUnsupported, node.at(i).key_location(), key + " is not in this version",
                        "one of " + list_of(kinds));
      return "";
    }
    map.child(key);  // reported here, not again as an unknown key
    std::string hint = did_you_mean(key, kinds);
    if (hint.empty()) hint = "one of " + list_of(kinds);
    diagnostics.error(LintCode::kUnknownKind, node.at(i).key_location(),
                      "unknown kind of " + std::string(what) + " \"" + key + "\"", hint);
    return "";
  }
  const Location& at = node.key_location().line > 0 ? node.key_location() : node.location();
  diagnostics.error(LintCode::kMissingKey, at, std::string(what) + " has no kind", "one of " + list_of(kinds));
  return "";
}

class SpecReader {
 public:
  SpecReader(const Registries& registries, Diagnostics& diagnostics)
      : registries_(registries), diagnostics_(diagnostics) {}

  std::unique_ptr<PipelineSpec> read(const ConfigNode& document) {
    MapReader map(document, diagnostics_);
    const int64_t version = map.required_child("version") ? map.int_or("version", 1, 1, 1) : 1;
    (void)version;
    if (auto name = map.required_child("name")) spec_->name = as_name(*name, diagnostics_).value_or("");
    if (auto kafka = map.child("kafka")) {
      spec_->kafka = read_kafka_config(*kafka, diagnostics_);
    } else {
      spec_->kafka.brokers = "127.0.0.1:9092";
    }
    const auto sources = map.required_child("sources");
    if (sources) read_sources(*sources);
    if (auto operators = map.child("operators")) read_operators(*operators);
    if (auto sinks = map.required_child("sinks")) read_sinks(*sinks);
    spec_->shards = static_cast<uint32_t>(map.int_or("shards", 16, 1, 4096));
    read_recovery(map.child("recovery"));
    read_state(map.child("state"));
    map.finish();
    check_names();
    return std::move(spec_);
  }

 private:
  ErrorPolicy read_on_error(const std::optional<ConfigNode>& node) {
    ErrorPolicy policy;
    if (!node) return policy;
    policy.at = node->location();
    if (node->is_mapping()) {
      MapReader map(*node, diagnostics_);
      policy.kind = ErrorPolicy::Kind::kDeadLetter;
      if (auto to = map.required_child("to")) {
        policy.at = to->location();
        policy.sink = as_string(*to, diagnostics_).value_or("");
      }
      map.finish();
      return policy;
    }
    const std::string text = as_string(*node, diagnostics_).value_or("fail");
    if (text == "drop") {
      policy.kind = ErrorPolicy::Kind::kDrop;
    } else if (text != "fail") {
      diagnostics_.error(LintCode::kBadValue, node->location(),
                         "on_error is fail, drop or {to: SINK}, found \"" + text + "\"",
                         did_you_mean(text, {"fail", "drop"}));
    }
    return policy;
  }

  bool is_empty_entry(const ConfigNode& node, const std::string& what) {
    if (!node.is_null()) return false;
    const Location& at = node.key_location().line > 0 ? node.key_location() : node.location();
    diagnostics_.error(LintCode::kMissingKey, at, what + " is empty");
    return true;
  }

  void read_source(const std::string& name, const ConfigNode& node) {
    SourceSpec source;
    source.name = name;
    source.at = node.key_location();
    if (is_empty_entry(node, "source \"" + name + "\"")) return;
    MapReader map(node, diagnostics_);
    if (!node.is_mapping()) return;
    source.kind = find_kind(map, registries_.sources, kSourceKeys, "a source", diagnostics_);
    source.format_at = source.at;
    if (auto format = map.child("format")) {
      source.format_at = format->location();
      source.format = read_format(*format, diagnostics_);
    }
    const bool generated = source.kind == "generator";
    const Schema implied = generated ? Schema{} : implied_schema(source.format.name);
    if (auto schema = implied.empty() ? map.required_child("schema") : map.child("schema")) {
      source.schema = read_schema(*schema, diagnostics_);
      if (!implied.empty() && !has_unknown(source.schema) && !(source.schema == implied)) {
        diagnostics_.error(LintCode::kBadValue, schema->location(),
                           "format " + source.format.name + " has one column: value: " + implied[0].type.to_string());
        source.schema = implied;
      }
      if (!generated && !has_unknown(source.schema)) check_schema(source.format, source.schema, *schema, diagnostics_);
    } else {
      source.schema = implied;
    }
    source.on_error = read_on_error(map.child("on_error"));
    if (auto event_time = map.child("event_time")) source.event_time = *event_time;
    if (auto watermark = map.child("watermark")) source.watermark = read_watermark(*watermark, diagnostics_);
    if (!source.kind.empty()) {
      auto body = map.child(source.kind);
      source.plan = (*registries_.sources.find(source.kind))(*body, diagnostics_);
    }
    map.finish();
    if (source.plan) {
      SourcePlanContext context{spec_->name, name, source.format, source.schema, {}};
      for (const SourceSpec& before : spec_->sources)
        if (before.plan && before.plan->kafka()) context.kafka_before.push_back(*before.plan->kafka());
      if (!source.plan->plan(context, diagnostics_)) source.plan.reset();
    }
    spec_->sources.push_back(std::move(source));
  }

  void read_sources(const ConfigNode& node) {
    MapReader map(node, diagnostics_);
    if (node.is_null() || (node.is_mapping() && node.size() == 0))
      diagnostics_.error(LintCode::kMissingKey, node.key_location(), "a pipeline needs at least one source");
    for (size_t i = 0; i < node.size() && node.is_mapping(); i++) {
      check_name(node.key_at(i), node.at(i).key_location());
      read_source(node.key_at(i), node.at(i));
    }
  }

  void read_inputs(const std::optional<ConfigNode>& node, size_t index, OperatorSpec& op) {
    if (node) {
      if (node->is_sequence()) {
        for (size_t i = 0; i < node->size(); i++) {
          op.inputs.push_back(as_string(node->at(i), diagnostics_).value_or(""));
          op.inputs_at.push_back(node->at(i).location());
        }
        if (node->size() == 0) diagnostics_.error(LintCode::kBadValue, node->location(), "input: is an empty list");
      } else {
        op.inputs.push_back(as_string(*node, diagnostics_).value_or(""));
        op.inputs_at.push_back(node->location());
      }
      return;
    }
    op.inputs_at.push_back(op.at);
    if (index > 0) {
      // Empty when the operator above is in error; that was reported there.
      op.inputs.push_back(spec_->operators.empty() ? "" : spec_->operators.back().id);
    } else if (spec_->sources.size() == 1) {
      op.inputs.push_back(spec_->sources[0].name);
    } else {
      op.inputs.push_back("");
      if (spec_->sources.size() > 1)
        diagnostics_.error(LintCode::kMissingKey, op.at,
                           "the first operator needs input: when there are several sources");
    }
  }

  void read_operator(const ConfigNode& node, size_t index) {
    OperatorSpec op;
    op.at = node.location();
    if (is_empty_entry(node, "operators[" + std::to_string(index) + "]")) return;
    MapReader map(node, diagnostics_);
    if (!node.is_mapping()) return;
    if (auto id = map.required_child("id")) {
      op.at = id->location();
      op.id = as_name(*id, diagnostics_).value_or("");
    }
    op.kind = find_kind(map, registries_.operators, {"id", "input"}, "an operator", diagnostics_);
    read_inputs(map.child("input"), index, op);
    if (!op.kind.empty()) {
      auto body = map.child(op.kind);
      op.plan = (*registries_.operators.find(op.kind))(*body, diagnostics_);
    }
    map.finish();
    spec_->operators.push_back(std::move(op));
  }

  void read_operators(const ConfigNode& node) {
    if (node.is_null()) return;
    if (!node.is_sequence()) {
      diagnostics_.error(LintCode::kWrongType, node.location(), "operators is a list", "begin each one with - id:");
      return;
    }
    for (size_t i = 0; i < node.size(); i++) read_operator(node.at(i), i);
  }

  void read_sink(const std::string& name, const ConfigNode& node) {
    SinkSpec sink;
    sink.name = name;
    sink.at = node.key_location();
    if (is_empty_entry(node, "sink \"" + name + "\"")) return;
    MapReader map(node, diagnostics_);
    if (!node.is_mapping()) return;
    sink.kind = find_kind(map, registries_.sinks, kSinkKeys, "a sink", diagnostics_);
    sink.input_at = sink.at;
    if (auto input = map.child("input")) {
      sink.input_at = input->location();
      sink.input = as_string(*input, diagnostics_).value_or("");
    }
    SinkPlanContext& context = sink.context;
    context.pipeline = spec_->name;
    context.sink = name;
    context.format_at = sink.at;
    if (auto format = map.child("format")) {
      context.format_at = format->location();
      context.format = read_format(*format, diagnostics_);
    }
    if (auto value = map.child("value")) context.value = *value;
    if (auto key_format = map.child("key_format")) context.key_format = *key_format;
    if (!sink.kind.empty()) {
      auto body = map.child(sink.kind);
      sink.plan = (*registries_.sinks.find(sink.kind))(*body, diagnostics_);
    }
    map.finish();
    spec_->sinks.push_back(std::move(sink));
  }

  void read_sinks(const ConfigNode& node) {
    MapReader map(node, diagnostics_);
    if (node.is_null() || (node.is_mapping() && node.size() == 0))
      diagnostics_.error(LintCode::kMissingKey, node.key_location(), "a pipeline needs at least one sink");
    for (size_t i = 0; i < node.size() && node.is_mapping(); i++) {
      check_name(node.key_at(i), node.at(i).key_location());
      read_sink(node.key_at(i), node.at(i));
    }
    connect_sinks();
    check_files();
  }

  // Each would overwrite what the other has committed.
  void check_files() {
    for (size_t i = 0; i < spec_->sinks.size(); i++) {
      const SinkSpec& sink = spec_->sinks[i];
      for (size_t j = 0; j < i && sink.plan && sink.plan->file(); j++) {
        const SinkSpec& other = spec_->sinks[j];
        if (!other.plan || !other.plan->file()) continue;
        const std::string conflict = file_conflict(*other.plan->file(), *sink.plan->file());
        if (conflict.empty()) continue;
        diagnostics_.error(LintCode::kDuplicateName, sink.at,
                           "sinks \"" + other.name + "\" and \"" + sink.name + "\" both " + conflict);
        break;
      }
    }
  }

  // Sinks without input: dead letters of somebody, else rows of the last operator.
  void connect_sinks() {
    std::set<std::string> dead_letter_sinks;
    for (const SourceSpec& source : spec_->sources)
      for (const auto& [name, at] : dead_letter_names(source)) dead_letter_sinks.insert(name);
    for (SinkSpec& sink : spec_->sinks) {
      const bool named = dead_letter_sinks.count(sink.name) > 0;
      sink.context.dead_letters = named;
      if (!sink.input.empty()) continue;
      if (named) {
        sink.context.dead_letters_only = true;
      } else if (!spec_->operators.empty()) {
        sink.input = spec_->operators.back().id;
      } else if (spec_->sources.size() == 1) {
        sink.input = spec_->sources[0].name;
      } else if (spec_->sources.size() > 1) {
        diagnostics_.error(LintCode::kMissingKey, sink.at,
                           "sink \"" + sink.name + "\" needs input: when there are several sources");
      }
    }
    std::vector<std::string> names;
    for (const SinkSpec& sink : spec_->sinks) names.push_back(sink.name);
    for (const SourceSpec& source : spec_->sources)
      for (const auto& [name, at] : dead_letter_names(source))
        if (std::find(names.begin(), names.end(), name) == names.end())
          diagnostics_.error(LintCode::kUnknownInput, at, "no sink is called \"" + name + "\"",
                             did_you_mean(name, names));
  }

  // The sinks that a source names by `to:`.
  static std::vector<std::pair<std::string, Location>> dead_letter_names(const SourceSpec& source) {
    std::vector<std::pair<std::string, Location>> names;
    if (source.on_error.kind == ErrorPolicy::Kind::kDeadLetter)
      names.emplace_back(source.on_error.sink, source.on_error.at);
    if (source.watermark.on_future == WatermarkSpec::OnFuture::kDeadLetter)
      names.emplace_back(source.watermark.future_sink, source.watermark.future_at);
    return names;
  }

  bool uses_kafka() const {
    for (const SourceSpec& source : spec_->sources)
      if (source.kind == "kafka") return true;
    for (const SinkSpec& sink : spec_->sinks)
      if (sink.kind == "kafka") return true;
    return false;
  }

  void read_recovery(const std::optional<ConfigNode>& node) {
    spec_->mode = uses_kafka() ? RecoveryMode::kChangelog : RecoveryMode::kNone;
    MapReader map(node.value_or(ConfigNode()), diagnostics_);
    if (auto mode = map.child("mode")) {
      const std::string text = as_string(*mode, diagnostics_).value_or("");
      if (text == "changelog")
        spec_->mode = RecoveryMode::kChangelog;
      else if (text == "local")
        spec_->mode = RecoveryMode::kLocal;
      else if (text == "none")
        spec_->mode = RecoveryMode::kNone;
      else if (text == "snapshot")
        diagnostics_.error(LintCode::kUnsupported, mode->location(),
                           "recovery mode snapshot is not supported by this version");
      else
        diagnostics_.error(LintCode::kBadValue, mode->location(),
                           "recovery mode is changelog, local or none, found \"" + text + "\"",
                           did_you_mean(text, {"changelog", "local", "none", "snapshot"}));
    }
    const std::string guarantee = map.choice("guarantee", {"exactly_once", "at_least_once"}, "exactly_once");
    spec_->guarantee = guarantee == "at_least_once" ? Guarantee::kAtLeastOnce : Guarantee::kExactlyOnce;
    spec_->commit_interval_ms = map.duration_ms_or("commit_interval", spec_->mode == RecoveryMode::kLocal ? 1000 : 100);
    spec_->max_commit_interval_ms = map.duration_ms_or("max_commit_interval", 1000);
    check_interval(map, "commit_interval", spec_->commit_interval_ms);
    check_interval(map, "max_commit_interval", spec_->max_commit_interval_ms);
    spec_->max_commit_interval_ms = std::max(spec_->max_commit_interval_ms, spec_->commit_interval_ms);
    for (const char* key : {"snapshots", "s3"})
      if (auto child = map.child(key))
        diagnostics_.error(LintCode::kUnsupported, child->key_location(),
                           std::string(key) + " is not supported by this version");
    if (auto changelog = map.child("changelog")) {
      MapReader options(*changelog, diagnostics_);
      spec_->changelog_at = changelog->key_location();
      spec_->changelog_partitions = static_cast<int>(options.int_or("partitions", 4, 1, 4096));
      options.finish();
    } else {
      // The default adapts to few shards: it must divide them.
      while (spec_->shards % static_cast<uint32_t>(spec_->changelog_partitions) != 0) spec_->changelog_partitions--;
    }
    if (spec_->shards % static_cast<uint32_t>(spec_->changelog_partitions) != 0)
      diagnostics_.error(LintCode::kBadValue, spec_->changelog_at,
                         "changelog.partitions (" + std::to_string(spec_->changelog_partitions) +
                             ") must divide shards (" + std::to_string(spec_->shards) + ")");
    map.finish();
  }

  void check_interval(MapReader& map, const char* key, int64_t value_ms) {
    if (value_ms >= 1 && value_ms <= 60'000) return;
    if (auto node = map.child(key))
      diagnostics_.error(LintCode::kBadValue, node->location(), std::string(key) + " is between 1ms and 1m");
  }

  void read_state(const std::optional<ConfigNode>& node) {
    MapReader map(node.value_or(ConfigNode()), diagnostics_);
    spec_->rocksdb = map.choice("backend", {"rocksdb", "memory"}, "rocksdb") == "rocksdb";
    spec_->state.cache_bytes = static_cast<size_t>(map.size_bytes_or("cache", 64 << 20));
    spec_->state.block_cache_bytes = static_cast<size_t>(map.size_bytes_or("block_cache", 64 << 20));
    spec_->state.memtable_bytes = static_cast<size_t>(map.size_bytes_or("memtable", 32 << 20));
    map.finish();
    if (spec_->mode == RecoveryMode::kLocal && !spec_->rocksdb)
      diagnostics_.error(LintCode::kConflict, node->location(), "recovery mode local needs state: {backend: rocksdb}");
  }

  void check_name(const std::string& name, const Location& at) {
    const bool good = !name.empty() && name.size() <= 100 &&
                      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string::npos;
    if (!good)
      diagnostics_.error(LintCode::kBadValue, at, "a name consists of a-z, 0-9, _ and -, found \"" + name + "\"");
  }

  // Sources and operators share one space of names: input: may mean either.
  void check_names() {
    std::set<std::string> seen;
    for (const SourceSpec& source : spec_->sources) seen.insert(source.name);
    for (const OperatorSpec& op : spec_->operators)
      if (!op.id.empty() && !seen.insert(op.id).second)
        diagnostics_.error(LintCode::kDuplicateName, op.at,
                           "\"" + op.id + "\" is already the name of a source or an operator");
  }

  const Registries& registries_;
  Diagnostics& diagnostics_;
  std::unique_ptr<PipelineSpec> spec_ = std::make_unique<PipelineSpec>();
};

// record.* names that stand anywhere in a document's scalars.
void collect_record_names(const ConfigNode& node, std::set<std::string>& names) {
  if (node.is_scalar()) {
    for (const Field& column : record_columns())
      if (node.text().find(column.name) != std::string::npos) names.insert(column.name);
    return;
  }
  if (!node.is_sequence() && !node.is_mapping()) return;
  for (size_t i = 0; i < node.size(); i++) collect_record_names(node.at(i), names);
}

}  // namespace

Schema record_columns() {
  return {{"record.key", Type(TypeKind::kString)},
          {"record.topic", Type(TypeKind::kString)},
          {"record.partition", Type(TypeKind::kInt)},
          {"record.offset", Type(TypeKind::kInt)},
          {"record.timestamp", Type::timestamp(TimestampUnit::kMillis)},
          {"record.headers", Type::map(Type(TypeKind::kBytes))}};
}

std::unique_ptr<PipelineSpec> read_spec(const ConfigNode& document, const Registries& registries,
                                        Diagnostics& diagnostics) {
  if (document.is_null()) {
    diagnostics.error(LintCode::kMissingKey, document.location(), "the file is empty",
                      "a pipeline needs version, name, sources and sinks");
    return nullptr;
  }
  auto spec = SpecReader(registries, diagnostics).read(document);
  spec->file = document.location().file;
  collect_record_names(document, spec->record_names);
  return spec;
}

}  // namespace millrace
