#include "state/lane_cache.h"

#include <cstring>
#include <set>

#include "tests/state/model.h"

using namespace millrace::test;

namespace millrace {
namespace {

constexpr uint16_t kOperator = 5;
constexpr uint16_t kShards = 4;

struct Counter {
  int64_t value;
};

class CounterCodec : public AccumulatorCodec {
 public:
  size_t size() const override { return sizeof(Counter); }
  void create(void* state) const override { static_cast<Counter*>(state)->value = 0; }
  void destroy(void*) const override {}
  bool trivially_destructible() const override { return true; }
  void encode(const void* state, std::string& out) const override {
    out = "1" + std::to_string(static_cast<const Counter*>(state)->value);
  }
  Status decode(std::string_view bytes, void* state) const override {
    if (bytes.empty() || bytes[0] != '1') return Status::terminal(Code::kStateCorrupt, "counter");
    static_cast<Counter*>(state)->value = std::stoll(std::string(bytes.substr(1)));
    return Status::ok();
  }
};

// Memory behind the accumulator: leaks and double frees show under ASan.
class TextCodec : public AccumulatorCodec {
 public:
  size_t size() const override { return sizeof(std::string); }
  void create(void* state) const override { new (state) std::string(); }
  void destroy(void* state) const override { std::destroy_at(static_cast<std::string*>(state)); }
  bool trivially_destructible() const override { return false; }
  void encode(const void* state, std::string& out) const override {
    out = "1" + *static_cast<const std::string*>(state);
  }
  Status decode(std::string_view bytes, void* state) const override {
    *static_cast<std::string*>(state) = bytes.substr(1);
    return Status::ok();
  }
  size_t extra_bytes(const void* state) const override {
    const auto& text = *static_cast<const std::string*>(state);
    return text.capacity() > 15 ? text.capacity() + 1 : 0;
  }
};

std::string key_of(uint64_t id) {
  return id % 97 == 0 ? std::string(3000 + id, 'L') : std::string(id % 40, 'k') + std::to_string(id);
}
uint16_t shard_of_id(uint64_t id) { return static_cast<uint16_t>(id % kShards); }

uint64_t id_of(std::string_view key) {
  return key[0] == 'L' ? key.size() - 3000 : std::stoull(std::string(key.substr(key.find_first_not_of('k'))));
}

// A walk over the dirty entries, in steps of random size, finds what was touched and not removed.
template <class Text>
void check_dirty(LaneCache& cache, std::mt19937_64& random, const std::set<uint64_t>& touched,
                 const std::map<uint64_t, std::string>& model, Text text) {
  std::map<uint64_t, std::string> seen;
  size_t cursor = 0;
  while (cursor < cache.dirty_count()) {
    cursor = cache.visit_dirty(cursor, 1 + random() % 50,
                               [&](const LaneCache::EntryView& entry) { seen[id_of(entry.key)] = text(entry.state); });
  }
  for (uint64_t id : touched) {
    REQUIRE(seen.contains(id) == model.contains(id));
    if (model.contains(id)) REQUIRE(seen[id] == model.at(id));
  }
}

// A lane in the small: a cache over layers, and a map that does the same. Epochs are cut, decided and flushed in any
// order.
template <class Codec, class Apply, class Text>
void compare_with_map(uint64_t seed, size_t max_bytes, size_t keys, Apply apply, Text text) {
  std::mt19937_64 random(seed);
  const auto store = open_memory_store();
  int64_t now_ms = 0;
  StateLayers layers(
      *store, 1, {.memtable_bytes = 100'000, .max_age_ms = 300, .background = false, .now_ms = [&] { return now_ms; }});
  Codec codec;
  LaneCache cache(layers.lane(0), kOperator, codec, max_bytes);
  std::map<uint64_t, std::string> model;
  std::set<uint64_t> touched;
  uint64_t epoch = 0;
  uint64_t decided = 0;
  for (int round = 0; round < 400; round++) {
    now_ms += 7;
    const size_t rows = 1 + random() % 300;
    std::vector<std::string> names;
    std::vector<uint64_t> ids;
    std::vector<std::string_view> views;
    std::vector<uint16_t> shards;
    for (size_t i = 0; i < rows; i++) {
      ids.push_back(random() % 3 == 0 ? random() % keys : random() % (keys / 20 + 1));
      names.push_back(key_of(ids.back()));
      shards.push_back(shard_of_id(ids.back()));
    }
    for (const std::string& name : names) views.push_back(name);
    std::vector<void*> states(rows);
    std::vector<uint8_t> first(rows, 7);
    REQUIRE(cache.lookup(views.data(), shards.data(), rows, states.data(), first.data()).is_ok());
    for (size_t i = 0; i < rows; i++) {
      REQUIRE(text(states[i]) == model[ids[i]]);
      REQUIRE((first[i] == 1) == touched.insert(ids[i]).second);
      apply(states[i], model[ids[i]], i);
    }
    if (random() % 10 == 0) {
      const size_t i = random() % rows;
      cache.mark_removed(states[i]);
      model.erase(ids[i]);
    }
    REQUIRE(cache.dirty_count() == touched.size());
    if (random() % 5 == 0) check_dirty(cache, random, touched, model, text);
    if (random() % 4 == 0) {
      DeltaBuilder delta(++epoch);
      cache.cut(delta);
      touched.clear();
      REQUIRE(cache.dirty_count() == 0);
      REQUIRE(cache.dirty_bytes() == 0);
      REQUIRE(cache.bytes() <= max_bytes);
      layers.lane(0).add_undecided(delta.finish());
    }
    if (decided < epoch && random() % 4 == 0) {
      decided += 1 + random() % (epoch - decided);
      REQUIRE(layers.decide(decided, std::to_string(decided)).is_ok());
    }
    if (random() % 20 == 0) REQUIRE(layers.flush().is_ok());
  }
  CHECK(cache.counters().evictions > 0);
  CHECK(cache.counters().store_reads > 0);
  DeltaBuilder delta(++epoch);
  cache.cut(delta);
  layers.lane(0).add_undecided(delta.finish());
  REQUIRE(layers.decide(epoch, "end").is_ok());
  REQUIRE(layers.flush().is_ok());
  Model expected;
  for (const auto& [id, value] : model) expected[full_key(shard_of_id(id), kOperator, key_of(id))] = "1" + value;
  CHECK(contents(*store) == expected);
}

TEST_CASE("a cache of counters is what a map is") {
  for (uint64_t seed = 1; seed <= 6; seed++) {
    compare_with_map<CounterCodec>(
        seed, 200'000, 6000,
        [](void* state, std::string& text, size_t i) {
          static_cast<Counter*>(state)->value += static_cast<int64_t>(i) + 1;
          text = std::to_string(static_cast<Counter*>(state)->value);
        },
        [](void* state) {
          const int64_t value = static_cast<Counter*>(state)->value;
          return value == 0 ? std::string() : std::to_string(value);
        });
  }
}

TEST_CASE("a cache of texts is what a map is") {
  for (uint64_t seed = 1; seed <= 6; seed++) {
    compare_with_map<TextCodec>(
        seed, 400'000, 3000,
        [](void* state, std::string& text, size_t i) {
          auto* held = static_cast<std::string*>(state);
          if (held->size() > 300) held->clear();
          held->append(i % 40, static_cast<char>('a' + i % 26));
          text = *held;
        },
        [](void* state) { return *static_cast<std::string*>(state); });
  }
}

TEST_CASE("what comes and goes within an epoch leaves no trace") {
  const auto store = open_memory_store();
  StateLayers layers(*store, 1, {.background = false, .now_ms = nullptr});
  CounterCodec codec;
  LaneCache cache(layers.lane(0), kOperator, codec, 1 << 20);
  const std::string_view keys[] = {"a", "b"};
  const uint16_t shards[] = {1, 1};
  void* states[2];
  const auto cut = [&](uint64_t epoch) {
    DeltaBuilder builder(epoch);
    cache.cut(builder);
    const DeltaPtr delta = builder.finish();
    layers.lane(0).add_undecided(delta);
    std::string text;
    for (size_t i = 0; i < delta->size(); i++) {
      text += (delta->value(i).tombstone ? "-" : "+") + std::string(delta->key(i).substr(kFullKeyPrefix));
    }
    return text;
  };
  REQUIRE(cache.lookup(keys, shards, 2, states).is_ok());
  cache.mark_removed(states[0]);
  CHECK(LaneCache::is_removed(states[0]));
  CHECK(cache.view(states[1]).key == "b");
  CHECK(cut(1) == "+b");
  void* found[2];
  cache.find(keys, 2, found);
  CHECK(found[0] == nullptr);
  CHECK(found[1] == states[1]);
  CHECK(cache.dirty_count() == 0);
  // b existed before this epoch, a does not.
  REQUIRE(cache.lookup(keys, shards, 2, states).is_ok());
  cache.mark_removed(states[0]);
  cache.mark_removed(states[1]);
  cache.find(keys, 2, found);
  CHECK(found[1] == nullptr);
  CHECK(cut(2) == "-b");
  // Removed, and there again before the cut.
  REQUIRE(cache.lookup(keys, shards, 2, states).is_ok());
  cache.mark_removed(states[0]);
  REQUIRE(cache.lookup(keys, shards, 1, states).is_ok());
  CHECK(cut(3) == "+a+b");
  CHECK(cut(4) == "");
}

TEST_CASE("what came and went is freed before the cut when it is much") {
  const auto store = open_memory_store();
  StateLayers layers(*store, 1, {.background = false, .now_ms = nullptr});
  CounterCodec codec;
  LaneCache cache(layers.lane(0), kOperator, codec, 1 << 20);
  std::vector<std::string> names;
  for (int i = 0; i < 4000; i++) names.push_back("key " + std::to_string(i));
  const std::vector<std::string_view> keys(names.begin(), names.end());
  const std::vector<uint16_t> shards(keys.size(), 2);
  std::vector<void*> states(keys.size());
  // The first hundred exist before.
  REQUIRE(cache.lookup(keys.data(), shards.data(), 100, states.data()).is_ok());
  DeltaBuilder first(1);
  cache.cut(first);
  layers.lane(0).add_undecided(first.finish());
  REQUIRE(cache.lookup(keys.data(), shards.data(), keys.size(), states.data()).is_ok());
  for (size_t i = 0; i < keys.size(); i++) static_cast<Counter*>(states[i])->value = static_cast<int64_t>(i);
  cache.drop_removed();
  CHECK(cache.dirty_count() == 4000);
  const size_t bytes = cache.dirty_bytes();
  for (size_t i = 0; i < 3000; i++) cache.mark_removed(states[i]);
  REQUIRE(cache.lookup(keys.data() + 200, shards.data() + 200, 1, states.data() + 200).is_ok());
  cache.drop_removed();
  CHECK(cache.dirty_count() == 4000 - 3000 + 100 + 1);
  CHECK(cache.dirty_bytes() < bytes / 3);
  CHECK(cache.entries() == cache.dirty_count());
  // What is left is whole, what is gone is new.
  REQUIRE(cache.lookup(keys.data(), shards.data(), keys.size(), states.data()).is_ok());
  for (size_t i = 0; i < keys.size(); i++) {
    REQUIRE(static_cast<Counter*>(states[i])->value == (i < 3000 ? 0 : static_cast<int64_t>(i)));
  }
}

TEST_CASE("keys that the state is known not to hold are not looked for") {
  struct Odd : StoredKeys {
    bool may_hold(std::string_view key, uint16_t, uint32_t) const override { return (key.back() - '0') % 2 == 1; }
  };
  const auto store = open_memory_store();
  DeltaBuilder builder(1);
  builder.put(1, kOperator, "k1", "141");
  builder.put(1, kOperator, "k2", "142");
  REQUIRE(store->ingest(*builder.finish(), "p").is_ok());
  StateLayers layers(*store, 1, {.background = false, .now_ms = nullptr});
  CounterCodec codec;
  LaneCache cache(layers.lane(0), kOperator, codec, 1 << 20);
  const std::string_view keys[] = {"k1", "k2"};
  const uint16_t shards[] = {1, 1};
  void* states[2];
  const Odd odd;
  REQUIRE(cache.lookup(keys, shards, 2, states, nullptr, &odd).is_ok());
  CHECK(static_cast<Counter*>(states[0])->value == 41);
  CHECK(static_cast<Counter*>(states[1])->value == 0);
  CHECK(cache.counters().store_reads == 1);
}

TEST_CASE("keys are limited, an error leaves nothing that looks new") {
  const auto store = open_memory_store();
  DeltaBuilder builder(1);
  builder.put(1, kOperator, "good", "142");
  builder.put(1, kOperator, "bad", "?");
  REQUIRE(store->ingest(*builder.finish(), "p").is_ok());
  StateLayers layers(*store, 1,
                     {.memtable_bytes = 1, .max_age_ms = 1, .background = false, .now_ms = [] { return int64_t{0}; }});
  CounterCodec codec;
  LaneCache cache(layers.lane(0), kOperator, codec, 1u << 20);
  const uint16_t shards[] = {1, 1, 1};
  void* states[3];
  const std::string longest(LaneCache::kMaxKeyBytes + LaneCache::kMaxPrefixBytes, 'x');
  const std::string longer = longest + 'x';
  const std::string_view fits[] = {longest, "", "good"};
  REQUIRE(cache.lookup(fits, shards, 3, states).is_ok());
  CHECK(static_cast<Counter*>(states[2])->value == 42);
  const std::string_view too_long[] = {"new", longer};
  CHECK(cache.lookup(too_long, shards, 2, states).code() == Code::kRecordTooLarge);
  CHECK(cache.entries() == 3);
  const std::string_view damaged[] = {"new", "good", "bad"};
  CHECK(cache.lookup(damaged, shards, 3, states).code() == Code::kStateCorrupt);
  CHECK(cache.entries() == 3);
  CHECK(cache.dirty_count() == 3);
  REQUIRE(cache.lookup(fits, shards, 3, states).is_ok());
  CHECK(static_cast<Counter*>(states[2])->value == 42);
}

TEST_CASE("the bound holds with many clean keys") {
  const auto store = open_memory_store();
  StateLayers layers(*store, 1, {.memtable_bytes = 1u << 20, .max_age_ms = 1, .background = false, .now_ms = [] {
                                   return int64_t{0};
                                 }});
  CounterCodec codec;
  constexpr size_t kBound = 4u << 20;
  LaneCache cache(layers.lane(0), kOperator, codec, kBound);
  uint64_t epoch = 0;
  std::mt19937_64 random(1);
  for (int round = 0; round < 600; round++) {
    std::vector<std::string> names;
    for (size_t i = 0; i < 512; i++) names.push_back("customer-" + std::to_string(random() % 300'000));
    const std::vector<std::string_view> views(names.begin(), names.end());
    const std::vector<uint16_t> shards(512, 1);
    void* states[512];
    REQUIRE(cache.lookup(views.data(), shards.data(), 512, states).is_ok());
    CHECK(cache.bytes() <= kBound + kBound / 8);
    if (round % 20 != 19) continue;
    DeltaBuilder delta(++epoch);
    cache.cut(delta);
    layers.lane(0).add_undecided(delta.finish());
    REQUIRE(layers.decide(epoch, "p").is_ok());
    CHECK(cache.bytes() <= kBound);
    if (epoch > 10) CHECK(cache.bytes() > kBound / 2);
  }
}

}  // namespace
}  // namespace millrace
