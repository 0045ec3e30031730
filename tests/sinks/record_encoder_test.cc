#include "sinks/record_encoder.h"

#include <doctest/doctest.h>

#include "tests/formats/decode_fixture.h"

namespace millrace {
namespace {

const Schema kRevenue = {
    {"customer", Type(TypeKind::kString)}, {"revenue", Type(TypeKind::kInt)}, {"share", Type(TypeKind::kDouble)}};

// A batch decoded from JSON texts; event time of row i is 1000 + i.
struct Rows {
  explicit Rows(const std::vector<std::string>& texts, std::vector<Change> row_changes = {})
      : decoded(decode_all("json", kRevenue, texts)), changes(std::move(row_changes)) {
    REQUIRE(decoded.errors.empty());
    for (size_t i = 0; i < texts.size(); i++) times.push_back(1000 + static_cast<int64_t>(i));
    batch.rows = static_cast<uint32_t>(texts.size());
    batch.columns = decoded.columns;
    batch.event_time_ms = times.data();
    if (!changes.empty()) batch.changes = changes.data();
    auto source = std::make_shared<SourceRows>();
    source->payload = decoded.payloads.data();
    source->canonical = decoded.canonical.data();
    batch.source_rows = source;
  }
  void select(std::vector<uint32_t> rows) {
    batch.selection = std::make_shared<const std::vector<uint32_t>>(std::move(rows));
  }
  Decoded decoded;
  std::vector<Change> changes;
  std::vector<int64_t> times;
  Batch batch;
};

ExpressionPtr expression(const std::string& text) {
  ExpressionError error;
  const AstPtr ast = parse_expression(text, &error);
  REQUIRE(ast != nullptr);
  Scope scope;
  scope.schema = &kRevenue;
  std::vector<ExpressionError> errors;
  const ExpressionPtr compiled = compile_expression(ast, scope, &errors);
  REQUIRE(compiled != nullptr);
  return compiled;
}

std::unique_ptr<RecordEncoder> encoder(RecordEncoderOptions options) {
  std::string error;
  auto made = RecordEncoder::make(kRevenue, std::move(options), &error);
  REQUIRE_MESSAGE(made != nullptr, error);
  return made;
}

// key=value per record; a missing key is "-", a tombstone "X".
std::vector<std::string> texts_of(RecordEncoder& encoder, const Batch& batch, RowErrors* errors = nullptr) {
  RowErrors found;
  std::vector<std::string> texts;
  encoder.encode(batch, found, [&](const EncodedRecord& record) {
    CHECK(record.timestamp_ms == 1000 + static_cast<int64_t>(record.row));
    if (record.tombstone) CHECK(record.value.empty());
    texts.push_back((record.has_key ? std::string(record.key) : "-") + "=" +
                    (record.tombstone ? "X" : std::string(record.value)));
  });
  if (errors) {
    *errors = found;
  } else {
    CHECK(found.empty());
  }
  return texts;
}

using Texts = std::vector<std::string>;
const char* const kA1 = R"({"customer":"a","revenue":1,"share":0.5})";
const char* const kA2 = R"({"customer":"a","revenue":2,"share":1.0})";
const char* const kB1 = R"({"customer":"b","revenue":1,"share":null})";

TEST_CASE("all columns as json, live rows only, memory reused") {
  auto all = encoder({});
  Rows rows({kA1, kA2, kB1});
  CHECK(texts_of(*all, rows.batch) == Texts{std::string("-=") + kA1, std::string("-=") + kA2, std::string("-=") + kB1});
  rows.select({0, 2});
  CHECK(texts_of(*all, rows.batch) == Texts{std::string("-=") + kA1, std::string("-=") + kB1});
  CHECK(all->columns_read() == std::vector<bool>{true, true, true});
}

TEST_CASE("views stay valid until the next batch") {
  auto all = encoder({.format = "json", .key = expression("revenue")});
  std::vector<std::string> texts;
  for (int i = 0; i < 1000; i++)
    texts.push_back(R"({"customer":"c)" + std::to_string(i) + R"(","revenue":)" + std::to_string(i) +
                    R"(,"share":2.5})");
  Rows rows(texts);
  RowErrors errors;
  const std::vector<EncodedRecord>& records = all->encode(rows.batch, errors);
  REQUIRE(records.size() == texts.size());
  for (size_t i = 0; i < texts.size(); i++) {
    REQUIRE(records[i].value == texts[i]);
    REQUIRE(records[i].key == std::to_string(i));
  }
}

TEST_CASE("keys") {
  Rows rows({kA1, R"({"revenue":-7})"});
  const auto keys = [&](RecordEncoderOptions options) {
    options.format = "string";
    options.value = expression("string(1)");
    return texts_of(*encoder(std::move(options)), rows.batch);
  };
  CHECK(keys({.key = expression("customer")}) == Texts{"a=1", "-=1"});
  CHECK(keys({.key = expression("revenue")}) == Texts{"1=1", "-7=1"});
  CHECK(keys({.key = expression("revenue"), .key_format = "json"}) == Texts{"1=1", "-7=1"});
  CHECK(keys({.key = expression("customer"), .key_format = "json"}) == Texts{"\"a\"=1", "-=1"});
  CHECK(keys({.key = expression("revenue"), .key_format = "int64"}) ==
        Texts{std::string("\0\0\0\0\0\0\0\1=1", 10), "\xff\xff\xff\xff\xff\xff\xff\xf9=1"});
  CHECK(keys({.key = expression("'k' + string(revenue)")}) == Texts{"k1=1", "k-7=1"});
}

TEST_CASE("values") {
  Rows rows({kA2, R"({"customer":"n"})"});
  const auto values = [&](const std::string& format, const std::string& text) {
    return texts_of(*encoder({.format = format, .value = expression(text)}), rows.batch);
  };
  CHECK(values("int64", "revenue") == Texts{std::string("-=\0\0\0\0\0\0\0\2", 10), "-=X"});
  CHECK(values("string", "customer") == Texts{"-=a", "-=n"});
  CHECK(values("string", "share") == Texts{"-=1.0", "-=X"});
  CHECK(values("json", "share") == Texts{"-=1.0", "-=null"});
  CHECK(values("json", "customer + '\"'") == Texts{"-=\"a\\\"\"", "-=\"n\\\"\""});
}

TEST_CASE("pass-through takes canonical payloads as they are") {
  const std::string spaced = R"( {"customer": "a", "revenue": 1, "share": 0.5} )";
  const std::string other = R"({"revenue":1,"customer":"a","share":0.5})";
  Rows rows({spaced, other});
  auto passing = encoder({.passthrough = true});
  CHECK(texts_of(*passing, rows.batch) == Texts{"-=" + spaced, std::string("-=") + kA1});
  RowErrors errors;
  CHECK(passing->encode(rows.batch, errors)[0].value.data() == rows.decoded.payloads[0].data());
  CHECK(texts_of(*encoder({}), rows.batch)[0] == std::string("-=") + kA1);
}

TEST_CASE("deletes and retractions for a sink with tombstones") {
  auto upserts = encoder(
      {.format = "string", .value = expression("string(revenue)"), .key = expression("customer"), .upsert_key = {0}});
  using enum Change;
  Rows rows({kA1, kA1, kA2, kB1, kB1, kA2, kB1}, {kInsert, kRetract, kInsert, kDelete, kRetract, kInsert, kRetract});
  CHECK(texts_of(*upserts, rows.batch) == Texts{"a=1", "a=2", "b=X", "b=X", "a=2", "b=X"});
  rows.select({1, 3});  // a filter has taken the new version
  CHECK(texts_of(*upserts, rows.batch) == Texts{"a=X", "b=X"});
  CHECK(upserts->columns_read() == std::vector<bool>{true, true, false});

  // The record key moves with the new version: the record of the old one goes.
  auto moved =
      encoder({.format = "string", .value = expression("customer"), .key = expression("revenue"), .upsert_key = {0}});
  Rows pair({kA1, kA2}, {kRetract, kInsert});
  CHECK(texts_of(*moved, pair.batch) == Texts{"1=X", "2=a"});

  // Key not among the columns: the neighbour is the new version, unless a filter took that.
  auto hidden = encoder({.format = "string", .value = expression("string(revenue)"), .key = expression("customer")});
  CHECK(texts_of(*hidden, pair.batch) == Texts{"a=2"});
  Rows gap({kA1, kB1, kA2}, {kRetract, kInsert, kInsert});
  gap.select({0, 2});
  CHECK(texts_of(*hidden, gap.batch) == Texts{"a=X", "a=2"});

  auto keyless = encoder({});
  RowErrors errors;
  CHECK(texts_of(*keyless, Rows({kA1, kB1}, {kDelete, kInsert}).batch, &errors) == Texts{std::string("-=") + kB1});
  REQUIRE(errors.entries.size() == 1);
  CHECK(errors.entries[0].row == 0);
  CHECK(errors.entries[0].message == "a delete without a key");
}

TEST_CASE("deletes for a sink without tombstones: the key columns with the rest null") {
  auto plain = encoder({.upsert_key = {0}, .tombstones = false});
  using enum Change;
  Rows rows({kA1, kA2}, {kDelete, kInsert});
  CHECK(texts_of(*plain, rows.batch) ==
        Texts{R"(-={"customer":"a","revenue":null,"share":null})", std::string("-=") + kA2});
}

TEST_CASE("rows that fail are reported in order and left out") {
  auto failing =
      encoder({.format = "string", .value = expression("string(10 / revenue)"), .key = expression("customer + 'k'")});
  Rows rows(
      {R"({"customer":"a","revenue":0})", R"({"revenue":5})", R"({"customer":"c","revenue":5})", R"({"revenue":0})"});
  RowErrors errors;
  CHECK(texts_of(*failing, rows.batch, &errors) == Texts{"ck=2"});
  REQUIRE(errors.entries.size() == 3);
  for (uint32_t i = 0; i < 3; i++) CHECK(errors.entries[i].row == (i < 2 ? i : 3));

  // A deleted row is not asked for its value.
  using enum Change;
  Rows deleted({R"({"customer":"a","revenue":0})", kA2}, {kDelete, kInsert});
  CHECK(texts_of(*failing, deleted.batch) == Texts{"ak=X", "ak=5"});
}

TEST_CASE("what does not fit together is refused") {
  const auto error_of = [](RecordEncoderOptions options) {
    std::string error;
    CHECK(RecordEncoder::make(kRevenue, std::move(options), &error) == nullptr);
    return error;
  };
  CHECK(error_of({.format = "avro"}) == "unknown format \"avro\"");
  CHECK(error_of({.format = "int64"}) == "format int64 holds one value; say which with value:");
  CHECK(error_of({.format = "int64", .value = expression("customer")}) ==
        "format int64 cannot hold a value of type string");
  CHECK(error_of({.key = expression("share")}) == "a key of type double needs a key_format");
  CHECK(error_of({.key = expression("customer"), .key_format = "double"}) ==
        "key: format double cannot hold a value of type string");
}

}  // namespace
}  // namespace millrace
