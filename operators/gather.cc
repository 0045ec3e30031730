#include "operators/gather.h"

namespace millrace {
namespace {

// nullptr stays nullptr.
template <class T>
const T* gather_array(const T* values, const uint32_t* rows, uint32_t n, Arena& arena) {
  if (values == nullptr) return nullptr;
  T* gathered = arena.array<T>(n);
  for (uint32_t i = 0; i < n; i++) gathered[i] = values[rows[i]];
  return gathered;
}

std::shared_ptr<const SourceRows> gather_source(const std::shared_ptr<const SourceRows>& from, const uint32_t* rows,
                                                uint32_t n, const ArenaPtr& arena) {
  auto gathered = std::make_shared<SourceRows>();
  gathered->source = from->source;
  gathered->partitions = from->partitions;
  gathered->partition = gather_array(from->partition, rows, n, *arena);
  gathered->offset = gather_array(from->offset, rows, n, *arena);
  gathered->timestamp_ms = gather_array(from->timestamp_ms, rows, n, *arena);
  gathered->key = gather_array(from->key, rows, n, *arena);
  gathered->payload = gather_array(from->payload, rows, n, *arena);
  gathered->headers = gather_array(from->headers, rows, n, *arena);
  gathered->header_list = from->header_list;
  gathered->owners = {from, arena};
  return gathered;
}

}  // namespace

ColumnPtr gather_column(const ColumnPtr& column, const uint32_t* rows, uint32_t n, const ArenaPtr& arena) {
  auto gathered = std::make_shared<Column>();
  gathered->type = column->type;
  gathered->rows = n;
  gathered->nulls = gather_array(column->nulls, rows, n, *arena);
  gathered->bools = gather_array(column->bools, rows, n, *arena);
  gathered->ints = gather_array(column->ints, rows, n, *arena);
  gathered->doubles = gather_array(column->doubles, rows, n, *arena);
  gathered->strings = gather_array(column->strings, rows, n, *arena);
  gathered->spans = gather_array(column->spans, rows, n, *arena);
  if (column->type.kind() == TypeKind::kStruct) {
    for (const ColumnPtr& child : column->children) {
      gathered->children.push_back(child == nullptr ? nullptr : gather_column(child, rows, n, arena));
    }
  } else {
    gathered->children = column->children;
  }
  gathered->owners = {column, arena};
  return gathered;
}

Batch gather_rows(const Batch& batch, const uint32_t* rows, uint32_t n, const ArenaPtr& arena) {
  Batch gathered;
  gathered.rows = n;
  for (const ColumnPtr& column : batch.columns) {
    gathered.columns.push_back(column == nullptr ? nullptr : gather_column(column, rows, n, arena));
  }
  gathered.event_time_ms = gather_array(batch.event_time_ms, rows, n, *arena);
  gathered.watermark_ms = gather_array(batch.watermark_ms, rows, n, *arena);
  gathered.changes = gather_array(batch.changes, rows, n, *arena);
  if (batch.source_rows) gathered.source_rows = gather_source(batch.source_rows, rows, n, arena);
  gathered.owners.push_back(arena);
  gathered.bytes = arena->bytes();
  return gathered;
}

}  // namespace millrace
