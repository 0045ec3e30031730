// TopAggregate: a TopList as an aggregate. Its argument is a column of arriving rows (arrival_column); its result is
// the list as bytes, which read_top_list reads. Immutable, any thread.
#pragma once

#include <string_view>
#include <vector>

#include "operators/aggregate.h"
#include "operators/row_codec.h"
#include "operators/top_list.h"

namespace millrace {

// What a row is to a list: its order key (a column of bytes) and the columns that are kept of it, side by side.
ColumnPtr arrival_column(ColumnPtr order, std::vector<ColumnPtr> kept);

AggregatePtr make_top_aggregate(const TopRule& rule, const std::vector<Type>& kept);

// A row of a list that came out: views of its bytes.
struct TopRow {
  std::string_view order;
  std::string_view row;
  uint32_t rank = 0;
};
// Appends the rows of a list to `rows`. False: malformed.
bool read_top_list(std::string_view bytes, const TopRule& rule, std::vector<TopRow>& rows);

}  // namespace millrace
