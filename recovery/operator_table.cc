#include "recovery/operator_table.h"

#include <algorithm>

namespace millrace {

namespace {

const OperatorProgress* find_operator(const std::vector<OperatorProgress>& operators, const std::string& id) {
  auto at = std::find_if(operators.begin(), operators.end(), [&](const OperatorProgress& op) { return op.id == id; });
  return at == operators.end() ? nullptr : &*at;
}

Status check_layout(const RecoverySettings& settings, const ProgressRecord& record) {
  if (record.key_codec != kKeyCodec) {
    return Status::user(Code::kStateIncompatible,
                        fmt::format("the state's keys are encoded by codec {}, this program writes codec {}; run the "
                                    "version that wrote it, or start once with --accept-reset, which empties the state",
                                    record.key_codec, kKeyCodec));
  }
  if (record.shards != settings.shards) {
    return Status::user(Code::kStateIncompatible,
                        fmt::format("the state has {} shards, the pipeline asks for {}; shards are fixed for the life "
                                    "of the state: set `shards: {}`, or start once with --accept-reset, which empties "
                                    "the state of every operator",
                                    record.shards, settings.shards, record.shards));
  }
  return Status::ok();
}

Status descriptor_changed(const OperatorProgress& stored, const RecoverySettings::Keyed& wanted) {
  return Status::user(
      Code::kStateIncompatible,
      fmt::format("operator \"{}\": its state was written as `{}`, the pipeline now declares `{}`; give "
                  "the operator a new id (its state starts empty), take the change back, or start once "
                  "with --accept-reset, which empties the state of this operator",
                  wanted.id, stored.descriptor, wanted.descriptor));
}

}  // namespace

Result<OperatorTable> settle_operators(const RecoverySettings& settings, const ProgressRecord* record,
                                       const std::set<std::string>& lost, const Logger& log) {
  OperatorTable table;
  bool keep = record != nullptr;
  if (record != nullptr) {
    table.next_operator = record->next_operator;
    if (Status layout = check_layout(settings, *record); !layout.is_ok()) {
      if (!settings.accept_reset) return layout;
      log.warn("--accept-reset: the state of every operator starts empty ({})", layout.message());
      keep = false;
      table.reset = true;
    }
  }
  std::set<std::string> kept;
  for (const RecoverySettings::Keyed& wanted : settings.operators) {
    const OperatorProgress* stored = keep ? find_operator(record->operators, wanted.id) : nullptr;
    if (stored != nullptr && (stored->descriptor != wanted.descriptor || lost.count(wanted.id) != 0)) {
      bool changed = stored->descriptor != wanted.descriptor;
      if (!settings.accept_reset) return descriptor_changed(*stored, wanted);
      log.warn("--accept-reset: the state of operator \"{}\" starts empty ({})", wanted.id,
               changed ? "its definition changed" : "its changelog is incomplete");
      table.reset = true;
      stored = nullptr;
    }
    if (stored != nullptr) {
      table.operators.push_back({wanted.id, stored->number, wanted.descriptor, ""});
      kept.insert(wanted.id);
      continue;
    }
    if (table.next_operator == UINT16_MAX) {
      return Status::user(Code::kStateIncompatible, "the state has used up its 65,534 operator numbers");
    }
    table.operators.push_back({wanted.id, table.next_operator++, wanted.descriptor, ""});
    table.fresh.push_back(wanted.id);
  }
  if (record == nullptr) return table;
  for (const OperatorProgress& stored : record->operators) {
    if (kept.count(stored.id) != 0) continue;
    table.dropped.push_back(stored.number);
    if (find_operator(table.operators, stored.id) == nullptr) {
      log.warn("operator \"{}\" is no longer in the pipeline: its state is dropped", stored.id);
    }
  }
  return table;
}

void apply_identity(const StateIdentity& identity, ProgressRecord* record) {
  record->pipeline = identity.pipeline;
  record->mode = identity.mode;
  record->generation = identity.generation;
  record->shards = identity.shards;
  record->key_codec = kKeyCodec;
  record->operators = identity.operators;
  record->next_operator = identity.next_operator;
}

uint64_t first_generation(int64_t wall_ms) { return wall_ms > 0 ? static_cast<uint64_t>(wall_ms) : 1; }

}  // namespace millrace
