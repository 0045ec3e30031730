#include "operators/projection.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {
namespace {

std::vector<uint32_t> deleted_rows(const Batch& batch) {
  std::vector<uint32_t> rows;
  if (batch.changes == nullptr) return rows;
  for_each_live(batch, [&](uint32_t row) {
    if (batch.changes[row] == Change::kDelete) rows.push_back(row);
  });
  return rows;
}

}  // namespace

Projection::Projection(const std::vector<ExpressionPtr>& expressions) {
  for (const ExpressionPtr& expression : expressions) {
    const int plain = expression->plain_column();
    items_.push_back({plain, plain >= 0 ? nullptr : make_evaluator(expression)});
  }
}

std::vector<ColumnPtr> Projection::evaluate(const Batch& batch, const ArenaPtr& arena, RowErrors& errors) {
  const std::vector<uint32_t> deleted = deleted_rows(batch);
  Batch kept;
  if (!deleted.empty()) {
    kept = select_rows(batch, [&](uint32_t row) { return batch.changes[row] != Change::kDelete; });
  }
  const Batch& evaluated = deleted.empty() ? batch : kept;
  std::vector<ColumnPtr> columns;
  columns.reserve(items_.size());
  for (Item& item : items_) {
    if (!item.evaluator) {
      columns.push_back(batch.columns[static_cast<size_t>(item.plain_column)]);
      continue;
    }
    ColumnPtr column = item.evaluator->evaluate(evaluated, arena, errors);
    columns.push_back(deleted.empty() ? std::move(column) : with_nulls(column, deleted, arena));
  }
  sort_errors(errors);
  return columns;
}

void sort_errors(RowErrors& errors) {
  auto& entries = errors.entries;
  if (entries.size() < 2) return;
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.row < b.row; });
  entries.erase(
      std::unique(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.row == b.row; }),
      entries.end());
}

Batch without_rows(const Batch& batch, const RowErrors& errors) {
  if (errors.empty()) return batch;
  size_t next = 0;
  return select_rows(batch, [&](uint32_t row) {
    while (next < errors.entries.size() && errors.entries[next].row < row) next++;
    return next == errors.entries.size() || errors.entries[next].row != row;
  });
}

ColumnPtr with_nulls(const ColumnPtr& column, const std::vector<uint32_t>& rows, const ArenaPtr& arena) {
  auto result = std::make_shared<Column>(*column);
  auto* nulls = arena->array<uint8_t>(column->rows);
  if (column->nulls != nullptr) {
    std::copy_n(column->nulls, column->rows, nulls);
  } else {
    std::fill_n(nulls, column->rows, uint8_t{0});
  }
  for (uint32_t row : rows) nulls[row] = 1;
  result->nulls = nulls;
  result->owners.push_back(arena);
  return result;
}

Edge merge_edges(const std::vector<Edge>& inputs) {
  MR_CHECK(!inputs.empty());
  Edge edge = inputs.front();
  for (const Edge& input : inputs) {
    edge.type = std::max(edge.type, input.type);
    if (input.key_columns != edge.key_columns) edge.key_columns.clear();
  }
  return edge;
}

std::vector<int> map_key_columns(const std::vector<int>& key_columns, const std::vector<int>& sources) {
  std::vector<int> mapped;
  for (int key : key_columns) {
    const auto found = std::find(sources.begin(), sources.end(), key);
    if (found == sources.end()) return {};
    mapped.push_back(static_cast<int>(found - sources.begin()));
  }
  return mapped;
}

}  // namespace millrace
