#include "operators/key_encoder.h"

#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/murmur2.h"
#include "state/lane_cache.h"

namespace millrace {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr size_t kIntBytes = 8;

void store_length(char* out, size_t length) {
  const uint32_t big_endian = __builtin_bswap32(static_cast<uint32_t>(length));
  std::memcpy(out, &big_endian, sizeof big_endian);
}

void store_int(char* out, int64_t value) {
  const uint64_t big_endian = __builtin_bswap64(static_cast<uint64_t>(value));
  std::memcpy(out, &big_endian, sizeof big_endian);
}

size_t part_bytes(const Column& column, uint32_t row) {
  if (column.strings != nullptr) return column.strings[row].size();
  return column.ints != nullptr ? kIntBytes : 1;
}

void store_part(char* out, const Column& column, uint32_t row) {
  if (column.strings != nullptr) {
    const std::string_view text = column.strings[row];
    if (!text.empty()) std::memcpy(out, text.data(), text.size());
  } else if (column.ints != nullptr) {
    store_int(out, column.ints[row]);
  } else {
    *out = static_cast<char>(column.bools[row]);
  }
}

}  // namespace

static_assert(std::endian::native == std::endian::little);

bool is_key_type(const Type& type) {
  switch (type.kind()) {
    case TypeKind::kString:
    case TypeKind::kBytes:
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kBool: return true;
    default: return false;
  }
}

bool split_key(std::string_view key, size_t parts, std::string_view* out) {
  if (parts == 0) return key.empty();
  if (parts == 1) {
    out[0] = key;
    return true;
  }
  for (size_t i = 0; i < parts; i++) {
    if (key.size() < kLengthBytes) return false;
    uint32_t length;
    std::memcpy(&length, key.data(), sizeof length);
    length = __builtin_bswap32(length);
    key.remove_prefix(kLengthBytes);
    if (key.size() < length) return false;
    out[i] = key.substr(0, length);
    key.remove_prefix(length);
  }
  return key.empty();
}

bool decode_key_part(std::string_view part, ColumnBuilder& out, uint32_t row) {
  if (out.strings != nullptr) {
    out.strings[row] = out.arena().copy(part);
    return true;
  }
  if (out.ints != nullptr) {
    if (part.size() != kIntBytes) return false;
    uint64_t value;
    std::memcpy(&value, part.data(), sizeof value);
    out.ints[row] = static_cast<int64_t>(__builtin_bswap64(value));
    return true;
  }
  if (part.size() != 1 || static_cast<uint8_t>(part[0]) > 1) return false;
  out.bools[row] = static_cast<uint8_t>(part[0]);
  return true;
}

KeyEncoder::KeyEncoder(const KeySpec& key, const Schema& input, uint32_t shards)
    : projection_(key.parts), shards_(shards) {
  MR_CHECK(shards > 0 && shards < 65536);
  for (const ExpressionPtr& part : key.parts) {
    MR_CHECK(is_key_type(part->type()));
    const int column = part->plain_column();
    names_.push_back(column >= 0 ? input[static_cast<size_t>(column)].name : "expression");
  }
}

Batch KeyEncoder::encode(const Batch& batch, const ArenaPtr& arena, RowErrors& errors) {
  RowErrors failed;
  const std::vector<ColumnPtr> parts = projection_.evaluate(batch, arena, failed);
  reject_nulls(batch, parts, failed);
  Batch result = without_rows(batch, failed);
  errors.entries.insert(errors.entries.end(), failed.entries.begin(), failed.entries.end());

  const std::string_view* keys = nullptr;
  if (parts.size() == 1 && parts[0]->strings != nullptr) {
    keys = parts[0]->strings;
    result.owners.push_back(parts[0]);
  } else {
    auto* written = arena->array<std::string_view>(batch.rows);
    if (parts.empty()) {
      for_each_live(result, [&](uint32_t row) { written[row] = std::string_view(""); });
    } else if (parts.size() == 1) {
      write_single(result, *parts[0], *arena, written);
    } else {
      write_compound(result, parts, *arena, written);
    }
    keys = written;
  }
  reject_large_keys(keys, result, errors);
  auto* shards = arena->array<uint16_t>(batch.rows);
  bool longer = false;
  for_each_live(result, [&](uint32_t row) {
    shards[row] = static_cast<uint16_t>(shard_of(keys[row], shards_));
    longer |= keys[row].size() > LaneCache::kMaxKeyBytes;
  });
  if (longer) reject_long(keys, result, errors);
  result.key_bytes = keys;
  result.shards = shards;
  result.owners.push_back(arena);
  return result;
}

