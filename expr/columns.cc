// Between vectors and columns, and columns put together from cells of others.
#include <algorithm>

#include "expr/program.h"

namespace millrace::expr {
namespace {

bool is_null_cell(Cell cell) {
  return !cell.column || cell.column->type.kind() == TypeKind::kNull || cell.column->is_null(cell.row);
}

template <class T>
const T* gather_values(const Cell* cells, uint32_t count, Arena& arena, const T* Column::*values) {
  T* out = arena.array<T>(count);
  for (uint32_t i = 0; i < count; i++) out[i] = is_null_cell(cells[i]) ? T{} : (cells[i].column->*values)[cells[i].row];
  return out;
}

void gather_spans(Column& column, const Cell* cells, uint32_t count, const ArenaPtr& arena) {
  Span* spans = arena->zeroed<Span>(count);
  std::vector<Cell> keys;
  std::vector<Cell> items;
  const bool map = column.type.kind() == TypeKind::kMap;
  for (uint32_t i = 0; i < count; i++) {
    if (is_null_cell(cells[i])) continue;
    const Column& source = *cells[i].column;
    const Span span = source.spans[cells[i].row];
    spans[i] = {static_cast<uint32_t>(items.size()), span.count};
    for (uint32_t k = 0; k < span.count; k++) {
      if (map) keys.push_back({source.children[0].get(), span.begin + k});
      items.push_back({source.children[map ? 1 : 0].get(), span.begin + k});
    }
  }
  column.spans = spans;
  const auto size = static_cast<uint32_t>(items.size());
  if (map) column.children.push_back(gather_column(Type(TypeKind::kString), keys.data(), size, arena));
  column.children.push_back(gather_column(column.type.element(), items.data(), size, arena));
}

void gather_fields(Column& column, const Cell* cells, uint32_t count, const ArenaPtr& arena) {
  std::vector<Cell> children(count);
  for (size_t field = 0; field < column.type.fields().size(); field++) {
    for (uint32_t i = 0; i < count; i++)
      children[i] = is_null_cell(cells[i]) ? Cell{} : Cell{cells[i].column->children[field].get(), cells[i].row};
    column.children.push_back(gather_column(column.type.fields()[field].type, children.data(), count, arena));
  }
}

// The value of a failed or null row of a finished column is zero.
template <class T>
const T* cleaned(const T* values, const uint8_t* bad, const Live& live, Arena& arena, uint32_t rows) {
  T* out = arena.array<T>(rows);
  live.each([&](uint32_t row) { out[row] = bad[row] ? T{} : values[row]; });
  return out;
}

template <class T>
const T* repeated(const T* values, bool null, Arena& arena, uint32_t rows) {
  T* out = arena.array<T>(rows);
  std::fill_n(out, rows, null ? T{} : values[0]);
  return out;
}

// Nulls and errors of a vector in one mask; nullptr: none in the live rows.
const uint8_t* bad_rows(const Vector& vector, const Live& live, Frame& frame) {
  if (!vector.nulls && !vector.errors) return nullptr;
  uint8_t* bad = frame.result->zeroed<uint8_t>(frame.rows);
  uint8_t any = 0;
  live.each([&](uint32_t row) {
    bad[row] = vector.is_null(row) || vector.error(row) ? 1 : 0;
    any |= bad[row];
  });
  return any ? bad : nullptr;
}

ColumnPtr materialize_nested(const Vector& vector, const Type& type, const Live& live, Frame& frame,
                             const uint8_t* bad) {
  if (vector.column && !vector.index && !vector.constant && vector.column->type == type) {
    auto column = std::make_shared<Column>(*vector.column);
    column->rows = frame.rows;
    column->nulls = bad;
    return column;
  }
  std::vector<Cell> cells(frame.rows);
  live.each([&](uint32_t row) {
    if (!(bad && bad[row])) cells[row] = {vector.column.get(), vector.cell(row)};
  });
  return gather_column(type, cells.data(), frame.rows, frame.result);
}

}  // namespace

uint64_t items_within(Cell cell) {
  if (is_null_cell(cell)) return 0;
  uint64_t count = 0;
  switch (cell.column->type.kind()) {
    case TypeKind::kList:
    case TypeKind::kMap: {
      const Span span = cell.column->spans[cell.row];
      const Column* items = cell.column->children.back().get();
      count = span.count;
      for (uint32_t i = 0; i < span.count && is_nested(items->type.kind()); i++)
        count += items_within({items, span.begin + i});
      return count;
    }
    case TypeKind::kStruct:
      for (const ColumnPtr& field : cell.column->children) count += items_within({field.get(), cell.row});
      return count;
    default: return 0;
  }
}

Vector view_of(const ColumnPtr& column) {
  Vector out;
  out.nulls = column->nulls;
  out.bools = column->bools;
  out.ints = column->ints;
  out.doubles = column->doubles;
  out.strings = column->strings;
  if (is_nested(column->type.kind())) out.column = column;
  return out;
}

Column column_of(const Vector& vector, const Type& type, uint32_t rows) {
  Column column;
  column.type = type;
  column.rows = rows;
  column.nulls = vector.nulls;
  column.bools = vector.bools;
  column.ints = vector.ints;
  column.doubles = vector.doubles;
  column.strings = vector.strings;
  return column;
}

ColumnPtr gather_column(const Type& type, const Cell* cells, uint32_t count, const ArenaPtr& arena) {
  auto column = std::make_shared<Column>();
  column->type = type;
  column->rows = count;
  column->owners.push_back(arena);
  if (std::any_of(cells, cells + count, is_null_cell)) {
    uint8_t* nulls = arena->array<uint8_t>(count);
    for (uint32_t i = 0; i < count; i++) nulls[i] = is_null_cell(cells[i]) ? 1 : 0;
    column->nulls = nulls;
  }
  switch (type.kind()) {
    case TypeKind::kNull: break;
    case TypeKind::kBool: column->bools = gather_values(cells, count, *arena, &Column::bools); break;
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: column->ints = gather_values(cells, count, *arena, &Column::ints); break;
    case TypeKind::kDouble: column->doubles = gather_values(cells, count, *arena, &Column::doubles); break;
    case TypeKind::kString:
    case TypeKind::kBytes: column->strings = gather_values(cells, count, *arena, &Column::strings); break;
    case TypeKind::kList:
    case TypeKind::kMap: gather_spans(*column, cells, count, arena); break;
    case TypeKind::kStruct: gather_fields(*column, cells, count, arena); break;
  }
  return column;
}

ColumnPtr materialize(const Vector& vector, const Type& type, const Live& live, Frame& frame) {
  const uint8_t* bad = bad_rows(vector, live, frame);
  if (is_nested(type.kind())) return materialize_nested(vector, type, live, frame, bad);
  auto column = std::make_shared<Column>();
  column->type = type;
  column->rows = frame.rows;
  column->nulls = bad;
  if (type.kind() == TypeKind::kNull) {
    uint8_t* nulls = frame.result->array<uint8_t>(frame.rows);
    std::fill_n(nulls, frame.rows, uint8_t{1});
    column->nulls = nulls;
    return column;
  }
  const auto place = [&]<class T>(const T*& out) {
    const T* in = values<T>(vector);
    if (!in) {  // the literal null, or a field that nothing decoded
      static constexpr T kNothing{};
      out = repeated(&kNothing, true, *frame.result, frame.rows);
    } else if (vector.constant) {
      out = repeated(in, vector.is_null(0), *frame.result, frame.rows);
    } else {
      out = bad ? cleaned(in, bad, live, *frame.result, frame.rows) : in;
    }
  };
  switch (type.kind()) {
    case TypeKind::kBool: place(column->bools); break;
    case TypeKind::kDouble: place(column->doubles); break;
    case TypeKind::kString:
    case TypeKind::kBytes: place(column->strings); break;
    default: place(column->ints); break;
  }
  return column;
}

}  // namespace millrace::expr
