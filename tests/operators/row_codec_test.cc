// Rows as bytes and back, and the order of values as bytes.
#include "operators/row_codec.h"

#include <cmath>
#include <limits>
#include <random>

#include "operators/order_key.h"
#include "rows.h"

namespace millrace {
namespace {

constexpr uint32_t kRows = 200;

// A column of a type, rows filled at random, nulls among them.
ColumnPtr random_column(const Type& type, uint32_t rows, std::mt19937& random, const ArenaPtr& arena) {
  ColumnBuilder column(type, arena, rows);
  uint32_t items = 0;
  for (uint32_t row = 0; row < rows; row++) {
    const auto bits = static_cast<int64_t>(static_cast<uint64_t>(random()) << 32 | random());
    if (column.bools) column.bools[row] = bits & 1;
    if (column.ints) column.ints[row] = bits >> (random() % 64);
    if (column.doubles) column.doubles[row] = static_cast<double>(bits) / 1024;
    if (column.strings) column.strings[row] = arena->copy(std::string(random() % 40, static_cast<char>(bits)));
    if (column.spans) {
      column.spans[row] = {items, static_cast<uint32_t>(random() % 4)};
      items += column.spans[row].count;
    }
    if (random() % 4 == 0) column.set_null(row);
  }
  switch (type.kind()) {
    case TypeKind::kStruct:
      for (const Field& field : type.fields()) {
        column.children.push_back(random_column(field.type, rows, random, arena));
      }
      break;
    case TypeKind::kMap:
      column.children.push_back(random_column(Type(TypeKind::kString), items, random, arena));
      [[fallthrough]];
    case TypeKind::kList: column.children.push_back(random_column(type.element(), items, random, arena)); break;
    default: break;
  }
  return column.finish(rows);
}

std::vector<Type> all_types() {
  const Type text(TypeKind::kString), number(TypeKind::kInt);
  const Type pair = Type::structure({{"a", number}, {"b", Type::list(text)}});
  return {Type(TypeKind::kBool),     number,
          Type(TypeKind::kDouble),   text,
          Type(TypeKind::kBytes),    Type(TypeKind::kTimestamp),
          Type(TypeKind::kDuration), Type::list(number),
          Type::list(pair),          pair,
          Type::map(Type(TypeKind::kBytes)), Type::list(Type::list(Type(TypeKind::kDouble))),
          Type(TypeKind::kNull)};
}

struct Sample {
  explicit Sample(uint32_t seed) : arena(std::make_shared<Arena>()), codec(all_types()) {
    std::mt19937 random(seed);
    for (const Type& type : codec.types()) columns.push_back(random_column(type, kRows, random, arena));
    for (uint32_t row = 0; row < kRows; row++) codec.encode(columns, row, encoded.emplace_back());
  }
  ArenaPtr arena;
  RowCodec codec;
  std::vector<ColumnPtr> columns;
  std::vector<std::string> encoded;
};

TEST_CASE("rows of every type survive their bytes") {
  for (uint32_t seed = 1; seed <= 5; seed++) {
    const Sample sample(seed);
    RowColumns decoder(sample.codec.types());
    for (int round = 0; round < 2; round++) {  // the second time with used memory
      decoder.begin(std::make_shared<Arena>());
      for (const std::string& bytes : sample.encoded) REQUIRE(decoder.add(std::string(bytes)));
      CHECK(decoder.rows() == kRows);
      const std::vector<ColumnPtr> decoded = decoder.finish();
      for (uint32_t row = 0; row < kRows; row++) {
        std::string again;
        sample.codec.encode(decoded, row, again);
        REQUIRE(again == sample.encoded[row]);
        REQUIRE(decoded[1]->is_null(row) == sample.columns[1]->is_null(row));
        if (!decoded[1]->is_null(row)) REQUIRE(decoded[1]->ints[row] == sample.columns[1]->ints[row]);
        REQUIRE(decoded[3]->strings[row] == sample.columns[3]->strings[row]);
        REQUIRE(decoded[8]->spans[row].count == sample.columns[8]->spans[row].count);
      }
    }
  }
}

TEST_CASE("the bytes of a row do not change") {
  const auto arena = std::make_shared<Arena>();
  ColumnBuilder number(Type(TypeKind::kInt), arena, 1), text(Type(TypeKind::kString), arena, 1),
      none(Type(TypeKind::kDouble), arena, 1), list(Type::list(Type(TypeKind::kBool)), arena, 1),
      flags(Type(TypeKind::kBool), arena, 2);
  number.ints[0] = -3;
  text.strings[0] = "ab";
  none.set_null(0);
  flags.bools[0] = 1;
  flags.set_null(1);
  list.children = {flags.finish(2)};
  list.spans[0] = {0, 2};
  const std::vector<ColumnPtr> columns = {number.finish(1), text.finish(1), none.finish(1), list.finish(1)};
  std::string bytes;
  RowCodec({columns[0]->type, columns[1]->type, columns[2]->type, columns[3]->type}).encode(columns, 0, bytes);
  CHECK(bytes == std::string("\x04\x05\x02"
                             "ab\x02\x01\x01\x00",
                             9));
}

TEST_CASE("malformed rows are refused") {
  const Sample sample(9);
  RowColumns decoder(sample.codec.types());
  for (uint32_t row = 0; row < 20; row++) {
    const std::string& bytes = sample.encoded[row];
    for (size_t size = 0; size < bytes.size(); size++) {
      decoder.begin(std::make_shared<Arena>());
      CHECK_FALSE(decoder.add(std::string_view(bytes).substr(0, size)));
    }
    decoder.begin(std::make_shared<Arena>());
    CHECK_FALSE(decoder.add(bytes + "x"));
  }
  std::mt19937 random(3);
  for (int i = 0; i < 2000; i++) {
    std::string bytes(random() % 60, 'x');
    for (char& byte : bytes) byte = static_cast<char>(random());
    decoder.begin(std::make_shared<Arena>());
    static_cast<void>(decoder.add(bytes));
  }
}

TEST_CASE("a deleted row shows its key only") {
  const Sample sample(4);
  RowColumns decoder(sample.codec.types());
  decoder.begin(std::make_shared<Arena>());
  std::vector<bool> shown(sample.codec.types().size());
  shown[3] = true;
  REQUIRE(decoder.add(sample.encoded[0], shown));
  REQUIRE(decoder.add(sample.encoded[1]));
  const std::vector<ColumnPtr> decoded = decoder.finish();
  for (size_t c = 0; c < decoded.size(); c++) {
    if (c != 3) CHECK(decoded[c]->is_null(0));
    CHECK(decoded[c]->is_null(1) == (sample.columns[c]->is_null(1) || decoded[c]->type.kind() == TypeKind::kNull));
  }
  CHECK(decoded[3]->strings[0] == sample.columns[3]->strings[0]);
}

std::string order_of(const Cell& cell, const Type& type, bool descending) {
  const Batch batch = make_batch({{"c", type}}, {{cell}});
  std::string key;
  append_order_key(*batch.columns[0], 0, descending, key);
  return key;
}

// Each smaller than the next.
void check_ascending(const Type& type, const std::vector<Cell>& cells) {
  for (size_t a = 0; a < cells.size(); a++) {
    for (size_t b = 0; b < cells.size(); b++) {
      const int up = order_of(cells[a], type, false).compare(order_of(cells[b], type, false));
      const int down = order_of(cells[a], type, true).compare(order_of(cells[b], type, true));
      CHECK((up < 0) == (a < b));
      CHECK((up == 0) == (a == b));
      CHECK((down > 0) == (a < b));
      // Null is last both ways.
      CHECK(order_of(cells[a], type, false) < order_of(null(), type, false));
      CHECK(order_of(cells[a], type, true) < order_of(null(), type, true));
      // What follows does not matter unless they are equal.
      if (a != b) CHECK(((order_of(cells[a], type, false) + "\xff") < order_of(cells[b], type, false)) == (a < b));
    }
  }
}

TEST_CASE("order keys compare as the values do") {
  check_ascending(Type(TypeKind::kInt), {INT64_MIN, int64_t{-300}, int64_t{-1}, int64_t{0}, int64_t{1}, int64_t{256},
                                         INT64_MAX});
  check_ascending(Type(TypeKind::kBool), {false, true});
  const double infinity = std::numeric_limits<double>::infinity();
  check_ascending(Type(TypeKind::kDouble),
                  {-infinity, -1e300, -1.5, -1e-300, -0.0, 0.0, 1e-300, 1.5, 1e300, infinity, std::nan("")});
  const std::string zero(1, '\0');
  check_ascending(Type(TypeKind::kString), {text(""), text(zero), text(zero + zero), text(zero + "a"), text("\x01"),
                                            text("a"), text("a" + zero), text("a" + zero + "b"), text("aa"), text("b"),
                                            text("\xff"), text("\xff\xff")});
}

}  // namespace
}  // namespace millrace