// Rows whose key no state can hold leave the batch.
void KeyEncoder::reject_large_keys(const std::string_view* keys, Batch& batch, RowErrors& errors) {
  RowErrors large;
  for_each_live(batch, [&](uint32_t row) {
    if (keys[row].size() <= LaneCache::kMaxKeyBytes) return;
    large.entries.push_back({row, "a key of " + std::to_string(keys[row].size()) + " bytes; the limit is " +
                                      std::to_string(LaneCache::kMaxKeyBytes)});
  });
  if (large.entries.empty()) return;
  batch = without_rows(batch, large);
  errors.entries.insert(errors.entries.end(), large.entries.begin(), large.entries.end());
  sort_errors(errors);
}

void KeyEncoder::reject_nulls(const Batch& batch, const std::vector<ColumnPtr>& parts, RowErrors& errors) const {
  const size_t evaluated = errors.entries.size();
  for (size_t i = 0; i < parts.size(); i++) {
    if (parts[i]->nulls == nullptr) continue;
    for_each_live(batch, [&](uint32_t row) {
      if (parts[i]->is_null(row)) errors.entries.push_back({row, "null key " + names_[i]});
    });
  }
  // Rows that failed to evaluate are null too; their own message comes first and stays.
  if (errors.entries.size() > evaluated) sort_errors(errors);
}

void KeyEncoder::reject_long(const std::string_view* keys, Batch& batch, RowErrors& errors) {
  RowErrors longer;
  for_each_live(batch, [&](uint32_t row) {
    if (keys[row].size() <= LaneCache::kMaxKeyBytes) return;
    longer.entries.push_back({row, "a key of " + std::to_string(keys[row].size()) + " bytes; the limit is " +
                                       std::to_string(LaneCache::kMaxKeyBytes)});
  });
  batch = without_rows(batch, longer);
  errors.entries.insert(errors.entries.end(), longer.entries.begin(), longer.entries.end());
  sort_errors(errors);
}

void KeyEncoder::write_single(const Batch& batch, const Column& column, Arena& arena, std::string_view* keys) const {
  const size_t width = column.ints != nullptr ? kIntBytes : 1;
  char* memory = arena.array<char>(size_t{batch.rows} * width);
  for_each_live(batch, [&](uint32_t row) {
    char* bytes = memory + size_t{row} * width;
    store_part(bytes, column, row);
    keys[row] = {bytes, width};
  });
}

void KeyEncoder::write_compound(const Batch& batch, const std::vector<ColumnPtr>& parts, Arena& arena,
                                std::string_view* keys) const {
  size_t total = 0;
  for_each_live(batch, [&](uint32_t row) {
    for (const ColumnPtr& part : parts) total += kLengthBytes + part_bytes(*part, row);
  });
  char* memory = arena.array<char>(total);
  for_each_live(batch, [&](uint32_t row) {
    char* begin = memory;
    for (const ColumnPtr& part : parts) {
      const size_t bytes = part_bytes(*part, row);
      store_length(memory, bytes);
      store_part(memory + kLengthBytes, *part, row);
      memory += kLengthBytes + bytes;
    }
    keys[row] = {begin, static_cast<size_t>(memory - begin)};
  });
}

}  // namespace millrace
