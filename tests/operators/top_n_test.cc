// top_n against a sorted list of everything, over random rows, cut into batches and epochs anywhere, with restarts.
#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "operators/top_list.h"
#include "rows.h"

namespace millrace {
namespace {

const Schema kSchema = {{"k", Type(TypeKind::kString)},
                        {"price", Type(TypeKind::kInt)},
                        {"name", Type(TypeKind::kString)},
                        {"id", Type(TypeKind::kInt)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

struct Arrival {
  Row row;
  int64_t time_ms;
};

std::vector<Arrival> random_arrivals(uint32_t seed, size_t n, int keys, int prices) {
  std::mt19937 random(seed);
  std::vector<Arrival> rows;
  for (size_t i = 0; i < n; i++) {
    const auto price = static_cast<int64_t>(random() % static_cast<uint32_t>(prices));
    Row row = {text("key-" + std::to_string(random() % static_cast<uint32_t>(keys))),
               random() % 10 == 0 ? null() : integer(price), text(std::string(random() % 30, 'n')),
               integer(static_cast<int64_t>(i))};
    rows.push_back({std::move(row), static_cast<int64_t>(random() % 1000)});
  }
  return rows;
}

// price desc, null last, then name; then arrival.
bool before(const Row& a, const Row& b) {
  const bool null_a = a[1].index() == 0, null_b = b[1].index() == 0;
  if (null_a != null_b) return null_b;
  if (!null_a && a[1] != b[1]) return std::get<int64_t>(a[1]) > std::get<int64_t>(b[1]);
  return std::get<std::string>(a[2]) < std::get<std::string>(b[2]);
}

// Key and "rank row @time" of the best of each key.
using Table = std::multiset<std::pair<std::string, std::string>>;

std::string shown_text(int64_t rank, const Row& row, int64_t time_ms) {
  return std::to_string(rank) + " " + to_text(row) + " @" + std::to_string(time_ms);
}

Table best_of(const std::vector<Arrival>& arrivals, uint32_t n, bool ties, bool with_rank) {
  std::map<std::string, std::vector<Arrival>> keys;
  for (const Arrival& arrival : arrivals) keys[std::get<std::string>(arrival.row[0])].push_back(arrival);
  Table table;
  for (auto& [key, rows] : keys) {
    std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return before(a.row, b.row); });
    for (size_t i = 0; i < rows.size(); i++) {
      if (i >= n && (!ties || before(rows[n - 1].row, rows[i].row))) break;
      size_t rank = i + 1;
      while (ties && rank > 1 && !before(rows[rank - 2].row, rows[i].row)) rank--;
      table.emplace(key, shown_text(with_rank ? static_cast<int64_t>(rank) : 0, rows[i].row, rows[i].time_ms));
    }
  }
  return table;
}

// What a reader has after the changes.
class Reader {
 public:
  Reader(bool with_rank, bool by_rank, bool pairs) : with_rank_(with_rank), by_rank_(by_rank), pairs_(pairs) {}

  // once: what was shown belongs together, so nothing may leave in it and enter again as it was.
  void read(const std::vector<Shown>& rows, bool once = false) {
    std::multiset<std::string> left;
    for (const Shown& shown : rows) {
      const std::string text = to_text(shown.row) + " @" + std::to_string(shown.time_ms);
      if (shown.change == Change::kRetract) left.insert(text);
      if (once && shown.change == Change::kInsert) CHECK_MESSAGE(left.count(text) == 0, "left and entered: ", text);
    }
    for (const Shown& shown : rows) {
      const std::string key = std::get<std::string>(shown.row[0]);
      Row row = shown.row;
      const int64_t rank = with_rank_ ? std::get<int64_t>(row.back()) : 0;
      if (with_rank_) row.pop_back();
      const std::string value = shown_text(rank, row, shown.time_ms);
      if (by_rank_) {
        read_rank(shown.change, {key, rank}, value);
      } else if (shown.change == Change::kInsert) {
        rows_.emplace(key, value);
      } else {
        REQUIRE(shown.change == Change::kRetract);
        const auto found = rows_.find({key, value});
        REQUIRE_MESSAGE(found != rows_.end(), "takes back what was not there: ", value);
        rows_.erase(found);
      }
    }
  }
  Table table() const {
    Table table = rows_;
    for (const auto& [key, value] : ranks_) table.emplace(key.first, value);
    return table;
  }

