#include <doctest/doctest.h>

#include <bit>

#include "tests/formats/decode_fixture.h"

namespace millrace {
namespace {

std::string big_endian(uint64_t value) {
  std::string out;
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
  return out;
}

std::string encode_one(const std::string& format, const Decoded& decoded, uint32_t row) {
  std::string error;
  auto encoder = make_value_encoder(format, decoded.columns[0]->type, &error);
  REQUIRE_MESSAGE(encoder != nullptr, error);
  std::string out;
  encoder->encode(*decoded.columns[0], row, out);
  return out;
}

TEST_CASE("int64 and double are Java's") {
  const auto ints = decode_all("int64", implied_schema("int64"),
                               {big_endian(1), big_endian(uint64_t{0} - 2), "short", big_endian(1) + "x"});
  CHECK(ints.columns[0]->ints[0] == 1);
  CHECK(ints.columns[0]->ints[1] == -2);
  REQUIRE(ints.errors.size() == 2);
  CHECK(ints.errors[0].row == 2);
  CHECK(ints.errors[0].message == "an int64 has exactly 8 bytes");
  CHECK(ints.canonical == std::vector<uint8_t>(4, 0));
  CHECK(encode_one("int64", ints, 1) == big_endian(uint64_t{0} - 2));
  CHECK(encode_one("int64", ints, 2).empty());
  CHECK(encode_one("string", ints, 1) == "-2");
  CHECK(encode_one("json", ints, 1) == "-2");
  CHECK(encode_one("json", ints, 2) == "null");

  const auto doubles = decode_all("double", implied_schema("double"), {big_endian(std::bit_cast<uint64_t>(-2.5)), ""});
  CHECK(doubles.columns[0]->doubles[0] == -2.5);
  CHECK(doubles.errors.size() == 1);
  CHECK(encode_one("double", doubles, 0) == big_endian(std::bit_cast<uint64_t>(-2.5)));
  CHECK(encode_one("string", doubles, 0) == "-2.5");
}

TEST_CASE("string and bytes") {
  const auto strings = decode_all("string", implied_schema("string"), {"caf\xc3\xa9", "", "\xff"});
  CHECK(strings.columns[0]->strings[0] == "caf\xc3\xa9");
  CHECK(!strings.columns[0]->is_null(1));
  REQUIRE(strings.errors.size() == 1);
  CHECK(strings.errors[0].message == "invalid UTF-8");
  CHECK(encode_one("bytes", strings, 0) == "caf\xc3\xa9");

  const auto bytes = decode_all("bytes", implied_schema("bytes"), {"\xff\x01"});
  CHECK(bytes.errors.empty());
  CHECK(encode_one("bytes", bytes, 0) == "\xff\x01");
  CHECK(encode_one("json", bytes, 0) == "\"/wE=\"");

  Payloads payloads;
  payloads.add_tombstone();
  Diagnostics diagnostics;
  std::vector<DecodeError> errors;
  auto decoder = make_decoder("bytes", {implied_schema("bytes"), {false}, false}, {}, diagnostics);
  CHECK(decoder->decode(payloads.data(), 1, std::make_shared<Arena>(), nullptr, errors)[0] == nullptr);
  CHECK(errors.size() == 1);
}

TEST_CASE("timestamps leave as epoch milliseconds, rounded towards the past") {
  const Schema schema = {{"t", Type::timestamp(TimestampUnit::kMicros)}};
  const Decoded decoded = decode_all("json", schema, {R"({"t":-1})", R"({"t":1999})"});
  CHECK(encode_one("int64", decoded, 0) == big_endian(~uint64_t{0}));
  CHECK(encode_one("string", decoded, 1) == "1");
  CHECK(encode_one("json", decoded, 1) == "1");
}

TEST_CASE("what does not fit is refused") {
  Diagnostics diagnostics;
  CHECK(make_decoder("jsn", {}, {"p.yaml", 3, 4}, diagnostics) == nullptr);
  REQUIRE(diagnostics.all().size() == 1);
  CHECK(diagnostics.all()[0].code == LintCode::kUnknownKind);
  CHECK(diagnostics.all()[0].hint == "did you mean \"json\"?");
  CHECK(diagnostics.all()[0].at.line == 3);
  CHECK(make_decoder("int64", {{{"value", Type(TypeKind::kString)}}, {true}, false}, {}, diagnostics) == nullptr);
  const Schema misnamed = {{"v", Type(TypeKind::kInt)}};
  CHECK(make_decoder("int64", {misnamed, {true}, false}, {"p.yaml", 5, 1}, diagnostics) == nullptr);
  CHECK(make_decoder("json", {{{"v", Type(TypeKind::kDuration)}}, {true}, false}, {}, diagnostics) == nullptr);
  CHECK(diagnostics.error_count() == 4);

  std::string error;
  CHECK(make_value_encoder("int64", Type(TypeKind::kString), &error) == nullptr);
  CHECK(error == "format int64 cannot hold a value of type string");
  CHECK(make_value_encoder("bytes", Type(TypeKind::kInt), &error) == nullptr);
  CHECK(make_value_encoder("string", Type::list(Type(TypeKind::kInt)), &error) == nullptr);
  CHECK(make_value_encoder("double", Type(TypeKind::kInt), &error) == nullptr);
  CHECK(make_value_encoder("xml", Type(TypeKind::kInt), &error) == nullptr);
  CHECK(implied_schema("json").empty());
  CHECK(is_known_format("double"));
  CHECK(is_known_format("csv"));
  CHECK(!is_known_format("avro"));
  CHECK(make_value_encoder("csv", Type(TypeKind::kInt), &error) == nullptr);
}

}  // namespace
}  // namespace millrace
