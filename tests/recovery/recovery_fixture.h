// What the tests of recovery share: settings over a temporary directory, deltas from literals, and the whole content of
// a store as a map.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/murmur2.h"
#include "recovery/modes.h"
#include "state/delta.h"

namespace millrace {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "millrace-recovery-XXXXXX").string();
    MR_CHECK(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline RecoverySettings recovery_settings(RecoveryMode mode, const std::string& directory) {
  RecoverySettings settings;
  settings.pipeline = "orders";
  settings.mode = mode;
  settings.data_directory = directory + "/orders";
  settings.operators = {{"revenue", "aggregate v1 key=string"}};
  settings.shards = 8;
  return settings;
}

// User key → value; nullopt: removed. Keys that begin with "moved-" stand in another shard than theirs, as those of
// windows and timers may.
using Changes = std::map<std::string, std::optional<std::string>>;

inline DeltaPtr make_delta(const RecoverySettings& settings, uint64_t epoch, uint16_t operator_number,
                           const Changes& changes) {
  DeltaBuilder builder(epoch);
  for (const auto& [key, value] : changes) {
    auto shard = static_cast<uint16_t>(shard_of(key, settings.shards));
    if (key.starts_with("moved-")) shard = static_cast<uint16_t>((shard + 3u) % settings.shards);
    if (value) {
      builder.put(shard, operator_number, key, *value);
    } else {
      builder.remove(shard, operator_number, key);
    }
  }
  return builder.finish();
}

// User key → value of one operator.
inline std::map<std::string, std::string> content(StateStore& store, uint16_t operator_number) {
  std::map<std::string, std::string> found;
  Status status = store.scan("", std::string(1, '\xff') + "\xfe", [&](std::string_view key, std::string_view value) {
    if (operator_of(key) == operator_number) found[std::string(key.substr(kFullKeyPrefix))] = std::string(value);
    return true;
  });
  MR_CHECK(status.is_ok());
  return found;
}

inline Decision make_decision(uint64_t epoch, std::vector<DeltaPtr> deltas, int64_t position = 0) {
  Decision decision;
  decision.epoch = epoch;
  decision.deltas = std::move(deltas);
  PartitionProgress partition;
  partition.at.name = {"input", 0};
  partition.at.position = position;
  decision.progress.sources = {{"in", {partition}}};
  return decision;
}

}  // namespace millrace
