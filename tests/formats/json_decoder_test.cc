#include <doctest/doctest.h>

#include "formats/json_decoder.h"
#include "tests/formats/decode_fixture.h"

namespace millrace {
namespace {

const Schema kOrders = {{"order_id", Type(TypeKind::kString)},
                        {"customer_id", Type(TypeKind::kString)},
                        {"amount", Type(TypeKind::kInt)},
                        {"event_time", Type::timestamp(TimestampUnit::kMillis)},
                        {"status", Type(TypeKind::kString)}};
const char* const kOrder =
    R"({"order_id":"o1","customer_id":"c050876","amount":4012,"event_time":1699999996787,"status":"paid"})";

Schema one(Type type) { return {{"f", std::move(type)}}; }

TEST_CASE("an order") {
  const Decoded d = decode_all("json", kOrders, {kOrder, kOrder}, {false, true, true, true, true});
  REQUIRE(d.errors.empty());
  CHECK(d.columns[0] == nullptr);
  CHECK(d.columns[1]->strings[1] == "c050876");
  CHECK(d.columns[2]->ints[0] == 4012);
  CHECK(d.columns[3]->ints[0] == 1699999996787000);
  CHECK(d.columns[4]->strings[0] == "paid");
  CHECK(d.columns[4]->nulls == nullptr);
  // No copy: the string lies in the payload.
  CHECK(d.columns[4]->strings[0].data() > d.payloads[0].data());
  CHECK(d.columns[4]->strings[0].data() < d.payloads[0].data() + d.payloads[0].size());
  CHECK(d.canonical[0] == 1);
}

TEST_CASE("field order, missing, null, undeclared and repeated fields") {
  const Schema schema = {{"a", Type(TypeKind::kInt)}, {"b", Type(TypeKind::kString)}};
  const std::vector<std::pair<std::string, std::string>> rows = {
      {R"({"a":1,"b":"x"})", R"({"a":1,"b":"x"})"},
      {R"({"b":"x","a":1})", R"({"a":1,"b":"x"})"},
      {R"({})", R"({"a":null,"b":null})"},
      {R"({"b":null})", R"({"a":null,"b":null})"},
      {R"({"u":[1,{"a":7}],"a":2,"v":{"b":"no"}})", R"({"a":2,"b":null})"},
      {R"({"u":1,"a":3,"v":2,"b":"y"})", R"({"a":3,"b":"y"})"},
      {R"({"u":1,"a":4,"b":"z"})", R"({"a":4,"b":"z"})"},
      {R"({"a":1,"a":2})", R"({"a":2,"b":null})"},
      {R"({"a":1,"a":null})", R"({"a":null,"b":null})"},
      {R"({"a":null,"b":"x","a":5})", R"({"a":5,"b":"x"})"},
      {R"({"a":"wrong","a":6})", R"({"a":6,"b":null})"},
      {R"({"\u0061":7,"b":"\u0041\n\ud83d\ude00"})", "{\"a\":7,\"b\":\"A\\n\xf0\x9f\x98\x80\"}"},
      {" {\n\t\"a\" : 8 ,\r \"b\" : \"w\" } \n", R"({"a":8,"b":"w"})"},
  };
  std::vector<std::string> texts;
  for (const auto& row : rows) texts.push_back(row.first);
  const Decoded d = decode_all("json", schema, texts);
  CHECK(d.errors.empty());
  const std::vector<uint8_t> canonical = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1};
  for (uint32_t i = 0; i < rows.size(); i++) {
    CHECK_MESSAGE(d.json(schema, i) == rows[i].second, rows[i].first);
    CHECK_MESSAGE(d.canonical[i] == canonical[i], rows[i].first);
  }
}

TEST_CASE("a bad record does not affect its neighbours") {
  Payloads payloads;
  for (int i = 0; i < 9; i++) {
    if (i % 3 == 0) payloads.add(kOrder);
    if (i % 3 == 1) payloads.add(R"({"order_id":"bad","amount":1.5})");
    if (i % 3 == 2) payloads.add_tombstone();
  }
  Diagnostics diagnostics;
  auto decoder = make_decoder("json", {kOrders, std::vector<bool>(5, true), false}, {}, diagnostics);
  std::vector<DecodeError> errors;
  const auto columns = decoder->decode(payloads.data(), payloads.size(), std::make_shared<Arena>(), nullptr, errors);
  REQUIRE(errors.size() == 6);
  CHECK(errors[0].row == 1);
  CHECK(errors[0].message == R"(field "amount": expected int, found double)");
  CHECK(errors[1].row == 2);
  CHECK(errors[1].message == "no payload (a tombstone)");
  for (uint32_t i = 0; i < 9; i++) {
    CHECK(columns[2]->is_null(i) == (i % 3 != 0));
    CHECK(columns[0]->strings[i] == (i % 3 == 0 ? "o1" : ""));
  }
}

TEST_CASE("types") {
  const auto error_of = [](Type type, const std::string& value) {
    return decode_error(one(std::move(type)), "{\"f\":" + value + "}");
  };
  const Type integer(TypeKind::kInt), real(TypeKind::kDouble), text(TypeKind::kString), flag(TypeKind::kBool);
  CHECK(error_of(integer, "\"1\"") == R"(field "f": expected int, found string)");
  CHECK(error_of(integer, "1.0") == R"(field "f": expected int, found double)");
  CHECK(error_of(integer, "[1]") == R"(field "f": expected int, found array)");
  CHECK(error_of(integer, "9223372036854775808") == R"(field "f": integer out of range)");
  CHECK(error_of(integer, "-9223372036854775808").empty());
  CHECK(error_of(real, "1").empty());
  CHECK(error_of(real, "123456789012345678901234567890").empty());
  CHECK(error_of(real, "1e-999").empty());
  CHECK(error_of(real, "1e999") == R"(field "f": number out of range)");
  CHECK(error_of(real, "true") == R"(field "f": expected double, found bool)");
  CHECK(error_of(text, "1") == R"(field "f": expected string, found number)");
  CHECK(error_of(flag, "0") == R"(field "f": expected bool, found number)");
  CHECK(error_of(flag, "false").empty());
  CHECK(error_of(Type(TypeKind::kBytes), "\"AP9\\/\"").empty());
  CHECK(error_of(Type(TypeKind::kBytes), "\"AP9\"") == R"(field "f": not base64)");
  CHECK(error_of(Type::timestamp(TimestampUnit::kMillis), "\"2024\"") ==
        R"(field "f": expected timestamp_ms, found string)");
  CHECK(error_of(Type::timestamp(TimestampUnit::kMillis), "1.5") ==
        R"(field "f": expected timestamp_ms, found double)");
  CHECK(error_of(Type::timestamp(TimestampUnit::kMillis), "9223372036854775807") ==
        R"(field "f": timestamp out of range)");
  CHECK(error_of(Type::timestamp(TimestampUnit::kSeconds), "1e300") == R"(field "f": timestamp out of range)");
  CHECK(error_of(Type::timestamp(TimestampUnit::kSeconds), "253402300800") == R"(field "f": timestamp out of range)");
  CHECK(error_of(Type::timestamp(TimestampUnit::kRfc3339), "1") ==
        R"(field "f": expected timestamp_rfc3339, found number)");
  CHECK(error_of(Type::timestamp(TimestampUnit::kRfc3339), "\"yesterday\"") ==
        R"(field "f": not an RFC 3339 timestamp)");
  CHECK(error_of(Type::list(integer), "{}") == R"(field "f": expected list, found object)");
  CHECK(error_of(Type::list(integer), "[1,\"x\",true]") == R"(field "f[]": expected int, found string)");
  CHECK(error_of(Type::structure({{"x", integer}}), R"({"x":"y"})") == R"(field "f.x": expected int, found string)");
  CHECK(error_of(Type::structure({{"x", integer}}), "[]") == R"(field "f": expected object, found array)");
}

TEST_CASE("declared fields are typed whether they are wanted or not") {
  const Decoded d =
      decode_all("json", kOrders, {R"({"order_id":1})", R"({"amount":"x"})"}, {false, true, false, true, true});
  REQUIRE(d.errors.size() == 2);
  CHECK(d.errors[1].message == R"(field "amount": expected int, found string)");
}

TEST_CASE("timestamps are microseconds") {
  const auto micros = [](TimestampUnit unit, const std::string& value) {
    const Decoded d = decode_all("json", one(Type::timestamp(unit)), {"{\"f\":" + value + "}"});
    REQUIRE(d.errors.empty());
    CHECK(d.canonical[0] == (unit == TimestampUnit::kMillis ? 1 : 0));
    return d.columns[0]->ints[0];
  };
  CHECK(micros(TimestampUnit::kMillis, "-1") == -1000);
  CHECK(micros(TimestampUnit::kMicros, "1699999996787123") == 1699999996787123);
  CHECK(micros(TimestampUnit::kSeconds, "1699999996") == 1699999996000000);
  CHECK(micros(TimestampUnit::kSeconds, "1699999996.787123") == 1699999996787123);
  CHECK(micros(TimestampUnit::kSeconds, "-0.5") == -500000);
  CHECK(micros(TimestampUnit::kRfc3339, R"("2023-11-14T22:13:16.787+00:00")") == 1699999996787000);
  CHECK(micros(TimestampUnit::kRfc3339, R"("2023-11-14T22:13:16.787\u005a")") == 1699999996787000);
}

TEST_CASE("nested types") {
  const Schema schema = {{"tags", Type::list(Type(TypeKind::kString))},
                         {"at", Type::structure({{"lat", Type(TypeKind::kDouble)}, {"name", Type(TypeKind::kString)}})},
                         {"m", Type::list(Type::list(Type(TypeKind::kInt)))}};
  std::vector<std::string> texts;
  for (int i = 0; i < 300; i++) {
    texts.push_back(R"({"tags":["a","b\n"],"at":{"lat":1.5,"name":"x"},"m":[[1,2],[],null,[3]]})");
    texts.push_back(R"({"tags":[],"at":{"lat":null,"name":null},"m":null})");
    texts.push_back(R"({"tags":["x"],"tags":["y",null],"at":{"name":"n"},"at":{"lat":2.0}})");
    texts.push_back(R"({"tags":["lost"],"at":null,"m":[[1],7]})");
    texts.push_back(R"({"at":{"name":"n","lat":1.5,"other":0},"m":[]})");
  }
  const Decoded d = decode_all("json", schema, texts);
  CHECK(d.errors.size() == 300);
  for (uint32_t i = 0; i < texts.size(); i += 5) {
    REQUIRE(d.json(schema, i) == texts[i]);
    REQUIRE(d.json(schema, i + 1) == texts[i + 1]);
    REQUIRE(d.json(schema, i + 2) == R"({"tags":["y",null],"at":{"lat":2.0,"name":null},"m":null})");
    REQUIRE(d.json(schema, i + 3) == R"({"tags":null,"at":null,"m":null})");
    REQUIRE(d.json(schema, i + 4) == R"({"tags":null,"at":{"lat":1.5,"name":"n"},"m":[]})");
    REQUIRE(d.canonical[i] == 1);
    REQUIRE(d.canonical[i + 1] == 1);
    REQUIRE(d.canonical[i + 2] + d.canonical[i + 3] + d.canonical[i + 4] == 0);
  }
  const Decoded skipped = decode_all("json", schema, texts, {false, true, false});
  CHECK(skipped.errors.size() == 300);
  CHECK(skipped.columns[0] == nullptr);
  CHECK(skipped.columns[1]->children[1]->strings[4] == "n");
  CHECK(skipped.canonical == d.canonical);
}

TEST_CASE("canonical: numbers and types that are not written as they were read") {
  const auto canonical = [](Type type, const std::string& value) {
    const Decoded d = decode_all("json", one(std::move(type)), {"{\"f\":" + value + "}"});
    REQUIRE(d.errors.empty());
    return d.canonical[0] == 1;
  };
  CHECK(canonical(Type(TypeKind::kDouble), "1"));
  CHECK(canonical(Type(TypeKind::kDouble), "0.1e1"));
  CHECK(canonical(Type(TypeKind::kDouble), "9007199254740992"));
  CHECK(!canonical(Type(TypeKind::kDouble), "9007199254740993"));
  CHECK(canonical(Type(TypeKind::kBytes), "\"AP9/\""));
  CHECK(!canonical(Type::timestamp(TimestampUnit::kMicros), "null"));
  CHECK(!canonical(Type::list(Type::timestamp(TimestampUnit::kSeconds)), "[]"));
  CHECK(canonical(Type::structure({{"x", Type(TypeKind::kInt)}}), R"({"x":1})"));
  CHECK(!canonical(Type::structure({{"x", Type(TypeKind::kInt)}}), R"({"x":1,"y":2})"));
  CHECK(!canonical(Type::structure({{"x", Type(TypeKind::kInt)}}), "{}"));
}

TEST_CASE("malformed records, whatever is wanted") {
  for (const bool wanted : {true, false})
    for (const std::string& text : {std::string("{\"order_id\":\"x\""),
                                    std::string("{\"order_id\":\"x\"}}"),
                                    std::string("{\"order_id\":\"x}"),
                                    std::string("{\"amount\":}"),
                                    std::string("{\"amount\":01}"),
                                    std::string("{\"amount\":1,}"),
                                    std::string("{\"amount\" 1}"),
                                    std::string("{amount:1}"),
                                    std::string("{\"amount\":1} x"),
                                    std::string("{\"status\":\"\x01\"}"),
                                    std::string("{\"u\":\"\\x\"}"),
                                    std::string("{\"status\":\"\\ud800\"}"),
                                    std::string("{\"u\":tru}"),
                                    std::string("{\"u\":nul}"),
                                    std::string("{\"u\":[1,]}"),
                                    std::string("{\"u\":{\"a\"}}"),
                                    std::string("{\"amount\":-}"),
                                    std::string("{\"amount\":1.}"),
                                    std::string("{\"amount\":1e}"),
                                    std::string("{\"amount\":nulL}"),
                                    std::string("{"),
                                    std::string("{\""),
                                    std::string("{\"amount\""),
                                    std::string("{\"amount\":"),
                                    std::string("{\"amount\":1"),
                                    std::string("{\"amount\":1,"),
                                    std::string("{\"u\":\"\\"),
                                    std::string("{\"u\":\"\\u00"),
                                    std::string("nope"),
                                    std::string("{\"a\0b\":1,}", 10)}) {
      const Decoded d = decode_all("json", kOrders, {kOrder, text, kOrder}, std::vector<bool>(5, wanted));
      REQUIRE_MESSAGE(d.errors.size() == 1, text);
      CHECK(d.errors[0].row == 1);
      CHECK_MESSAGE(d.errors[0].message.rfind("malformed JSON at byte ", 0) == 0, text);
    }
  CHECK(decode_error(kOrders, "") == "empty payload");
  CHECK(decode_error(kOrders, " \n") == "empty payload");
  CHECK(decode_error(kOrders, "[1]") == "expected an object, found array");
  CHECK(decode_error(kOrders, "null") == "expected an object, found null");
  CHECK(decode_error(kOrders, "{\"amount\":1 2}") == "malformed JSON at byte 12: expected ',' or '}'");
  for (const char* field : {"status", "u"})
    for (const char* bytes : {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80"})
      CHECK(decode_error(kOrders, std::string("{\"") + field + "\":\"" + bytes + "\"}") == "invalid UTF-8");
  CHECK(decode_error(kOrders, "{\"\xff\":1}") == "invalid UTF-8");
  CHECK(decode_error(kOrders, "{\"status\":\"\xc3\xa9\"}").empty());
}

TEST_CASE("every prefix of a record is an error and no read goes beyond the padding") {
  const std::string text =
      R"({"tags":["a\u00e9",null],"at":{"lat":-1.5e3,"name":"x"},"t":true,"u":[false,{"k":1}],"n":12345678901})";
  const Schema schema = {{"tags", Type::list(Type(TypeKind::kString))},
                         {"at", Type::structure({{"lat", Type(TypeKind::kDouble)}, {"name", Type(TypeKind::kString)}})},
                         {"t", Type(TypeKind::kBool)},
                         {"n", Type(TypeKind::kInt)}};
  CHECK(decode_error(schema, text).empty());
  for (size_t size = 0; size < text.size(); size++) CHECK(!decode_error(schema, text.substr(0, size)).empty());
}

std::string nested(const std::string& open, const std::string& close, size_t depth) {
  std::string text;
  for (size_t i = 0; i < depth; i++) text += open;
  text += "1";
  for (size_t i = 0; i < depth; i++) text += close;
  return text;
}

TEST_CASE("depth is limited") {
  for (const std::string& field : {std::string("u"), std::string("amount"), std::string("status")}) {
    const auto error_of = [&](size_t depth) {
      return decode_error(kOrders, "{\"" + field + "\":" + nested("[", "]", depth - 1) + "}");
    };
    CHECK(error_of(128).find("nesting") == std::string::npos);
    CHECK(error_of(129).find("nesting deeper than 128") != std::string::npos);
    CHECK(error_of(100000).find("nesting deeper than 128") != std::string::npos);
  }
  CHECK(decode_error(kOrders, nested("{\"a\":", "}", 128)).empty());
  CHECK(decode_error(kOrders, nested("{\"a\":", "}", 100000)).find("nesting deeper than 128") != std::string::npos);
  CHECK(decode_error(kOrders, nested("[", "]", 100000)).find("nesting deeper than 128") != std::string::npos);
  CHECK(decode_error(kOrders, std::string(100000, '[')).find("nesting deeper than 128") != std::string::npos);
}

TEST_CASE("a record cannot become much larger than it is") {
  std::vector<Field> fields;
  for (int i = 0; i < 900; i++) fields.push_back({"f" + std::to_string(i), Type(TypeKind::kInt)});
  const Schema schema = one(Type::list(Type::structure(fields)));
  std::string text = "{\"f\":[{}";
  for (int i = 0; i < 10000; i++) text += ",{}";
  CHECK(decode_error(schema, text + "]}").find("nested values") != std::string::npos);
  text = "{\"f\":{}";
  for (int i = 0; i < 10000; i++) text += ",\"f\":{}";
  CHECK(decode_error(one(Type::structure(fields)), text + "}").find("too many repeated fields") != std::string::npos);
}

TEST_CASE("a record of 10 MB decodes, more than 64 MiB does not") {
  const std::string big(10 << 20, 'x');
  const Decoded d = decode_all("json", kOrders, {"{\"status\":\"" + big + "\",\"u\":\"" + big + "\"}"});
  REQUIRE(d.errors.empty());
  CHECK(d.columns[4]->strings[0] == big);
  CHECK(decode_error(kOrders, "{\"u\":\"" + std::string(kMaxPayloadBytes, 'x') + "\"}") ==
        "payload larger than 64 MiB");
}

TEST_CASE("many undeclared and odd field names") {
  const Schema schema = {{"a\"b", Type(TypeKind::kInt)},
                         {"\xc3\xa9", Type(TypeKind::kInt)},
                         {std::string(200, 'k'), Type(TypeKind::kInt)}};
  std::string text = "{\"a\\\"b\":1,\"\xc3\xa9\":2,\"" + std::string(200, 'k') + "\":3";
  for (int i = 0; i < 500; i++) text += ",\"u" + std::to_string(i) + "\":0";
  const Decoded d = decode_all("json", schema, {text + "}", text + "}"});
  REQUIRE(d.errors.empty());
  for (uint32_t row = 0; row < 2; row++)
    for (size_t i = 0; i < 3; i++) CHECK(d.columns[i]->ints[row] == static_cast<int64_t>(i) + 1);
}

}  // namespace
}  // namespace millrace
