#include <algorithm>

#include "tests/state/model.h"

using namespace millrace::test;

namespace millrace {
namespace {

struct Expected {
  bool tombstone = false;
  std::string value;
};
using Entries = std::map<std::string, Expected>;

void apply(const Delta& delta, Entries* entries) {
  for (size_t i = 0; i < delta.size(); i++) {
    const Delta::Value value = delta.value(i);
    (*entries)[std::string(delta.key(i))] = {value.tombstone, std::string(value.bytes)};
  }
}

void check_equal(const Delta& delta, const Entries& entries) {
  REQUIRE(delta.size() == entries.size());
  size_t i = 0;
  for (const auto& [key, expected] : entries) {
    REQUIRE(delta.key(i) == key);
    REQUIRE(delta.value(i).tombstone == expected.tombstone);
    REQUIRE(delta.value(i).bytes == expected.value);
    Delta::Value found;
    REQUIRE(delta.find(key, &found));
    REQUIRE(found.tombstone == expected.tombstone);
    REQUIRE(found.bytes == expected.value);
    REQUIRE(delta.lower_bound(key) == i);
    REQUIRE(!delta.find(key + "?", &found));
    i++;
  }
}

TEST_CASE("full keys order by shard, operator, user key") {
  const std::string key = full_key(0x0102, 0x0304, "user");
  CHECK(key == std::string("\1\2\3\4user"));
  CHECK(shard_of(key) == 0x0102);
  CHECK(operator_of(key) == 0x0304);
  CHECK(full_key(1, 0xffff, "z") < full_key(2, 0, "a"));
  CHECK(full_key(0x7f, 0, "") < full_key(0x80, 0, ""));
}

TEST_CASE("a delta is what a map would be") {
  for (uint64_t seed = 1; seed <= 60; seed++) {
    std::mt19937_64 random(seed);
    const bool with_index = seed % 2 == 0;
    Entries expected;
    DeltaBuilder builder(seed);
    const size_t n = random() % 400;
    for (size_t i = 0; i < n; i++) {
      // Lengths around the sixteen bytes that sort items carry, zero bytes and 0xff in all places.
      std::string key = full_key(static_cast<uint16_t>(random() % 2), 0, "");
      for (size_t length = random() % 18; length > 0; length--) key.push_back("\0\x01\x7f\xff"[random() % 4]);
      if (random() % 3 == 0) {
        builder.remove_full(key);
        expected[key] = {true, ""};
      } else {
        const std::string value = std::to_string(i).substr(random() % 2);
        builder.put_full(key, value);
        expected[key] = {false, value};
      }
    }
    const DeltaPtr delta = builder.finish(with_index);
    CHECK(builder.size() == 0);
    CHECK(delta->first_epoch() == seed);
    check_equal(*delta, expected);
  }
}

TEST_CASE("keys that begin alike, repeat and end in zeros are sorted as bytes") {
  std::mt19937_64 random(5);
  for (const size_t common : {0, 7, 12, 13, 28, 40}) {
    DeltaBuilder builder(1);
    Entries expected;
    for (int i = 0; i < 5000; i++) {
      std::string key = full_key(static_cast<uint16_t>(random() % 3), 1, std::string(common, 'p'));
      for (size_t n = random() % 4; n > 0; n--) key.push_back(static_cast<char>(random() % 3 == 0 ? 0 : random() % 4));
      if (random() % 3 == 0) key.append(random() % 20, '\0');
      const std::string value = std::to_string(i);
      builder.put_full(key, value);
      expected[key] = {false, value};
    }
    check_equal(*builder.finish(), expected);
  }
}

TEST_CASE("merge: the newest run wins, tombstones stay or go") {
  for (uint64_t seed = 1; seed <= 60; seed++) {
    std::mt19937_64 random(seed);
    Entries expected;
    std::vector<DeltaPtr> runs;
    const size_t count = random() % 6;
    for (size_t i = 0; i < count; i++) {
      runs.push_back(random_delta(random, 10 + i, random() % 200, 80, nullptr));
      apply(*runs.back(), &expected);
    }
    const DeltaPtr merged = Delta::merge(runs, false, seed % 2 == 0);
    check_equal(*merged, expected);
    if (count > 0) {
      CHECK(merged->first_epoch() == 10);
      CHECK(merged->last_epoch() == 9 + count);
    }
    std::erase_if(expected, [](const auto& entry) { return entry.second.tombstone; });
    check_equal(*Delta::merge(runs, true), expected);
  }
}

}  // namespace
}  // namespace millrace
