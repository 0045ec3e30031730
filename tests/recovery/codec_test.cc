// The records that decisions are made of: round trips, and what is not a record is refused without a crash.
#include <doctest/doctest.h>

#include <random>

#include "recovery/epoch_entry.h"
#include "recovery/progress.h"

namespace millrace {
namespace {

ProgressRecord sample() {
  ProgressRecord record;
  record.epoch = 42;
  record.pipeline = "orders";
  record.mode = "changelog";
  record.generation = 7;
  record.shards = 16;
  record.decided_wall_ms = 1'700'000'000'123;
  record.manifest = "m/1";
  PartitionProgress partition;
  partition.at = {{"input", 3}, "topic-id", 1234};
  partition.max_event_time_ms = 99;
  partition.watermark_ms = kNoTime;
  partition.idle = true;
  record.sources = {{"in", {partition, partition}}, {"empty", {}}};
  record.sinks = {{"file", std::string("part\0bytes", 10)}};
  record.operators = {{"revenue", 5, "aggregate v1", "orders.revenue.changelog"}};
  record.next_operator = 6;
  record.changelog = {{"orders.revenue.changelog", 1, 77, 5}};
  record.finished = true;
  return record;
}

void damage(std::string& bytes, std::mt19937& random) {
  switch (random() % 4) {
    case 0: bytes.resize(random() % bytes.size()); break;
    case 1: bytes[random() % bytes.size()] ^= static_cast<char>(1 + random() % 255); break;
    case 2: bytes.insert(random() % bytes.size(), 1 + random() % 9, static_cast<char>(random())); break;
    default: bytes.erase(random() % bytes.size(), 1 + random() % 9); break;
  }
}

}  // namespace

TEST_CASE("a progress record survives its encoding") {
  ProgressRecord record = sample();
  Result<ProgressRecord> parsed = ProgressRecord::parse(record.encode());
  REQUIRE(parsed.is_ok());
  CHECK(parsed->encode() == record.encode());
  CHECK(parsed->epoch == 42);
  CHECK(parsed->sources[0].partitions[1].at.position == 1234);
  CHECK(parsed->sources[0].partitions[1].watermark_ms == kNoTime);
  CHECK(parsed->sources[0].partitions[0].idle);
  CHECK(parsed->sinks[0].bytes.size() == 10);
  CHECK(parsed->operators[0].number == 5);
  CHECK(parsed->next_operator == 6);
  CHECK(parsed->changelog[0].offset == 77);
  CHECK(parsed->changelog[0].floor == 5);
  CHECK(parsed->finished);
  CHECK(ProgressRecord::parse(ProgressRecord{}.encode()).is_ok());
}

TEST_CASE("a damaged progress record is kProgressCorrupt") {
  const std::string good = sample().encode();
  CHECK(ProgressRecord::parse("").status().code() == Code::kProgressCorrupt);
  CHECK(ProgressRecord::parse("hello").status().code() == Code::kProgressCorrupt);
  for (uint32_t seed = 1; seed <= 20'000; seed++) {
    std::mt19937 random(seed);
    std::string bytes = good;
    for (auto n = 1 + random() % 3; n > 0 && bytes.size() > 1; n--) damage(bytes, random);
    if (bytes == good) continue;
    CAPTURE(seed);
    Result<ProgressRecord> parsed = ProgressRecord::parse(bytes);
    REQUIRE(!parsed.is_ok());
    REQUIRE(parsed.status().code() == Code::kProgressCorrupt);
  }
}

TEST_CASE("an epoch log entry survives its encoding, and damage is noticed") {
  DeltaBuilder one(3);
  one.put(0, 1, "a", "1");
  one.remove(0, 1, "b");
  DeltaBuilder two(3);
  two.put(5, 1, "c", "");
  const std::string good = encode_epoch_entry(3, "progress", {one.finish(), two.finish(), DeltaBuilder(3).finish()});
  std::vector<std::string> seen;
  auto visit = [&](std::string_view key, std::string_view value) {
    seen.push_back(std::string(key.substr(kFullKeyPrefix)) +
                   (value.data() == nullptr ? "-" : "=" + std::string(value)));
  };
  Result<EpochEntry> entry = read_epoch_entry(good, visit);
  REQUIRE(entry.is_ok());
  CHECK(entry->epoch == 3);
  CHECK(entry->progress == "progress");
  CHECK(seen == std::vector<std::string>{"a=1", "b-", "c="});
  for (uint32_t seed = 1; seed <= 20'000; seed++) {
    std::mt19937 random(seed);
    std::string bytes = good;
    damage(bytes, random);
    if (bytes == good) continue;
    CAPTURE(seed);
    REQUIRE(!read_epoch_entry(bytes, [](std::string_view, std::string_view) {}).is_ok());
  }
}

}  // namespace millrace
