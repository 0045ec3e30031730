#include "operators/row_codec.h"

#include <algorithm>

#include "base/check.h"
#include "operators/accumulator_bytes.h"

namespace millrace {
namespace {

constexpr size_t kGroup = 8;  // columns that share a byte of null bits

bool is_null(const Column& column, uint32_t row) {
  return column.is_null(row) || column.type.kind() == TypeKind::kNull;
}

void encode_value(const Column& column, uint32_t row, AccumulatorWriter& out);

// Columns side by side: a row, or the fields of a struct.
void encode_fields(const std::vector<ColumnPtr>& columns, uint32_t row, AccumulatorWriter& out) {
  for (size_t begin = 0; begin < columns.size(); begin += kGroup) {
    const size_t end = std::min(columns.size(), begin + kGroup);
    uint8_t nulls = 0;
    for (size_t i = begin; i < end; i++) {
      if (is_null(*columns[i], row)) nulls = static_cast<uint8_t>(nulls | 1u << (i - begin));
    }
    out.byte(nulls);
    for (size_t i = begin; i < end; i++) {
      if ((nulls >> (i - begin) & 1) == 0) encode_value(*columns[i], row, out);
    }
  }
}

void encode_items(const Column& items, Span span, AccumulatorWriter& out) {
  for (uint32_t i = span.begin; i < span.begin + span.count; i++) {
    out.byte(is_null(items, i) ? 0 : 1);
    if (!is_null(items, i)) encode_value(items, i, out);
  }
}

void encode_value(const Column& column, uint32_t row, AccumulatorWriter& out) {
  switch (column.type.kind()) {
    case TypeKind::kBool: return out.byte(column.bools[row]);
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: return out.zigzag(column.ints[row]);
    case TypeKind::kDouble: return out.fixed(column.doubles[row]);
    case TypeKind::kString:
    case TypeKind::kBytes: return out.string(column.strings[row]);
    case TypeKind::kStruct: return encode_fields(column.children, row, out);
    case TypeKind::kList:
    case TypeKind::kMap: {
      const Span span = column.spans[row];
      out.varint(span.count);
      for (const ColumnPtr& child : column.children) encode_items(*child, span, out);
      return;
    }
    case TypeKind::kNull: break;
  }
  MR_CHECK(false);
}

template <class T>
const T* to_array(const std::vector<T>& values, Arena& arena) {
  T* array = arena.array<T>(values.size());
  std::copy(values.begin(), values.end(), array);
  return array;
}

}  // namespace

void RowCodec::encode(const std::vector<ColumnPtr>& columns, uint32_t row, std::string& out) const {
  MR_CHECK(columns.size() == types_.size());
  AccumulatorWriter writer(out);
  encode_fields(columns, row, writer);
}

// A column that grows. Of the vectors of values one is in use, by type; they keep their room from batch to batch.
struct RowColumns::Node {
  explicit Node(const Type& of) : type(of) {
    switch (type.kind()) {
      case TypeKind::kStruct:
        for (const Field& field : type.fields()) children.push_back(std::make_unique<Node>(field.type));
        break;
      case TypeKind::kMap: children.push_back(std::make_unique<Node>(Type(TypeKind::kString))); [[fallthrough]];
      case TypeKind::kList: children.push_back(std::make_unique<Node>(type.element())); break;
      default: break;
    }
  }
  void clear() {
    nulls.clear();
    bools.clear();
    ints.clear();
    doubles.clear();
    strings.clear();
    spans.clear();
    has_nulls = false;
    for (const auto& child : children) child->clear();
  }
  uint32_t rows() const { return static_cast<uint32_t>(nulls.size()); }
  void add_null();
  void add(AccumulatorReader& in, Arena& arena);
  void add_items(Node& items, uint64_t count, AccumulatorReader& in, Arena& arena);
  static void add_fields(const std::vector<std::unique_ptr<Node>>& nodes, AccumulatorReader& in, Arena& arena);
  void nullify_last();
  ColumnPtr finish(const ArenaPtr& arena) const;

