#include "state/state_layers.h"

#include <atomic>
#include <thread>

#include "tests/state/model.h"

using namespace millrace::test;

namespace millrace {
namespace {

void check_lane(LaneState& lane, const Model& model, uint16_t first_shard, uint16_t shards) {
  std::vector<std::string> keys;
  for (const auto& entry : model) {
    const uint16_t shard = shard_of(entry.first);
    if (shard < first_shard || shard >= first_shard + shards) continue;
    keys.push_back(entry.first);
    keys.push_back(entry.first + "absent");
    keys.push_back(entry.first);
  }
  std::reverse(keys.begin(), keys.end());
  LaneState::Found found;
  REQUIRE(lane.multi_get({keys.begin(), keys.end()}, &found).is_ok());
  for (size_t i = 0; i < keys.size(); i++) {
    const auto expected = model.find(keys[i]);
    REQUIRE((found.values[i].data() != nullptr) == (expected != model.end()));
    if (expected != model.end()) REQUIRE(found.values[i] == expected->second);
  }
  for (uint16_t shard = first_shard; shard < first_shard + shards; shard++) {
    for (uint16_t operator_id = 0; operator_id < 2; operator_id++) {
      Model scanned;
      REQUIRE(lane.scan(shard, operator_id, "", "",
                        [&](std::string_view key, std::string_view value) {
                          scanned.emplace(full_key(shard, operator_id, key), value);
                          return true;
                        })
                  .is_ok());
      Model expected;
      for (const auto& entry : model) {
        if (shard_of(entry.first) == shard && operator_of(entry.first) == operator_id) expected.insert(entry);
      }
      REQUIRE(scanned == expected);
    }
  }
}

TEST_CASE("a scan begins, ends and stops where it should, over all layers") {
  const auto store = open_memory_store();
  StateLayers layers(*store, 1, {.max_age_ms = 0, .background = false, .now_ms = nullptr});
  LaneState& lane = layers.lane(0);
  const auto add = [&](uint64_t epoch, const std::string& put, const std::string& removed) {
    DeltaBuilder delta(epoch);
    for (char key : put) delta.put(3, 1, std::string(1, key), std::to_string(epoch));
    for (char key : removed) delta.remove(3, 1, std::string(1, key));
    lane.add_undecided(delta.finish());
  };
  add(1, "acegi", "");
  REQUIRE(layers.decide(1, "1").is_ok());
  REQUIRE(layers.flush().is_ok());
  add(2, "bce", "");
  add(3, "dh", "eg");
  add(4, "c", "");
  const auto scan = [&](const std::string& begin, const std::string& end, size_t limit) {
    std::string seen;
    REQUIRE(lane.scan(3, 1, begin, end,
                      [&](std::string_view key, std::string_view value) {
                        seen += std::string(key) + std::string(value) + " ";
                        return --limit > 0;
                      })
                .is_ok());
    return seen;
  };
  CHECK(scan("", "", 100) == "a1 b2 c4 d3 h3 i1 ");
  CHECK(scan("b", "i", 100) == "b2 c4 d3 h3 ");
  CHECK(scan("bb", "", 2) == "c4 d3 ");
  CHECK(scan("e", "h", 100) == "");
  CHECK(scan("i", "", 1) == "i1 ");
}

TEST_CASE("layers hold what was decided and what was not, in every order") {
  for (uint64_t seed = 1; seed <= 20; seed++) {
    std::mt19937_64 random(seed);
    const auto store = open_memory_store();
    int64_t now_ms = 0;
    const size_t memtable = seed % 2 == 0 ? 20'000 : 1u << 20;
    StateLayers layers(*store, 2, {.memtable_bytes = memtable, .max_age_ms = 500, .background = false, .now_ms = [&] {
                                     return now_ms;
                                   }});
    uint64_t ingested = 0;
    layers.on_ingested([&](uint64_t epoch) { ingested = epoch; });
    std::vector<Model> models(1);  // after each epoch
    uint64_t passed[2] = {0, 0};
    uint64_t decided = 0;
    for (int step = 0; step < 300; step++) {
      now_ms += static_cast<int64_t>(random() % 40);
      const size_t lane = random() % 2;
      const uint64_t dice = random() % 10;
      if (dice < 6 && passed[lane] < decided + 4) {
        const uint64_t epoch = ++passed[lane];
        if (models.size() <= epoch) models.push_back(models.back());
        for (uint64_t e = epoch; e < models.size(); e++) {
          std::mt19937_64 of_epoch(seed * 1000 + epoch * 2 + lane);
          (void)random_delta(of_epoch, epoch, 30, 60, &models[e], static_cast<uint16_t>(lane * 3));
        }
        std::mt19937_64 of_epoch(seed * 1000 + epoch * 2 + lane);
        layers.lane(lane).add_undecided(
            random_delta(of_epoch, epoch, 30, 60, nullptr, static_cast<uint16_t>(lane * 3)));
        Model mine = models[epoch];  // other lane may be behind or ahead: its shards are not looked at
        check_lane(layers.lane(lane), mine, static_cast<uint16_t>(lane * 3), 3);
      } else if (dice < 9 && decided < std::min(passed[0], passed[1])) {
        decided++;
        REQUIRE(layers.decide(decided, std::to_string(decided)).is_ok());
      } else if (dice == 9) {
        REQUIRE(layers.flush().is_ok());
        if (decided > 0) CHECK(progress_of(*store) == std::to_string(decided));
        CHECK(ingested == decided);
      }
      // The store never holds anything that is not decided, and is always the state of its progress record.
      const std::string progress = progress_of(*store);
      const uint64_t in_store = progress.empty() ? 0 : std::stoull(progress);
      REQUIRE(in_store <= decided);
      REQUIRE(contents(*store) == models[in_store]);
    }
    while (decided < std::min(passed[0], passed[1])) {
      decided++;
      REQUIRE(layers.decide(decided, std::to_string(decided)).is_ok());
    }
    REQUIRE(layers.flush().is_ok());
    CHECK(contents(*store) == models[decided]);
    if (passed[0] == passed[1]) CHECK(layers.pending_bytes() == 0);
  }
}

TEST_CASE("what is old or large is written, what is idle seldom") {
  const auto store = open_memory_store();
  int64_t now_ms = 1000;
  StateLayers layers(*store, 1, {.memtable_bytes = 1u << 20, .max_age_ms = 500, .background = false, .now_ms = [&] {
                                   return now_ms;
                                 }});
  std::mt19937_64 random(1);
  layers.lane(0).add_undecided(random_delta(random, 1, 10, 10, nullptr));
  REQUIRE(layers.decide(1, "1").is_ok());
  CHECK(progress_of(*store).empty());
  CHECK(layers.pending_bytes() > 0);
  now_ms += 499;
  REQUIRE(layers.decide(2, "2").is_ok());
  CHECK(progress_of(*store).empty());
  now_ms += 1;
  REQUIRE(layers.decide(3, "3").is_ok());
  CHECK(progress_of(*store) == "3");
  CHECK(layers.pending_bytes() == 0);
  now_ms += 5000;
  REQUIRE(layers.decide(4, "4").is_ok());
  CHECK(progress_of(*store) == "3");
  now_ms += 15'000;
  REQUIRE(layers.decide(5, "5").is_ok());
  CHECK(progress_of(*store) == "5");
  DeltaBuilder large(6);
  large.put(0, 0, "key", std::string(2u << 20, 'x'));
  layers.lane(0).add_undecided(large.finish());
  REQUIRE(layers.decide(6, "6").is_ok());
  CHECK(progress_of(*store) == "6");
}

// A store whose writes fail.
class BrokenStore : public StateStore {
 public:
  Result<std::unique_ptr<FoundValues>> multi_get(const std::vector<std::string_view>&) override { return broken(); }
  Status scan(std::string_view, std::string_view,
              const std::function<bool(std::string_view, std::string_view)>&) override {
    return broken();
  }
  Status ingest(const Delta&, std::string_view) override { return broken(); }
  Result<std::optional<std::string>> progress() override { return broken(); }
  Status log_append(uint64_t, std::string_view) override { return broken(); }
  Result<std::vector<LogEntry>> log_entries() override { return broken(); }
  Status log_drop_until(uint64_t) override { return broken(); }
  Result<std::unique_ptr<BulkLoad>> bulk_load(size_t) override { return broken(); }
  Status clear() override { return broken(); }
  Status verify() override { return broken(); }
  Numbers numbers() override { return {}; }

