#include <cmath>
#include <limits>

#include "blocks.h"
#include "operators/held_value.h"

namespace millrace {
namespace {

TEST_CASE("a block survives encode and decode, and every truncation of it is refused") {
  const AccumulatorSet set({make_aggregate("sum", TypeKind::kInt), make_aggregate("max", TypeKind::kString),
                            make_aggregate("avg", TypeKind::kInt), make_aggregate("last", TypeKind::kDouble),
                            make_aggregate("first", TypeKind::kBool), make_aggregate("count", TypeKind::kInt)});
  Block block(set);
  for (int64_t time_ms : {INT64_C(5), INT64_C(1'700'000'000'000), INT64_C(9)}) {
    AccumulatorSet::header(block.state()).add_row(time_ms);
  }
  const int64_t big = std::numeric_limits<int64_t>::max();
  fold(block, 0, Type(TypeKind::kInt), {big, int64_t{-5}});
  fold(block, 1, Type(TypeKind::kString), {text("short"), text(std::string(300, 'x'))});
  fold(block, 2, Type(TypeKind::kInt), {big, big, big});
  fold(block, 3, Type(TypeKind::kDouble), {0.1});
  fold(block, 4, Type(TypeKind::kBool), {true});
  const std::string bytes = block.bytes();
  Block copy(set);
  REQUIRE(set.decode(bytes, copy.state()).is_ok());
  CHECK(copy.bytes() == bytes);
  CHECK(AccumulatorSet::header(copy.state()).event_time_ms == 1'700'000'000'000);
  CHECK(AccumulatorSet::header(copy.state()).rows() == 3);
  CHECK_FALSE(AccumulatorSet::header(copy.state()).changed());
  CHECK(result(copy, 0) == Cell(big - 5));
  CHECK(result(copy, 1) == Cell(std::string(300, 'x')));
  CHECK(result(copy, 2) == Cell(static_cast<double>(big)));
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
  const AccumulatorSet set({make_aggregate("sum", TypeKind::kDouble), make_aggregate("min", TypeKind::kString),
                            make_aggregate("avg", TypeKind::kDouble), make_aggregate("count", TypeKind::kInt)});
  Block block(set);
  fold(block, 0, Type(TypeKind::kDouble), {null(), null()});
  fold(block, 1, Type(TypeKind::kString), {null()});
  CHECK(result(block, 0) == null());
  CHECK(result(block, 1) == null());
  CHECK(result(block, 2) == null());
  CHECK(result(block, 3) == integer(0));
  CHECK_FALSE(set.can_retract());
}

TEST_CASE("min and max of doubles follow one total order") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const AccumulatorSet set({make_aggregate("min", TypeKind::kDouble), make_aggregate("max", TypeKind::kDouble)});
  for (const std::vector<Cell>& values :
       {std::vector<Cell>{nan, 0.0, -0.0, 1.0}, std::vector<Cell>{-0.0, 1.0, 0.0, nan}}) {
    Block block(set);
    fold(block, 0, Type(TypeKind::kDouble), values);
    fold(block, 1, Type(TypeKind::kDouble), values);
    const double min = std::get<double>(result(block, 0));
    CHECK(min == 0.0);
    CHECK(std::signbit(min));
    CHECK(std::isnan(std::get<double>(result(block, 1))));
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
