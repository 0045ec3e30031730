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

  void read(const std::vector<Shown>& rows) {
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
    if (change == Change::kRetract) {
      REQUIRE(pairs_);
      REQUIRE(ranks_.count(key) == 1);
      REQUIRE(ranks_[key] == value);
      ranks_.erase(key);
      return;
    }
    REQUIRE(change == Change::kInsert);
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
  CHECK(error("{order_by: price, n: 1}", EdgeType::kUpsert).starts_with("MR1018@1:1 "));
  CHECK(error("{order_by: price, n: 1}", EdgeType::kRetract).starts_with("MR1018@1:1 "));
}

}  // namespace
}  // namespace millrace
