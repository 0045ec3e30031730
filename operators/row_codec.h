// Rows in the state: RowCodec writes the values of a row as compact bytes, RowColumns makes columns of such rows again.
// Every type of the language, nested ones too; null is a value like others.
//
// Bytes: per eight columns a byte of null bits, then their values that are not null: int, timestamp and duration as
// zigzag varint, double as 8 bytes, bool as one, text with its length, a list as its length and, per item, a byte (1: a
// value follows), a struct like a row. The same row always gives the same bytes. The version stands where rows are
// stored.
//
// A codec is immutable, any thread; RowColumns belongs to one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/arena.h"
#include "base/batch.h"

namespace millrace {

class RowCodec {
 public:
  explicit RowCodec(std::vector<Type> types) : types_(std::move(types)) {}
  const std::vector<Type>& types() const { return types_; }
  // Appends row `row` of the columns; columns[i] is of types()[i] and not nullptr.
  void encode(const std::vector<ColumnPtr>& columns, uint32_t row, std::string& out) const;

 private:
  std::vector<Type> types_;
};

class RowColumns {
 public:
  explicit RowColumns(const std::vector<Type>& types);
  ~RowColumns();
  RowColumns(RowColumns&&) noexcept;

  // Starts anew; text is copied into this arena, which the columns own.
  void begin(ArenaPtr arena);
  // Appends a row. False: the bytes are not those of a row; nothing may be done then but begin().
  bool add(std::string_view bytes);
  // Appends a row of which only the columns with shown[i] have their values; the others are null.
  bool add(std::string_view bytes, const std::vector<bool>& shown);
  uint32_t rows() const { return rows_; }
  std::vector<ColumnPtr> finish();

 private:
  struct Node;
  std::vector<std::unique_ptr<Node>> columns_;
  ArenaPtr arena_;
  uint32_t rows_ = 0;
};

}  // namespace millrace
