// The columns that the JSON decoder fills: one node per field, list element and struct field of a schema, with the
// memory of the batch being decoded. Part of the decoder; owned and used by its thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/batch.h"

namespace millrace {

// Field names of one object, with a guess which comes next: documents of one stream mostly repeat their field order.
class JsonKeys {
 public:
  static constexpr int kUnknown = -1;

  // One key per declared field, numbered like them.
  explicit JsonKeys(const std::vector<Field>& fields);
  JsonKeys() = default;

  // If the raw text at p (behind the opening quote) is the key that followed `previous` last time (kUnknown: the first
  // of the object), returns its number and sets *next behind its closing quote; else kUnknown. Reads up to 8 bytes
  // more than the longest key, within the padding of payloads.
  int guess(int previous, const char* p, const char* end, const char** next) const {
    const int number = previous == kUnknown ? first_ : keys_[static_cast<size_t>(previous)].next;
    if (number == kUnknown) return kUnknown;
    const Key& key = keys_[static_cast<size_t>(number)];
    if (static_cast<size_t>(end - p) < key.quoted_size || !key.matches(p)) return kUnknown;
    *next = p + key.quoted_size;
    return number;
  }
  // Finds a key by its (unescaped) name; an unknown one is learned while there is room. Remembers it as the successor
  // of `previous`. plain: the name stands in the document without escapes. kUnknown: neither declared nor learned.
  int find(int previous, std::string_view name, bool plain);
  // The declared field of a key number, or -1.
  int field(int number) const { return number < declared_ ? number : -1; }

 private:
  static constexpr size_t kMaxLearned = 64;   // undeclared keys that are remembered
  static constexpr size_t kMaxKeyBytes = 56;  // longer ones are not guessed: within the padding
  static constexpr size_t kMaxWords = (kMaxKeyBytes + 8) / 8;

  struct Key {
    std::string name;
    uint64_t words[kMaxWords] = {};  // the name and its closing quote
    uint64_t last_mask = 0;          // which bytes of the last word count
    uint32_t full_words = 0;
    uint32_t quoted_size = 0;  // 0: not to be guessed
    int next = kUnknown;       // what followed it last time

    bool matches(const char* p) const {
      uint64_t word;
      for (uint32_t i = 0; i < full_words; i++, p += 8) {
        std::memcpy(&word, p, 8);
        if (word != words[i]) return false;
      }
      std::memcpy(&word, p, 8);
      return ((word ^ words[full_words]) & last_mask) == 0;
    }
  };
  void add(std::string name);

  std::vector<Key> keys_;  // the declared ones first
  std::unordered_map<std::string, int> numbers_;
  std::string lookup_;  // scratch
  int declared_ = 0;
  int first_ = kUnknown;
};

// One column under construction.
struct JsonNode {
  Type type;
  TypeKind kind = TypeKind::kNull;
  TimestampUnit unit = TimestampUnit::kMillis;
  bool wanted = true;     // else values are validated and not stored
  bool canonical = true;  // the type is written as it is read
  std::string path;       // "address.tags[]", for messages
  uint32_t id = 0;        // in preorder; the subtree is [id, subtree_end)
  uint32_t subtree_end = 0;
  std::vector<JsonNode> children;
  JsonKeys keys;         // kStruct
  uint64_t seen_in = 0;  // number of the object instance in which this field was last seen

  // Memory of the batch.
  uint32_t capacity = 0;
  uint32_t used = 0;  // rows, of the element of a list
  uint8_t* nulls = nullptr;
  uint8_t* bools = nullptr;
  int64_t* ints = nullptr;
  double* doubles = nullptr;
  std::string_view* strings = nullptr;
  Span* spans = nullptr;

  // Gives this node and the fields of structs room for `rows` rows; elements of lists start empty.
  void start_batch(uint32_t rows, Arena& arena);
  // Adds a row to the element of a list and returns its index.
  uint32_t append_row(Arena& arena) {
    if (used == capacity) grow(capacity == 0 ? 64 : capacity * 2, arena);
    return used++;
  }
  // Makes a row null, through structs. No-op if not wanted.
  void set_null(uint32_t row, Arena& arena);
  // Forgets that a row was null, through structs: a repeated field replaces what stood before.
  void clear_null(uint32_t row);
  ColumnPtr finish(uint32_t rows, const ArenaPtr& arena) const;

 private:
  void allocate(uint32_t rows, Arena& arena);
  void grow(uint32_t rows, Arena& arena);
};

// The tree of a schema under a root of kind kStruct. wanted: per field of the schema.
JsonNode make_json_tree(const Schema& schema, const std::vector<bool>& wanted);
// What a field is called in messages: as declared (timestamp_ms, not timestamp).
std::string declared_type_name(const Type& type);
// Why a type cannot be read from JSON; empty if it can.
std::string undecodable_reason(const Type& type);

}  // namespace millrace
