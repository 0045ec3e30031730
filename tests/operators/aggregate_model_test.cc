// Every aggregate against a simple model, over random rows with nulls, cut into batches and epochs anywhere.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "rows.h"

namespace millrace {
namespace {

const Schema kSchema = {{"k", Type(TypeKind::kString)},    {"i", Type(TypeKind::kInt)},
                        {"d", Type(TypeKind::kDouble)},    {"s", Type(TypeKind::kString)},
                        {"t", Type(TypeKind::kTimestamp)}, {"b", Type(TypeKind::kBool)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

const char* const kFields = R"(
  key_by: k
  fields:
    k: key(k)
    rows: count()
    ints: count(i)
    paid: 'count(i, s == "paid")'
    positive: count_if(i > 0)
    sum_i: sum(i)
    sum_if: sum(i, i > 0)
    sum_d: sum(d)
    min_i: min(i)
    max_i: max(i)
    min_d: min(d)
    max_d: max(d)
    min_s: min(s)
    max_s: max(s)
    min_t: min(t)
    avg_i: avg(i)
    avg_d: avg(d)
    first_s: first(s)
    last_s: last(s)
    last_b: last(b)
    first_d: first(d)
    doubled: sum(i * 2, has(i)) + count()
    ints_seen: count_distinct(i)
    texts_seen: count_distinct(s, i > 0)
    about: approx_distinct(t)
    three: collect(i, 3, i > 900)
    middle: quantile(i, 0.5)
    product: 'fold("", string(i), b, acc + "!")'
    largest: 'fold(-1000, i > acc ? i : acc, a > b ? a : b, acc)'
)";

// Values of one column that were folded in, in order.
struct Model {
  std::vector<Row> rows;

  template <class T>
  std::vector<T> values(size_t column) const {
    std::vector<T> result;
    for (const Row& row : rows) {
      if (const T* value = std::get_if<T>(&row[column])) result.push_back(*value);
    }
    return result;
  }
  template <class T>
  static Cell extreme(const std::vector<T>& values, bool max) {
    if (values.empty()) return {};
    return max ? *std::max_element(values.begin(), values.end()) : *std::min_element(values.begin(), values.end());
  }
  template <class T>
  static Cell end(const std::vector<T>& values, bool last) {
    if (values.empty()) return {};
    return T(last ? values.back() : values.front());
  }

  Row result() const {
    const auto ints = values<int64_t>(1);
    const auto doubles = values<double>(2);
    const auto texts = values<std::string>(3);
    int64_t sum = 0, positive_sum = 0, positive = 0, paid = 0;
    for (int64_t value : ints) {
      sum += value;
      if (value > 0) positive_sum += value, positive++;
    }
    for (const Row& row : rows) paid += row[1].index() != 0 && row[3] == Cell(std::string("paid"));
    double sum_d = 0;
    for (double value : doubles) sum_d += value;
    const auto n = static_cast<int64_t>(ints.size());
    const auto count = static_cast<int64_t>(rows.size());
    Row row = {rows[0][0],
               count,
               n,
               paid,
               positive,
               n > 0 ? Cell(sum) : Cell(),
               positive > 0 ? Cell(positive_sum) : Cell(),
               doubles.empty() ? Cell() : Cell(sum_d),
               extreme(ints, false),
               extreme(ints, true),
               extreme(doubles, false),
               extreme(doubles, true),
               extreme(texts, false),
               extreme(texts, true),
               extreme(values<int64_t>(4), false),
               n > 0 ? Cell(static_cast<double>(sum) / static_cast<double>(n)) : Cell(),
               doubles.empty() ? Cell() : Cell(sum_d / static_cast<double>(doubles.size())),
               end(texts, false),
               end(texts, true),
               end(values<bool>(5), true),
               end(doubles, false),
               Cell(sum * 2 + count)};
    row.emplace_back(distinct(ints));
    row.emplace_back(distinct(texts_where_positive()));
    row.emplace_back(distinct(values<int64_t>(4)));
    row.emplace_back(last_three(ints));
    row.emplace_back(median(ints));
    row.emplace_back(std::to_string(ints.back()) + "!");
    row.emplace_back(extreme(ints, true));
    return row;
  }

 private:
  template <class T>
  static int64_t distinct(const std::vector<T>& values) {
    return static_cast<int64_t>(std::set<T>(values.begin(), values.end()).size());
  }
  std::vector<std::string> texts_where_positive() const {
    std::vector<std::string> texts;
    for (const Row& row : rows) {
      if (std::get<int64_t>(row[1]) > 0) texts.push_back(std::get<std::string>(row[3]));
    }
    return texts;
  }
  static std::string last_three(const std::vector<int64_t>& values) {
    Row large;
    for (const int64_t value : values) {
      if (value > 900) large.push_back(value);
    }
    if (large.size() > 3) large.erase(large.begin(), large.end() - 3);
    return "[" + to_text(large) + "]";
  }
  // Middle of the bin of the lower median, rounded.
  static int64_t median(std::vector<int64_t> values) {
    std::sort(values.begin(), values.end());
    const int64_t value = values[(values.size() - 1) / 2];
    const double gamma = 1.01 / 0.99;
    if (value == 0) return 0;
    const double bin = std::ceil(std::log(std::abs(static_cast<double>(value))) / std::log(gamma));
    const auto middle = std::llround(2 * std::pow(gamma, bin) / (gamma + 1));
    return value < 0 ? -middle : middle;
  }
};

std::vector<Row> random_rows(uint32_t seed, size_t n, int keys) {
  std::mt19937 random(seed);
  const auto below = [&](int limit) { return static_cast<int64_t>(random() % static_cast<uint32_t>(limit)); };
  const std::vector<std::string> words = {"paid", "open", "", "a text that is too long to be held inside the block"};
  std::vector<Row> rows;
  for (size_t i = 0; i < n; i++) {
    Row row = {"key-" + std::to_string(below(keys)), below(2000) - 1000, static_cast<double>(below(1000)) / 8 - 60,
               words[static_cast<size_t>(below(4))], below(1'000'000),   below(2) == 0};
    for (size_t c = 1; c < row.size(); c++) {
      // The condition over i must not be null; every key keeps one int, so that `doubled` has a value.
      if (c == 1 ? false : below(5) == 0) row[c] = {};
    }
    if (row[3].index() == 0) row[3] = text("open");
    rows.push_back(std::move(row));
  }
  return rows;
}

using Results = std::map<std::string, std::pair<Row, int64_t>>;

void check_results(const std::vector<Shown>& shown, const Results& expected) {
  CHECK(shown.size() == expected.size());
  for (const Shown& row : shown) {
    const auto found = expected.find(std::get<std::string>(row.row[0]));
    REQUIRE(found != expected.end());
    CHECK(to_text(row.row) == to_text(found->second.first));
    CHECK(row.row == found->second.first);
    CHECK(row.time_ms == found->second.second);
    CHECK(row.change == Change::kInsert);
  }
}

struct Cut {
  size_t batch;
  size_t epoch;
  size_t cache_bytes;
  bool restart;
};

void run_update(const Cut& cut) {
  CAPTURE(cut.batch);
  CAPTURE(cut.epoch);
  CAPTURE(cut.cache_bytes);
  const auto plan = planned(std::string("aggregate:") + kFields, kInput);
  KeyedLane::Options options;
  options.cache_bytes = cut.cache_bytes;
  options.flush_rows = 100;
  KeyedLane lane(*plan, kSchema, options);
  const std::vector<Row> rows = random_rows(7, 6000, 300);
  std::map<std::string, Model> models;
  for (size_t begin = 0; begin < rows.size(); begin += cut.epoch) {
    Results expected;
    const size_t end = std::min(rows.size(), begin + cut.epoch);
    for (size_t i = begin; i < end; i += cut.batch) {
      const size_t stop = std::min(end, i + cut.batch);
      std::vector<int64_t> times;
      for (size_t r = i; r < stop; r++) times.push_back(static_cast<int64_t>(r ^ 1));
      lane.process(make_batch(
          kSchema, {rows.begin() + static_cast<ptrdiff_t>(i), rows.begin() + static_cast<ptrdiff_t>(stop)}, times));
    }
    std::map<std::string, int64_t> touched;
    for (size_t i = begin; i < end; i++) {
      models[std::get<std::string>(rows[i][0])].rows.push_back(rows[i]);
      touched[std::get<std::string>(rows[i][0])] = 0;
    }
    for (auto& [key, time_ms] : touched) {
      for (size_t i = 0; i < end; i++) {
        if (std::get<std::string>(rows[i][0]) == key) time_ms = std::max(time_ms, static_cast<int64_t>(i ^ 1));
      }
      expected[key] = {models[key].result(), time_ms};
    }
    lane.out.shown.clear();
    lane.end_epoch();
    check_results(lane.out.shown, expected);
    if (cut.restart) lane.restart();
  }
  CHECK(lane.out.failed.empty());
  CHECK(lane.out.largest_batch <= 1024);
}

TEST_CASE("update equals the model however rows are cut into batches and epochs") {
  run_update({1000, 2000, 1 << 20, false});
  run_update({1, 3000, 1 << 20, false});
  run_update({37, 1500, 1 << 20, true});
  run_update({1000, 6000, 1 << 20, false});
}

TEST_CASE("update equals the model with a cache much smaller than the state") {
  run_update({100, 500, 8 << 10, false});
  run_update({500, 1000, 1, true});
}

TEST_CASE("each equals the model and keeps the order of the input") {
  const auto plan = planned(std::string("aggregate:") + kFields + "  emit: each\n", kInput);
  const std::vector<Row> rows = random_rows(11, 2500, 40);
  for (size_t batch : {size_t{1}, size_t{64}, size_t{2500}}) {
    CAPTURE(batch);
    KeyedLane lane(*plan, kSchema);
    for (size_t i = 0; i < rows.size(); i += batch) {
      const size_t stop = std::min(rows.size(), i + batch);
      lane.process(
          make_batch(kSchema, {rows.begin() + static_cast<ptrdiff_t>(i), rows.begin() + static_cast<ptrdiff_t>(stop)}));
      if (i % 3 == 0) lane.end_epoch();
    }
    REQUIRE(lane.out.shown.size() == rows.size());
    CHECK(lane.out.largest_batch <= 1024);
    std::map<std::string, Model> models;
    for (size_t i = 0; i < rows.size(); i++) {
      Model& model = models[std::get<std::string>(rows[i][0])];
      model.rows.push_back(rows[i]);
      CHECK(to_text(lane.out.shown[i].row) == to_text(model.result()));
      CHECK(lane.out.shown[i].time_ms == static_cast<int64_t>(i % batch));
    }
    lane.end_epoch();
    CHECK(lane.out.shown.size() == rows.size());
  }
}

}  // namespace
}  // namespace millrace
