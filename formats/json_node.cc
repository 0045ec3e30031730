#include "formats/json_node.h"

#include <algorithm>

#include "formats/format.h"

namespace millrace {
namespace {

// Memory of `rows` entries with the first `used` of `old` copied.
template <class T>
T* regrown(const T* old, uint32_t used, uint32_t rows, Arena& arena) {
  T* values = arena.array<T>(rows);
  if (used > 0) std::memcpy(static_cast<void*>(values), old, used * sizeof(T));
  return values;
}

void build(JsonNode& node, Type type, std::string path, bool wanted, uint32_t* next_id) {
  node.kind = type.kind();
  node.unit = type.unit();
  node.path = std::move(path);
  node.wanted = wanted;
  node.canonical = node.kind != TypeKind::kTimestamp || node.unit == TimestampUnit::kMillis;
  node.id = (*next_id)++;
  if (node.kind == TypeKind::kList) {
    node.children.resize(1);
    build(node.children[0], type.element(), node.path + "[]", wanted, next_id);
  } else if (node.kind == TypeKind::kStruct) {
    node.keys = JsonKeys(type.fields());
    node.children.resize(type.fields().size());
    for (size_t i = 0; i < node.children.size(); i++) {
      const Field& field = type.fields()[i];
      build(node.children[i], field.type, node.path + "." + field.name, wanted, next_id);
    }
  }
  for (const JsonNode& child : node.children) node.canonical = node.canonical && child.canonical;
  node.type = std::move(type);
  node.subtree_end = *next_id;
}

}  // namespace

JsonKeys::JsonKeys(const std::vector<Field>& fields) {
  keys_.reserve(fields.size() + kMaxLearned);
  for (const Field& field : fields) add(field.name);
  declared_ = static_cast<int>(fields.size());
  int* next = &first_;
  for (int i = 0; i < declared_; i++) {
    Key& key = keys_[static_cast<size_t>(i)];
    if (key.quoted_size != 0) *next = i;
    next = &key.next;
  }
}

void JsonKeys::add(std::string name) {
  numbers_.emplace(name, static_cast<int>(keys_.size()));
  Key& key = keys_.emplace_back();
  key.name = std::move(name);
  // A name that cannot stand in a document as it is must not be compared with raw text.
  const bool plain = std::all_of(key.name.begin(), key.name.end(),
                                 [](char c) { return c != '"' && c != '\\' && c >= 0x20 && c < 0x7F; });
  if (!plain || key.name.size() > kMaxKeyBytes) return;
  const std::string quoted = key.name + '"';
  key.quoted_size = static_cast<uint32_t>(quoted.size());
  key.full_words = (key.quoted_size - 1) / 8;
  std::memcpy(key.words, quoted.data(), quoted.size());
  std::memset(&key.last_mask, 0xFF, key.quoted_size - key.full_words * 8);
}

int JsonKeys::find(int previous, std::string_view name, bool plain) {
  lookup_.assign(name);
  const auto found = numbers_.find(lookup_);
  int number = found == numbers_.end() ? kUnknown : found->second;
  if (number == kUnknown && plain && name.size() <= kMaxKeyBytes &&
      keys_.size() < static_cast<size_t>(declared_) + kMaxLearned) {
    number = static_cast<int>(keys_.size());
    add(lookup_);
  }
  if (number == kUnknown || keys_[static_cast<size_t>(number)].quoted_size == 0) return number;
  (previous == kUnknown ? first_ : keys_[static_cast<size_t>(previous)].next) = number;
  return number;
}

void JsonNode::allocate(uint32_t rows, Arena& arena) {
  const uint32_t old = capacity;  // all of them: fields of structs do not count their rows
  switch (kind) {
    case TypeKind::kBool: bools = regrown(bools, old, rows, arena); break;
    case TypeKind::kInt:
    case TypeKind::kTimestamp: ints = regrown(ints, old, rows, arena); break;
    case TypeKind::kDouble: doubles = regrown(doubles, old, rows, arena); break;
    case TypeKind::kString:
    case TypeKind::kBytes: strings = regrown(strings, old, rows, arena); break;
    case TypeKind::kList: spans = regrown(spans, old, rows, arena); break;
    default: break;
  }
  if (nulls) {
    uint8_t* grown = arena.zeroed<uint8_t>(rows);
    std::memcpy(grown, nulls, old);
    nulls = grown;
  }
  capacity = rows;
}

void JsonNode::start_batch(uint32_t rows, Arena& arena) {
  capacity = used = 0;
  nulls = bools = nullptr;
  ints = nullptr;
  doubles = nullptr;
  strings = nullptr;
  spans = nullptr;
  if (!wanted) return;
  allocate(rows, arena);
  for (JsonNode& child : children) child.start_batch(kind == TypeKind::kStruct ? rows : 0, arena);
}

void JsonNode::grow(uint32_t rows, Arena& arena) {
  allocate(rows, arena);
  if (kind != TypeKind::kStruct) return;
  for (JsonNode& child : children) child.grow(rows, arena);
}

void JsonNode::set_null(uint32_t row, Arena& arena) {
  if (!wanted) return;
  if (!nulls) nulls = arena.zeroed<uint8_t>(capacity);
  nulls[row] = 1;
  switch (kind) {
    case TypeKind::kBool: bools[row] = 0; break;
    case TypeKind::kInt:
    case TypeKind::kTimestamp: ints[row] = 0; break;
    case TypeKind::kDouble: doubles[row] = 0; break;
    case TypeKind::kString:
    case TypeKind::kBytes: strings[row] = {}; break;
    case TypeKind::kList: spans[row] = {}; break;
    case TypeKind::kStruct:
      for (JsonNode& child : children) child.set_null(row, arena);
      break;
    default: break;
  }
}

void JsonNode::clear_null(uint32_t row) {
  if (nulls) nulls[row] = 0;
  if (kind != TypeKind::kStruct) return;
  for (JsonNode& child : children) child.clear_null(row);
}

ColumnPtr JsonNode::finish(uint32_t rows, const ArenaPtr& arena) const {
  auto column = std::make_shared<Column>();
  column->type = type;
  column->rows = rows;
  column->nulls = nulls;
  column->bools = bools;
  column->ints = ints;
  column->doubles = doubles;
  column->strings = strings;
  column->spans = spans;
  column->children.reserve(children.size());
  for (const JsonNode& child : children)
    column->children.push_back(child.finish(kind == TypeKind::kList ? child.used : rows, arena));
  column->owners.push_back(arena);
  return column;
}

JsonNode make_json_tree(const Schema& schema, const std::vector<bool>& wanted) {
  JsonNode root;
  root.kind = TypeKind::kStruct;
  root.keys = JsonKeys(schema);
  root.children.resize(schema.size());
  uint32_t next_id = 1;
  for (size_t i = 0; i < schema.size(); i++)
    build(root.children[i], schema[i].type, schema[i].name, wanted[i], &next_id);
  root.subtree_end = next_id;
  return root;
}

std::string declared_type_name(const Type& type) {
  if (type.kind() == TypeKind::kTimestamp) {
    switch (type.unit()) {
      case TimestampUnit::kMillis: return "timestamp_ms";
      case TimestampUnit::kMicros: return "timestamp_us";
      case TimestampUnit::kSeconds: return "timestamp_s";
      case TimestampUnit::kRfc3339: return "timestamp_rfc3339";
    }
  }
  if (type.kind() == TypeKind::kList) return "list";
  if (type.kind() == TypeKind::kStruct) return "object";
  return type.to_string();
}

std::string undecodable_reason(const Type& type) {
  switch (type.kind()) {
    case TypeKind::kNull:
    case TypeKind::kDuration:
    case TypeKind::kMap: return "a field of type " + type.to_string() + " cannot be read from json";
    case TypeKind::kList: return undecodable_reason(type.element());
    case TypeKind::kStruct:
      for (const Field& field : type.fields())
        if (std::string reason = undecodable_reason(field.type); !reason.empty()) return reason;
      return "";
    default: return "";
  }
}

}  // namespace millrace
