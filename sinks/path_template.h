// PathTemplate: the path of a file sink that writes a folder of parts, out/bids/dt={dt}/hm={hm}: a literal root, then
// levels of folders that are named by columns of the row. Values cannot leave their level: separators, control
// characters and leading dots are written as %XX. Immutable after resolve(); any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/batch.h"
#include "base/config_node.h"

namespace millrace {

// The folder of null and of the empty string, as Hive, Spark and DuckDB write and read it.
inline constexpr std::string_view kNullFolder = "__HIVE_DEFAULT_PARTITION__";

class PathTemplate {
 public:
  // Reads `path`; every problem is reported at its byte in the scalar.
  PathTemplate(const ConfigNode& path, Diagnostics& diagnostics);

  const std::string& text() const { return text_; }  // as written, without slashes at the end
  const std::string& root() const { return root_; }  // the folders before the first with a column; never empty
  size_t levels() const { return levels_.size(); }   // 0: no column in it
  // Finds the columns. False after an error: an unknown name, or a type other than string, int and bool.
  bool resolve(const Schema& schema, Diagnostics& diagnostics);
  // Indexes of the columns that it reads. Precondition of this and the following: resolve() has returned true.
  const std::vector<int>& columns() const { return columns_; }
  // Replaces *folder by the folder of a row below root(), "" without levels. False with a message: a name is longer
  // than kMaxNameBytes.
  bool folder_of(const Batch& batch, uint32_t row, std::string* folder, std::string* error) const;
  // Whether a folder of this level may be called so; not necessarily: some column values lead to it.
  bool may_name(size_t level, std::string_view name) const;

  static constexpr size_t kMaxNameBytes = 255;

 private:
  struct Piece {
    std::string text;  // literal, or the name of the column
    bool is_column = false;
    size_t offset = 0;  // in the scalar
    int column = -1;
  };
  using Level = std::vector<Piece>;
  void add_level(size_t begin, size_t end, Diagnostics& diagnostics);
  void refuse(size_t offset, const std::string& message, const std::string& hint, Diagnostics& diagnostics) const;

  const ConfigNode path_;
  std::string text_;
  std::string root_;
  std::vector<Level> levels_;
  std::vector<int> columns_;
};

}  // namespace millrace
