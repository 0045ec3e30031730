// Modes local and none against RocksDB in a temporary directory.
#include <doctest/doctest.h>

#include <fstream>

#include "state/state_layers.h"
#include "tests/recovery/recovery_fixture.h"

namespace millrace {
namespace {

struct Fixture {
  TemporaryDirectory directory;
  RecoverySettings settings = recovery_settings(RecoveryMode::kLocal, directory.path());
  ManualClock clock{1'700'000'000'000};
  std::unique_ptr<DecisionLog> log;

  Result<Recovered> start() {
    log.reset();
    log = settings.mode == RecoveryMode::kLocal ? make_local_log(settings, clock, Logger(), {})
                                                : make_none_log(settings, clock, Logger(), {});
    return log->recover();
  }
  void decide(uint64_t epoch, const Changes& changes, int64_t position = 0, uint16_t number = 1) {
    Decision decision = make_decision(epoch, {make_delta(settings, epoch, number, changes)}, position);
    std::string record;
    Result<DecisionOutcome> outcome = log->decide(decision, &record);
    REQUIRE_MESSAGE(outcome.is_ok(), outcome.status().to_string());
    CHECK(*outcome == DecisionOutcome::kDecided);
    Result<ProgressRecord> parsed = ProgressRecord::parse(record);
    REQUIRE(parsed.is_ok());
    CHECK(parsed->epoch == epoch);
    CHECK(parsed->pipeline == "orders");
  }
};

using Table = std::map<std::string, std::string>;

}  // namespace

TEST_CASE("local: what was decided is there after a restart, what was not is not") {
  Fixture f;
  {
    Result<Recovered> first = f.start();
    REQUIRE_MESSAGE(first.is_ok(), first.status().to_string());
    CHECK(first->first_start);
    CHECK(first->restored_from == "empty");
    CHECK(first->progress.operators[0].number == 1);
    REQUIRE(f.log->begin(1).is_ok());
    f.decide(1, {});
    f.decide(2, {{"a", "1"}, {"b", "1"}}, 10);
    f.decide(3, {{"a", "2"}, {"b", std::nullopt}}, 20);
  }
  Result<Recovered> second = f.start();
  REQUIRE_MESSAGE(second.is_ok(), second.status().to_string());
  CHECK_FALSE(second->first_start);
  CHECK(second->restored_from == "local");
  CHECK(second->replayed_records == 4);
  CHECK(second->progress.epoch == 3);
  CHECK(second->progress.sources[0].partitions[0].at.position == 20);
  CHECK(content(*second->store, 1) == Table{{"a", "2"}});
  REQUIRE(f.log->begin(4).is_ok());
  f.decide(4, {{"c", "x"}}, 30);
  second = f.start();
  // The store that the second start returned is still open: one process at a time.
  CHECK(second.status().code() == Code::kStateLocked);
}

TEST_CASE("local: an ingest covers the log, which is dropped up to it") {
  Fixture f;
  {
    Result<Recovered> first = f.start();
    REQUIRE(first.is_ok());
    StateLayers::Options options;
    options.background = false;
    options.memtable_bytes = 1;
    options.now_ms = [] { return 0; };
    StateLayers layers(*first->store, 1, options);
    layers.on_ingested([&](uint64_t epoch) { f.log->stored(epoch); });
    REQUIRE(f.log->begin(1).is_ok());
    for (uint64_t epoch = 1; epoch <= 5; epoch++) {
      DeltaPtr delta = make_delta(f.settings, epoch, 1, {{"k" + std::to_string(epoch), "v"}, {"n", "x"}});
      layers.lane(0).add_undecided(delta);
      Decision decision = make_decision(epoch, {delta});
      std::string record;
      REQUIRE(f.log->decide(decision, &record).is_ok());
      REQUIRE(layers.decide(epoch, record).is_ok());
    }
    REQUIRE(layers.flush().is_ok());
    CHECK(first->store->log_entries()->empty());
  }
  Result<Recovered> second = f.start();
  REQUIRE(second.is_ok());
  CHECK(second->replayed_records == 0);
  CHECK(second->progress.epoch == 5);
  CHECK(content(*second->store, 1).size() == 6);
}

TEST_CASE("local: a gap or damage in the epoch log stops the start, and --accept-reset begins anew") {
  Fixture f;
  {
    Result<Recovered> first = f.start();
    REQUIRE(first.is_ok());
    REQUIRE(f.log->begin(1).is_ok());
    f.decide(1, {{"a", "1"}});
    SUBCASE("gap") { REQUIRE(first->store->log_append(3, "whatever").is_ok()); }
    SUBCASE("damage") { REQUIRE(first->store->log_append(2, "whatever").is_ok()); }
  }
  Result<Recovered> second = f.start();
  REQUIRE(!second.is_ok());
  CHECK(second.status().code() == Code::kProgressCorrupt);
  CHECK(second.status().message().find("--accept-reset") != std::string::npos);
  f.settings.accept_reset = true;
  second = f.start();
  REQUIRE_MESSAGE(second.is_ok(), second.status().to_string());
  CHECK(second->first_start);
  CHECK(content(*second->store, 1).empty());
}

TEST_CASE("local: a damaged store is not wiped") {
  Fixture f;
  {
    Result<Recovered> first = f.start();
    REQUIRE(first.is_ok());
    REQUIRE(f.log->begin(1).is_ok());
    f.decide(1, {{"a", "1"}});
    REQUIRE(first->store->ingest(*make_delta(f.settings, 1, 1, {{"a", "1"}}), first->progress.encode()).is_ok());
  }
  std::string damaged;
  SUBCASE("the list of its tables") { damaged = "MANIFEST"; }
  SUBCASE("a table") { damaged = ".sst"; }
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(state_directory(f.settings))) {
    if (entry.path().filename().string().find(damaged) == std::string::npos) continue;
    std::ofstream(entry.path(), std::ios::trunc) << "garbage";
    files++;
  }
  CHECK(files > 0);
  Result<Recovered> second = f.start();
  REQUIRE(!second.is_ok());
  CHECK(second.status().code() == Code::kStateCorrupt);
  CHECK(second.status().message().find("backup") != std::string::npos);
  CHECK(std::filesystem::exists(state_directory(f.settings)));
}

