#include "operators/slice_queue.h"

#include <doctest/doctest.h>

#include <deque>
#include <limits>
#include <random>

#include "operators/moving_windows.h"
#include "operators/registration.h"

namespace millrace {
namespace {

// sum(int), last(string)
AccumulatorSet make_set() {
  const auto registry = builtin_aggregates();
  std::string refusal;
  const auto make = [&](const char* name, TypeKind kind) {
    AggregateArguments arguments;
    arguments.types.push_back(Type(kind));
    return registry->find(name)->make(arguments, &refusal);
  };
  return AccumulatorSet({make("sum", TypeKind::kInt), make("last", TypeKind::kString)});
}

class Block {
 public:
  explicit Block(const AccumulatorSet& set) : set_(set), words_(set.size() / 8) { set.create(words_.data()); }
  Block(const AccumulatorSet& set, int64_t number, const std::string& text) : Block(set) {
    const uint32_t row = 0;
    void* state = words_.data();
    const std::string_view view = text;
    Column numbers, texts;
    numbers.type = Type(TypeKind::kInt);
    numbers.ints = &number;
    texts.type = Type(TypeKind::kString);
    texts.strings = &view;
    for (size_t i = 0; i < 2; i++) {
      AggregateRows rows;
      rows.n = 1;
      rows.states = &state;
      rows.rows = &row;
      rows.value = i == 0 ? &numbers : &texts;
      rows.offset = set.offset(i);
      set.aggregates()[i]->add(rows);
    }
    AccumulatorSet::header(state).add_row(number);
  }
  ~Block() { set_.destroy(words_.data()); }
  void* state() { return words_.data(); }
  std::string bytes() {
    std::string text;
    set_.encode(words_.data(), text);
    return text;
  }

 private:
  const AccumulatorSet& set_;
  std::vector<uint64_t> words_;
};

TEST_CASE("a queue of slices reads as what merging them one by one gives") {
  const AccumulatorSet set = make_set();
  for (uint64_t seed = 1; seed <= 20; seed++) {
    std::mt19937_64 random(seed);
    SliceQueue queue(set);
    struct Slice {
      int64_t end_ms;
      int64_t number;
      std::string text;
    };
    std::deque<Slice> model;
    int64_t end_ms = -50;
    for (int step = 0; step < 400; step++) {
      if (random() % 3 != 0) {
        end_ms += 1 + static_cast<int64_t>(random() % 3);
        model.push_back({end_ms, static_cast<int64_t>(random() % 100), "text " + std::to_string(step)});
        Block block(set, model.back().number, model.back().text);
        queue.push(end_ms, block.state());
      } else {
        const int64_t until_ms = end_ms - static_cast<int64_t>(random() % 30);
        queue.evict(until_ms);
        while (!model.empty() && model.front().end_ms <= until_ms) model.pop_front();
      }
      REQUIRE(queue.empty() == model.empty());
      Block expected(set);
      for (const Slice& slice : model) {
        Block block(set, slice.number, slice.text);
        REQUIRE(set.merge(expected.state(), block.state()));
      }
      Block actual(set);
      REQUIRE(queue.read(actual.state()));
      REQUIRE(actual.bytes() == expected.bytes());
    }
    CHECK(queue.bytes() > 0);
  }
}

TEST_CASE("a queue in which something does not fit says so") {
  const AccumulatorSet set = make_set();
  SliceQueue queue(set);
  Block large(set, std::numeric_limits<int64_t>::max(), "a");
  Block one(set, 1, "b");
  queue.push(1, large.state());
  Block block(set);
  CHECK(queue.read(block.state()));
  queue.push(2, one.state());
  Block again(set);
  CHECK(!queue.read(again.state()));
  CHECK(!queue.empty());
  queue.evict(2);
  CHECK(queue.empty());
}

TEST_CASE("moving windows hold keys in order and let go of those without slices") {
  const AccumulatorSet set = make_set();
  MovingWindows windows(set);
  const auto push = [&](const std::string& key, int64_t end_ms, int64_t number) {
    Block block(set, number, key);
    windows.push(key, end_ms, block.state());
  };
  const auto text = [&] {
    std::string all;
    for (const auto& key : windows.keys()) {
      Block block(set);
      REQUIRE(key->slices.read(block.state()));
      all += key->key + std::to_string(AccumulatorSet::header(block.state()).rows()) + " ";
    }
    return all;
  };
  CHECK(!windows.filled());
  push("b", 10, 1);
  push("d", 10, 1);
  push("a", 20, 1);
  push("b", 20, 1);
  push("c", 20, 1);
  push("d", 20, 1);
  windows.move_to(0, 20);
  CHECK(windows.filled());
  CHECK(text() == "a1 b2 c1 d2 ");
  CHECK(windows.first_behind("b") == 2);
  CHECK(windows.first_behind("bb") == 2);
  CHECK(windows.bytes() > 0);
  push("d", 30, 1);
  push("e", 30, 1);
  windows.move_to(10, 30);
  CHECK(text() == "a1 b1 c1 d2 e1 ");
  windows.invalidate("c");
  windows.invalidate("cc");
  CHECK(windows.stale().size() == 2);
  for (const std::string key : {"c", "cc"}) {
    Block block(set, 5, key);
    windows.replace(key).push(20, block.state());
  }
  windows.clear_stale();
  CHECK(text() == "a1 b1 c1 cc1 d2 e1 ");
  windows.move_to(20, 40);
  CHECK(text() == "d1 e1 ");
  windows.drop();
  CHECK(!windows.filled());
  CHECK(windows.keys().empty());
}

}  // namespace
}  // namespace millrace
