#include <doctest/doctest.h>

#include <random>

#include "tests/formats/decode_fixture.h"

namespace millrace {
namespace {

const Schema kTypes = {{"s", Type(TypeKind::kString)},
                       {"i", Type(TypeKind::kInt)},
                       {"d", Type(TypeKind::kDouble)},
                       {"b", Type(TypeKind::kBool)},
                       {"t", Type::timestamp(TimestampUnit::kMillis)},
                       {"x", Type(TypeKind::kBytes)}};

Format csv(const std::string& options = "{}") {
  Diagnostics diagnostics;
  const ConfigNode node =
      ConfigNode::parse("t.yaml", "format: {csv: " + options + "}\n", environment_variables(), diagnostics);
  const Format format = read_format(*node.find("format"), diagnostics);
  REQUIRE_MESSAGE(!diagnostics.has_errors(), diagnostics.render_text());
  return format;
}

// The only error of one record, or the row as JSON.
std::string outcome(const Format& format, const Schema& schema, const std::string& record) {
  const Decoded decoded = decode_all(format, schema, {record});
  return decoded.errors.empty() ? decoded.json(schema, 0) : decoded.errors[0].message;
}

TEST_CASE("csv: values by the order of the schema") {
  CHECK(outcome("csv", kTypes, "caf\xc3\xa9,-5,2.5,true,1700000000123,aGk=") ==
        R"({"s":"café","i":-5,"d":2.5,"b":true,"t":1700000000123,"x":"aGk="})");
  CHECK(outcome("csv", kTypes, ",,,,,") == R"({"s":null,"i":null,"d":null,"b":null,"t":null,"x":null})");
  CHECK(outcome("csv", kTypes, "\"\",007,1e3,FALSE,-1,\"\"") ==
        R"({"s":"","i":7,"d":1000.0,"b":false,"t":-1,"x":""})");
  CHECK(outcome("csv", kTypes, R"("a, ""b""","8","-0.5","true","0",)") ==
        R"({"s":"a, \"b\"","i":8,"d":-0.5,"b":true,"t":0,"x":null})");
  CHECK(outcome("csv", kTypes, "two\nlines,1,1,true,1,") ==
        "column 1: a line break outside quotes");
  CHECK(outcome("csv", kTypes, "\"two\nlines\",1,NaN,true,1,\r\n") ==
        R"({"s":"two\nlines","i":1,"d":null,"b":true,"t":1,"x":null})");
}

TEST_CASE("csv: errors name field and column, and not the value") {
  const auto error = [](const std::string& record) { return outcome("csv", kTypes, record); };
  CHECK(error("a,1x,1,true,1,") == "field \"i\" (column 2): expected int");
  CHECK(error("a, 1,1,true,1,") == "field \"i\" (column 2): expected int");
  CHECK(error("a,1.0,1,true,1,") == "field \"i\" (column 2): expected int");
  CHECK(error("a,9223372036854775808,1,true,1,") == "field \"i\" (column 2): integer out of range");
  CHECK(error("a,\"\",1,true,1,") == "field \"i\" (column 2): expected int");
  for (const char* number : {"nan", "inf", "0x1", "1.5.5", "1e", "-", "1,5"})
    CHECK(error("a,1,\"" + std::string(number) + "\",true,1,") == "field \"d\" (column 3): expected double");
  CHECK(error("a,1,1e999,true,1,") == "field \"d\" (column 3): number out of range");
  CHECK(error("a,1,1e-999,true,1,") == R"({"s":"a","i":1,"d":0.0,"b":true,"t":1,"x":null})");
  CHECK(error("a,1,1,yes,1,") == "field \"b\" (column 4): expected bool");
  CHECK(error("a,1,1,true,1.5,") == "field \"t\" (column 5): expected timestamp_ms");
  CHECK(error("a,1,1,true,999999999999999999,") == "field \"t\" (column 5): timestamp out of range");
  CHECK(error("a,1,1,true,1,a") == "field \"x\" (column 6): not base64");
  CHECK(error("a,1,1,true,1") == "expected 6 columns, found 5");
  CHECK(error("a,1,1,true,1,,,") == "expected 6 columns, found 8");
  CHECK(error("") == "expected 6 columns, found 1");
  CHECK(error("\"a,1,1,true,1,") ==
        "column 1: a quoted field that does not end (multiline: true lets it go on in the next line)");
  CHECK(error("\"a\"b,1,1,true,1,") == "column 1: text behind a closing quote");
  CHECK(error("a\"b\",1,1,true,1,") == "column 1: a quote inside a field that does not begin with one");
  CHECK(error("\xff,1,1,true,1,") == "invalid UTF-8");
}

TEST_CASE("csv: timestamps of every unit") {
  const auto read = [](TimestampUnit unit, const std::string& text) {
    return outcome("csv", {{"t", Type::timestamp(unit)}}, text);
  };
  CHECK(read(TimestampUnit::kMicros, "1999") == R"({"t":1})");
  CHECK(read(TimestampUnit::kSeconds, "2") == R"({"t":2000})");
  CHECK(read(TimestampUnit::kSeconds, "2.5") == R"({"t":2500})");
  CHECK(read(TimestampUnit::kRfc3339, "1970-01-01T00:00:01Z") == R"({"t":1000})");
  CHECK(read(TimestampUnit::kRfc3339, "yesterday") == "field \"t\" (column 1): not an RFC 3339 timestamp");
}

TEST_CASE("csv: a record that fails does not touch its neighbours, an unwanted field is checked") {
  const Schema schema = {{"a", Type(TypeKind::kInt)}, {"b", Type(TypeKind::kString)}};
  const Decoded decoded = decode_all("csv", schema, {"1,x", "bad,y", "3,z", "4"}, {false, true});
  CHECK(decoded.columns[0] == nullptr);
  REQUIRE(decoded.errors.size() == 2);
  CHECK(decoded.errors[0].row == 1);
  CHECK(decoded.errors[1].row == 3);
  CHECK(decoded.columns[1]->strings[0] == "x");
  CHECK(decoded.columns[1]->is_null(1));
  CHECK(decoded.columns[1]->strings[2] == "z");
  CHECK(decoded.canonical == std::vector<uint8_t>(4, 0));
  Payloads payloads;
  payloads.add_tombstone();
  Diagnostics diagnostics;
  std::vector<DecodeError> errors;
  make_decoder("csv", {schema, {true, true}, false}, {}, diagnostics)
      ->decode(payloads.data(), 1, std::make_shared<Arena>(), nullptr, errors);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].message == "no payload (a tombstone)");
}

TEST_CASE("csv: options") {
  const Schema schema = {{"a", Type(TypeKind::kString)}, {"b", Type(TypeKind::kInt)}};
  CHECK(outcome(csv("{delimiter: ';', null_text: NA}"), schema, "1,5;NA") == R"({"a":"1,5","b":null})");
  CHECK(outcome(csv("{null_text: NA}"), schema, ",5") == R"({"a":"","b":5})");
  CHECK(outcome(csv("{null_text: NA}"), schema, "\"NA\",5") == R"({"a":"NA","b":5})");
  CHECK(outcome(csv("{null_text: NA}"), schema, "x,") == "field \"b\" (column 2): expected int");
  CHECK(outcome(csv("{delimiter: \"\\t\", quote: ''}"), schema, "5\" pipe\t1") == R"({"a":"5\" pipe","b":1})");
  CHECK(outcome(csv("{quote: \"'\"}"), schema, "'it''s',1") == R"({"a":"it's","b":1})");
  CHECK(outcome(csv("{multiline: true}"), schema, "\"a,1") == "column 1: a quoted field that does not end");
}

TEST_CASE("csv: the header says where the columns stand") {
  const Schema schema = {{"id", Type(TypeKind::kInt)}, {"name", Type(TypeKind::kString)}};
  const auto columns = [&](const std::string& line, const std::string& options = "{}") {
    return read_csv_header(line, csv(options).csv, schema);
  };
  CHECK(columns("id,name").value() == std::vector<int>{0, 1});
  CHECK(columns("\xEF\xBB\xBFname,\"more, \"\"yet\",id").value() == std::vector<int>{1, -1, 0});
  CHECK(columns("name;id", "{delimiter: ';'}").value() == std::vector<int>{1, 0});
  const auto error = [&](const std::string& line) {
    CHECK(columns(line).status().code() == Code::kDecode);
    return columns(line).status().message();
  };
  CHECK(error("id,Name") == "the header has no column \"name\"; its columns are id, Name");
  CHECK(error("id,name,id") == "the header names column \"id\" twice");
  CHECK(error("id,\"name") == "the header has a quoted field that does not end");

  Format format = csv();
  Diagnostics diagnostics;
  const auto decoder = make_decoder(format, {schema, {true, true}, false}, {}, diagnostics);
  const auto decode = [&](const std::string& record) {
    Decoded decoded;
    decoded.payloads.add(record);
    decoded.columns =
        decoder->decode(decoded.payloads.data(), 1, std::make_shared<Arena>(), nullptr, decoded.errors);
    return decoded.errors.empty() ? decoded.json(schema, 0) : decoded.errors[0].message;
  };
  CHECK(decode("1,a") == R"({"id":1,"name":"a"})");
  format.csv_columns->announce({1, -1, 0});
  CHECK(decode("a,ignored,2") == R"({"id":2,"name":"a"})");
  CHECK(decode("a,2") == "expected 3 columns, found 2");
  CHECK(decode("a,,b") == "field \"id\" (column 3): expected int");
  format.csv_columns->announce({0, 1});
  CHECK(decode("3,b") == R"({"id":3,"name":"b"})");
}

// Encoded rows, one per line.
std::string encode(const Format& format, const Schema& schema, const Decoded& rows, uint32_t count) {
  std::string error;
  const auto encoder = make_row_encoder(format, schema, &error);
  REQUIRE_MESSAGE(encoder != nullptr, error);
  std::string out = encoder->header() + "\n";
  for (uint32_t row = 0; row < count; row++) {
    encoder->encode(rows.columns, row, out);
    out += '\n';
  }
  return out;
}

TEST_CASE("csv: rows as records") {
  const std::string values = R"("s":"a \"b\", c","i":1,"d":3,"b":false,"t":5,"x":"aGk=")";
  const Decoded rows = decode_all("json", kTypes, {"{" + values + "}", "{}", R"({"s":"","d":1e-7})"});
  CHECK(encode("csv", kTypes, rows, 3) ==
        "s,i,d,b,t,x\n\"a \"\"b\"\", c\",1,3.0,false,5,aGk=\n,,,,,\n\"\",,1e-07,,,\n");
  CHECK(encode(csv("{delimiter: ';', null_text: '1', quote: \"'\"}"), kTypes, rows, 2) ==
        "s;i;d;b;t;x\na \"b\", c;'1';3.0;false;5;aGk=\n1;1;1;1;1;1\n");
  const Schema one = {{"s", Type(TypeKind::kString)}, {"record.key", Type(TypeKind::kString)}};
  const Decoded null = decode_all("json", one, {"{}"});
  CHECK(encode("csv", one, null, 1) == "s\n\"\"\n");  // not an empty line

  std::string error;
  std::vector<bool> keep = {false, true, false, false, false, false};
  std::string out;
  make_row_encoder("csv", kTypes, &error)->encode(rows.columns, 0, out, &keep);
  CHECK(out == ",1,,,,");
  CHECK(make_row_encoder("csv", {{"l", Type::list(Type(TypeKind::kInt))}}, &error) == nullptr);
  CHECK(error == "column \"l\": format csv cannot hold a value of type [int]");
  CHECK(make_row_encoder(csv("{quote: ''}"), kTypes, &error) == nullptr);
  CHECK(make_row_encoder("string", kTypes, &error) == nullptr);
}

TEST_CASE("csv: what is written is read again, whatever the text") {
  std::mt19937_64 random(5);
  const Schema schema = {{"a", Type(TypeKind::kString)}, {"b", Type(TypeKind::kString)}};
  constexpr char kBytes[] = ",;\"'\n\rNA x";
  for (int round = 0; round < 3000; round++) {
    const Format format = round % 2 ? csv() : csv("{delimiter: ';', quote: \"'\", null_text: NA}");
    Decoded rows;
    ColumnBuilder a(schema[0].type, std::make_shared<Arena>(), 1), b(schema[1].type, std::make_shared<Arena>(), 1);
    std::string texts[2];
    for (std::string& text : texts)
      for (uint64_t i = random() % 5; i > 0; i--) text += kBytes[random() % (sizeof kBytes - 1)];
    a.strings[0] = texts[0];
    b.strings[0] = texts[1];
    if (random() % 4 == 0) b.set_null(0);
    rows.columns = {a.finish(1), b.finish(1)};
    std::string error, record;
    make_row_encoder(format, schema, &error)->encode(rows.columns, 0, record);
    REQUIRE(outcome(format, schema, record) == rows.json(schema, 0));
  }
}

TEST_CASE("csv: any bytes give a row or an error") {
  std::mt19937_64 random(6);
  constexpr char kBytes[] = ",,\"\"\n\r1-.e\xc3\xa9true";
  size_t good = 0;
  for (int round = 0; round < 20000; round++) {
    std::string record;
    for (uint64_t i = random() % 12; i > 0; i--) record += kBytes[random() % (sizeof kBytes - 1)];
    const Decoded decoded =
        decode_all("csv", {{"s", Type(TypeKind::kString)}, {"d", Type(TypeKind::kDouble)}}, {record});
    CHECK(decoded.errors.size() <= 1);
    good += decoded.errors.empty() ? 1 : 0;
  }
  CHECK(good > 500);
}

std::string lint(const std::string& format, const std::string& schema = "{a: int}") {
  Diagnostics diagnostics;
  const ConfigNode node = ConfigNode::parse("t.yaml", "format: " + format + "\nschema: " + schema + "\n",
                                            environment_variables(), diagnostics);
  const Format read = read_format(*node.find("format"), diagnostics);
  const ConfigNode fields = *node.find("schema");
  check_schema(read, read_schema(fields, diagnostics), fields, diagnostics);
  std::string codes;
  for (const Diagnostic& one : diagnostics.all())
    codes += std::to_string(one.at.line) + ":" + std::to_string(one.at.column) + " MR" +
             std::to_string(static_cast<int>(one.code)) + "\n";
  return codes;
}

TEST_CASE("csv: lint") {
  CHECK(lint("csv").empty());
  CHECK(lint("{json: {}}").empty());
  CHECK(lint("text").empty());
  CHECK(lint("{csv: {delimiter: \"\\t\", header: false, null_text: '', quote: '', multiline: true}}").empty());
  CHECK(lint("{csv: {delimiter: ab}}") == "1:27 MR1009\n");
  CHECK(lint("{csv: {delimiter: \"\\n\"}}") == "1:27 MR1009\n");
  CHECK(lint("{csv: {delimiter: \"é\"}}") == "1:27 MR1009\n");
  CHECK(lint("{csv: {quote: \",\"}}") == "1:23 MR1020\n");
  CHECK(lint("{csv: {header: maybe}}") == "1:24 MR1008\n");
  CHECK(lint("{csv: {null_text: \"a,b\"}}") == "1:27 MR1009\n");
  CHECK(lint("{csv: {delimter: ';'}}") == "1:16 MR1005\n");
  CHECK(lint("{cvs: {}}") == "1:10 MR1011\n");
  CHECK(lint("{csv: {}, json: {}}") == "1:9 MR1009\n");
  CHECK(lint("{json: {header: true}}") == "1:17 MR1005\n");
  CHECK(lint("[csv]") == "1:9 MR1008\n");
  CHECK(lint("csv", "{a: int, tags: [string], at: {x: int}}") == "2:24 MR1009\n2:38 MR1009\n");
}

}  // namespace
}  // namespace millrace