TEST_CASE("local: a changed operator is refused; accepted, it starts empty and its old keys are deleted") {
  Fixture f;
  {
    Result<Recovered> first = f.start();
    REQUIRE(first.is_ok());
    REQUIRE(f.log->begin(1).is_ok());
    f.decide(1, {{"a", "1"}, {"b", "2"}});
  }
  f.settings.operators[0].descriptor = "aggregate v2";
  CHECK(f.start().status().code() == Code::kStateIncompatible);
  f.settings.accept_reset = true;
  Result<Recovered> reset = f.start();
  REQUIRE_MESSAGE(reset.is_ok(), reset.status().to_string());
  CHECK_FALSE(reset->first_start);
  CHECK(reset->progress.operators[0].number == 2);
  CHECK(content(*reset->store, 1).empty());
  CHECK(content(*reset->store, 2).empty());
  REQUIRE(f.log->begin(2).is_ok());
  f.decide(2, {{"a", "new"}}, 0, 2);
  reset->store.reset();
  f.settings.accept_reset = false;
  Result<Recovered> again = f.start();
  REQUIRE(again.is_ok());
  CHECK(content(*again->store, 2) == Table{{"a", "new"}});
}

TEST_CASE("none: state is discarded at start, unless it is the only copy of mode local") {
  Fixture f;
  f.settings.mode = RecoveryMode::kNone;
  {
    Result<Recovered> first = f.start();
    REQUIRE(first.is_ok());
    CHECK(first->first_start);
    REQUIRE(f.log->begin(1).is_ok());
    f.decide(1, {{"a", "1"}});
    REQUIRE(first->store->ingest(*make_delta(f.settings, 1, 1, {{"a", "1"}}), first->progress.encode()).is_ok());
  }
  {
    Result<Recovered> second = f.start();
    REQUIRE(second.is_ok());
    CHECK(second->first_start);
    CHECK(content(*second->store, 1).empty());
  }
  f.settings.mode = RecoveryMode::kLocal;
  {
    Result<Recovered> local = f.start();
    REQUIRE_MESSAGE(local.is_ok(), local.status().to_string());
    CHECK(local->first_start);
    REQUIRE(f.log->begin(1).is_ok());
    f.decide(1, {{"a", "1"}});
  }
  f.settings.mode = RecoveryMode::kNone;
  CHECK(f.start().status().code() == Code::kStateIncompatible);
  f.settings.accept_reset = true;
  CHECK(f.start().is_ok());
}

}  // namespace millrace
