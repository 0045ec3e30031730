// What the state tests share: a directory that goes away, and a std::map as the model of a store.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <random>
#include <string>

#include "state/delta.h"
#include "state/state_store.h"

namespace millrace::test {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "millrace-state-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

using Model = std::map<std::string, std::string>;

// Puts and removals of random keys, also into the model. Short keys, so that they meet again and share prefixes.
inline DeltaPtr random_delta(std::mt19937_64& random, uint64_t epoch, size_t entries, size_t keys, Model* model,
                             uint16_t first_shard = 0, uint16_t shards = 3) {
  DeltaBuilder builder(epoch);
  for (size_t i = 0; i < entries; i++) {
    const uint64_t id = random() % keys;
    const auto shard = static_cast<uint16_t>(first_shard + id % shards);
    const std::string key = std::string(id % 23, 'k') + std::to_string(id);
    const auto operator_id = static_cast<uint16_t>(id % 2);
    if (random() % 4 == 0) {
      builder.remove(shard, operator_id, key);
      if (model != nullptr) model->erase(full_key(shard, operator_id, key));
    } else {
      const std::string value = std::to_string(random()) + std::string(random() % 30, 'v');
      builder.put(shard, operator_id, key, i % 50 == 0 ? std::string_view() : value);
      if (model != nullptr) (*model)[full_key(shard, operator_id, key)] = i % 50 == 0 ? "" : value;
    }
  }
  return builder.finish();
}

// Everything in the store but the reserved shard.
inline Model contents(StateStore& store) {
  Model found;
  REQUIRE(store
              .scan(std::string(1, '\0'), full_key(kReservedShard, 0, ""),
                    [&](std::string_view key, std::string_view value) {
                      found.emplace(key, value);
                      return true;
                    })
              .is_ok());
  return found;
}

inline std::string progress_of(StateStore& store) {
  auto progress = store.progress();
  REQUIRE(progress.is_ok());
  return progress->value_or("");
}

}  // namespace millrace::test