 private:
  static Status broken() { return Status::terminal(Code::kDiskFull, "full"); }
};

TEST_CASE("the first background error is told") {
  for (bool background : {false, true}) {
    BrokenStore store;
    StateLayers layers(store, 1, {.memtable_bytes = 1, .max_age_ms = 1, .background = background, .now_ms = {}});
    std::mt19937_64 random(1);
    layers.lane(0).add_undecided(random_delta(random, 1, 10, 10, nullptr));
    (void)layers.decide(1, "1");
    CHECK(layers.flush().code() == Code::kDiskFull);
    CHECK(layers.decide(2, "2").code() == Code::kDiskFull);
  }
}

TEST_CASE("lanes read the newest value while a background thread merges and ingests") {
  TemporaryDirectory directory;
  auto opened = open_rocksdb_store({.directory = directory.path()});
  REQUIRE(opened.is_ok());
  StateStore& store = **opened;
  std::atomic<uint64_t> ingested{0};
  constexpr uint64_t kLast = 150;
  {
    StateLayers layers(store, 2, {.memtable_bytes = 50'000, .max_age_ms = 20, .background = true, .now_ms = {}});
    layers.on_ingested([&](uint64_t epoch) { ingested = epoch; });
    std::atomic<uint64_t> passed[2] = {0, 0};
    std::atomic<bool> failed{false};
    const auto work = [&](uint16_t lane) {
      std::mt19937_64 random(lane);
      std::map<std::string, uint64_t> model;
      for (uint64_t epoch = 1; epoch <= kLast && !failed; epoch++) {
        DeltaBuilder builder(epoch);
        for (int i = 0; i < 50; i++) {
          const std::string key = full_key(lane, 1, std::to_string(random() % 500));
          builder.put_full(key, std::to_string(epoch));
          model[key] = epoch;
        }
        layers.lane(lane).add_undecided(builder.finish());
        passed[lane] = epoch;
        std::vector<std::string_view> keys;
        for (const auto& entry : model) keys.push_back(entry.first);
        LaneState::Found found;
        if (!layers.lane(lane).multi_get(keys, &found).is_ok()) failed = true;
        size_t i = 0;
        for (const auto& entry : model) {
          if (found.values[i++] != std::to_string(entry.second)) failed = true;
        }
      }
    };
    std::thread first(work, 0);
    std::thread second(work, 1);
    for (uint64_t epoch = 1; epoch <= kLast && !failed; epoch++) {
      while (std::min(passed[0].load(), passed[1].load()) < epoch && !failed) std::this_thread::yield();
      if (!layers.decide(epoch, std::to_string(epoch)).is_ok()) failed = true;
    }
    first.join();
    second.join();
    CHECK(!failed);
    CHECK(layers.flush().is_ok());
    CHECK(layers.pending_bytes() == 0);
  }
  CHECK(ingested == kLast);
  CHECK(progress_of(store) == std::to_string(kLast));
}

}  // namespace
}  // namespace millrace
