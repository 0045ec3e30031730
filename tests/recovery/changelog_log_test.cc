// Mode changelog against a cluster in memory (fake_kafka.h) and RocksDB in a temporary directory.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include "recovery/changelog_topics.h"
#include "recovery/topic_reader.h"
#include "tests/recovery/fake_kafka.h"
#include "tests/recovery/recovery_fixture.h"

namespace millrace {
namespace {

using Table = std::map<std::string, std::string>;
const std::string kTopic = "orders.revenue.changelog";

struct Fixture {
  TemporaryDirectory directory;
  FakeCluster cluster;
  RecoverySettings settings = recovery_settings(RecoveryMode::kChangelog, directory.path());
  std::unique_ptr<DecisionLog> log;
  Recovered now;

  Fixture() {
    settings.kafka.brokers = "fake";
    settings.groups = {{"in", "group", true}};
    cluster.make_topic("input", 1, {});
  }
  Status start() {
    now = Recovered{};
    log.reset();
    log = make_changelog_log(settings, cluster.clock, Logger(), cluster.clients());
    Result<Recovered> recovered = log->recover();
    if (!recovered.is_ok()) return recovered.status();
    now = std::move(recovered).value();
    return log->begin(now.progress.epoch + 1);
  }
  void must_start() {
    Status status = start();
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
  }
  // Ends the incarnation as kill -9 would: the open transaction stays open.
  void kill() {
    now = Recovered{};
    log.reset();
  }
  Result<DecisionOutcome> decide(uint64_t epoch, const Changes& changes, int64_t position = 0, bool ingest = false) {
    uint16_t number = now.progress.operators.empty() ? 0 : now.progress.operators[0].number;
    DeltaPtr delta = make_delta(settings, epoch, number, changes);
    Decision decision = make_decision(epoch, {delta}, position);
    std::string record;
    Result<DecisionOutcome> outcome = log->decide(decision, &record);
    if (ingest) REQUIRE(now.store->ingest(*delta, record).is_ok());
    return outcome;
  }
  void must_decide(uint64_t epoch, const Changes& changes, int64_t position = 0, bool ingest = false) {
    Result<DecisionOutcome> outcome = decide(epoch, changes, position, ingest);
    REQUIRE_MESSAGE(outcome.is_ok(), outcome.status().to_string());
    CHECK(*outcome == DecisionOutcome::kDecided);
  }
  void lose_directory() {
    kill();
    std::filesystem::remove_all(settings.data_directory);
  }
  // A pipeline that has decided three epochs; the store holds the first two.
  void three_epochs() {
    must_start();
    must_decide(1, {}, 0, true);
    must_decide(2, {{"a", "1"}, {"b", "1"}}, 10, true);
    must_decide(3, {{"a", "2"}, {"b", std::nullopt}, {"c", "3"}}, 20);
  }
  const Table& held() { return held_ = content(*now.store, now.progress.operators[0].number); }