  Type type;
  std::vector<uint8_t> nulls;
  bool has_nulls = false;
  std::vector<uint8_t> bools;
  std::vector<int64_t> ints;
  std::vector<double> doubles;
  std::vector<std::string_view> strings;
  std::vector<Span> spans;
  std::vector<std::unique_ptr<Node>> children;
};

void RowColumns::Node::add_null() {
  nulls.push_back(1);
  has_nulls = true;
  switch (type.kind()) {
    case TypeKind::kBool: bools.push_back(0); break;
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: ints.push_back(0); break;
    case TypeKind::kDouble: doubles.push_back(0); break;
    case TypeKind::kString:
    case TypeKind::kBytes: strings.emplace_back(); break;
    case TypeKind::kList:
    case TypeKind::kMap: spans.push_back({}); break;
    case TypeKind::kStruct:
      for (const auto& field : children) field->add_null();
      break;
    case TypeKind::kNull: break;
  }
}

void RowColumns::Node::add(AccumulatorReader& in, Arena& arena) {
  nulls.push_back(0);
  switch (type.kind()) {
    case TypeKind::kBool: bools.push_back(in.boolean() ? 1 : 0); break;
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: ints.push_back(in.zigzag()); break;
    case TypeKind::kDouble: doubles.push_back(in.fixed()); break;
    case TypeKind::kString:
    case TypeKind::kBytes: {
      const std::string_view text = in.string();
      // Empty text, and what did not decode, need no memory.
      strings.push_back(text.empty() ? std::string_view("") : arena.copy(text));
      break;
    }
    case TypeKind::kList:
    case TypeKind::kMap: {
      const uint64_t count = in.varint();
      spans.push_back({children[0]->rows(), static_cast<uint32_t>(count)});
      for (const auto& child : children) add_items(*child, count, in, arena);
      break;
    }
    case TypeKind::kStruct: add_fields(children, in, arena); break;
    case TypeKind::kNull: nulls.back() = 1; break;
  }
}

// Malformed input ends with its bytes: every item takes one at least.
void RowColumns::Node::add_items(Node& items, uint64_t count, AccumulatorReader& in, Arena& arena) {
  for (uint64_t i = 0; i < count && in.ok(); i++) {
    if (in.boolean()) {
      items.add(in, arena);
    } else {
      items.add_null();
    }
  }
}

void RowColumns::Node::add_fields(const std::vector<std::unique_ptr<Node>>& nodes, AccumulatorReader& in,
                                  Arena& arena) {
  uint8_t null_bits = 0;
  for (size_t i = 0; i < nodes.size(); i++) {
    if (i % kGroup == 0) null_bits = in.byte();
    if (null_bits >> (i % kGroup) & 1) {
      nodes[i]->add_null();
    } else {
      nodes[i]->add(in, arena);
    }
  }
}

void RowColumns::Node::nullify_last() {
  nulls.back() = 1;
  has_nulls = true;
  if (!bools.empty()) bools.back() = 0;
  if (!ints.empty()) ints.back() = 0;
  if (!doubles.empty()) doubles.back() = 0;
  if (!strings.empty()) strings.back() = {};
  if (!spans.empty()) spans.back() = {};
}

ColumnPtr RowColumns::Node::finish(const ArenaPtr& arena) const {
  auto column = std::make_shared<Column>();
  column->type = type;
  column->rows = rows();
  if (has_nulls || type.kind() == TypeKind::kNull) column->nulls = to_array(nulls, *arena);
  switch (type.kind()) {
    case TypeKind::kBool: column->bools = to_array(bools, *arena); break;
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: column->ints = to_array(ints, *arena); break;
    case TypeKind::kDouble: column->doubles = to_array(doubles, *arena); break;
    case TypeKind::kString:
    case TypeKind::kBytes: column->strings = to_array(strings, *arena); break;
    case TypeKind::kList:
    case TypeKind::kMap: column->spans = to_array(spans, *arena); break;
    case TypeKind::kStruct:
    case TypeKind::kNull: break;
  }
  for (const auto& child : children) column->children.push_back(child->finish(arena));
  column->owners.push_back(arena);
  return column;
}

RowColumns::RowColumns(const std::vector<Type>& types) {
  for (const Type& type : types) columns_.push_back(std::make_unique<Node>(type));
}

RowColumns::~RowColumns() = default;
RowColumns::RowColumns(RowColumns&&) noexcept = default;

void RowColumns::begin(ArenaPtr arena) {
  arena_ = std::move(arena);
  rows_ = 0;
  for (const auto& column : columns_) column->clear();
}

bool RowColumns::add(std::string_view bytes) {
  AccumulatorReader in(bytes);
  Node::add_fields(columns_, in, *arena_);
  rows_++;
  return in.finished();
}

bool RowColumns::add(std::string_view bytes, const std::vector<bool>& shown) {
  if (!add(bytes)) return false;
  for (size_t i = 0; i < columns_.size(); i++) {
    if (!shown[i]) columns_[i]->nullify_last();
  }
  return true;
}

std::vector<ColumnPtr> RowColumns::finish() {
  std::vector<ColumnPtr> columns;
  for (const auto& column : columns_) columns.push_back(column->finish(arena_));
  arena_.reset();
  return columns;
}

}  // namespace millrace
