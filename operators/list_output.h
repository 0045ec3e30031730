// ListOutput: appends lists to a column under construction, row after row, in any order of rows. The items of all rows
// grow in the builder's arena. Belongs to whom the ColumnBuilder belongs to.
#pragma once

#include <string_view>

#include "base/batch.h"

namespace millrace {

class ListOutput {
 public:
  // Precondition: out is of a list type of scalars, and nobody else has put lists into it.
  explicit ListOutput(ColumnBuilder& out);
  // The list of `row` will be what is appended next, until the next begin().
  void begin(uint32_t row);
  void append(int64_t value);
  void append(double value);
  void append(uint8_t value);
  void append(std::string_view value);  // copied

 private:
  struct Items;
  uint32_t next();
  ColumnBuilder& out_;
  Items* items_;
  uint32_t row_ = 0;
};

}  // namespace millrace
