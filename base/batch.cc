#include "base/batch.h"

#include "base/check.h"

namespace millrace {

ColumnBuilder::ColumnBuilder(Type type, ArenaPtr arena, uint32_t max_rows)
    : type_(std::move(type)), arena_(std::move(arena)), max_rows_(max_rows) {
  switch (type_.kind()) {
    case TypeKind::kBool: bools = arena_->array<uint8_t>(max_rows); break;
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: ints = arena_->array<int64_t>(max_rows); break;
    case TypeKind::kDouble: doubles = arena_->array<double>(max_rows); break;
    case TypeKind::kString:
    case TypeKind::kBytes: strings = arena_->array<std::string_view>(max_rows); break;
    case TypeKind::kList:
    case TypeKind::kMap: spans = arena_->zeroed<Span>(max_rows); break;
    case TypeKind::kStruct:
    case TypeKind::kNull: break;
  }
}

uint8_t* ColumnBuilder::nulls() {
  if (!nulls_) nulls_ = arena_->zeroed<uint8_t>(max_rows_);
  return nulls_;
}

void ColumnBuilder::set_null(uint32_t row) {
  nulls()[row] = 1;
  if (bools) bools[row] = 0;
  if (ints) ints[row] = 0;
  if (doubles) doubles[row] = 0;
  if (strings) strings[row] = {};
  if (spans) spans[row] = {};
}

ColumnPtr ColumnBuilder::finish(uint32_t rows) {
  MR_CHECK(rows <= max_rows_);
  auto column = std::make_shared<Column>();
  column->type = type_;
  column->rows = rows;
  column->nulls = nulls_;
  column->bools = bools;
  column->ints = ints;
  column->doubles = doubles;
  column->strings = strings;
  column->spans = spans;
  column->children = std::move(children);
  if (type_.kind() == TypeKind::kList && column->children.empty()) {  // no row has an item
    column->children.push_back(ColumnBuilder(type_.element(), arena_, 0).finish(0));
  }
  column->owners.push_back(arena_);
  return column;
}

}  // namespace millrace
