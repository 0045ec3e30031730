// Merging: the blocks of the parts of a sequence, merged in order, are the block of the sequence.
#include <limits>
#include <random>

#include "blocks.h"

namespace millrace {
namespace {

Cell random_cell(TypeKind kind, std::mt19937& random) {
  const auto value = static_cast<int64_t>(random() % 200) - 100;
  if (random() % 4 == 0) return null();
  switch (kind) {
    case TypeKind::kBool: return value > 0;
    // Eighths: their sums are exact in any order.
    case TypeKind::kDouble: return static_cast<double>(value) / 8;
    case TypeKind::kString:
      return std::string(static_cast<size_t>(value + 100) / 5, static_cast<char>('a' + random() % 3));
    default: return value;
  }
}

// Each function in its first slot over a block of two, so that offsets count.
void check_merges(const std::string& name, TypeKind kind, const std::vector<AggregateNumber>& numbers,
                  std::mt19937& random) {
  CAPTURE(name);
  CAPTURE(static_cast<int>(kind));
  const AccumulatorSet set({make_aggregate("count", kind), make_aggregate(name, kind, numbers)});
  const Type type(kind);
  for (const size_t length : {0, 1, 2, 13, 50}) {
    std::vector<Cell> cells;
    for (size_t i = 0; i < length; i++) cells.push_back(random_cell(kind, random));
    Block whole(set);
    for (size_t aggregate : {0, 1}) fold(whole, aggregate, type, cells);
    for (size_t cut = 0; cut <= length; cut++) {
      CAPTURE(cut);
      Block left(set);
      Block right(set);
      const auto middle = cells.begin() + static_cast<ptrdiff_t>(cut);
      for (size_t aggregate : {0, 1}) {
        fold(left, aggregate, type, {cells.begin(), middle});
        fold(right, aggregate, type, {middle, cells.end()});
      }
      const std::string right_bytes = right.bytes();
      REQUIRE(set.merge(left.state(), right.state()));
      CHECK(left.bytes() == whole.bytes());
      CHECK(result(left, 1) == result(whole, 1));
      CHECK(right.bytes() == right_bytes);
    }
  }
}

TEST_CASE("parts of any sequence merge into the whole") {
  using K = TypeKind;
  struct Function {
    std::string name;
    std::vector<K> kinds;
    std::vector<AggregateNumber> numbers = {};
  };
  const std::vector<K> all = {K::kInt, K::kDouble, K::kString, K::kBool, K::kTimestamp};
  const std::vector<Function> functions = {{"approx_distinct", all},
                                           {"avg", {K::kInt, K::kDouble}},
                                           {"collect", all},
                                           {"collect", all, {{3, true}}},
                                           {"count", {K::kInt, K::kString}},
                                           {"count_distinct", all},
                                           {"first", all},
                                           {"last", all},
                                           {"max", {K::kInt, K::kDouble, K::kString, K::kTimestamp}},
                                           {"min", {K::kInt, K::kDouble, K::kString, K::kTimestamp}},
                                           {"quantile", {K::kInt, K::kDouble, K::kDuration}, {{0.5}}},
                                           {"sum", {K::kInt, K::kDouble, K::kDuration}}};
  std::mt19937 random(5);
  for (const Function& function : functions) {
    for (const K kind : function.kinds) check_merges(function.name, kind, function.numbers, random);
  }
}

TEST_CASE("headers: rows add up, the later event time stays, the block counts as changed") {
  const AccumulatorSet set({make_aggregate("count", TypeKind::kInt)});
  Block into(set);
  Block from(set);
  AccumulatorSet::header(into.state()).add_row(50);
  AccumulatorSet::header(into.state()).add_row(40);
  AccumulatorSet::header(into.state()).clear_changed();
  AccumulatorSet::header(from.state()).add_row(45);
  REQUIRE(set.merge(into.state(), from.state()));
  CHECK(AccumulatorSet::header(into.state()).rows() == 3);
  CHECK(AccumulatorSet::header(into.state()).event_time_ms == 50);
  CHECK(AccumulatorSet::header(into.state()).changed());
  REQUIRE(set.merge(from.state(), into.state()));
  CHECK(AccumulatorSet::header(from.state()).rows() == 4);
  CHECK(AccumulatorSet::header(from.state()).event_time_ms == 50);
}

TEST_CASE("what does not fit leaves no trace in any slot") {
  const AccumulatorSet set({make_aggregate("count", TypeKind::kInt), make_aggregate("sum", TypeKind::kInt)});
  Block into(set);
  Block from(set);
  const Type type(TypeKind::kInt);
  fold(into, 0, type, {integer(1)});
  fold(into, 1, type, {integer(std::numeric_limits<int64_t>::max() - 1)});
  fold(from, 0, type, {integer(1)});
  fold(from, 1, type, {integer(2)});
  const std::string before = into.bytes();
  CHECK_FALSE(set.merge(into.state(), from.state()));
  CHECK(into.bytes() == before);
  CHECK(result(into, 0) == integer(1));
}

}  // namespace
}  // namespace millrace
