// Operators that compute columns: what `select` and `extend` share. The named expressions of a mapping are typed
// against the input and evaluated per batch; rows on which one fails leave the batch.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "operators/projection.h"

namespace millrace {

// Every output column in order: named expressions over the input. A column that is passed on is a plain reference.
struct ColumnList {
  Schema schema;
  std::vector<ExpressionPtr> expressions;  // nullptr: passed on from `sources`
  std::vector<int> sources;                // input column that this one is; -1: computed
};

// Types the values of `body`, a mapping NAME: EXPR with at least one entry, against `input` and appends them to `list`;
// one in error as a column of unknown type. False when not even the names are known.
bool read_columns(const std::string& kind, const ConfigNode& body, const Schema& input, Diagnostics& diagnostics,
                  ColumnList& list);
// Input columns needed when `needed` of the list are read. A computed column is always evaluated, because its errors
// count.
std::vector<bool> needed_by_columns(const ColumnList& list, size_t inputs, const std::vector<bool>& needed);
// "a = x + 1, b" for `describe`.
std::string names_of(const Schema& schema, size_t first);

// The operator that replaces the columns of a batch by those of a list.
std::unique_ptr<Operator> make_columns_operator(const ColumnList& list);

}  // namespace millrace
