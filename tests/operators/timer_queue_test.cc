// The durable timers of a lane: order, bounds, what stands in the state, restarts; and the watermark beside them.
#include "operators/timer_queue.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>
#include <tuple>

#include "operators/stage_watermark.h"
#include "state/state_layers.h"

namespace millrace {
namespace {

constexpr uint32_t kShards = 6;
constexpr uint16_t kOperator = 3;
constexpr uint8_t kTag = 2;

using Timer = std::pair<int64_t, std::string>;

uint16_t shard_of_key(const std::string& key) {
  return static_cast<uint16_t>(std::hash<std::string>()(key) % kShards);
}

// Lanes over one memory store.
class World {
 public:
  explicit World(size_t lanes) : lanes_(lanes), store_(open_memory_store()) { reopen(lanes); }
  OperatorContext context(size_t lane) {
    OperatorContext context;
    context.state = &layers_->lane(lane);
    context.operator_id = kOperator;
    context.lane = lane;
    context.lanes = lanes_;
    context.shards = kShards;
    return context;
  }
  // What was not decided is lost.
  void reopen(size_t lanes) {
    if (layers_) REQUIRE(layers_->flush().is_ok());
    lanes_ = lanes;
    StateLayers::Options options;
    options.background = false;
    options.memtable_bytes = 2048;
    options.now_ms = [] { return int64_t{0}; };
    layers_ = std::make_unique<StateLayers>(*store_, lanes, options);
  }
  template <class Cut>
  size_t cut(size_t lane, Cut& cut) {
    DeltaBuilder builder(epoch_);
    cut.cut(builder);
    DeltaPtr delta = builder.finish();
    const size_t size = delta->size();
    layers_->lane(lane).add_undecided(std::move(delta));
    return size;
  }
  void decide() {
    REQUIRE(layers_->decide(epoch_, "progress").is_ok());
    epoch_++;
  }
  size_t stored() {
    size_t entries = 0;
    for (size_t lane = 0; lane < lanes_; lane++) {
      for (size_t shard = lane; shard < kShards; shard += lanes_) {
        REQUIRE(layers_->lane(lane)
                    .scan(static_cast<uint16_t>(shard), kOperator, "", "",
                          [&](std::string_view, std::string_view) { return ++entries > 0; })
                    .is_ok());
      }
    }
    return entries;
  }
  size_t lanes() const { return lanes_; }

