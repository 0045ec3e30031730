// The expression language: CEL over the columns of a batch. Parsed and typed at lint, evaluated a column at a time.
//
// Semantics: cel-spec (int64 arithmetic with overflow errors, `&&`/`||` commutative over errors, ternary evaluates one
// side, int and double compare but do not mix in arithmetic), with SQL-like null: `==`, `!=` and has() accept null, any
// other operation on it is an evaluation error of that row. docs/expressions.md is the user's page.
//
// Compiling: any thread, no shared state. An Expression is immutable; an Evaluator (its scratch memory) belongs to one
// thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/batch.h"
#include "base/config_node.h"
#include "base/status.h"

namespace millrace {

// A syntax tree; immutable. Operators look into it to find aggregate calls.
struct Ast;
using AstPtr = std::shared_ptr<const Ast>;
struct Ast {
  enum class Kind { kLiteral, kName, kField, kIndex, kCall, kList, kMap, kTernary };
  Kind kind = Kind::kLiteral;
  // Byte in the text that errors point at: the first of a name, literal, list or call, an operator itself (`[` of an
  // index), the name behind the dot of a field access or receiver call.
  size_t offset = 0;
  std::string name;     // kName; kField: the field; kCall: function, or an operator such as "_+_"
  bool member = false;  // kCall: written receiver.f(args); the receiver is args[0]
  std::vector<AstPtr> args;
  // kLiteral
  Type type;
  int64_t int_value = 0;
  double double_value = 0;
  bool bool_value = false;
  std::string string_value;  // also bytes
};

struct ExpressionError {
  LintCode code;  // kExpressionSyntax, kExpressionType or kUnknownField
  size_t offset;  // byte in the text
  std::string message;
  std::string hint;
};

// Parses text of at most 64 KiB and depth 100. On failure returns nullptr and fills error.
AstPtr parse_expression(std::string_view text, ExpressionError* error);
// Canonical text: the same for expressions that differ in spacing, comments, quoting and superfluous parentheses only,
// and parses to an expression of the same meaning.
std::string to_text(const Ast& ast);

// A typed, compiled expression.
class Expression;
using ExpressionPtr = std::shared_ptr<const Expression>;

// What names mean. Columns are found by name; `record` is a pseudo-struct whose fields are columns called "record.key"
// etc. of the schema (sources add those that the plan reads). A hook turns calls of functions that the language does
// not know (aggregate calls, key()) into columns of the same batch.
struct Scope {
  const Schema* schema = nullptr;
  // Called for a call of an unknown function before its arguments are checked. Returns the column (index, type) that
  // holds its value; nullopt with *error set: refused; nullopt without: not mine (an unknown-function error follows).
  std::function<std::optional<std::pair<int, Type>>(const Ast& call, std::optional<ExpressionError>* error)> call_hook;
  // Like call_hook for names and fields that are not columns (window.start).
  std::function<std::optional<std::pair<int, Type>>(const std::string& dotted_name)> name_hook;
  // Hints for unknown names (candidates besides the schema's columns).
  std::vector<std::string> more_names;
  // Both set (generator source): random(lo, hi) is an int with lo <= value < hi, a pure function of the seed, the value
  // of this int column in the row, the text of the expression and the ordinal of the call in it. Else it is unknown.
  std::optional<uint64_t> random_seed;
  int random_index_column = -1;
};

// Types an AST against a scope. nullptr on failure, errors filled (all that were found; none if all it failed on is
// columns of unknown type, whose errors have been reported).
ExpressionPtr compile_expression(const AstPtr& ast, const Scope& scope, std::vector<ExpressionError>* errors);
// Parse and compile the text of a scalar; errors go to diagnostics at file:line:column inside the scalar. If `wanted`
// is given, an expression of another type is an error there. Recognises scalars that YAML has split ("quote this").
ExpressionPtr compile_node(const ConfigNode& node, const Scope& scope, Diagnostics& diagnostics,
                           std::optional<Type> wanted = std::nullopt);
// Reports what compile_expression found at the right place of the scalar.
void report_expression_errors(const ConfigNode& node, const std::vector<ExpressionError>& errors,
                              Diagnostics& diagnostics);

class Expression {
 public:
  virtual ~Expression() = default;
  virtual const Type& type() const = 0;
  // Columns that it reads (indexes of the scope's schema or of the hooks), ascending, without repetition.
  virtual const std::vector<int>& columns() const = 0;
  // The column that this expression is (a plain reference), or -1: lets select and keyBy copy a pointer instead.
  virtual int plain_column() const = 0;
};

// Rows that failed and why. Filled by evaluation; rows keep their order.
struct RowErrors {
  struct Entry {
    uint32_t row;
    std::string message;
  };
  std::vector<Entry> entries;  // at most one per row
  bool empty() const { return entries.empty(); }
  void clear() { entries.clear(); }
};

// Evaluates one expression over the live rows of batches. One thread; keeps scratch memory between calls.
class Evaluator {
 public:
  virtual ~Evaluator() = default;
  // A column with batch.rows rows; only live rows are computed, the rest is undefined. Precondition: batch.columns
  // holds the columns that the expression reads. Failed rows are appended to errors and null in the result. Memory:
  // `arena`.
  virtual ColumnPtr evaluate(const Batch& batch, const ArenaPtr& arena, RowErrors& errors) = 0;
};
std::unique_ptr<Evaluator> make_evaluator(ExpressionPtr expression);

// Source text of functions for docs and hints.
std::vector<std::string> known_functions();
// What to write instead of an unknown function: our name for what others call so, the nearest candidate, or "".
std::string function_hint(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace millrace
