// deduplicate against a list of everything that has passed, over random rows and watermarks, cut into batches and
// epochs anywhere, with restarts.
#include <algorithm>
#include <map>
#include <random>

#include "operators/late_rows.h"
#include "rows.h"
#include "sanitizer.h"

namespace millrace {
namespace {

const Schema kSchema = {
    {"k", Type(TypeKind::kString)}, {"id", Type(TypeKind::kInt)}, {"name", Type(TypeKind::kString)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

struct Arrival {
  Row row;
  int64_t time_ms;
  int64_t watermark_ms;  // that the rows before it have left
};

std::vector<Arrival> random_arrivals(uint32_t seed, size_t n, int keys) {
  std::mt19937 random(seed);
  std::vector<Arrival> rows;
  int64_t now_ms = 1000, watermark_ms = kNoTime;
  for (size_t i = 0; i < n; i++) {
    now_ms += static_cast<int64_t>(random() % 20);
    const auto behind = static_cast<int64_t>(random() % (random() % 8 == 0 ? 400 : 60));
    Row row = {text("key-" + std::to_string(random() % static_cast<uint32_t>(keys))), integer(static_cast<int64_t>(i)),
               random() % 5 == 0 ? null() : text(std::string(random() % 40, 'x'))};
    rows.push_back({std::move(row), now_ms - behind, watermark_ms});
    watermark_ms = std::max(watermark_ms, now_ms - behind - 50);
  }
  return rows;
}

Batch batch_of(const std::vector<Arrival>& arrivals, size_t begin, size_t n) {
  std::vector<Row> rows;
  std::vector<int64_t> times;
  const auto watermarks = std::make_shared<std::vector<int64_t>>();
  for (size_t i = begin; i < begin + n; i++) {
    rows.push_back(arrivals[i].row);
    times.push_back(arrivals[i].time_ms);
    watermarks->push_back(arrivals[i].watermark_ms);
  }
  Batch batch = make_batch(kSchema, rows, times);
  batch.watermark_ms = watermarks->data();
  batch.owners.push_back(watermarks);
  return batch;
}

std::string text_of(const Row& row, int64_t time_ms) { return to_text(row) + " @" + std::to_string(time_ms); }

bool is_late(const Arrival& row, int64_t within_ms) {
  return within_ms > 0 && row.watermark_ms != kNoTime && row.time_ms + within_ms <= row.watermark_ms;
}

struct Expected {
  std::vector<std::string> passed, late;
};

Expected first_of(const std::vector<Arrival>& arrivals, size_t n, int64_t within_ms) {
  std::map<std::string, std::vector<int64_t>> seen;
  Expected expected;
  for (size_t i = 0; i < n; i++) {
    const Arrival& row = arrivals[i];
    std::vector<int64_t>& times = seen[std::get<std::string>(row.row[0])];
    if (is_late(row, within_ms)) {
      expected.late.push_back(text_of(row.row, row.time_ms));
      continue;
    }
    const bool duplicate = std::any_of(times.begin(), times.end(), [&](int64_t time_ms) {
      return within_ms == 0 || std::abs(time_ms - row.time_ms) < within_ms;
    });
    if (duplicate) continue;
    times.push_back(row.time_ms);
    expected.passed.push_back(text_of(row.row, row.time_ms));
  }
  return expected;
}

std::map<std::string, std::string> last_of(const std::vector<Arrival>& arrivals, size_t n, int64_t within_ms) {
  std::map<std::string, std::pair<int64_t, std::string>> newest;
  for (size_t i = 0; i < n; i++) {
    const Arrival& row = arrivals[i];
    if (is_late(row, within_ms)) continue;
    const auto [entry, added] = newest.try_emplace(std::get<std::string>(row.row[0]));
    if (!added && row.time_ms < entry->second.first) continue;
    entry->second = {row.time_ms, text_of(row.row, row.time_ms)};
  }
  std::map<std::string, std::string> rows;
  for (const auto& [key, row] : newest) rows[key] = row.second;
  return rows;
}

std::vector<std::string> texts(const std::vector<Shown>& rows, size_t columns) {
  std::vector<std::string> result;
  for (const Shown& shown : rows) {
    CHECK(shown.change == Change::kInsert);
    const Row row(shown.row.begin(), shown.row.begin() + static_cast<ptrdiff_t>(columns));
    result.push_back(text_of(row, shown.time_ms));
  }
  return result;
}

size_t stored_keys(KeyedLane& lane) {
  size_t keys = 0;
  const auto count = [&](std::string_view key, std::string_view) {
    keys += key[0] == 6;
    return true;
  };
  for (uint16_t shard = 0; shard < 16; shard++) REQUIRE(lane.layers().lane(0).scan(shard, 7, "", "", count).is_ok());
  return keys;
}

// Runs all of it in pieces; calls check(rows seen) after each epoch, and restart(rows that stay) after a restart.
template <class Check, class Restart>
void run_pieces(KeyedLane& lane, const std::vector<Arrival>& arrivals, uint32_t seed, Check&& check,
                Restart&& restarted) {
  std::mt19937 random(seed + 77);
  size_t decided = 0;
  for (size_t at = 0; at < arrivals.size();) {
    const size_t n = std::min<size_t>(arrivals.size() - at, random() % 60 + 1);
    lane.process(batch_of(arrivals, at, n));
    at += n;
    const auto dice = random() % 12;
    if (dice == 1) REQUIRE(lane.instance().advance(arrivals[at - 1].watermark_ms, 100, lane.out).is_ok());
    if (dice < 4 || at == arrivals.size()) {
      lane.end_epoch();
      check(at);
      decided = at;
    } else if (dice == 11) {
      lane.restart();
      restarted();
      at = decided;
    }
  }
}

void run_first(int64_t within_ms, uint32_t seed, size_t cache_bytes) {
  INFO("within ", within_ms, " seed ", seed);
  const std::string within = within_ms > 0 ? ", within: " + std::to_string(within_ms) + "ms" : "";
  const auto plan = planned("deduplicate: {key_by: k" + within + "}", kInput);
  plan->keep_late_rows();
  KeyedLane::Options options;
  options.cache_bytes = cache_bytes;
  KeyedLane lane(*plan, kSchema, options);
  lane.out.late_schema = LateRows::edge(kSchema).schema;
  const std::vector<Arrival> arrivals = random_arrivals(seed, 3000, 60);
  std::vector<Shown> passed, late;  // of decided epochs
  const auto check = [&](size_t seen) {
    std::move(lane.out.shown.begin(), lane.out.shown.end(), std::back_inserter(passed));
    std::move(lane.out.late.begin(), lane.out.late.end(), std::back_inserter(late));
    lane.out.shown.clear();
    lane.out.late.clear();
    const Expected expected = first_of(arrivals, seen, within_ms);
    REQUIRE(texts(passed, 3) == expected.passed);
    REQUIRE(texts(late, 3) == expected.late);
  };
  const auto restarted = [&] {
    lane.out.shown.clear();
    lane.out.late.clear();
  };
  run_pieces(lane, arrivals, seed, check, restarted);
  CHECK(late.empty() == (within_ms == 0 || within_ms >= 400));
  const OperatorCounters& counters = lane.instance().counters();
  CHECK(counters.in == counters.out + counters.filtered + counters.late);
}

TEST_CASE("the first row of a key passes") {
  for (uint32_t seed = 1; seed <= (kSanitized ? 1 : 4); seed++) {
    for (const int64_t within_ms : {0, 1, 30, 200, 5000}) {
      run_first(within_ms, seed, 1 << 20);
      run_first(within_ms, seed, 2048);
    }
  }
}

void run_last(int64_t within_ms, uint32_t seed, bool retractions, bool per_batch, size_t cache_bytes) {
  INFO("within ", within_ms, " seed ", seed);
  const std::string within = within_ms > 0 ? ", within: " + std::to_string(within_ms) + "ms" : "";
  const auto plan = planned("deduplicate: {key_by: k, keep: last" + within + "}", kInput, retractions);
  KeyedLane::Options options;
  options.cache_bytes = cache_bytes;
  options.emit_per_batch = per_batch;
  KeyedLane lane(*plan, kSchema, options);
  const std::vector<Arrival> arrivals = random_arrivals(seed, 3000, 60);
  std::map<std::string, std::string> rows, decided;
  const auto check = [&](size_t seen) {
    std::map<std::string, int> inserts;
    for (const Shown& shown : lane.out.shown) {
      const std::string key = std::get<std::string>(shown.row[0]);
      const std::string row = text_of(shown.row, shown.time_ms);
      if (shown.change == Change::kRetract) {
        REQUIRE(retractions);
        REQUIRE(rows[key] == row);
        rows.erase(key);
      } else {
        REQUIRE(shown.change == Change::kInsert);
        if (retractions) REQUIRE(rows.count(key) == 0);
        REQUIRE(rows[key] != row);
        rows[key] = row;
        inserts[key]++;
      }
    }
    lane.out.shown.clear();
    for (const auto& [key, count] : inserts) {
      if (!per_batch) REQUIRE(count == 1);
    }
    REQUIRE(rows == last_of(arrivals, seen, within_ms));
    decided = rows;
  };
  const auto restarted = [&] {
    lane.out.shown.clear();
    rows = decided;
  };
  run_pieces(lane, arrivals, seed, check, restarted);
  const OperatorCounters& counters = lane.instance().counters();
  CHECK(counters.in == counters.absorbed + counters.filtered + counters.late);
}

TEST_CASE("the last row of a key stands") {
  for (uint32_t seed = 1; seed <= (kSanitized ? 1 : 4); seed++) {
    for (const size_t cache_bytes : {size_t{1} << 20, size_t{4096}}) {
      run_last(0, seed, false, false, cache_bytes);
      run_last(0, seed, true, false, cache_bytes);
      run_last(0, seed, true, true, cache_bytes);
      run_last(40, seed, false, false, cache_bytes);
      run_last(300, seed, false, true, cache_bytes);
    }
  }
}

TEST_CASE("keys are forgotten when the watermark has passed") {
  for (const bool last : {false, true}) {
    INFO("keep last ", last);
    const auto plan =
        planned(std::string("deduplicate: {key_by: k, within: 1s") + (last ? ", keep: last" : "") + "}", kInput);
    KeyedLane lane(*plan, kSchema);
    std::vector<Arrival> arrivals;
    // 200 keys a second, the watermark a second behind.
    for (int64_t i = 0; i < 20'000; i++) {
      arrivals.push_back({{text("key-" + std::to_string(i)), i, null()}, 5 * i, 5 * i - 1000});
    }
    size_t most = 0;
    for (size_t at = 0; at < arrivals.size(); at += 100) {
      lane.process(batch_of(arrivals, at, 100));
      if (at % 500 == 0) lane.end_epoch();
      if (at % 500 == 0) most = std::max(most, stored_keys(lane));
      if (at == 9000) lane.restart();
    }
    lane.end_epoch();
    // Two or three seconds of keys, and what waits for the next batch.
    CHECK(most < 1000);
    CHECK(most > 300);
    CHECK(lane.instance().counters().fired > 9000);
    CHECK(lane.out.shown.size() == 20'000);
    // A restart remembers where the watermark stood.
    const int64_t watermark_ms = arrivals.back().watermark_ms;
    lane.restart();
    CHECK(lane.instance().restored_watermark_ms() == watermark_ms);
    REQUIRE(lane.instance().advance(watermark_ms + 10'000, 1000, lane.out).is_ok());
    for (bool done = false; !done;) {
      const Result<bool> advanced = lane.instance().advance(watermark_ms + 10'000, 1000, lane.out);
      REQUIRE(advanced.is_ok());
      done = *advanced;
    }
    lane.end_epoch();
    CHECK(stored_keys(lane) == 0);
    // The end of the input is not a reason to take the state apart.
    lane.process(batch_of({{{text("x"), integer(1), null()}, watermark_ms + 20'000, watermark_ms + 10'000}}, 0, 1));
    REQUIRE(lane.instance().advance(kEndOfTime, 1000, lane.out).is_ok());
    lane.end_epoch();
    CHECK(stored_keys(lane) == 1);
    lane.restart();
    CHECK(lane.instance().restored_watermark_ms() == watermark_ms + 10'000);
  }
}

TEST_CASE("rows of keep: first leave as they came") {
  const auto plan = planned("deduplicate: {key_by: [k, id]}", kInput);
  KeyedLane lane(*plan, kSchema);
  Batch batch = batch_of(random_arrivals(1, 5, 1), 0, 5);
  batch.source_rows = std::make_shared<SourceRows>();
  lane.process(batch);
  const Batch& result = lane.out.batches.at(0);
  CHECK(result.columns[0] == batch.columns[0]);
  CHECK(result.source_rows == batch.source_rows);
  CHECK(result.watermark_ms == batch.watermark_ms);
  CHECK(result.key_bytes == nullptr);
  CHECK(plan->preserves_rows());
  CHECK(plan->output().type == EdgeType::kAppend);
  CHECK_FALSE(plan->enable_retractions());
  CHECK_FALSE(plan->uses_event_time());
  CHECK_FALSE(plan->has_late_rows());
  CHECK(plan->needed_inputs({false, false, true}) == std::vector<bool>(3, true));
  CHECK(plan->state_descriptor() == "deduplicate/1 keep=first key=[k:string,id:int]");
  CHECK(plan->describe() == "deduplicate by k, id, keep first");
}

TEST_CASE("late rows") {
  const auto plan = planned("deduplicate: {key_by: k, within: 1s}", kInput);
  CHECK(plan->uses_event_time());
  CHECK(plan->has_late_rows());
  CHECK(plan->late_output()->schema == LateRows::edge(kSchema).schema);
  const std::vector<Arrival> arrivals = {{{text("a"), integer(1), null()}, 5000, kNoTime},
                                         {{text("a"), integer(2), null()}, 4000, 4999},
                                         {{text("a"), integer(3), null()}, 4000, 5000},
                                         {{text("a"), integer(4), null()}, 6000, 6999}};
  KeyedLane dropped(*plan, kSchema);
  dropped.process(batch_of(arrivals, 0, 4));
  CHECK(to_text(dropped.out.shown) == "a 1 null | a 2 null | a 4 null");
  CHECK(dropped.instance().counters().late == 1);
  plan->keep_late_rows();
  KeyedLane kept(*plan, kSchema);
  kept.out.late_schema = LateRows::edge(kSchema).schema;
  kept.process(batch_of(arrivals, 0, 4));
  CHECK(to_text(kept.out.late) == "a 3 null 3000000 5000000 5000000");
}

TEST_CASE("keep: last keeps the columns of the row, and nothing of the record") {
  Schema schema = kSchema;
  schema.insert(schema.begin(), {"record.offset", Type(TypeKind::kInt)});
  const auto plan = planned("deduplicate: {key_by: k, keep: last, within: 2h}", {schema, EdgeType::kAppend, {}});
  CHECK(plan->output().schema == kSchema);
  CHECK(plan->output().type == EdgeType::kUpsert);
  CHECK(plan->output().key_columns == std::vector<int>{0});
  CHECK(plan->needed_inputs({}) == std::vector<bool>{false, true, true, true});
  CHECK_FALSE(plan->preserves_rows());
  CHECK(plan->describe() == "deduplicate by k, keep last within 2h");
  CHECK(plan->state_descriptor() ==
        "deduplicate/1 keep=last within key=[k:string] row={k: string, id: int, name: string}");
}

TEST_CASE("what deduplicate refuses") {
  const auto error = [](const std::string& body, EdgeType type = EdgeType::kAppend) {
    return first_error("deduplicate: " + body, {kSchema, type, {0}});
  };
  CHECK(error("{keep: last}").starts_with("MR1006@"));
  CHECK(error("{key_by: []}") == "MR1009@1:23 deduplicate needs at least one column in key_by; ");
  CHECK(error("{key_by: kk}").starts_with("MR1007@1:23"));
  CHECK(error("{key_by: k, keep: newest}").starts_with("MR1009@1:32"));
  CHECK(error("{key_by: k, within: 0s}") ==
        "MR1009@1:34 within is longer than nothing; leave it out to remember keys forever");
  CHECK(error("{key_by: k, within: 5}").starts_with("MR100"));
  CHECK(error("{key_by: k}", EdgeType::kUpsert).starts_with("MR1018@1:1 "));
  CHECK(error("{key_by: k, keep: last}", EdgeType::kRetract).starts_with("MR1018@1:1 "));
}

}  // namespace
}  // namespace millrace
