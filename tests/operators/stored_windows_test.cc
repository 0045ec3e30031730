#include "operators/stored_windows.h"

#include <doctest/doctest.h>

#include "operators/state_tables.h"
#include "state/state_layers.h"

namespace millrace {
namespace {

std::string window_key(int64_t end_ms, const std::string& key) {
  std::string bytes(1, static_cast<char>(StateTable::kWindows));
  append_time_key(end_ms, bytes);
  return bytes + key;
}

TEST_CASE("a set of hashes holds what was added") {
  HashSet set;
  CHECK(!set.holds(0));
  for (uint32_t i = 0; i < 1000; i++) set.add(i * 7919);
  for (uint32_t i = 0; i < 1000; i++) CHECK(set.holds(i * 7919));
  CHECK(!set.holds(7918));
  CHECK(set.bytes() >= 1000 * sizeof(uint32_t));
}

TEST_CASE("ends from before are not known, later ones are, as long as memory lasts") {
  const auto store = open_memory_store();
  DeltaBuilder builder(1);
  for (const int64_t end_ms : {-5, 10, 200}) builder.put(3, 7, window_key(end_ms, "a"), "1");
  REQUIRE(store->ingest(*builder.finish(), "p").is_ok());
  StateLayers layers(*store, 1, {.background = false, .now_ms = nullptr});
  OperatorContext context;
  context.state = &layers.lane(0);
  context.operator_id = 7;
  context.shards = 4;
  StoredWindows stored;
  REQUIRE(stored.open(context, 4, 2048).is_ok());
  CHECK(stored.may_hold(window_key(200, "b"), 3, 1));
  CHECK(stored.may_hold(window_key(-7, "b"), 3, 1));
  CHECK(!stored.may_hold(window_key(201, "b"), 3, 1));
  CHECK(!stored.may_hold(window_key(10, "b"), 2, 1));
  stored.add(3, 300, 1);
  stored.add(3, 400, 2);
  stored.trim();
  CHECK(stored.may_hold(window_key(300, "b"), 3, 1));
  CHECK(!stored.may_hold(window_key(300, "b"), 3, 2));
  CHECK(!stored.may_hold(window_key(400, "b"), 3, 1));
  stored.forget(3, 300);
  CHECK(!stored.may_hold(window_key(300, "b"), 3, 1));
  for (uint32_t hash = 0; hash < 200; hash++) stored.add(2, 50, hash);
  stored.add(2, 60, 5);
  stored.trim();
  CHECK(stored.may_hold(window_key(50, "b"), 2, 1000));
  CHECK(!stored.may_hold(window_key(60, "b"), 2, 1000));
  CHECK(stored.may_hold(window_key(60, "b"), 2, 5));
}

}  // namespace
}  // namespace millrace
