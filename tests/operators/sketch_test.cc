// The structures behind count_distinct, approx_distinct, quantile and collect: contents, bounds, bytes, and the errors
// that the manual states.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <set>

#include "operators/hyper_log_log.h"
#include "operators/member_set.h"
#include "operators/quantile_sketch.h"
#include "operators/stable_hash.h"
#include "operators/value_list.h"

namespace millrace {
namespace {

template <class T>
struct Held {
  Held() { value.create(); }
  ~Held() { value.destroy(); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  T* operator->() { return &value; }
  T& operator*() { return value; }
  std::string bytes() const {
    std::string out;
    AccumulatorWriter writer(out);
    value.encode(writer);
    return out;
  }
  bool read(std::string_view encoded) {
    AccumulatorReader in(encoded);
    return value.decode(in) && in.finished();
  }
  T value;
};

// Encoded and back; no shorter text decodes.
template <class T>
void check_codec(const Held<T>& held) {
  const std::string bytes = held.bytes();
  Held<T> copy;
  REQUIRE(copy.read(bytes));
  CHECK(copy.bytes() == bytes);
  const size_t step = std::max<size_t>(bytes.size() / 50, 1);
  for (size_t n = 0; n < bytes.size(); n += step) {
    Held<T> broken;
    CHECK_FALSE(broken.read(bytes.substr(0, n)));
  }
}

TEST_CASE("a member set is the set of what was inserted, in order") {
  std::mt19937_64 random(3);
  for (const size_t range : {1, 7, 8, 9, 40, 5000}) {
    CAPTURE(range);
    Held<MemberSet<IntBytes>> ints;
    Held<MemberSet<TextBytes>> texts;
    std::set<int64_t> model;
    std::vector<int64_t> order;
    for (int i = 0; i < 20000; i++) {
      const auto value = static_cast<int64_t>(random() % range * 1'000'003) - 50;
      const bool is_new = model.insert(value).second;
      if (is_new) order.push_back(value);
      CHECK(ints->contains(value) == !is_new);
      CHECK(ints->insert(value) == is_new);
      CHECK(ints->contains(value));
      CHECK(texts->insert(std::to_string(value)) == is_new);
    }
    CHECK(ints->size() == model.size());
    CHECK(texts->size() == model.size());
    std::vector<int64_t> held;
    ints->for_each([&held](int64_t value) { held.push_back(value); });
    CHECK(held == order);
    CHECK_FALSE(ints->contains(-51));
    CHECK_FALSE(texts->contains("x"));
    check_codec(ints);
    check_codec(texts);
    ints->clear();
    CHECK(ints->size() == 0);
    CHECK(ints->heap_bytes() == 0);
    CHECK(ints->insert(5));
  }
}

TEST_CASE("members that begin alike, empty ones and long ones") {
  Held<MemberSet<TextBytes>> set;
  const std::vector<std::string> texts = {"", "a", "aa", std::string("a\0", 2), std::string(3000, 'a'),
                                          std::string(3001, 'a'), "\xff", std::string(300, 'b'), "b", "c", "d", "e"};
  for (const std::string& value : texts) CHECK(set->insert(value));
  for (const std::string& value : texts) CHECK_FALSE(set->insert(value));
  CHECK_FALSE(set->contains(std::string(2999, 'a')));
  check_codec(set);
}

TEST_CASE("a member set with a member twice, or fewer than it says, does not decode") {
  std::string twice;
  AccumulatorWriter writer(twice);
  writer.varint(2);
  writer.string("\x02\x02");
  Held<MemberSet<IntBytes>> set;
  CHECK_FALSE(set.read(twice));
  std::string more;
  AccumulatorWriter more_writer(more);
  more_writer.varint(1);
  more_writer.string("\x02\x04");
  Held<MemberSet<IntBytes>> longer;
  CHECK_FALSE(longer.read(more));
}

TEST_CASE("a value list keeps order and drops the oldest") {
  Held<ValueList<TextBytes>> list;
  std::vector<std::string> model;
  std::mt19937 random(9);
  for (int i = 0; i < 5000; i++) {
    const std::string value(random() % 40, static_cast<char>('a' + i % 26));
    list->push(value);
    model.push_back(value);
    if (model.size() > 30) {
      CHECK(list->first_bytes() == ValueList<TextBytes>::bytes_of(model.front()));
      list->pop();
      model.erase(model.begin());
    }
  }
  std::vector<std::string> held;
  list->for_each([&held](std::string_view value) { held.emplace_back(value); });
  CHECK(held == model);
  CHECK(list->heap_bytes() <= 4096);
  check_codec(list);
  check_codec(Held<ValueList<DoubleBytes>>());
}

// The estimate for n different values of this seed.
int64_t estimate(uint64_t seed, uint64_t n) {
  Held<HyperLogLog> sketch;
  for (uint64_t i = 0; i < n; i++) sketch->insert(stable_hash(seed << 40 | i));
  return sketch->estimate();
}

TEST_CASE("approx_distinct: nearly exact while sparse, then within the stated error") {
  for (const uint64_t n : {0, 1, 2, 10, 100, 700}) {
    for (uint64_t seed = 0; seed < 20; seed++) {
      CHECK(std::abs(estimate(seed, n) - static_cast<int64_t>(n)) <= 1);
    }
  }
  for (const uint64_t n : {1000, 3000, 10'000, 20'000, 100'000}) {
    CAPTURE(n);
    double squares = 0;
    double sum = 0;
    double worst = 0;
    constexpr uint64_t kSeeds = 100;
    for (uint64_t seed = 0; seed < kSeeds; seed++) {
      const double error = (static_cast<double>(estimate(seed, n)) - static_cast<double>(n)) / static_cast<double>(n);
      squares += error * error;
      sum += error;
      worst = std::max(worst, std::abs(error));
    }
    const double standard = std::sqrt(squares / kSeeds);
    CAPTURE(sum / kSeeds);
    CHECK(worst < 0.0163 * 4);
    CHECK(standard < 0.0163 * 1.25);             // the stated error, and what 100 samples may be off
    CHECK(std::abs(sum / kSeeds) < 0.0163 / 3);  // no bias: three standard errors of the mean are 0.005
  }
}

TEST_CASE("approx_distinct: what is held depends on the set only, and merges") {
  for (const uint64_t n : {0, 1, 3, 4, 700, 768, 769, 2000, 30'000}) {
    CAPTURE(n);
    std::vector<uint64_t> hashes;
    for (uint64_t i = 0; i < n; i++) hashes.push_back(stable_hash(i));
    Held<HyperLogLog> whole;
    for (const uint64_t hash : hashes) whole->insert(hash);
    std::mt19937 random(1);
    std::shuffle(hashes.begin(), hashes.end(), random);
    Held<HyperLogLog> again;
    for (const uint64_t hash : hashes) again->insert(hash);
    for (const uint64_t hash : hashes) again->insert(hash);
    CHECK(again.bytes() == whole.bytes());
    for (const double part : {0.0, 0.02, 0.5, 1.0}) {
      const auto cut = static_cast<size_t>(part * static_cast<double>(n));
      Held<HyperLogLog> left;
      Held<HyperLogLog> right;
      for (size_t i = 0; i < n; i++) (i < cut ? *left : *right).insert(hashes[i]);
      if (n > 0) right->insert(hashes[0]);
      left->merge(*right);
      CHECK(left.bytes() == whole.bytes());
      CHECK(left->estimate() == whole->estimate());
    }
    check_codec(whole);
    CHECK(whole.bytes().size() <= 3073);
  }
}

TEST_CASE("stored hashes never change") {
  CHECK(stable_hash(std::string_view("millrace")) == XXH3_64bits("millrace", 8));
  CHECK(stable_hash(uint64_t{0x0807060504030201}) == XXH3_64bits("\1\2\3\4\5\6\7\10", 8));
  CHECK(stable_hash(std::string_view("")) == 0x2d06800538d394c2);
}

double exact_quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::floor(q * static_cast<double>(values.size() - 1)))];
}

TEST_CASE("quantile: within one percent of the exact value, whatever the distribution") {
  std::mt19937 random(17);
  std::normal_distribution<double> normal(50, 30);
  std::lognormal_distribution<double> skewed(3, 4);
  std::uniform_int_distribution<int64_t> ints(-1000, 1000);
  const std::vector<std::function<double()>> sources = {
      [&] { return normal(random); }, [&] { return skewed(random); },
      [&] { return static_cast<double>(ints(random)); }, [&] { return -skewed(random); },
      [&] { return std::pow(2.0, ints(random)); }};
  double worst = 0;
  for (const auto& source : sources) {
    for (const size_t n : {1, 2, 3, 100, 20'000}) {
      std::vector<double> values;
      Held<QuantileSketch> sketch;
      for (size_t i = 0; i < n; i++) {
        values.push_back(source());
        sketch->insert(values.back());
      }
      CHECK(sketch->values() == n);
      for (const double q : {0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0}) {
        const double exact = exact_quantile(values, q);
        const double error = std::abs(sketch->quantile(q) - exact);
        CHECK(error <= 0.01 * std::abs(exact) * (1 + 1e-9));
        if (exact != 0) worst = std::max(worst, error / std::abs(exact));
      }
      check_codec(sketch);
    }
  }
  CHECK(worst > 0.009);  // the bins are as wide as they may be
}

TEST_CASE("quantile: order does not matter, parts merge, values can be taken back") {
  std::mt19937 random(5);
  std::lognormal_distribution<double> skewed(0, 30);  // more bins than are kept
  std::vector<double> values;
  for (int i = 0; i < 60'000; i++) values.push_back(random() % 3 == 0 ? -skewed(random) : skewed(random));
  values.insert(values.end(), {0, -0.0, std::numeric_limits<double>::infinity(),
                               -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::max(),
                               std::numeric_limits<double>::denorm_min()});
  Held<QuantileSketch> whole;
  for (const double value : values) whole->insert(value);
  std::sort(values.begin(), values.end());
  Held<QuantileSketch> ascending;
  for (const double value : values) ascending->insert(value);
  CHECK(ascending.bytes() == whole.bytes());
  std::shuffle(values.begin(), values.end(), random);
  Held<QuantileSketch> left;
  Held<QuantileSketch> right;
  for (size_t i = 0; i < values.size(); i++) (i % 3 == 0 ? *left : *right).insert(values[i]);
  left->merge(*right);
  CHECK(left.bytes() == whole.bytes());
  CHECK(whole->quantile(0) == -std::numeric_limits<double>::infinity());
  CHECK(whole->quantile(1) == std::numeric_limits<double>::infinity());
  CHECK(whole->heap_bytes() == 8192 * 12);

  Held<QuantileSketch> some;
  Held<QuantileSketch> fewer;
  for (int i = 0; i < 1000; i++) {
    some->insert(i * 7 % 501 - 100);
    if (i % 2 == 0) fewer->insert(i * 7 % 501 - 100);
  }
  for (int i = 1; i < 1000; i += 2) some->remove(i * 7 % 501 - 100);
  CHECK(some.bytes() == fewer.bytes());
  for (int i = 0; i < 1000; i += 2) some->remove(i * 7 % 501 - 100);
  CHECK(some->values() == 0);
  some->remove(1);
  CHECK(some->values() == 0);
}

}  // namespace
}  // namespace millrace