 private:
  Table held_;
};

const Table kAfterThree = {{"a", "2"}, {"c", "3"}};

}  // namespace

TEST_CASE("first start: topics as documented, numbers, first decision") {
  Fixture f;
  f.must_start();
  CHECK(f.now.first_start);
  CHECK(f.now.restored_from == "empty");
  CHECK(f.now.progress.operators[0].changelog_topic == kTopic);
  CHECK(f.now.progress.generation > 0);
  CHECK(f.cluster.topics.at(kTopic).partitions.size() == 4);
  CHECK(f.cluster.topics.at(kTopic).settings.at("cleanup.policy") == "compact");
  CHECK(f.cluster.topics.at(kTopic).settings.at("segment.bytes") == "52428800");
  CHECK(f.cluster.topics.at("orders.progress").partitions.size() == 1);
  // The order of rule 1: members, fencing, progress.
  const auto& calls = f.cluster.calls;
  auto init = std::find(calls.begin(), calls.end(), "init");
  CHECK(std::find(calls.begin(), init, "members") != init);
  CHECK(std::find(calls.begin(), init, "watermarks") == init);
  CHECK(f.log->open_epoch() == 1);
  CHECK(f.log->sink_producer() != nullptr);
  f.must_decide(1, {}, 5);
  CHECK(f.log->open_epoch() == 2);
  CHECK(f.cluster.groups["group"][{"input", 0}] == 5);
}

TEST_CASE("a restart replays only the tail; a deleted directory everything; compaction changes nothing") {
  Fixture f;
  f.three_epochs();
  f.kill();
  SUBCASE("plain") {}
  SUBCASE("compacted") { f.cluster.compact(kTopic); }
  f.must_start();
  CHECK_FALSE(f.now.first_start);
  CHECK(f.now.restored_from == "tail");
  CHECK(f.now.replayed_records == 3);
  CHECK(f.now.progress.epoch == 3);
  CHECK(f.now.progress.sources[0].partitions[0].at.position == 20);
  CHECK(f.held() == kAfterThree);
  f.kill();
  f.must_start();
  CHECK(f.now.restored_from == "local");
  CHECK(f.now.replayed_records == 0);
  CHECK(f.held() == kAfterThree);
  f.lose_directory();
  f.must_start();
  CHECK(f.now.restored_from == "full");
  CHECK(f.now.replayed_records >= 3);
  CHECK(f.held() == kAfterThree);
  f.must_decide(4, {{"a", "9"}}, 30);
  f.lose_directory();
  f.must_start();
  CHECK(f.held() == Table{{"a", "9"}, {"c", "3"}});
}

TEST_CASE("so many records that two consumers read them: the tail, and everything") {
  Fixture f;
  f.must_start();
  f.must_decide(1, {{"old", "1"}}, 0, true);
  Table expected = {{"old", "1"}};
  constexpr int kVersions = 4;
  constexpr int kKeys = 30'000;
  for (int version = 0; version < kVersions; version++) {
    Changes changes;
    for (int i = 0; i < kKeys; i++) {
      // Keys that begin like those that carry a shard, keys that say their shard, and such that carry it.
      const std::string begins[] = {std::string(2, '\0'), "key-", "moved-"};
      const std::string key = begins[i % 3] + std::to_string(i);
      const bool removed = version == kVersions - 1 && i % 5 == 0;
      const std::string value = std::to_string(version) + "-" + std::to_string(i);
      changes[key] = removed ? std::nullopt : std::optional(value);
      if (removed) {
        expected.erase(key);
      } else {
        expected[key] = value;
      }
    }
    f.must_decide(static_cast<uint64_t>(version) + 2, changes, version);
  }
  f.kill();
  f.must_start();
  CHECK(f.now.restored_from == "tail");
  CHECK(f.now.replayed_records == kVersions * kKeys);
  CHECK((f.held() == expected));
  f.lose_directory();
  f.cluster.unreadable_topic = kTopic;  // one of the two readers fails, and both end
  CHECK(f.start().code() == Code::kKafkaUnavailable);
  f.kill();
  f.cluster.unreadable_topic.clear();
  f.must_start();
  CHECK(f.now.restored_from == "full");
  CHECK(f.now.replayed_records == kVersions * kKeys + 1);
  CHECK((f.held() == expected));
}

TEST_CASE("what a killed incarnation left open is aborted and never restored") {
  Fixture f;
  f.three_epochs();
  f.cluster.next_commit = FakeCluster::Commit::kLostBefore;
  Result<DecisionOutcome> outcome = f.decide(4, {{"a", "wrong"}, {"z", "wrong"}}, 99);
  REQUIRE(outcome.is_ok());
  CHECK(*outcome == DecisionOutcome::kUnknown);
  f.kill();
  // The unknown transaction is not touched by the incarnation that lost it.
  CHECK(std::find(f.cluster.calls.begin(), f.cluster.calls.end(), "abort") == f.cluster.calls.end());
  f.must_start();
  CHECK(f.now.progress.epoch == 3);
  CHECK(f.held() == kAfterThree);
  CHECK(f.cluster.groups["group"][{"input", 0}] == 20);
}

TEST_CASE("an unknown outcome that was a commit is found by the next start") {
  Fixture f;
  f.three_epochs();
  f.cluster.next_commit = FakeCluster::Commit::kLostAfter;
  Result<DecisionOutcome> outcome = f.decide(4, {{"a", "4"}}, 40);
  REQUIRE(outcome.is_ok());
  CHECK(*outcome == DecisionOutcome::kUnknown);
  f.kill();
  f.must_start();
  CHECK(f.now.progress.epoch == 4);
  CHECK(f.now.progress.sources[0].partitions[0].at.position == 40);
  CHECK(f.held() == Table{{"a", "4"}, {"c", "3"}});
}

TEST_CASE("an aborted transaction is an error, the state stays") {
  Fixture f;
  f.three_epochs();
  f.cluster.next_commit = FakeCluster::Commit::kFail;
  CHECK(f.decide(4, {{"a", "4"}}).status().code() == Code::kTransactionAborted);
  f.kill();
  f.must_start();
  CHECK(f.held() == kAfterThree);
}

TEST_CASE("fencing: the older one stops with kFenced, the newer one continues") {
  Fixture f;
  f.three_epochs();
  TemporaryDirectory elsewhere;
  RecoverySettings other = f.settings;
  other.data_directory = elsewhere.path() + "/orders";
  auto newer = make_changelog_log(other, f.cluster.clock, Logger(), f.cluster.clients());
  Result<Recovered> recovered = newer->recover();
  REQUIRE_MESSAGE(recovered.is_ok(), recovered.status().to_string());
  CHECK(recovered->restored_from == "full");
  SUBCASE("error() says so") {}
  SUBCASE("error() only knows of purged records") { f.cluster.purge_hides_fencing = true; }
  CHECK(f.log->health().code() == Code::kFenced);
  if (!f.cluster.purge_hides_fencing) {
    Status fenced = f.decide(4, {{"a", "zombie"}}).status();
    CHECK(fenced.code() == Code::kFenced);
    CHECK(fenced.retry() == Retry::kNever);
  }
  REQUIRE(newer->begin(4).is_ok());
  CHECK(f.cluster.table(kTopic) == kAfterThree);
}

TEST_CASE("the same directory: the newcomer is refused before it fences anybody") {
  Fixture f;
  f.three_epochs();
  auto newer = make_changelog_log(f.settings, f.cluster.clock, Logger(), f.cluster.clients());
  CHECK(newer->recover().status().code() == Code::kStateLocked);
  f.must_decide(4, {{"a", "4"}});
}

TEST_CASE("a group with members is refused before anybody is fenced") {
  Fixture f;
  f.cluster.members["group"] = 2;
  Status status = f.start();
  CHECK(status.code() == Code::kGroupHasMembers);
  CHECK(std::count(f.cluster.calls.begin(), f.cluster.calls.end(), "init") == 0);
}

TEST_CASE("moved group offsets are refused with everything that is known, or accepted") {
  Fixture f;
  f.three_epochs();
  f.kill();
  f.cluster.groups["group"][{"input", 0}] = 7;
  Status status = f.start();
  REQUIRE(status.code() == Code::kProgressContradicted);
  for (const char* part : {"input[0]", "offset 7", " 20", "--accept-reset"}) {
    CHECK(status.message().find(part) != std::string::npos);
  }
  f.settings.accept_reset = true;
  f.must_start();
  CHECK(f.now.progress.sources[0].partitions[0].at.position == 7);
  CHECK(f.held() == kAfterThree);
}

TEST_CASE("missing group offsets are a warning and are committed with the next decision") {
  Fixture f;
  f.three_epochs();
  f.kill();
  f.cluster.groups.clear();
  f.must_start();
  CHECK(f.now.progress.sources[0].partitions[0].at.position == 20);
  CHECK(f.log->wants_decision(f.cluster.clock.monotonic_us() / 1000));
  f.must_decide(4, {}, 20);
  CHECK(f.cluster.groups["group"][{"input", 0}] == 20);
  int64_t now_ms = f.cluster.clock.monotonic_us() / 1000;
  CHECK_FALSE(f.log->wants_decision(now_ms + 40'000));
  CHECK(f.log->wants_decision(now_ms + 60'000));
}

TEST_CASE("topic settings that lose state are refused by name") {
  Fixture f;
  std::map<std::string, std::string> good = {{"cleanup.policy", "compact"}, {"delete.retention.ms", "604800000"}};
  int partitions = 4;
  const char* expected = "";
  SUBCASE("policy") {
    good["cleanup.policy"] = "compact,delete";
    expected = "\"compact,delete\"";
  }
  SUBCASE("partitions") {
    partitions = 3;
    expected = "number of partitions is 3, must be 4";
  }
  SUBCASE("retention of tombstones") {
    good["delete.retention.ms"] = "1000";
    expected = "delete.retention.ms is 1000";
  }
  f.cluster.make_topic(kTopic, partitions, good);
  Status status = f.start();
  REQUIRE(status.code() == Code::kTopicSettings);
  CHECK(status.fault() == Fault::kUser);
  CHECK(status.message().find(kTopic) != std::string::npos);
  CHECK(status.message().find(expected) != std::string::npos);
}

TEST_CASE("a changelog without a progress record belongs to somebody else, unless it is accepted and left behind") {
  Fixture f;
  f.cluster.make_topic(kTopic, 4, {{"cleanup.policy", "compact"}, {"delete.retention.ms", "604800000"}});
  f.cluster.append(kTopic, 0, "aborted", "x", FakeCluster::Visibility::kAborted);
  f.must_start();
  f.kill();
  f.cluster.append(kTopic, 2, "old", "x");
  CHECK(f.start().code() == Code::kProgressCorrupt);
  f.settings.accept_reset = true;
  f.must_start();
  CHECK(f.now.first_start);
  f.settings.accept_reset = false;
  f.must_decide(1, {{"a", "1"}});
  f.lose_directory();
  f.must_start();
  CHECK(f.now.restored_from == "full");
  CHECK(f.held() == Table{{"a", "1"}});
}

TEST_CASE("a changed operator is refused; accepted, it starts empty for good") {
  Fixture f;
  f.three_epochs();
  f.kill();
  f.settings.operators[0].descriptor = "aggregate v2";
  CHECK(f.start().code() == Code::kStateIncompatible);
  f.settings.accept_reset = true;
  f.must_start();
  CHECK(f.now.progress.operators[0].number == 2);
  CHECK(f.held().empty());
  f.must_decide(4, {{"n", "new"}}, 20);
  f.settings.accept_reset = false;
  f.kill();
  f.must_start();
  CHECK(f.held() == Table{{"n", "new"}});
  f.lose_directory();
  f.must_start();
  CHECK(f.held() == Table{{"n", "new"}});
}

TEST_CASE("a new operator starts empty beside the old one, whose store is kept") {
  Fixture f;
  f.three_epochs();
  f.kill();
  f.settings.operators.push_back({"more", "aggregate v1"});
  f.must_start();
  CHECK(f.now.restored_from == "tail");
  CHECK(f.now.progress.operators[1].number == 2);
  CHECK(f.held() == kAfterThree);
  DeltaPtr delta = make_delta(f.settings, 4, 2, {{"m", "1"}});
  Decision decision = make_decision(4, {delta}, 20);
  std::string record;
  REQUIRE(f.log->decide(decision, &record).is_ok());
  f.kill();
  f.must_start();
  CHECK(f.now.restored_from == "tail");
  CHECK(content(*f.now.store, 2) == Table{{"m", "1"}});
}

TEST_CASE("a local store is replayed in full when it is too old, from elsewhere, or ahead") {
  Fixture f;
  f.three_epochs();
  f.must_decide(4, {{"a", "4"}}, 40, true);
  SUBCASE("too old") {
    f.kill();
    f.cluster.clock.advance_ms(4LL * 24 * 3'600'000);
  }
  SUBCASE("the clock was set back") {
    f.kill();
    f.cluster.clock.set_wall_ms(f.cluster.clock.wall_ms() - 10LL * 365 * 24 * 3'600'000);
  }
  SUBCASE("another generation") {
    ProgressRecord record = f.now.progress;
    record.generation++;
    REQUIRE(f.now.store->ingest(*make_delta(f.settings, 4, 1, {{"x", "x"}}), record.encode()).is_ok());
    f.kill();
  }
  SUBCASE("ahead of the decision") {
    ProgressRecord record = f.now.progress;
    record.epoch = 9;
    REQUIRE(f.now.store->ingest(*make_delta(f.settings, 9, 1, {{"x", "x"}}), record.encode()).is_ok());
    f.kill();
  }
  f.must_start();
  CHECK(f.now.restored_from == "full");
  CHECK(f.held() == Table{{"a", "4"}, {"c", "3"}});
}

TEST_CASE("a damaged local store is replaced by a full replay") {
  Fixture f;
  f.three_epochs();
  f.kill();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(state_directory(f.settings))) {
    if (entry.path().filename().string().rfind("MANIFEST", 0) != 0) continue;
    std::ofstream(entry.path(), std::ios::trunc) << "garbage";
  }
  f.must_start();
  CHECK(f.now.restored_from == "full");
  CHECK(f.held() == kAfterThree);
}

TEST_CASE("a truncated or pruned changelog is a gap, and --accept-reset empties its operator") {
  Fixture f;
  f.three_epochs();
  f.lose_directory();
  SUBCASE("recreated") {
    auto settings = f.cluster.topics[kTopic].settings;
    f.cluster.topics.erase(kTopic);
    f.cluster.make_topic(kTopic, 4, settings);
  }
  SUBCASE("pruned") {
    for (FakeCluster::Log& log : f.cluster.topics[kTopic].partitions) {
      log.low = log.high;
      log.records.clear();
    }
  }
  Status status = f.start();
  REQUIRE(status.code() == Code::kChangelogGap);
  CHECK(status.message().find(kTopic) != std::string::npos);
  f.settings.accept_reset = true;
  f.must_start();
  CHECK(f.held().empty());
  f.settings.accept_reset = false;
  f.must_decide(4, {{"n", "1"}}, 20);
  f.lose_directory();
  f.must_start();
  CHECK(f.held() == Table{{"n", "1"}});
}

TEST_CASE("a foreign open transaction holds the restore up, but not for ever") {
  Fixture f;
  f.three_epochs();
  f.lose_directory();
  f.cluster.append(kTopic, 1, "hanging", "x", FakeCluster::Visibility::kOpen);
  int64_t before_ms = f.cluster.clock.monotonic_us() / 1000;
  Status status = f.start();
  CHECK(status.code() == Code::kKafkaUnavailable);
  CHECK(status.retry() == Retry::kBackoff);
  CHECK(status.message().find(kTopic + "[1]") != std::string::npos);
  int64_t waited_ms = f.cluster.clock.monotonic_us() / 1000 - before_ms;
  CHECK(waited_ms >= kNoProgressMs);
  CHECK(waited_ms < kNoProgressMs + 5'000);
}

TEST_CASE("records of others in the changelog are ignored") {
  Fixture f;
  f.three_epochs();
  f.lose_directory();
  f.cluster.append(kTopic, 0, std::nullopt, "no key");
  for (int32_t p = 0; p < 4; p++) f.cluster.append(kTopic, p, "astray", "x");
  f.must_start();
  // In one of the four partitions the key is where it belongs, and cannot be told from ours.
  CHECK(f.held().size() == 3);
  CHECK(f.held().count("a") == 1);
}

TEST_CASE("a full queue is waited for within bounds") {
  Fixture f;
  f.three_epochs();
  f.cluster.queue_full_times = 20;
  f.must_decide(4, {{"a", "4"}}, 40);
  f.cluster.queue_full_times = 1'000'000;
  CHECK(f.decide(5, {{"a", "5"}}).status().code() == Code::kKafkaUnavailable);
}

TEST_CASE("positions are lower bounds also when deliveries are reported late") {
  Fixture f;
  f.cluster.deliver_at_once = false;
  f.must_start();
  f.must_decide(1, {}, 0, true);
  for (uint64_t epoch = 2; epoch < 20; epoch++) {
    f.must_decide(epoch, {{"k" + std::to_string(epoch), "v"}, {"a", std::to_string(epoch)}}, 20, epoch < 15);
  }
  Table expected = f.cluster.table(kTopic);
  f.kill();
  f.must_start();
  CHECK(f.now.restored_from == "tail");
  CHECK(f.now.replayed_records < 14);
  CHECK(f.held() == expected);
}

TEST_CASE("at_least_once: outputs have a producer of their own and no open epoch") {
  Fixture f;
  f.settings.guarantee = Guarantee::kAtLeastOnce;
  f.cluster.make_topic("out", 1, {});
  f.must_start();
  CHECK(f.log->open_epoch() == UINT64_MAX);
  KafkaProducer* producer = f.log->sink_producer();
  REQUIRE(producer != nullptr);
  KafkaRecordOut record;
  record.partition = 0;
  record.key = "k";
  record.value = "v";
  CHECK(producer->produce(*producer->topic("out"), record) == Produced::kQueued);
  CHECK(f.cluster.table("out") == Table{{"k", "v"}});  // before any decision
  f.must_decide(1, {{"a", "1"}}, 1);
  CHECK(f.cluster.table(kTopic) == Table{{"a", "1"}});
}

TEST_CASE("without the progress record of an existing state, or with a damaged one, nothing starts silently") {
  Fixture f;
  f.three_epochs();
  f.kill();
  SUBCASE("damaged") { f.cluster.append("orders.progress", 0, "orders", "garbage"); }
  SUBCASE("foreign") {
    ProgressRecord record;
    record.pipeline = "orders";
    record.mode = "snapshot";
    f.cluster.append("orders.progress", 0, "orders", record.encode());
  }
  SUBCASE("deleted") { f.cluster.topics["orders.progress"].partitions[0] = {}; }
  CHECK(f.start().code() == Code::kProgressCorrupt);
  f.settings.accept_reset = true;
  f.must_start();
  CHECK(f.now.first_start);
  CHECK(f.held().empty());
}

TEST_CASE("the directory of mode local is not replaced silently") {
  Fixture f;
  {
    RecoverySettings local = f.settings;
    local.mode = RecoveryMode::kLocal;
    local.kafka.brokers.clear();
    auto log = make_local_log(local, f.cluster.clock, Logger(), {});
    Result<Recovered> recovered = log->recover();
    REQUIRE(recovered.is_ok());
    REQUIRE(log->begin(1).is_ok());
    Decision decision = make_decision(1, {make_delta(local, 1, 1, {{"a", "1"}})});
    std::string record;
    REQUIRE(log->decide(decision, &record).is_ok());
  }
  CHECK(f.start().code() == Code::kStateIncompatible);
  f.settings.accept_reset = true;
  f.must_start();
  CHECK(f.held().empty());
}

}  // namespace millrace
