// What an expression is compiled to, and what kernels see of an evaluation. Internal to expr/.
//
// A Program is a flat list of nodes in evaluation order; each node names the kernel that computes it, a column at a
// time, for the live rows. Values stand in arrays with one entry per physical row; constants have a single entry. Null
// and error masks exist only where a null or an error does.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/check.h"
#include "expr/expression.h"

namespace millrace::expr {

// The rows that a kernel computes: rows[0..count), ascending, or all rows below count.
struct Live {
  const uint32_t* rows = nullptr;
  uint32_t count = 0;

  template <class F>
  void each(F&& f) const {
    if (rows) {
      for (uint32_t i = 0; i < count; i++) f(rows[i]);
    } else {
      for (uint32_t i = 0; i < count; i++) f(i);
    }
  }
};

// The values of one node. Scalars: one of the arrays, by the node's type. Lists, structs and maps: rows of `column`,
// through `index` if set. Entries of null and failed rows are undefined.
struct Vector {
  bool constant = false;  // one entry (row 0) stands for every row
  const uint8_t* nulls = nullptr;
  const char** errors = nullptr;  // message per failed row, nullptr for the others
  const uint8_t* bools = nullptr;
  const int64_t* ints = nullptr;
  const double* doubles = nullptr;
  const std::string_view* strings = nullptr;
  ColumnPtr column;
  const uint32_t* index = nullptr;

  uint32_t at(uint32_t row) const { return constant ? 0 : row; }
  bool is_null(uint32_t row) const { return nulls && nulls[at(row)] != 0; }
  const char* error(uint32_t row) const { return errors ? errors[row] : nullptr; }
  // Row of `column` that holds the value of `row`.
  uint32_t cell(uint32_t row) const { return index ? index[at(row)] : at(row); }
};

inline const uint8_t* values_of(const Vector& v, const uint8_t*) { return v.bools; }
inline const int64_t* values_of(const Vector& v, const int64_t*) { return v.ints; }
inline const double* values_of(const Vector& v, const double*) { return v.doubles; }
inline const std::string_view* values_of(const Vector& v, const std::string_view*) { return v.strings; }
// The array of values of type T.
template <class T>
const T* values(const Vector& v) {
  return values_of(v, static_cast<const T*>(nullptr));
}
inline void set_values(Vector& v, const uint8_t* values) { v.bools = values; }
inline void set_values(Vector& v, const int64_t* values) { v.ints = values; }
inline void set_values(Vector& v, const double* values) { v.doubles = values; }
inline void set_values(Vector& v, const std::string_view* values) { v.strings = values; }

struct ArgumentCache;
struct Node;
class Pattern;
class TimeFormat;
class TimeZone;

// Limits that keep a record from costing more than its size warrants. Inside macros they hold for all that a node makes
// for the items of a record.
inline constexpr uint32_t kMaxMacroDepth = 4;
inline constexpr uint32_t kMaxListItems = 10'000;    // of a list that an expression makes; visits of a macro
inline constexpr uint32_t kMaxTextBytes = 16 << 20;  // of a text that an expression makes

// What the nodes inside macros have made in this evaluation. Counted per node and row of the batch: the items of a
// record come in the same order however batches and passes are cut, so the same ones fail.
class Spending {
 public:
  void start(size_t nodes, uint32_t rows, Arena& memory) {
    counts_.assign(nodes, nullptr);
    rows_ = rows;
    memory_ = &memory;
  }
  uint64_t& of(uint32_t node, uint32_t record) {
    if (!counts_[node]) counts_[node] = memory_->zeroed<uint64_t>(rows_);
    return counts_[node][record];
  }

 private:
  std::vector<uint64_t*> counts_;  // by node, per row of the batch; nullptr: nothing yet
  uint32_t rows_ = 0;
  Arena* memory_ = nullptr;
};

// One evaluation of one program over one batch.
struct Frame {
  uint32_t rows = 0;
  const ArenaPtr& result;  // lives as long as the result: the root's values, text, nested columns
  Arena& scratch;          // lives until the evaluation ends
  ArgumentCache& arguments;
  Arena* output_arena = nullptr;  // where the running kernel's values belong
  // Of the body of a macro, whose rows are items:
  const Vector* parameters = nullptr;  // the items, then what the body takes from outside
  const uint32_t* records = nullptr;   // row of the batch per row; nullptr: the rows are those of the batch
  Spending* spending = nullptr;

  template <class T>
  T* output(Vector& out) {
    T* array = output_arena->array<T>(rows);
    set_values(out, array);
    return array;
  }
  // Marks a row as failed; an earlier message stays. `message` must outlive the evaluation.
  void fail(Vector& out, uint32_t row, const char* message);
  // A copy of a message made for one row.
  const char* keep(std::string_view message);
  // To be called for each list or text that a kernel makes; false: it passes a limit and the row has failed. `items`
  // includes those of nested lists inside macros.
  bool charge_items(const Node& node, Vector& out, uint32_t row, uint64_t items);
  bool charge_text(const Node& node, Vector& out, uint32_t row, uint64_t bytes);
  uint32_t record(uint32_t row) const { return records ? records[row] : row; }

