// Columns put together from cells of others. Any thread.
#pragma once

#include "base/batch.h"

namespace millrace {

// One value of a column; without a column it is null.
struct ColumnCell {
  const Column* column = nullptr;
  uint32_t row = 0;
};

// A column of `type` whose row i is cells[i]; cells are of that type, or of the type of the literal null. Text is
// shared: the caller adds what keeps it alive to the owners.
std::shared_ptr<Column> column_of_cells(const Type& type, const ColumnCell* cells, uint32_t n, const ArenaPtr& arena);

// `base` with the values of `update` in these rows (ascending). Both have as many rows, and live as long as the result.
ColumnPtr replace_rows(const ColumnPtr& base, const ColumnPtr& update, const uint32_t* rows, uint32_t n,
                       const ArenaPtr& arena);

}  // namespace millrace
