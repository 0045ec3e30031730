// Sets of count_distinct that outgrow their accumulators: results, what an epoch writes, restarts, expiry.
#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "operators/member_table.h"
#include "operators/state_tables.h"
#include "rows.h"

namespace millrace {
namespace {

const Schema kSchema = {{"k", Type(TypeKind::kString)},
                        {"user", Type(TypeKind::kInt)},
                        {"page", Type(TypeKind::kString)},
                        {"price", Type(TypeKind::kInt)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

std::string plan_text(const std::string& emit) {
  return R"(
aggregate:
  key_by: k
  fields:
    k: key(k)
    rows: count()
    users: count_distinct(user)
    cheap: count_distinct(user, price < 100)
    dear: count_distinct(user, price >= 100)
    pages: count_distinct(page)
  emit: )" + emit +
         "\n";
}

struct Model {
  int64_t rows = 0;
  std::set<int64_t> users, cheap, dear;
  std::set<std::string> pages;
  void add(const Row& row) {
    rows++;
    if (const auto* user = std::get_if<int64_t>(&row[1])) {
      users.insert(*user);
      (std::get<int64_t>(row[3]) < 100 ? cheap : dear).insert(*user);
    }
    if (const auto* page = std::get_if<std::string>(&row[2])) pages.insert(*page);
  }
  Row result(const std::string& key) const {
    const auto size = [](const auto& set) { return Cell(static_cast<int64_t>(set.size())); };
    return {key, rows, size(users), size(cheap), size(dear), size(pages)};
  }
};

std::vector<Row> random_rows(uint32_t seed, size_t n, int users) {
  std::mt19937 random(seed);
  std::vector<Row> rows;
  for (size_t i = 0; i < n; i++) {
    const auto user = static_cast<int64_t>(random() % static_cast<uint32_t>(users)) * 1'000'003;
    Row row = {text(random() % 10 < 8 ? "" : random() % 2 == 0 ? "b" : "bb"), user,
               "a page with a long name " + std::to_string(random() % 3000), static_cast<int64_t>(random() % 130)};
    if (random() % 9 == 0) row[1] = null();
    if (random() % 9 == 0) row[2] = null();
    rows.push_back(std::move(row));
  }
  return rows;
}

void run(size_t batch, size_t epoch, size_t cache_bytes, bool restart) {
  CAPTURE(batch);
  CAPTURE(cache_bytes);
  const auto plan = planned(plan_text("update"), kInput);
  KeyedLane::Options options;
  options.cache_bytes = cache_bytes;
  KeyedLane lane(*plan, kSchema, options);
  std::map<std::string, Model> models;
  const std::vector<Row> rows = random_rows(5, 120'000, 60'000);
  for (size_t begin = 0; begin < rows.size(); begin += epoch) {
    const size_t end = std::min(rows.size(), begin + epoch);
    std::set<std::string> touched;
    for (size_t i = begin; i < end; i += batch) {
      const size_t stop = std::min(end, i + batch);
      lane.process(
          make_batch(kSchema, {rows.begin() + static_cast<ptrdiff_t>(i), rows.begin() + static_cast<ptrdiff_t>(stop)}));
      for (size_t r = i; r < stop; r++) {
        touched.insert(std::get<std::string>(rows[r][0]));
        models[std::get<std::string>(rows[r][0])].add(rows[r]);
      }
    }
    lane.out.shown.clear();
    lane.end_epoch();
    REQUIRE(lane.out.shown.size() == touched.size());
    for (const Shown& shown : lane.out.shown) {
      const std::string& key = std::get<std::string>(shown.row[0]);
      CHECK(to_text(shown.row) == to_text(models[key].result(key)));
    }
    if (restart) lane.restart();
  }
  CHECK(lane.out.failed.empty());
  CHECK(models[""].users.size() > 40'000);
}

TEST_CASE("sets that have left their accumulators count exactly, however rows are cut, across restarts") {
  run(1024, 20'000, 64 << 20, false);
  run(333, 7'000, 64 << 20, true);
}

TEST_CASE("sets that have left their accumulators, with a cache much smaller than they are") {
  run(1024, 10'000, 256 << 10, false);
  run(1024, 30'000, 1, true);
}

TEST_CASE("running values, with updates per batch and row by row") {
  const auto plan = planned(plan_text("each"), kInput);
  KeyedLane lane(*plan, kSchema);
  std::map<std::string, Model> models;
  const std::vector<Row> rows = random_rows(9, 60'000, 50'000);
  for (size_t i = 0; i < rows.size(); i += 1000) {
    lane.out.shown.clear();
    const auto begin = rows.begin() + static_cast<ptrdiff_t>(i);
    lane.process(make_batch(kSchema, {begin, begin + 1000}));
    REQUIRE(lane.out.shown.size() == 1000);
    for (size_t r = 0; r < 1000; r++) {
      const std::string& key = std::get<std::string>(rows[i + r][0]);
      models[key].add(rows[i + r]);
      REQUIRE(to_text(lane.out.shown[r].row) == to_text(models[key].result(key)));
    }
    if (i % 5000 == 0) lane.end_epoch();
    if (i % 20000 == 0) lane.restart();
  }
  CHECK(models[""].users.size() > 20'000);
}

// Entries and bytes of a table in the state of shards 0 … 15.
std::pair<size_t, size_t> stored(KeyedLane& lane, StateTable table) {
  size_t entries = 0;
  size_t bytes = 0;
  for (uint16_t shard = 0; shard < 16; shard++) {
    const auto count = [&](std::string_view key, std::string_view value) {
      entries++;
      bytes += key.size() + value.size();
      return true;
    };
    const std::string begin(1, static_cast<char>(table));
    const Status status = lane.layers().lane(0).scan(shard, 7, begin, table_end(table), count);
    REQUIRE(status.is_ok());
  }
  return {entries, bytes};
}

std::vector<Row> users_of(const std::string& key, int64_t from, int64_t to) {
  std::vector<Row> rows;
  for (int64_t user = from; user < to; user++) rows.push_back({key, user * 1'000'003, null(), int64_t{1}});
  return rows;
}

TEST_CASE("a set moves out once, and what is written then does not grow with it") {
  const auto plan = planned(plan_text("update"), kInput);
  KeyedLane lane(*plan, kSchema);
  lane.process(make_batch(kSchema, users_of("a", 0, 1000)));
  lane.end_epoch();
  CHECK(stored(lane, StateTable::kBlocks).first == 1);
  CHECK(stored(lane, StateTable::kMembers).first == 0);
  const size_t small = stored(lane, StateTable::kBlocks).second;
  lane.process(make_batch(kSchema, users_of("a", 1000, 30'000)));
  lane.end_epoch();
  // 30,000 users, in two sets that share their entries.
  CHECK(stored(lane, StateTable::kMembers).first == 30'000);
  CHECK(stored(lane, StateTable::kBlocks).second < small);
  CHECK(stored(lane, StateTable::kBlocks).second < 60);
  const size_t dirty = lane.layers().pending_bytes();
  // Users that are known: nothing of the table is written again.
  lane.process(make_batch(kSchema, users_of("a", 0, 10'000)));
  lane.end_epoch();
  CHECK(lane.layers().pending_bytes() < dirty + 1000);
  lane.restart();
  lane.process(make_batch(kSchema, users_of("a", 0, 10'000)));
  lane.end_epoch();
  CHECK(lane.layers().pending_bytes() < dirty + 2000);
  CHECK(to_text(lane.out.shown.back().row) == "a 50000 30000 30000 0 0");
}

TEST_CASE("a value of more than 4 KiB is a failed row, whether the set is inside or outside") {
  const auto plan = planned(plan_text("update"), kInput);
  KeyedLane lane(*plan, kSchema);
  const Row large = {text("a"), null(), text(std::string(4095, 'x')), int64_t{1}};
  Row fits = large;
  fits[2] = text(std::string(4094, 'x'));
  lane.process(make_batch(kSchema, {large, fits}));
  REQUIRE(lane.out.failed.size() == 1);
  CHECK(lane.out.failed[0] == "a value of more than 4 KiB or a set of more than 256 KiB in count_distinct(page)");
  std::vector<Row> pages;
  for (int i = 0; i < 5000; i++) {
    pages.push_back({text("a"), null(), text(std::string(100, 'y') + std::to_string(i)), int64_t{1}});
  }
  lane.process(make_batch(kSchema, pages));
  lane.process(make_batch(kSchema, {large, fits}));
  CHECK(lane.out.failed.size() == 2);
  lane.end_epoch();
  CHECK(to_text(lane.out.shown.back().row) == "a 5002 0 0 0 5001");
}

TEST_CASE("keys of the longest kind keep their sets inside") {
  const auto plan = planned(plan_text("update"), kInput);
  KeyedLane lane(*plan, kSchema);
  const std::string key(64 * 1024, 'k');
  // In small batches: each row carries its key.
  for (int64_t user = 0; user < 12'000; user += 200) {
    lane.process(make_batch(kSchema, users_of(key, user, user + 200)));
  }
  CHECK(lane.out.failed.empty());
  lane.end_epoch();
  CHECK(stored(lane, StateTable::kMembers).first == 0);
  CHECK(lane.out.shown.back().row[2] == integer(12'000));
}

// Users [from, to) of key "a", one per millisecond from `from` on, each finding the watermark of the one before.
void process_users(KeyedLane& lane, int64_t from, int64_t to, int64_t time_ms) {
  for (int64_t begin = from; begin < to; begin += 1000) {
    const std::vector<Row> rows = users_of("a", begin, std::min(begin + 1000, to));
    std::vector<int64_t> times;
    for (size_t i = 0; i < rows.size(); i++) times.push_back(time_ms + begin - from + static_cast<int64_t>(i));
    std::vector<int64_t> watermarks;
    for (const int64_t time : times) watermarks.push_back(time - 1);
    lane.process(with_watermarks(make_batch(kSchema, rows, times), watermarks));
  }
}

TEST_CASE("windows: sets move out, each window for itself, and their values go when the windows have ended") {
  const auto plan = planned(
      "aggregate: {key_by: k, window: {tumbling: {size: 1m}}, fields: {k: key(k), users: count_distinct(user), "
      "some: 'count_distinct(user, user < 5000015000)'}}",
      kInput);
  KeyedLane lane(*plan, kSchema);
  process_users(lane, 0, 30'000, 0);
  lane.end_epoch();
  CHECK(stored(lane, StateTable::kMembers).first == 30'000);
  CHECK(stored(lane, StateTable::kWindows).second < 26'000);  // the other set has 5,000 users and stays
  lane.restart();
  process_users(lane, 10'000, 40'000, 30'000);
  lane.end_epoch();
  CHECK(stored(lane, StateTable::kMembers).first == 40'000);
  CHECK(lane.out.shown.empty());
  process_users(lane, 0, 25'000, 60'000);
  CHECK(to_text(lane.out.shown) == "a 40000 5000");
  lane.end_epoch();
  // The first window ended within this epoch: its values are known to be complete from the next one on.
  CHECK(stored(lane, StateTable::kMembers).first == 65'000);
  lane.end_epoch();
  CHECK(stored(lane, StateTable::kMembers).first == 25'000);
  lane.restart();
  lane.advance(1'000'000);
  CHECK(to_text(lane.out.shown.back().row) == "a 25000 5000");
  for (int i = 0; i < 2; i++) lane.end_epoch();
  CHECK(stored(lane, StateTable::kMembers).first == 0);
  CHECK(lane.out.failed.empty());
}

TEST_CASE("hopping windows merge the sets of their slices") {
  const auto plan = planned(
      "aggregate: {key_by: k, window: {hopping: {size: 40s, every: 20s}}, fields: {k: key(k), users: "
      "count_distinct(user)}}",
      kInput);
  KeyedLane lane(*plan, kSchema);
  process_users(lane, 0, 20'000, 0);
  process_users(lane, 15'000, 35'000, 20'000);
  process_users(lane, 70'000, 71'000, 40'000);
  lane.advance(kEndOfTime);
  CHECK(to_text(lane.out.shown) == "a 20000 | a 35000 | a 21000 | a 1000");
  CHECK(lane.out.failed.empty());
}

TEST_CASE("where blocks merge or start anew, a set that grows too large is an error of the row") {
  for (const std::string window : {"{session: {gap: 1h}}", "{count: {size: 1000000}}"}) {
    const auto plan = planned("aggregate: {key_by: k, window: " + window +
                                  ", fields: {k: key(k), users: count_distinct(user)}}",
                              kInput);
    KeyedLane lane(*plan, kSchema);
    process_users(lane, 0, 40'000, 0);
    CHECK(lane.out.failed.empty());
    process_users(lane, 40'000, 70'000, 40'000);
    REQUIRE_FALSE(lane.out.failed.empty());
    CHECK(lane.out.failed[0] == "a value of more than 4 KiB or a set of more than 256 KiB in count_distinct(user)");
  }
}

// A table of windows' members on one lane.
struct Members {
  Members() : store(open_memory_store()) { reopen(); }
  void reopen() {
    table.reset();
    layers = std::make_unique<StateLayers>(
        *store, 1, StateLayers::Options{.memtable_bytes = 1, .max_age_ms = 1, .background = false, .now_ms = [] {
                                          return int64_t{0};
                                        }});
    table = std::make_unique<MemberTable>(kTimeKeyBytes);
    OperatorContext context;
    context.state = &layers->lane(0);
    REQUIRE(table->open(context, 1 << 20).is_ok());
  }
  static std::string block(int64_t end_ms, const std::string& key) {
    std::string name(1, static_cast<char>(StateTable::kWindows));
    append_time_key(end_ms, name);
    return name + key;
  }
  void add(int64_t end_ms, const std::string& key, int count) {
    const std::string name = block(end_ms, key);
    table->begin();
    std::vector<std::string> values;
    for (int i = 0; i < count; i++) values.push_back(std::to_string(i));
    for (const std::string& value : values) table->add(name, 0, 0, value, 1);
    REQUIRE(table->look_up().is_ok());
    for (size_t i = 0; i < table->size(); i++) table->set(i, 1);
  }
  void cut() {
    DeltaBuilder delta(++epoch);
    table->cut(delta);
    layers->lane(0).add_undecided(delta.finish());
    REQUIRE(layers->decide(epoch, "p").is_ok());
  }
  size_t entries() {
    size_t n = 0;
    const auto count = [&n](std::string_view, std::string_view) {
      n++;
      return true;
    };
    const std::string begin(1, static_cast<char>(StateTable::kMembers));
    const Status status = layers->lane(0).scan(0, 0, begin, table_end(StateTable::kMembers), count);
    REQUIRE(status.is_ok());
    return n;
  }
  std::unique_ptr<StateStore> store;
  std::unique_ptr<StateLayers> layers;
  std::unique_ptr<MemberTable> table;
  uint64_t epoch = 0;
};

TEST_CASE("members: a key that begins like another, and groups, are apart") {
  Members members;
  const std::string a = Members::block(10, "a");
  const std::string ab = Members::block(10, "ab");
  members.table->begin();
  members.table->add(a, 0, 0, "bc", 1);
  members.table->add(ab, 0, 0, "c", 1);
  members.table->add(a, 0, 1, "bc", 1);
  members.table->add(a, 0, 0, "bc", 1);
  REQUIRE(members.table->look_up().is_ok());
  members.table->set(0, 1);
  CHECK(members.table->word(1) == 0);
  CHECK(members.table->word(2) == 0);
  CHECK(members.table->word(3) == 1);
  members.table->set(1, 4);
  members.cut();
  CHECK(members.entries() == 2);  // what was looked up and not set leaves no trace
  members.reopen();
  members.table->begin();
  members.table->add(ab, 0, 0, "c", 4);
  members.table->add(ab, 0, 0, "c", 6);
  REQUIRE(members.table->look_up().is_ok());
  CHECK(members.table->word(0) == 4);
  members.table->set(1, 2);
  CHECK((members.table->word(0) & 4) == 4);
  members.cut();
  members.table->begin();
  members.table->add(ab, 0, 0, "c", 8);
  REQUIRE(members.table->look_up().is_ok());
  CHECK(members.table->word(0) == 6);
}

TEST_CASE("members of windows that have ended leave the state, in bounded steps") {
  Members members;
  members.add(-5, "old", 3);
  members.add(100, "a", 1000);
  members.add(100, "b", 100);
  members.add(200, "a", 10);
  REQUIRE(members.table->expire(100).is_ok());  // nothing was in the state before this epoch
  members.cut();
  CHECK(members.entries() == 1113);
  REQUIRE(members.table->expire(100).is_ok());
  members.cut();
  CHECK(members.entries() == 10);
  members.reopen();
  REQUIRE(members.table->expire(kEndOfTime).is_ok());
  members.cut();
  REQUIRE(members.table->expire(kEndOfTime).is_ok());
  members.cut();
  CHECK(members.entries() == 0);

  // Twice as many as have come, at least kExpiredPerEpoch.
  const int many = static_cast<int>(MemberTable::kExpiredPerEpoch) + 1000;
  members.reopen();
  members.add(300, "a", many);
  members.cut();
  REQUIRE(members.table->expire(300).is_ok());
  members.cut();
  REQUIRE(members.table->expire(300).is_ok());
  members.cut();
  CHECK(members.entries() == 1000);
  REQUIRE(members.table->expire(300).is_ok());
  members.cut();
  CHECK(members.entries() == 0);
}

}  // namespace
}  // namespace millrace
