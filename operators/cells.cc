#include "operators/cells.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/check.h"
#include "operators/row_codec.h"

namespace millrace {
namespace {

bool is_null(const ColumnCell& cell) {
  return cell.column == nullptr || cell.column->type.kind() == TypeKind::kNull || cell.column->is_null(cell.row);
}

template <class T>
const T* values_of_cells(const ColumnCell* cells, uint32_t n, const T* Column::*values, Arena& arena) {
  T* out = arena.array<T>(n);
  for (uint32_t i = 0; i < n; i++) out[i] = is_null(cells[i]) ? T{} : (cells[i].column->*values)[cells[i].row];
  return out;
}

// Lists and structs go through their bytes: what they are made of lies in as many places as there are cells.
std::shared_ptr<Column> nested_column(const Type& type, const ColumnCell* cells, uint32_t n, const ArenaPtr& arena) {
  static constexpr std::string_view kNullRow("\1", 1);
  const RowCodec codec({type});
  RowColumns out({type});
  out.begin(arena);
  std::string bytes;
  for (uint32_t i = 0; i < n; i++) {
    bytes.assign(kNullRow);
    if (!is_null(cells[i])) {
      bytes.clear();
      codec.encode({ColumnPtr(ColumnPtr(), cells[i].column)}, cells[i].row, bytes);
    }
    const bool decodes = out.add(bytes);
    MR_CHECK(decodes);
  }
  return std::const_pointer_cast<Column>(out.finish().front());
}

bool is_nested(const Type& type) {
  return type.kind() == TypeKind::kList || type.kind() == TypeKind::kStruct || type.kind() == TypeKind::kMap;
}

template <class T>
const T* replaced(const T* base, const T* update, const uint32_t* rows, uint32_t n, uint32_t all, Arena& arena) {
  if (base == nullptr) return nullptr;
  T* out = arena.array<T>(all);
  std::copy_n(base, all, out);
  for (uint32_t i = 0; i < n; i++) out[rows[i]] = update == nullptr ? T{} : update[rows[i]];
  return out;
}

}  // namespace

std::shared_ptr<Column> column_of_cells(const Type& type, const ColumnCell* cells, uint32_t n, const ArenaPtr& arena) {
  if (is_nested(type)) return nested_column(type, cells, n, arena);
  auto column = std::make_shared<Column>();
  column->type = type;
  column->rows = n;
  column->owners.push_back(arena);
  if (std::any_of(cells, cells + n, is_null)) {
    auto* nulls = arena->array<uint8_t>(n);
    for (uint32_t i = 0; i < n; i++) nulls[i] = is_null(cells[i]) ? 1 : 0;
    column->nulls = nulls;
  }
  switch (type.kind()) {
    case TypeKind::kBool: column->bools = values_of_cells(cells, n, &Column::bools, *arena); break;
    case TypeKind::kDouble: column->doubles = values_of_cells(cells, n, &Column::doubles, *arena); break;
    case TypeKind::kString:
    case TypeKind::kBytes: column->strings = values_of_cells(cells, n, &Column::strings, *arena); break;
    case TypeKind::kNull: break;
    default: column->ints = values_of_cells(cells, n, &Column::ints, *arena); break;
  }
  return column;
}

ColumnPtr replace_rows(const ColumnPtr& base, const ColumnPtr& update, const uint32_t* rows, uint32_t n,
                       const ArenaPtr& arena) {
  std::shared_ptr<Column> result;
  if (is_nested(base->type)) {
    std::vector<ColumnCell> cells(base->rows);
    for (uint32_t i = 0; i < base->rows; i++) cells[i] = {base.get(), i};
    for (uint32_t i = 0; i < n; i++) cells[rows[i]] = {update.get(), rows[i]};
    result = column_of_cells(base->type, cells.data(), base->rows, arena);
  } else {
    result = std::make_shared<Column>();
    result->type = base->type;
    result->rows = base->rows;
    result->bools = replaced(base->bools, update->bools, rows, n, base->rows, *arena);
    result->ints = replaced(base->ints, update->ints, rows, n, base->rows, *arena);
    result->doubles = replaced(base->doubles, update->doubles, rows, n, base->rows, *arena);
    result->strings = replaced(base->strings, update->strings, rows, n, base->rows, *arena);
    if (base->nulls != nullptr || update->nulls != nullptr) {
      uint8_t* nulls = arena->zeroed<uint8_t>(base->rows);
      if (base->nulls != nullptr) std::copy_n(base->nulls, base->rows, nulls);
      for (uint32_t i = 0; i < n; i++) nulls[rows[i]] = update->is_null(rows[i]) ? 1 : 0;
      result->nulls = nulls;
    }
  }
  result->owners = {base, update, arena};
  return result;
}

}  // namespace millrace