 private:
  void read_rank(Change change, const std::pair<std::string, int64_t>& key, const std::string& value) {
    if (change != Change::kInsert) {
      REQUIRE(pairs_ == (change == Change::kRetract));
      REQUIRE(ranks_.count(key) == 1);
      if (pairs_) REQUIRE(ranks_[key] == value);
      ranks_.erase(key);
      return;
    }
    if (pairs_) REQUIRE(ranks_.count(key) == 0);
    REQUIRE(ranks_[key] != value);
    ranks_[key] = value;
  }
  bool with_rank_, by_rank_, pairs_;
  Table rows_;
  std::map<std::pair<std::string, int64_t>, std::string> ranks_;
};

struct Setting {
  uint32_t n;
  bool ties;
  bool rank;
  bool retractions;
  bool each;
  bool per_batch;
  int prices;
  size_t cache_bytes;
};

std::string yaml_of(const Setting& setting) {
  return "top_n: {key_by: k, order_by: [price desc, name], n: " + std::to_string(setting.n) +
         (setting.ties ? ", ties: all" : "") + (setting.rank ? ", rank: position" : "") +
         (setting.each ? ", emit: each" : "") + "}";
}

void run_model(const Setting& setting, uint32_t seed) {
  INFO(yaml_of(setting), " seed ", seed, " retractions ", setting.retractions, " per batch ", setting.per_batch);
  const bool by_rank = !setting.ties && (setting.rank || setting.n == 1);
  const auto plan = planned(yaml_of(setting), kInput, setting.retractions);
  CHECK(plan->output().type == (by_rank && !setting.retractions ? EdgeType::kUpsert : EdgeType::kRetract));
  KeyedLane::Options options;
  options.flush_rows = 1 << 20;
  options.emit_per_batch = setting.per_batch;
  options.cache_bytes = setting.cache_bytes;
  KeyedLane lane(*plan, kSchema, options);
  Reader reader(setting.rank, by_rank, setting.retractions);
  const std::vector<Arrival> arrivals = random_arrivals(seed, 1500, 30, setting.prices);
  std::mt19937 random(seed + 1000);
  std::vector<Arrival> seen, decided;
  Reader committed = reader;
  for (size_t at = 0; at < arrivals.size();) {
    const size_t n = std::min<size_t>(arrivals.size() - at, random() % 90 + 1);
    std::vector<Row> rows;
    std::vector<int64_t> times;
    for (size_t i = at; i < at + n; i++) {
      rows.push_back(arrivals[i].row);
      times.push_back(arrivals[i].time_ms);
      seen.push_back(arrivals[i]);
    }
    lane.process(make_batch(kSchema, rows, times));
    at += n;
    if (setting.each || setting.per_batch) {
      reader.read(lane.out.shown);
      lane.out.shown.clear();
      CHECK(reader.table() == best_of(seen, setting.n, setting.ties, setting.rank));
    }
    const auto dice = random() % 10;
    if (dice < 3 || at == arrivals.size()) {
      lane.end_epoch();
      reader.read(lane.out.shown);
      lane.out.shown.clear();
      REQUIRE(reader.table() == best_of(seen, setting.n, setting.ties, setting.rank));
      decided = seen;
      committed = reader;
    } else if (dice == 9 && random() % 3 == 0) {
      lane.restart();
      lane.out.shown.clear();
      at = decided.size();
      seen = decided;
      reader = committed;
    }
  }
  CHECK(lane.out.failed.empty());
  CHECK(lane.out.largest_batch <= 1024);
  const OperatorCounters& counters = lane.instance().counters();
  CHECK(counters.in == counters.absorbed + counters.filtered);
}

TEST_CASE("top_n equals the first rows of everything sorted") {
  const size_t large = 1 << 20, small = 4096;
  const std::vector<Setting> settings = {
      // n, ties, rank, retractions, each, per batch, prices, cache
      {3, false, true, false, false, false, 50, large}, {3, false, true, true, false, false, 50, large},
      {3, false, false, false, false, false, 50, large}, {1, false, false, false, false, false, 50, large},
      {1, false, false, true, false, false, 5, large},   {10, false, true, false, true, false, 20, large},
      {10, false, true, true, true, false, 20, large},   {4, false, false, false, true, false, 8, large},
      {5, false, true, false, false, true, 50, large},   {5, false, true, true, false, true, 50, large},
      {2, true, false, false, false, false, 4, large},   {3, true, true, false, false, false, 3, large},
      {3, true, true, false, true, false, 3, large},     {2, true, true, false, false, true, 2, large},
      {1, true, false, false, false, false, 3, small},   {10, false, true, true, false, false, 1000, small},
      {200, false, true, false, false, false, 30, large}};
  for (const Setting& setting : settings) {
    for (uint32_t seed = 1; seed <= 3; seed++) run_model(setting, seed);
  }
}

// What a random input does to rows: arrivals, and rows that are taken back, alone or for another one in their place.
struct Step {
  Arrival arrival;
  Change change = Change::kInsert;
};

// The row as it is taken back: of several like it one of the same time, else of any; the latest arrival.
void take_back(std::vector<Arrival>& live, const Arrival& gone) {
  for (const bool same_time : {true, false}) {
    for (size_t i = live.size(); i-- > 0;) {
      if (live[i].row != gone.row || (same_time && live[i].time_ms != gone.time_ms)) continue;
      live.erase(live.begin() + static_cast<ptrdiff_t>(i));
      return;
    }
  }
  FAIL("nothing to take back");
}

std::vector<Step> random_steps(uint32_t seed, size_t n, int prices) {
  std::mt19937 random(seed);
  std::vector<Arrival> live;
  std::vector<Step> steps;
  const std::vector<Arrival> arrivals = random_arrivals(seed + 7, n, 6, prices);
  for (size_t i = 0; steps.size() < n; i++) {
    Arrival arrival = arrivals[i];
    if (random() % 2 == 0) arrival.row[3] = integer(0);  // rows that are alike
    arrival.row[2] = text(std::string(random() % 3, 'n'));
    const auto dice = random() % 10;
    // More come than go, and then more go than come.
    if (!live.empty() && (dice < 3 || (steps.size() % 400 > 250 && dice < 8))) {
      Arrival gone = live[random() % live.size()];
      if (random() % 5 == 0) gone.time_ms++;
      const bool replaced = random() % 2 == 0;
      if (replaced) arrival.row[0] = gone.row[0];
      if (random() % 4 == 0) arrival = gone;
      steps.push_back({gone, Change::kRetract});
      take_back(live, gone);
      if (!replaced) continue;
    }
    steps.push_back({arrival, Change::kInsert});
    live.push_back(arrival);
  }
  return steps;
}

void run_replaced_model(const Setting& setting, uint32_t seed) {
  INFO(yaml_of(setting), " seed ", seed, " retractions ", setting.retractions, " per batch ", setting.per_batch);
  const bool by_rank = !setting.ties && (setting.rank || setting.n == 1);
  const auto plan = planned(yaml_of(setting), {kSchema, EdgeType::kRetract, {}}, setting.retractions);
  KeyedLane::Options options;
  options.flush_rows = 1 << 20;
  options.emit_per_batch = setting.per_batch;
  options.cache_bytes = setting.cache_bytes;
  KeyedLane lane(*plan, kSchema, options);
  Reader reader(setting.rank, by_rank, setting.retractions);
  const std::vector<Step> steps = random_steps(seed, 1500, setting.prices);
  std::mt19937 random(seed + 1000);
  std::vector<Arrival> live, decided;
  size_t decided_at = 0;
  Reader committed = reader;
  for (size_t at = 0; at < steps.size();) {
    const size_t n = std::min<size_t>(steps.size() - at, random() % 40 + 1);
    std::vector<Row> rows;
    std::vector<int64_t> times;
    std::vector<Change> changes;
    for (; rows.size() < n; at++) {
      const auto& [arrival, change] = steps[at];
      rows.push_back(arrival.row);
      times.push_back(arrival.time_ms);
      changes.push_back(change);
      if (change == Change::kInsert) live.push_back(arrival);
      if (change == Change::kRetract) take_back(live, arrival);
    }
    lane.process(make_batch(kSchema, rows, times, changes));
    if (setting.each || setting.per_batch) {
      reader.read(lane.out.shown, !setting.each);
      lane.out.shown.clear();
      REQUIRE(reader.table() == best_of(live, setting.n, setting.ties, setting.rank));
    }
    const auto dice = random() % 10;
    if (dice < 3 || at == steps.size()) {
      lane.end_epoch();
      reader.read(lane.out.shown, true);
      lane.out.shown.clear();
      REQUIRE(reader.table() == best_of(live, setting.n, setting.ties, setting.rank));
      decided = live;
      decided_at = at;
      committed = reader;
    } else if (dice == 9 && random() % 3 == 0) {
      lane.restart();
      lane.out.shown.clear();
      at = decided_at;
      live = decided;
      reader = committed;
    }
  }
  CHECK(lane.out.failed.empty());
  CHECK(lane.instance().counters().in == lane.instance().counters().absorbed);
}

TEST_CASE("top_n over replaced rows equals the first rows of those that are there, sorted") {
  const size_t large = 1 << 20, small = 4096;
  const std::vector<Setting> settings = {
      // n, ties, rank, retractions, each, per batch, prices, cache
      {3, false, true, false, false, false, 50, large},  {3, false, true, true, false, false, 5, large},
      {3, false, false, false, false, false, 50, large}, {1, false, false, false, false, false, 50, large},
      {1, false, false, true, false, false, 5, small},   {10, false, true, false, true, false, 20, large},
      {10, false, true, true, true, false, 20, large},   {4, false, false, false, true, false, 8, large},
      {5, false, true, false, false, true, 50, large},   {5, false, true, true, false, true, 50, large},
      {2, true, false, false, false, false, 4, small},   {3, true, true, false, false, false, 3, large},
      {3, true, true, false, true, false, 3, large},     {2, true, true, false, false, true, 2, large},
      {200, false, true, true, false, false, 30, large}, {200, true, true, false, true, false, 30, large}};
  for (const Setting& setting : settings) {
    for (uint32_t seed = 1; seed <= 4; seed++) run_replaced_model(setting, seed);
  }
}

// Rows of one key, by price and id, that come or, with a minus, are taken back.
void change_rows(KeyedLane& lane, const std::vector<std::string>& prices_and_ids) {
  std::vector<Row> rows;
  std::vector<Change> changes;
  for (const std::string& item : prices_and_ids) {
    const bool back = item[0] == '-';
    const size_t space = item.find(' ');
    rows.push_back({text("a"), integer(std::stoll(item.substr(back ? 1 : 0, space))), text(""),
                    integer(std::stoll(item.substr(space + 1)))});
    changes.push_back(back ? Change::kRetract : Change::kInsert);
  }
  lane.process(make_batch(kSchema, rows, std::vector<int64_t>(rows.size(), 7), changes));
}

std::string shown_of(KeyedLane& lane) {
  const std::string shown = to_text(lane.out.shown);
  lane.out.shown.clear();
  return shown;
}

TEST_CASE("a row that is taken back leaves its place to the next, and an empty list the state") {
  const auto plan =
      planned("top_n: {key_by: k, order_by: price desc, n: 2, rank: rank}", {kSchema, EdgeType::kRetract, {}});
  CHECK(plan->output().type == EdgeType::kUpsert);
  CHECK(plan->state_descriptor() ==
        "top_n/1 n=2 all key=[k:string] order=[price desc] row={k: string, price: int, name: string, id: int}");
  KeyedLane lane(*plan, kSchema);
  const auto keys = [&] {
    size_t count = 0;
    for (uint16_t shard = 0; shard < 16; shard++) {
      const auto see = [&](std::string_view, std::string_view) {
        count++;
        return true;
      };
      REQUIRE(lane.layers().lane(0).scan(shard, 7, "", "", see).is_ok());
    }
    return count;
  };
  change_rows(lane, {"5 1", "7 2", "6 3"});
  lane.end_epoch();
  CHECK(shown_of(lane) == "a 7  2 1 | a 6  3 2");
  CHECK(keys() == 1);
  // Gone and back in one epoch: nothing has changed. Behind the best, too.
  change_rows(lane, {"-7 2", "-5 1", "4 1"});
  change_rows(lane, {"7 2"});
  lane.end_epoch();
  CHECK(shown_of(lane) == "");
  lane.restart();
  change_rows(lane, {"-6 3"});
  lane.end_epoch();
  CHECK(shown_of(lane) == "a 4  1 2");
  change_rows(lane, {"-7 2", "-9 9"});
  lane.end_epoch();
  CHECK(shown_of(lane) == "a 4  1 1 | delete a null null null 2");
  CHECK(lane.out.failed == std::vector<std::string>{"takes back a row that is not there"});
  change_rows(lane, {"-4 1"});
  lane.end_epoch();
  CHECK(shown_of(lane) == "delete a null null null 1");
  CHECK(keys() == 0);
  lane.restart();
  change_rows(lane, {"1 1"});
  lane.end_epoch();
  CHECK(shown_of(lane) == "a 1  1 1");
}

TEST_CASE("a row that comes back other than it came is found by what identifies it") {
  const Schema schema = {
      {"k", Type(TypeKind::kString)}, {"id", Type(TypeKind::kInt)}, {"sum", Type(TypeKind::kDouble)}};
  const std::string yaml = "top_n: {key_by: k, order_by: sum desc, n: 1}";
  const std::vector<Row> rows = {
      {text("a"), integer(1), 0.3}, {text("a"), integer(2), 0.2}, {text("b"), integer(1), 0.3}};
  const Batch back = make_batch(schema, {{text("a"), integer(1), 0.1 + 0.2}}, {9}, {Change::kRetract});
  for (const std::vector<int>& key : {std::vector<int>{0, 1}, std::vector<int>()}) {
    const auto plan = planned(yaml, {schema, EdgeType::kRetract, key});
    KeyedLane lane(*plan, schema);
    lane.process(make_batch(schema, rows));
    lane.end_epoch();
    CHECK(shown_of(lane) == "a 1 0.3 | b 1 0.3");
    lane.process(back);
    lane.process(back);
    lane.end_epoch();
    CHECK(shown_of(lane) == (key.empty() ? "" : "a 2 0.2"));
    CHECK(lane.out.failed == std::vector<std::string>(key.empty() ? 2 : 1, "takes back a row that is not there"));
  }
}

TEST_CASE("emit each: a row and the one that replaces it are one change") {
  const auto plan = planned("top_n: {key_by: k, order_by: price desc, n: 2, rank: rank, emit: each}",
                            {kSchema, EdgeType::kRetract, {}});
  KeyedLane lane(*plan, kSchema);
  change_rows(lane, {"5 1", "7 2", "6 3"});
  CHECK(shown_of(lane) == "a 5  1 1 | a 7  2 1 | a 5  1 2 | a 6  3 2");
  change_rows(lane, {"-7 2", "8 2", "-5 1", "4 1"});
  CHECK(shown_of(lane) == "a 8  2 1");
  change_rows(lane, {"-8 2", "-6 3", "9 3"});
  CHECK(shown_of(lane) == "a 6  3 1 | a 4  1 2 | a 9  3 1");
  // The row in its place has been filtered out.
  const auto row = [](int64_t price, int64_t id) { return Row{text("a"), integer(price), text(""), integer(id)}; };
  Batch batch = make_batch(kSchema, {row(9, 3), row(0, 3), row(8, 4)}, {7, 7, 7},
                           {Change::kRetract, Change::kInsert, Change::kInsert});
  batch.selection = std::make_shared<std::vector<uint32_t>>(std::vector<uint32_t>{0, 2});
  lane.process(batch);
  CHECK(shown_of(lane) == "a 4  1 1 | delete a null null null 2 | a 8  4 1 | a 4  1 2");
}

TEST_CASE("a key has a place for 10,000 rows that may be taken back") {
  const auto plan = planned("top_n: {key_by: k, order_by: price desc, n: 1}", {kSchema, EdgeType::kRetract, {}});
  KeyedLane::Options options;
  options.cache_bytes = 16 << 20;
  KeyedLane lane(*plan, kSchema, options);
  for (int64_t i = 0; i < 10; i++) {
    std::vector<std::string> rows;
    for (int64_t j = 0; j < 1000; j++) rows.push_back(std::to_string(i * 1000 + j) + " 1");
    change_rows(lane, rows);
  }
  CHECK(lane.out.failed.empty());
  change_rows(lane, {"-1 1", "2 2", "3 3", "-3 3", "4 4"});
  lane.end_epoch();
  CHECK(lane.out.failed == std::vector<std::string>{"more than 10000 rows of one key",
                                                    "takes back a row that is not there",
                                                    "more than 10000 rows of one key"});
  CHECK(shown_of(lane) == "a 9999  1");
  lane.restart();
  change_rows(lane, {"-9999 1", "-9998 1"});
  lane.end_epoch();
  CHECK(shown_of(lane) == "a 9997  1");
}

TEST_CASE("top_n shows a rank once per epoch, and nothing that has not changed") {
  const auto plan = planned("top_n: {key_by: k, order_by: price desc, n: 2, rank: rank}", kInput);
  KeyedLane lane(*plan, kSchema);
  const auto process = [&](std::vector<std::pair<int64_t, int64_t>> prices_and_ids) {
    std::vector<Row> rows;
    for (const auto& [price, id] : prices_and_ids) rows.push_back({text("a"), integer(price), text(""), integer(id)});
    lane.process(make_batch(kSchema, rows));
  };
  const auto epoch = [&] {
    lane.end_epoch();
    const std::string shown = to_text(lane.out.shown);
    lane.out.shown.clear();
    return shown;
  };
  process({{5, 1}, {7, 2}});
  process({{7, 3}, {9, 4}});
  CHECK(epoch() == "a 9  4 1 | a 7  2 2");
  process({{7, 5}, {1, 6}});
  CHECK(epoch() == "");
  process({{8, 7}});
  CHECK(epoch() == "a 8  7 2");
  lane.restart();
  process({{10, 8}});
  CHECK(epoch() == "a 10  8 1 | a 9  4 2");
}

TEST_CASE("the state is written only where it has changed") {
  const auto plan = planned("top_n: {key_by: k, order_by: price desc, n: 1}", kInput);
  KeyedLane lane(*plan, kSchema);
  const auto row = [](const char* key, int64_t price) { return Row{text(key), integer(price), text(""), integer(0)}; };
  lane.process(make_batch(kSchema, {row("a", 5), row("b", 5)}));
  lane.end_epoch();
  lane.process(make_batch(kSchema, {row("a", 4), row("b", 6), row("a", 3)}));
  DeltaBuilder delta(99);
  REQUIRE(lane.instance().flush(99, 1024, lane.out).is_ok());
  lane.instance().cut(delta);
  CHECK(delta.size() == 1);
}

TEST_CASE("flush stops near its limit and goes on") {
  const auto plan = planned("top_n: {key_by: k, order_by: price, n: 4, rank: rank}", kInput);
  KeyedLane lane(*plan, kSchema);
  std::vector<Row> rows;
  for (int64_t i = 0; i < 400; i++) rows.push_back({text("k" + std::to_string(i % 100)), i, text(""), i});
  lane.process(make_batch(kSchema, rows));
  int calls = 0;
  for (bool done = false; !done; calls++) {
    const size_t before = lane.out.shown.size();
    const Result<bool> flushed = lane.instance().flush(1, 50, lane.out);
    REQUIRE(flushed.is_ok());
    CHECK(lane.out.shown.size() - before <= 54);
    done = *flushed;
  }
  CHECK(calls >= 8);
  CHECK(lane.out.shown.size() == 400);
}

TEST_CASE("rows on which the order fails, and lists of too many ties") {
  const auto plan = planned("top_n: {order_by: 100 / price, n: 1, ties: all}", kInput);
  KeyedLane::Options options;
  options.flush_rows = 1 << 20;
  KeyedLane lane(*plan, kSchema, options);
  const auto row = [](int64_t price) { return Row{text("a"), integer(price), text(""), integer(0)}; };
  lane.process(make_batch(kSchema, {row(1), row(0), row(2)}));
  CHECK(lane.out.failed == std::vector<std::string>{"division by zero"});
  lane.out.failed.clear();
  for (int i = 0; i < 11; i++) lane.process(make_batch(kSchema, std::vector<Row>(1000, row(2))));
  CHECK(lane.out.failed.size() == 1001);
  CHECK(lane.out.failed.at(0) == "more than 10000 rows of one key rank equal");
  lane.end_epoch();
  CHECK(lane.out.shown.size() == 10'000);
  lane.out.shown.clear();
  lane.process(make_batch(kSchema, {row(50)}));
  lane.end_epoch();
  CHECK(lane.out.shown.size() == 10'001);  // all of them leave
  lane.restart();
  lane.out.shown.clear();
  lane.process(make_batch(kSchema, {row(51)}));
  lane.end_epoch();
  CHECK(to_text(lane.out.shown) == "-a 50  0 | a 51  0");
}

TEST_CASE("what a list decodes") {
  TopList list;
  const TopRule rule{2, false};
  list.insert("b", "row-b", 7, rule);
  list.insert("a", "row-a", -8, rule);
  std::string bytes;
  AccumulatorWriter writer(bytes);
  list.encode(writer);
  CHECK(bytes == std::string("\x02\x0f\x01\x06"
                             "arow-a\x0e\x01\x06"
                             "brow-b"));
  for (size_t size = 0; size < bytes.size(); size++) {
    AccumulatorReader in(std::string_view(bytes).substr(0, size));
    CHECK_FALSE(TopList().decode(in));
  }
  for (const std::string& malformed : {std::string("\x01\x00\x07\x06"
                                                  "arow-a",
                                                  10),
                                      std::string("\x02\x0f\x01\x06"
                                                  "brow-a\x0e\x01\x06"
                                                  "arow-b"),
                                      std::string("\xff\xff\x7f")}) {
    AccumulatorReader in(malformed);
    CHECK_FALSE(TopList().decode(in));
  }
  AccumulatorReader in(bytes);
  TopList again;
  REQUIRE(again.decode(in));
  CHECK(again.entries().at(1).row() == "row-b");
  CHECK(again.entries().at(0).event_time_ms == -8);
  CHECK(again.heap_bytes() > 0);
}

TEST_CASE("the output of top_n") {
  const auto ranked = planned("top_n: {key_by: [k, id], order_by: price desc, n: 2, rank: rank}", kInput);
  CHECK(ranked->output().key_columns == std::vector<int>{0, 3, 4});
  CHECK(ranked->output().schema.back().name == "rank");
  CHECK(ranked->describe() == "top 2 by price desc per k, id, emit update");
  CHECK(ranked->needed_inputs({}) == std::vector<bool>(4, true));
  CHECK(ranked->state_descriptor() ==
        "top_n/1 n=2 key=[k:string,id:int] order=[price desc] row={k: string, price: int, name: string, id: int}");
  const auto one = planned("top_n: {key_by: k, order_by: [price desc, name asc, id + 1], n: 1}", kInput);
  CHECK(one->output().key_columns == std::vector<int>{0});
  CHECK(one->output().type == EdgeType::kUpsert);
  const auto rows = planned("top_n: {order_by: price, n: 2}", kInput);
  CHECK(rows->output().type == EdgeType::kRetract);
  CHECK(rows->output().key_columns == std::vector<int>{0, 1, 2, 3});
  CHECK(rows->describe() == "top 2 by price, emit update with retractions");

  Schema with_record = kSchema;
  with_record.insert(with_record.begin() + 1, {"record.offset", Type(TypeKind::kInt)});
  const auto hidden = planned("top_n: {key_by: k, order_by: record.offset desc, n: 1}",
                              {with_record, EdgeType::kAppend, {}});
  CHECK(hidden->output().schema == kSchema);
  CHECK(hidden->needed_inputs({}) == std::vector<bool>(5, true));
}

TEST_CASE("what top_n refuses") {
  const auto error = [](const std::string& body, EdgeType type = EdgeType::kAppend) {
    return first_error("top_n: " + body, {kSchema, type, {0}});
  };
  CHECK(error("{n: 1}").starts_with("MR1006@"));
  CHECK(error("{order_by: price}").starts_with("MR1006@"));
  CHECK(error("{order_by: price, n: 0}").starts_with("MR1009@1:29"));
  CHECK(error("{order_by: price, n: 1001}").starts_with("MR1009@1:29"));
  CHECK(error("{order_by: prize desc, n: 1}").starts_with("MR1007@1:19"));
  CHECK(error("{order_by: [], n: 1}").starts_with("MR1008@"));
  CHECK(error("{order_by: [[price]], n: 1}").starts_with("MR1008@"));
  CHECK(error("{order_by: '[price]', n: 1}") == "MR1013@1:19 [price] is [int] and has no order; ");
  CHECK(error("{order_by: price, n: 1, rank: id}") ==
        "MR1020@1:38 column \"id\" exists already; use another name for the rank");
  CHECK(error("{order_by: price, n: 1, ties: some}").starts_with("MR1009@"));
  CHECK(error("{order_by: price, n: 1, emit: close}").starts_with("MR1020@"));
  CHECK(error("{order_by: price, n: 1, emit: {mode: update, min_interval: 1s}}") ==
        "MR1025@1:38 top_n without a window has neither min_interval nor accumulation; emit: update or each");
  CHECK(error("{order_by: price, n: 1, allowed_lateness: 1s}").starts_with("MR1020@"));
  CHECK(error("{order_by: price, n: 1, window: {tumbling: {size: 0s}}}").starts_with("MR1009@"));
  CHECK(error("{order_by: price, n: 1, key_by: price + 1}").starts_with("MR1013@"));
  CHECK(error("{order_by: price, n: 1}", EdgeType::kUpsert) ==
        "MR1018@1:1 the input replaces rows, and top_n needs the replaced ones taken back; ");
  CHECK(error("{order_by: price, n: 1, window: {global: {}}}", EdgeType::kRetract).starts_with("MR1018@1:41 "));
}

}  // namespace
}  // namespace millrace
