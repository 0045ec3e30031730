// Projection: a list of expressions evaluated over batches, with the bookkeeping that every operator needs around it:
// rows that failed leave the batch, rows that delete a key are not evaluated. An instance belongs to one lane.
#pragma once

#include <memory>
#include <vector>

#include "base/batch.h"
#include "expr/expression.h"
#include "operators/operator_plan.h"

namespace millrace {

class Projection {
 public:
  explicit Projection(const std::vector<ExpressionPtr>& expressions);
  // One column per expression, with batch.rows rows. Plain references share the input's column. Rows that failed are
  // appended to errors, each once, ascending. In rows that delete a key, columns that had to be evaluated are null.
  // Memory: `arena`, which the columns own.
  std::vector<ColumnPtr> evaluate(const Batch& batch, const ArenaPtr& arena, RowErrors& errors);

 private:
  struct Item {
    int plain_column;
    std::unique_ptr<Evaluator> evaluator;  // nullptr: plain
  };
  std::vector<Item> items_;
};

// The batch with only those live rows that keep(row) accepts; the batch itself if that is all of them.
template <class Keep>
Batch select_rows(const Batch& batch, Keep&& keep) {
  auto rows = std::make_shared<std::vector<uint32_t>>();
  rows->reserve(batch.live());
  for_each_live(batch, [&](uint32_t row) {
    if (keep(row)) rows->push_back(row);
  });
  Batch result = batch;
  if (rows->size() < batch.live()) result.selection = std::move(rows);
  return result;
}
// The batch without the rows of `errors` (ascending).
Batch without_rows(const Batch& batch, const RowErrors& errors);
// Orders errors by row and keeps the first of each row.
void sort_errors(RowErrors& errors);
// A copy of the column in which these rows (any order) are null as well.
ColumnPtr with_nulls(const ColumnPtr& column, const std::vector<uint32_t>& rows, const ArenaPtr& arena);

// What a list of inputs (a union) is as one edge: the schema of the first, the most demanding type, and the key columns
// if all agree.
Edge merge_edges(const std::vector<Edge>& inputs);
// Key columns of an output whose column i is column sources[i] of the input (-1: computed). Empty if one is missing.
std::vector<int> map_key_columns(const std::vector<int>& key_columns, const std::vector<int>& sources);

}  // namespace millrace
