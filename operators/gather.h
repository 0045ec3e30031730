// Gathering: batches of a new physical layout, whose row i is row rows[i] of another batch. For operators that repeat
// or reorder rows; one that only leaves rows out changes the selection instead. Any thread.
#pragma once

#include "base/batch.h"

namespace millrace {

// Row i of the result is row rows[i] of `column`. Text and the children of lists and maps are shared, not copied.
// Memory: `arena`, which the result owns together with `column`.
ColumnPtr gather_column(const ColumnPtr& column, const uint32_t* rows, uint32_t n, const ArenaPtr& arena);

// The same for everything that belongs to a row: columns (those that are nullptr stay so), event time, watermark, what
// the row means, and where it came from, so that a dead letter made of the result still holds the record. The result
// has no selection and no keys, and counts only the memory that it adds. No row of it may be written as its payload
// stands: source_rows->canonical is not set.
Batch gather_rows(const Batch& batch, const uint32_t* rows, uint32_t n, const ArenaPtr& arena);

}  // namespace millrace