 private:
  bool charge(const Node& node, Vector& out, uint32_t row, uint64_t amount, uint64_t limit, const char* message);
};

// false, true or neither of && and ||, where null and failed operands are neither.
enum Logic : uint8_t { kNo, kYes, kNeither };
inline Logic logic_of(const Vector& vector, uint32_t row) {
  if (vector.error(row) || vector.is_null(row)) return kNeither;
  return vector.bools[vector.at(row)] ? kYes : kNo;
}

// Computes `out` for the rows of `live`. args: one vector per argument.
using Kernel = void (*)(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out);

// The items of a constant list, for `in`.
struct ConstantSet {
  std::unordered_set<std::string_view> strings;
  std::unordered_set<int64_t> ints;
  std::vector<std::string_view> few_strings;  // instead of `strings` while there are few
};

inline constexpr uint32_t kDear = 100;
// Up to this cost, computing a row is cheaper than selecting around it.
inline constexpr uint32_t kCheap = 6;

struct Node {
  enum class Form : uint8_t {
    kConstant,
    kColumn,
    kStrict,   // a null argument is an error of the row; the kernel sees rows without nulls and errors
    kLenient,  // the kernel sees rows without errors, nulls included
    kAnd,
    kOr,
    kTernary,
    kParameter,  // of the body of a macro: `number` 0 is the item, n the n-th thing from outside
    kLoop,       // a macro; args: the list and what the body takes from outside
  };
  enum class Loop : uint8_t { kAll, kExists, kExistsOne, kFilter, kMap };
  Form form = Form::kConstant;
  uint32_t id = 0;  // its index
  Type type;
  Kernel kernel = nullptr;
  std::vector<uint32_t> args;
  uint32_t cost = 0;         // kernels that it takes, arguments included; kDear for each dear one
  Vector constant;           // kConstant
  int column = -1;           // kColumn
  std::string null_message;  // kStrict, kAnd, kOr, kTernary
  int64_t number = 0;        // of the kernel: field index, zone offset, ordinal hash
  std::string text;          // of the kernel: field name, map key
  std::shared_ptr<const ConstantSet> set;
  // What the kernel's constant text arguments amount to.
  std::shared_ptr<const Pattern> pattern;
  std::shared_ptr<const TimeZone> zone;
  std::shared_ptr<const TimeFormat> time_format;
  std::vector<Type> arg_types;  // of kernels over any type
  // kLoop: nodes of the body, computed per item
  Loop loop = Loop::kAll;
  std::optional<uint32_t> condition;
  std::optional<uint32_t> value;  // kMap
  bool escapes = false;           // its values leave the evaluation or the body: they belong to the result
};

class Program : public Expression {
 public:
  const Type& type() const override { return nodes[root].type; }
  const std::vector<int>& columns() const override { return column_indexes; }
  int plain_column() const override { return nodes[root].form == Node::Form::kColumn ? nodes[root].column : -1; }

  std::vector<Node> nodes;
  uint32_t root = 0;
  bool has_loops = false;
  std::vector<int> column_indexes;
  ArenaPtr memory = std::make_shared<Arena>(1024);  // of the constants
};

// A vector over the physical rows of a column.
Vector view_of(const ColumnPtr& column);
// Rows of `live` that a kernel may see. The others are marked in `out`: with the error of their first failed argument,
// or, where nulls are errors, with the node's message.
Live screen(Frame& frame, const Node& node, const Vector* args, size_t count, const Live& live, Vector& out);
// The value of a kernel, && and || or ?: with every argument already in `args`. For constant folding, with a frame of
// one row and one-row arguments, and for the walker. Screens nulls and errors as the form demands.
void apply(Frame& frame, const Node& node, const Vector* args, size_t count, const Live& live, Vector& out);

// A cell of a column; nullptr: null.
struct Cell {
  const Column* column = nullptr;
  uint32_t row = 0;
};
inline bool is_nested(TypeKind kind) {
  return kind == TypeKind::kList || kind == TypeKind::kStruct || kind == TypeKind::kMap;
}
// Items of the lists in a value, at every depth; 0 for what is not nested.
uint64_t items_within(Cell cell);
// A column of `type` whose row i is cells[i].
ColumnPtr gather_column(const Type& type, const Cell* cells, uint32_t count, const ArenaPtr& arena);
// CEL equality of two values, int and double by value, nulls equal to each other only. Recursion is bounded by the
// types.
bool equal_cells(Cell a, Cell b);
// A column over the values of a vector, for the functions above; valid as long as the vector.
Column column_of(const Vector& vector, const Type& type, uint32_t rows);
// The vector as a column of `rows` rows that may outlive the evaluation but for `owners`.
ColumnPtr materialize(const Vector& vector, const Type& type, const Live& live, Frame& frame);

}  // namespace millrace::expr
