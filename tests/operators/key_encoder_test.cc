#include "operators/key_encoder.h"

#include "base/murmur2.h"
#include "rows.h"

namespace millrace {
namespace {

const Schema kSchema = {{"s", Type(TypeKind::kString)}, {"i", Type(TypeKind::kInt)}, {"b", Type(TypeKind::kBool)}};
const Edge kInput{kSchema, EdgeType::kAppend, {}};

struct Encoded {
  std::vector<std::string> keys;
  std::vector<uint16_t> shards;
  std::vector<std::string> errors;
};

Encoded encode(const std::string& key_by, const std::vector<Row>& rows, uint32_t shards) {
  const auto plan = planned("aggregate: {key_by: " + key_by + ", fields: {n: count()}}", kInput);
  KeyEncoder encoder(*plan->key(), kSchema, shards);
  const auto arena = std::make_shared<Arena>();
  RowErrors errors;
  const Batch batch = encoder.encode(make_batch(kSchema, rows), arena, errors);
  Encoded result;
  for_each_live(batch, [&](uint32_t row) {
    result.keys.emplace_back(batch.key_bytes[row]);
    result.shards.push_back(batch.shards[row]);
  });
  for (const auto& entry : errors.entries) result.errors.push_back(entry.message);
  return result;
}

std::string bytes(std::initializer_list<int> values) {
  std::string result;
  for (int value : values) result.push_back(static_cast<char>(value));
  return result;
}

TEST_CASE("key bytes") {
  const Row row = {text("ab"), integer(-2), true};
  CHECK(encode("s", {row}, 1).keys[0] == "ab");
  CHECK(encode("i", {row}, 1).keys[0] == bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}));
  CHECK(encode("b", {row}, 1).keys[0] == bytes({1}));
  CHECK(encode("[s, b]", {row}, 1).keys[0] == bytes({0, 0, 0, 2, 'a', 'b', 0, 0, 0, 1, 1}));
  CHECK(encode("[]", {row}, 1).keys[0].empty());
}

TEST_CASE("shards are those of Java's default partitioner") {
  const Encoded encoded = encode("s", {{text("21"), {}, {}}, {text("foobar"), {}, {}}, {text(""), {}, {}}}, 1000);
  CHECK(encoded.shards[0] == (static_cast<uint32_t>(-973932308) & 0x7fffffffu) % 1000);
  CHECK(encoded.shards[1] == (static_cast<uint32_t>(-790332482) & 0x7fffffffu) % 1000);
  CHECK(encoded.shards[2] == shard_of("", 1000));
}

TEST_CASE("a null in the key fails the row, once") {
  const Encoded encoded = encode("[s, i]", {{text("a"), {}, {}}, {{}, {}, {}}, {text("b"), integer(1), {}}}, 4);
  CHECK(encoded.errors == std::vector<std::string>{"null key i", "null key s"});
  CHECK(encoded.keys.size() == 1);
}

TEST_CASE("split_key refuses what is not a key of so many parts") {
  std::string_view parts[2];
  const std::string key = bytes({0, 0, 0, 1, 'x', 0, 0, 0, 0});
  CHECK(split_key(key, 2, parts));
  CHECK(parts[0] == "x");
  CHECK(parts[1].empty());
  CHECK_FALSE(split_key(bytes({0, 0, 0, 1, 'x', 0, 0, 0}), 2, parts));
  CHECK_FALSE(split_key(bytes({0, 0, 0, 9, 'x', 0, 0, 0, 0}), 2, parts));
  CHECK_FALSE(split_key(bytes({0, 0, 0, 0, 0, 0, 0, 0, 1}), 2, parts));
  CHECK_FALSE(split_key("x", 0, parts));
}

}  // namespace
}  // namespace millrace
