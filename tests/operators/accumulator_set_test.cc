#include "operators/accumulator_set.h"

#include <cmath>
#include <limits>

#include "operators/held_value.h"
#include "rows.h"

namespace millrace {
namespace {

AggregatePtr make(const std::string& name, TypeKind kind) {
  const auto registry = builtin_aggregates();
  const AggregateFunction* function = registry->find(name);
  REQUIRE(function != nullptr);
  return function->make(std::vector<Type>(function->max_values, Type(kind)));
}

// A block with its memory.
struct Block {
  explicit Block(const AccumulatorSet& set) : set(set), memory(set.size() / 8) { set.create(memory.data()); }
  ~Block() { set.destroy(memory.data()); }
  void* state() { return memory.data(); }
  std::string bytes() {
    std::string out;
    set.encode(state(), out);
    return out;
  }
  const AccumulatorSet& set;
  std::vector<uint64_t> memory;
};

void fold(const AccumulatorSet& set, Block& block, size_t aggregate, const Type& type, const std::vector<Cell>& cells) {
  std::vector<Row> rows;
  for (const Cell& cell : cells) rows.push_back({cell});
  const Batch batch = make_batch({{"x", type}}, rows);
  std::vector<void*> states(cells.size(), block.state());
  std::vector<uint32_t> indexes(cells.size());
  for (uint32_t i = 0; i < indexes.size(); i++) indexes[i] = i;
  set.aggregates()[aggregate]->add(
      {cells.size(), states.data(), indexes.data(), batch.columns[0].get(), nullptr, nullptr, set.offset(aggregate)});
}

Cell result(const AccumulatorSet& set, Block& block, size_t aggregate) {
  const auto arena = std::make_shared<Arena>();
  const Type& type = set.aggregates()[aggregate]->type();
  ColumnBuilder column(type, arena, 1);
  void* state = block.state();
  const uint32_t row = 0;
  set.aggregates()[aggregate]->write(&state, set.offset(aggregate), 1, &row, column);
  Batch batch;
  batch.rows = 1;
  batch.columns = {column.finish(1)};
  const int64_t time_ms = 0;
  batch.event_time_ms = &time_ms;
  return read_batch({{"x", type}}, batch)[0].row[0];
}

TEST_CASE("a block survives encode and decode, and every truncation of it is refused") {
  const AccumulatorSet set({make("sum", TypeKind::kInt), make("max", TypeKind::kString), make("avg", TypeKind::kInt),
                            make("last", TypeKind::kDouble), make("first", TypeKind::kBool),
                            make("count", TypeKind::kInt)});
  Block block(set);
  for (int64_t time_ms : {INT64_C(5), INT64_C(1'700'000'000'000), INT64_C(9)}) {
    AccumulatorSet::header(block.state()).add_row(time_ms);
  }
  const int64_t big = std::numeric_limits<int64_t>::max();
  fold(set, block, 0, Type(TypeKind::kInt), {big, int64_t{-5}});
  fold(set, block, 1, Type(TypeKind::kString), {text("short"), text(std::string(300, 'x'))});
  fold(set, block, 2, Type(TypeKind::kInt), {big, big, big});
  fold(set, block, 3, Type(TypeKind::kDouble), {0.1});
  fold(set, block, 4, Type(TypeKind::kBool), {true});
  const std::string bytes = block.bytes();
  Block copy(set);
  REQUIRE(set.decode(bytes, copy.state()).is_ok());
  CHECK(copy.bytes() == bytes);
  CHECK(AccumulatorSet::header(copy.state()).event_time_ms == 1'700'000'000'000);
  CHECK(AccumulatorSet::header(copy.state()).rows() == 3);
  CHECK_FALSE(AccumulatorSet::header(copy.state()).changed());
  CHECK(result(set, copy, 0) == Cell(big - 5));
  CHECK(result(set, copy, 1) == Cell(std::string(300, 'x')));
  CHECK(result(set, copy, 2) == Cell(static_cast<double>(big)));
  CHECK(set.extra_bytes(copy.state()) == 300);
  for (size_t n = 0; n < bytes.size(); n++) {
    Block broken(set);
    CHECK(set.decode(bytes.substr(0, n), broken.state()).code() == Code::kStateCorrupt);
  }
  Block longer(set);
  CHECK(set.decode(bytes + '\0', longer.state()).code() == Code::kStateCorrupt);
  Block newer(set);
  CHECK(set.decode("\x02" + bytes.substr(1), newer.state()).code() == Code::kStateCorrupt);
}

TEST_CASE("an empty block: everything null, counts zero") {
  const AccumulatorSet set({make("sum", TypeKind::kDouble), make("min", TypeKind::kString),
                            make("avg", TypeKind::kDouble), make("count", TypeKind::kInt)});
  Block block(set);
  fold(set, block, 0, Type(TypeKind::kDouble), {null(), null()});
  fold(set, block, 1, Type(TypeKind::kString), {null()});
  CHECK(result(set, block, 0) == null());
  CHECK(result(set, block, 1) == null());
  CHECK(result(set, block, 2) == null());
  CHECK(result(set, block, 3) == integer(0));
  CHECK_FALSE(set.can_retract());
}

TEST_CASE("min and max of doubles follow one total order") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const AccumulatorSet set({make("min", TypeKind::kDouble), make("max", TypeKind::kDouble)});
  for (const std::vector<Cell>& values :
       {std::vector<Cell>{nan, 0.0, -0.0, 1.0}, std::vector<Cell>{-0.0, 1.0, 0.0, nan}}) {
    Block block(set);
    fold(set, block, 0, Type(TypeKind::kDouble), values);
    fold(set, block, 1, Type(TypeKind::kDouble), values);
    const double min = std::get<double>(result(set, block, 0));
    CHECK(min == 0.0);
    CHECK(std::signbit(min));
    CHECK(std::isnan(std::get<double>(result(set, block, 1))));
  }
}

TEST_CASE("held text reuses its memory and grows") {
  HeldText held;
  held.create();
  CHECK(held.empty());
  held.set("");
  CHECK_FALSE(held.empty());
  CHECK(held.view().empty());
  held.set("sixteen bytes ok");
  CHECK(held.extra_bytes() == 0);
  held.set(std::string(40, 'a'));
  held.set("small again");
  CHECK(held.view() == "small again");
  CHECK(held.extra_bytes() == 40);
  held.set(std::string(50, 'b'));
  CHECK(held.view() == std::string(50, 'b'));
  held.destroy();
}

TEST_CASE("varints are minimal and bounded") {
  std::string out;
  AccumulatorWriter writer(out);
  const std::vector<int64_t> values = {0, 1, -1, 63, 64, -65, INT64_MAX, INT64_MIN};
  for (int64_t value : values) writer.zigzag(value);
  AccumulatorReader reader(out);
  for (int64_t value : values) CHECK(reader.zigzag() == value);
  CHECK(reader.finished());
  for (const std::string& bad : {std::string("\x80\x00", 2), std::string(10, '\xff'), std::string("\x80", 1),
                                 std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")}) {
    AccumulatorReader strict(bad);
    strict.varint();
    CHECK_FALSE(strict.ok());
  }
}

}  // namespace
}  // namespace millrace
