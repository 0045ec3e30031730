#include <algorithm>
#include <fstream>

#include "tests/state/model.h"

using namespace millrace::test;

namespace millrace {
namespace {

std::unique_ptr<StateStore> open(const std::string& directory) {
  auto opened = open_rocksdb_store({.directory = directory});
  REQUIRE_MESSAGE(opened.is_ok(), opened.status().to_string());
  return std::move(opened).value();
}

void check_reads(StateStore& store, const Model& model, std::mt19937_64& random) {
  REQUIRE(contents(store) == model);
  std::vector<std::string> keys;
  for (const auto& entry : model) {
    if (random() % 3 == 0) keys.push_back(entry.first);
    if (random() % 5 == 0) keys.push_back(entry.first);  // twice
    if (random() % 5 == 0) keys.push_back(entry.first + "absent");
  }
  std::sort(keys.begin(), keys.end());
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  auto found = store.multi_get(views);
  REQUIRE(found.is_ok());
  for (size_t i = 0; i < keys.size(); i++) {
    const auto expected = model.find(keys[i]);
    REQUIRE(((**found)[i].data() != nullptr) == (expected != model.end()));
    if (expected != model.end()) REQUIRE((**found)[i] == expected->second);
  }
}

TEST_CASE("both stores are what a map is, through ingests, bulk loads, clears and reopens") {
  for (uint64_t seed = 1; seed <= 4; seed++) {
    std::mt19937_64 random(seed);
    TemporaryDirectory directory;
    auto disk = open(directory.path());
    const auto memory = open_memory_store();
    Model model;
    std::string progress;
    for (uint64_t epoch = 1; epoch <= 60; epoch++) {
      const uint64_t dice = random() % 20;
      if (dice == 0) {
        REQUIRE(disk->clear().is_ok());
        REQUIRE(memory->clear().is_ok());
        model.clear();
        progress.clear();
      } else if (dice == 1) {
        model.clear();
        progress = "bulk " + std::to_string(epoch);
        const DeltaPtr entries[] = {random_delta(random, epoch, 500, 300, &model),
                                    random_delta(random, epoch, 500, 300, &model)};
        for (StateStore* store : {disk.get(), memory.get()}) {
          auto bulk = store->bulk_load(1);
          REQUIRE(bulk.is_ok());
          for (const DeltaPtr& delta : entries) {
            for (size_t i = 0; i < delta->size(); i++) {
              const Delta::Value value = delta->value(i);
              const Status given = value.tombstone ? (*bulk)->remove(0, delta->key(i))
                                                   : (*bulk)->put(0, delta->key(i), value.bytes);
              REQUIRE(given.is_ok());
            }
          }
          REQUIRE((*bulk)->finish(progress).is_ok());
        }
      } else {
        progress = "epoch " + std::to_string(epoch);
        const DeltaPtr delta = random_delta(random, epoch, dice == 2 ? 0 : 200, 300, &model);
        REQUIRE(disk->ingest(*delta, progress).is_ok());
        REQUIRE(memory->ingest(*delta, progress).is_ok());
      }
      if (random() % 8 == 0) {
        disk.reset();
        disk = open(directory.path());
      }
      check_reads(*disk, model, random);
      check_reads(*memory, model, random);
      CHECK(progress_of(*disk) == progress);
      CHECK(progress_of(*memory) == progress);
    }
    CHECK(disk->verify().is_ok());
    CHECK(disk->numbers().disk_bytes > 0);
    CHECK(memory->numbers().keys_estimate == model.size());
  }
}

TEST_CASE("scans begin, end and stop where they should") {
  TemporaryDirectory directory;
  const auto disk = open(directory.path());
  const auto memory = open_memory_store();
  DeltaBuilder builder(1);
  for (uint16_t shard = 1; shard <= 3; shard++) {
    for (const char* key : {"a", "b", "c"}) builder.put(shard, 1, key, "x");
  }
  const DeltaPtr delta = builder.finish();
  for (StateStore* store : {disk.get(), memory.get()}) {
    REQUIRE(store->ingest(*delta, "p").is_ok());
    const auto scan = [&](const std::string& begin, const std::string& end, size_t limit) {
      std::string keys;
      REQUIRE(store
                  ->scan(begin, end,
                         [&](std::string_view key, std::string_view) {
                           keys += std::to_string(shard_of(key)) + std::string(key.substr(kFullKeyPrefix)) + " ";
                           return --limit > 0;
                         })
                  .is_ok());
      return keys;
    };
    CHECK(scan(full_key(1, 1, "b"), full_key(3, 1, "b"), 100) == "1b 1c 2a 2b 2c 3a ");
    CHECK(scan(full_key(1, 1, "b"), full_key(3, 1, "b"), 2) == "1b 1c ");
    CHECK(scan(full_key(2, 1, ""), full_key(2, 2, ""), 100) == "2a 2b 2c ");
    CHECK(scan(full_key(2, 2, ""), full_key(3, 0, ""), 100) == "");
    CHECK(scan(full_key(0, 0, ""), full_key(1, 0, ""), 100) == "");
  }
}

TEST_CASE("a bulk load larger than its buffers") {
  TemporaryDirectory directory;
  std::mt19937_64 random(1);
  Model model;
  {
    const auto store = open(directory.path());
    auto bulk = store->bulk_load(3);
    REQUIRE(bulk.is_ok());
    for (size_t i = 0; i < 24'000; i++) {
      const uint64_t id = random() % 16'000;
      const std::string key = full_key(static_cast<uint16_t>(id % 16), 1, std::to_string(id));
      if (random() % 10 == 0) {
        REQUIRE((*bulk)->remove(id % 3, key).is_ok());
        model.erase(key);
      } else {
        const std::string value(4000 + random() % 100, static_cast<char>('a' + i % 26));
        REQUIRE((*bulk)->put(id % 3, key, value).is_ok());
        model[key] = value;
      }
    }
    REQUIRE((*bulk)->finish("loaded").is_ok());
    CHECK(contents(*store) == model);
  }
  const auto store = open(directory.path());
  CHECK(contents(*store) == model);
  CHECK(progress_of(*store) == "loaded");
  CHECK(std::filesystem::is_empty(directory.path() + "/incoming"));
}

TEST_CASE("the epoch log keeps entries in order until they are dropped") {
  TemporaryDirectory directory;
  auto store = open(directory.path());
  std::map<uint64_t, std::string> expected;
  std::mt19937_64 random(1);
  for (uint64_t epoch = 1; epoch <= 300; epoch++) {
    const std::string bytes(random() % 200'000, static_cast<char>('a' + epoch % 26));
    REQUIRE(store->log_append(epoch, bytes).is_ok());
    expected[epoch] = bytes;
    if (random() % 10 == 0) {
      const uint64_t until = epoch - random() % 5;
      REQUIRE(store->log_drop_until(until).is_ok());
      expected.erase(expected.begin(), expected.upper_bound(until));
    }
    if (random() % 30 == 0) {
      store.reset();
      store = open(directory.path());
    }
    auto entries = store->log_entries();
    REQUIRE(entries.is_ok());
    REQUIRE(entries->size() == expected.size());
    auto next = expected.begin();
    for (const LogEntry& entry : *entries) {
      REQUIRE(entry.epoch == next->first);
      REQUIRE(entry.bytes == next->second);
      ++next;
    }
  }
  // The log is short, and so is what it leaves on the disk.
  uintmax_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory.path())) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  CHECK(bytes < (64u << 20));
  CHECK(!open_memory_store()->log_append(1, "x").is_ok());
}

TEST_CASE("a directory in use is refused") {
  TemporaryDirectory directory;
  const auto store = open(directory.path());
  auto second = open_rocksdb_store({.directory = directory.path()});
  REQUIRE(!second.is_ok());
  CHECK(second.status().code() == Code::kStateLocked);
  CHECK(second.status().retry() == Retry::kNever);
  CHECK(second.status().message().find(directory.path()) != std::string::npos);
}

std::filesystem::path largest(const std::string& directory, const std::string& extension) {
  std::filesystem::path found;
  for (const auto& entry : std::filesystem::directory_iterator(directory + "/db")) {
    if (entry.path().extension() != extension) continue;
    if (found.empty() || entry.file_size() > std::filesystem::file_size(found)) found = entry.path();
  }
  REQUIRE(!found.empty());
  return found;
}

void flip(const std::filesystem::path& path, uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const char byte = static_cast<char>(file.get() ^ 0x10);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(byte);
  REQUIRE(file.good());
}

TEST_CASE("a damaged table is corrupt, wherever the damage is") {
  std::mt19937_64 random(1);
  TemporaryDirectory original;
  Model model;
  {
    const auto store = open(original.path());
    REQUIRE(store->ingest(*random_delta(random, 1, 3000, 2000, &model), "progress").is_ok());
  }
  const uint64_t size = std::filesystem::file_size(largest(original.path(), ".sst"));
  for (size_t round = 0; round < 40; round++) {
    TemporaryDirectory copy;
    std::filesystem::copy(original.path(), copy.path(),
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
    // The first rounds hit the data blocks of all keys, the others anything up to the footer.
    const uint64_t offset = round < 20 ? random() % (size / 2) : random() % size;
    flip(largest(copy.path(), ".sst"), offset);
    auto opened = open_rocksdb_store({.directory = copy.path()});
    if (!opened.is_ok()) {
      CHECK(opened.status().code() == Code::kStateCorrupt);
      continue;
    }
    const Status verified = (*opened)->verify();
    if (verified.is_ok()) {
      // Padding and the like: then nothing that is read may differ.
      CHECK(contents(**opened) == model);
      continue;
    }
    CHECK(verified.code() == Code::kStateCorrupt);
    Model read;
    const Status scanned =
        (*opened)->scan("", full_key(kReservedShard, 0, ""), [&](std::string_view key, std::string_view value) {
          read.emplace(key, value);
          return true;
        });
    if (scanned.is_ok()) {
      CHECK(read == model);  // the damage is in an index or filter
    } else {
      CHECK(scanned.code() == Code::kStateCorrupt);
    }
  }
}

TEST_CASE("missing and damaged files of the database are corrupt, removal mends it") {
  for (const char* victim : {"CURRENT", "MANIFEST", "sst", "log"}) {
    TemporaryDirectory directory;
    std::mt19937_64 random(1);
    {
      const auto store = open(directory.path());
      REQUIRE(store->ingest(*random_delta(random, 1, 300, 200, nullptr), "progress").is_ok());
      for (uint64_t epoch = 1; epoch < 20; epoch++) REQUIRE(store->log_append(epoch, std::string(20'000, 'x')).is_ok());
    }
    const std::string name = victim;
    if (name == "sst") {
      std::filesystem::remove(largest(directory.path(), ".sst"));
    } else if (name == "log") {
      flip(largest(directory.path(), ".log"), 100'000);
    } else {
      for (const auto& entry : std::filesystem::directory_iterator(directory.path() + "/db")) {
        if (!entry.path().filename().string().starts_with(name)) continue;
        if (name == "CURRENT") std::filesystem::remove(entry.path());
        if (name == "MANIFEST") flip(entry.path(), entry.file_size() / 2);
      }
    }
    auto opened = open_rocksdb_store({.directory = directory.path()});
    INFO(name);
    REQUIRE(!opened.is_ok());
    CHECK_MESSAGE(opened.status().code() == Code::kStateCorrupt, opened.status().to_string());
    REQUIRE(remove_store(directory.path()).is_ok());
    CHECK(progress_of(*open(directory.path())).empty());
  }
}

TEST_CASE("an unfinished bulk load leaves an empty store") {
  TemporaryDirectory directory;
  auto store = open(directory.path());
  std::mt19937_64 random(1);
  REQUIRE(store->ingest(*random_delta(random, 1, 300, 200, nullptr), "progress").is_ok());
  REQUIRE(store->log_append(1, "x").is_ok());
  {
    auto bulk = store->bulk_load(1);
    REQUIRE(bulk.is_ok());
    REQUIRE((*bulk)->put(0, full_key(1, 1, "key"), "value").is_ok());
  }
  for (int round = 0; round < 2; round++) {
    CHECK(progress_of(*store).empty());
    CHECK(contents(*store).empty());
    CHECK(store->log_entries()->empty());
    store.reset();
    store = open(directory.path());
  }
}

}  // namespace
}  // namespace millrace