 private:
  size_t lanes_;
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<StateLayers> layers_;
  uint64_t epoch_ = 1;
};

std::vector<Timer> fire(TimerQueue& queue, int64_t limit_ms, size_t max_timers = 1000) {
  std::vector<Timer> fired;
  for (bool done = false; !done;) {
    const size_t before = fired.size();
    const Result<bool> result = queue.fire(limit_ms, max_timers, [&](const DueTimer& timer) {
      CHECK(timer.shard == shard_of_key(std::string(timer.key)));
      fired.emplace_back(timer.time_ms, timer.key);
      return Status::ok();
    });
    REQUIRE(result.is_ok());
    CHECK(fired.size() - before <= max_timers);
    done = *result;
  }
  return fired;
}

void add(TimerQueue& queue, int64_t time_ms, const std::string& key) { queue.add(time_ms, shard_of_key(key), key); }

TEST_CASE("timers fire once, in order of time and key, never before they are due") {
  World world(1);
  TimerQueue queue;
  REQUIRE(queue.open(world.context(0), {.tag = kTag, .max_bytes = 4096}).is_ok());
  CHECK(queue.earliest() == kEndOfTime);
  add(queue, 20, "b");
  add(queue, -5, "z");
  add(queue, 20, "a");
  add(queue, 20, "b");
  add(queue, 20, "");
  add(queue, 20, "aaaaaaaab");
  add(queue, 20, std::string("aaaaaaaa\0", 9));
  add(queue, 31, "c");
  CHECK(queue.earliest() == -5);
  CHECK(fire(queue, -6).empty());
  CHECK(fire(queue, 30, 2) ==
        std::vector<Timer>{
            {-5, "z"}, {20, ""}, {20, "a"}, {20, std::string("aaaaaaaa\0", 9)}, {20, "aaaaaaaab"}, {20, "b"}});
  CHECK(queue.earliest() == 31);
  CHECK(fire(queue, kEndOfTime) == std::vector<Timer>{{31, "c"}});
  CHECK(queue.earliest() == kEndOfTime);
}

TEST_CASE("what is added and fired between two cuts leaves no trace; what has been cut is removed") {
  World world(1);
  TimerQueue queue;
  REQUIRE(queue.open(world.context(0), {.tag = kTag, .max_bytes = 4096}).is_ok());
  add(queue, 1, "a");
  CHECK(fire(queue, 1).size() == 1);
  CHECK(world.cut(0, queue) == 0);
  add(queue, 2, "a");
  add(queue, 3, "a");
  CHECK(world.cut(0, queue) == 2);
  world.decide();
  CHECK(world.stored() == 2);
  CHECK(fire(queue, 2) == std::vector<Timer>{{2, "a"}});
  CHECK(queue.uncut_bytes() > 0);
  CHECK(world.cut(0, queue) == 1);
  CHECK(queue.uncut_bytes() == 0);
  world.decide();
  CHECK(world.stored() == 1);
  // Fired and added again before the cut: it stays.
  CHECK(fire(queue, 3).size() == 1);
  add(queue, 3, "a");
  world.cut(0, queue);
  world.decide();
  CHECK(world.stored() == 1);
  CHECK(fire(queue, 3) == std::vector<Timer>{{3, "a"}});
  world.cut(0, queue);
  world.decide();
  CHECK(world.stored() == 0);
}

TEST_CASE("a timer may add timers, also at its own time") {
  World world(1);
  TimerQueue queue;
  REQUIRE(queue.open(world.context(0), {.tag = kTag, .max_bytes = 4096}).is_ok());
  add(queue, 10, "a");
  std::vector<Timer> fired;
  const Result<bool> done = queue.fire(12, 100, [&](const DueTimer& timer) {
    fired.emplace_back(timer.time_ms, timer.key);
    if (fired.size() < 10) queue.add(timer.time_ms + (fired.size() % 2 ? 0 : 1), timer.shard, timer.key);
    return Status::ok();
  });
  REQUIRE(done.is_ok());
  CHECK(*done);
  CHECK(fired == std::vector<Timer>{{10, "a"}, {10, "a"}, {11, "a"}, {11, "a"}, {12, "a"}, {12, "a"}});
  CHECK(queue.earliest() == 13);
}

TEST_CASE("a timer that is put off stays in the state and is due when that is opened again") {
  World world(1);
  TimerQueue queue;
  REQUIRE(queue.open(world.context(0), {kTag}).is_ok());
  const auto add = [&](int64_t time_ms, const std::string& key) { queue.add(time_ms, shard_of_key(key), key); };
  const auto put_off = [&](int64_t limit_ms) {
    size_t n = 0;
    const auto fired = [&](const DueTimer& timer) {
      n++;
      if (timer.key != "fires") queue.put_off();
      return Status::ok();
    };
    const Result<bool> done = queue.fire(limit_ms, 1000, fired);
    CHECK((done.is_ok() && *done));
    return n;
  };
  add(10, "a");
  add(20, "fires");
  add(30, "c");
  world.cut(0, queue);
  world.decide();
  add(20, "b");
  add(30, "c");  // once more
  add(40, "fires");
  CHECK(put_off(35) == 4);
  CHECK(queue.earliest() == 40);
  world.cut(0, queue);
  world.decide();
  CHECK(world.stored() == 4);
  CHECK(put_off(kEndOfTime) == 1);
  CHECK(queue.uncut_bytes() > 0);
  world.cut(0, queue);
  world.decide();
  CHECK(queue.uncut_bytes() == 0);
  world.reopen(1);
  TimerQueue again;
  REQUIRE(again.open(world.context(0), {kTag}).is_ok());
  CHECK(fire(again, kEndOfTime) == std::vector<Timer>{{10, "a"}, {20, "b"}, {30, "c"}});
}

TEST_CASE("an error of a timer ends the call") {
  World world(1);
  TimerQueue queue;
  REQUIRE(queue.open(world.context(0), {.tag = kTag, .max_bytes = 4096}).is_ok());
  add(queue, 10, "a");
  add(queue, 11, "a");
  const Result<bool> done =
      queue.fire(20, 100, [](const DueTimer&) { return Status::user(Code::kEvaluation, "no"); });
  REQUIRE(!done.is_ok());
  CHECK(done.status().code() == Code::kEvaluation);
}

TEST_CASE("memory is bounded: later timers live in the state and come back when they are due") {
  World world(1);
  TimerQueue queue;
  constexpr size_t kMaxBytes = 16 * 1024;
  REQUIRE(queue.open(world.context(0), {.tag = kTag, .max_bytes = kMaxBytes}).is_ok());
  constexpr int64_t kTimers = 20'000;
  for (int64_t i = 0; i < kTimers; i++) {
    const int64_t time_ms = i * 7919 % kTimers;
    add(queue, time_ms, "key-" + std::to_string(time_ms % 100));
    if (i % 500 == 499) {
      world.cut(0, queue);
      world.decide();
      CHECK(queue.bytes() <= kMaxBytes);
    }
  }
  CHECK(world.stored() == kTimers);
  CHECK(queue.earliest() == 0);
  for (int64_t limit_ms = 99; limit_ms < kTimers; limit_ms += 100) {
    const std::vector<Timer> fired = fire(queue, limit_ms, 30);
    REQUIRE(fired.size() == 100);
    for (int64_t i = 0; i < 100; i++) CHECK(fired[static_cast<size_t>(i)].first == limit_ms - 99 + i);
    CHECK(queue.bytes() - queue.uncut_bytes() <= kMaxBytes + kShards * 4096);
    world.cut(0, queue);
    world.decide();
  }
  CHECK(queue.earliest() == kEndOfTime);
  CHECK(world.stored() == 0);
}

// Random adds, fires, cuts and restarts, also with another number of lanes, against a set.
void run_model(uint32_t seed, size_t max_bytes) {
  CAPTURE(seed);
  std::mt19937 random(seed);
  const auto below = [&](int64_t limit) { return static_cast<int64_t>(random() % static_cast<uint64_t>(limit)); };
  World world(1 + static_cast<size_t>(below(3)));
  std::vector<TimerQueue> queues;
  std::vector<std::set<Timer>> live(world.lanes());
  std::set<Timer> decided;
  int64_t now_ms = -1000;
  int64_t decided_now_ms = now_ms;
  const auto open = [&](size_t lanes) {
    queues = std::vector<TimerQueue>(lanes);
    live.assign(lanes, {});
    for (const Timer& timer : decided) live[shard_of_key(timer.second) % lanes].insert(timer);
    for (size_t lane = 0; lane < lanes; lane++) {
      REQUIRE(queues[lane].open(world.context(lane), {.tag = kTag, .max_bytes = max_bytes}).is_ok());
    }
  };
  const auto random_key = [&] { return std::string(static_cast<size_t>(below(12)), 'k') + std::to_string(below(40)); };
  open(world.lanes());
  for (int step = 0; step < 400; step++) {
    const int64_t action = below(10);
    if (action < 5) {
      for (int64_t n = below(30); n > 0; n--) {
        const std::string key = random_key();
        const size_t lane = shard_of_key(key) % world.lanes();
        const int64_t time_ms = now_ms + below(20) * below(100) - 50;
        add(queues[lane], time_ms, key);
        live[lane].insert({time_ms, key});
      }
    } else if (action < 8) {
      now_ms += below(300);
      for (size_t lane = 0; lane < world.lanes(); lane++) {
        std::vector<Timer> expected;
        auto end = live[lane].lower_bound({now_ms + 1, ""});
        expected.assign(live[lane].begin(), end);
        live[lane].erase(live[lane].begin(), end);
        REQUIRE(fire(queues[lane], now_ms, 1 + static_cast<size_t>(below(20))) == expected);
        CHECK(queues[lane].earliest() > now_ms);
      }
    } else if (action < 9) {
      decided.clear();
      for (size_t lane = 0; lane < world.lanes(); lane++) {
        world.cut(lane, queues[lane]);
        decided.insert(live[lane].begin(), live[lane].end());
        CHECK(queues[lane].bytes() <= max_bytes + 256);
      }
      world.decide();
      decided_now_ms = now_ms;
      CHECK(world.stored() == decided.size());
    } else if (below(3) == 0) {
      world.reopen(1 + static_cast<size_t>(below(3)));
      open(world.lanes());
      now_ms = decided_now_ms;
    }
    for (size_t lane = 0; lane < world.lanes(); lane++) {
      const int64_t earliest = live[lane].empty() ? kEndOfTime : live[lane].begin()->first;
      CHECK(queues[lane].earliest() <= earliest);
    }
  }
}

TEST_CASE("random adds, fires, cuts and restarts agree with a set") {
  for (uint32_t seed = 0; seed < 60; seed++) run_model(seed, seed % 3 == 0 ? 512 : (seed % 3 == 1 ? 4096 : 1 << 20));
}

TEST_CASE("the watermark of a stage survives, also with another number of lanes") {
  World world(2);
  std::vector<StageWatermark> marks(2);
  for (size_t lane = 0; lane < 2; lane++) {
    REQUIRE(marks[lane].open(world.context(lane), 0).is_ok());
    CHECK(marks[lane].restored_ms() == kNoTime);
    CHECK(world.cut(lane, marks[lane]) == 0);
    marks[lane].advance(-7);
    marks[lane].advance(-9);
    CHECK(world.cut(lane, marks[lane]) == kShards / 2);
    CHECK(world.cut(lane, marks[lane]) == 0);
  }
  world.decide();
  for (StageWatermark& mark : marks) mark.advance(100);
  world.reopen(3);
  for (size_t lane = 0; lane < 3; lane++) {
    StageWatermark mark;
    REQUIRE(mark.open(world.context(lane), 0).is_ok());
    CHECK(mark.restored_ms() == -7);
    CHECK(mark.ms() == -7);
    CHECK(world.cut(lane, mark) == 0);
  }
}

}  // namespace
}  // namespace millrace
