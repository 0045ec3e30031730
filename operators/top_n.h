// top_n: the best rows of each key. The plan (top_n.cc) makes a program; top_n_operator.cc runs it.
#pragma once

#include <memory>
#include <vector>

#include "expr/expression.h"
#include "operators/operator.h"
#include "operators/top_list.h"

namespace millrace {

struct TopProgram {
  // What replaces what on the output edge.
  enum class Output {
    kRanks,  // a row per key and rank; without a rank column (n is 1) per key
    kRows,   // rows enter and leave, each the whole of itself
  };
  Output output = Output::kRows;
  TopRule rule;
  std::vector<ExpressionPtr> order;  // over the input's columns
  std::vector<bool> descending;      // per expression
  bool with_rank = false;            // a column of the rank behind the others
  bool emits_each = false;           // changes leave with the row that made them
  bool gives_retractions = false;    // kRanks: old versions are announced
  std::vector<int> columns;          // of the input, those that are kept
  std::vector<Type> types;           // of these
  std::vector<int> key_columns;      // Edge::key_columns of the output
  std::vector<int> identity;         // of the kept columns, those that identify a row of the input; empty: none do
};

std::unique_ptr<Operator> make_top_n_operator(std::shared_ptr<const TopProgram> program);

}  // namespace millrace
