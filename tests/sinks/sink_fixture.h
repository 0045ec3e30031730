// What the tests of sinks share: a folder of their own and batches made by hand.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/batch.h"

namespace millrace {

struct TestFolder {
  TestFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "millrace-test-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(*this / name, std::ios::binary | std::ios::trunc) << content;
    return *this / name;
  }
  std::string path;
};

inline bool exists(const std::string& path) { return std::filesystem::exists(std::filesystem::symlink_status(path)); }

inline std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Columns of a batch, one row at a time. nullptr as a string: null.
class BatchMaker {
 public:
  explicit BatchMaker(Schema schema, uint32_t max_rows = 64) : arena_(std::make_shared<Arena>()) {
    for (const Field& field : schema) columns_.emplace_back(field.type, arena_, max_rows);
    times_ = arena_->zeroed<int64_t>(max_rows);
    changes_ = arena_->zeroed<Change>(max_rows);
  }
  BatchMaker& text(size_t column, const char* value) {
    if (value == nullptr) {
      columns_[column].set_null(rows_);
    } else {
      columns_[column].strings[rows_] = arena_->copy(value);
    }
    return *this;
  }
  BatchMaker& number(size_t column, int64_t value) {
    columns_[column].ints[rows_] = value;
    return *this;
  }
  BatchMaker& end_row(Change change = Change::kInsert) {
    changes_[rows_++] = change;
    return *this;
  }
  Batch finish() {
    Batch batch;
    batch.rows = rows_;
    for (ColumnBuilder& column : columns_) batch.columns.push_back(column.finish(rows_));
    batch.event_time_ms = times_;
    batch.changes = changes_;
    batch.owners.push_back(arena_);
    return batch;
  }

 private:
  ArenaPtr arena_;
  std::vector<ColumnBuilder> columns_;
  int64_t* times_;
  Change* changes_;
  uint32_t rows_ = 0;
};

}  // namespace millrace
