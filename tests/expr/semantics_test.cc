// Runs the table of semantics on batches of one row, and on batches of many rows with a selection, dead rows being null
// or copies of live ones. Rows of one expression share a batch, so that failing and good rows stand side by side.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <map>

#include "expr/number_text.h"
#include "expr/program.h"
#include "expr/time_text.h"
#include "tests/expr/semantics_table.h"

namespace millrace {
namespace {

using expr::Cell;
using expr_tests::Semantics;

const Schema& test_schema() {
  static const Schema kSchema = [] {
    const auto plain = [](TypeKind kind) { return Type(kind); };
    const Type point = Type::structure({{"a", plain(TypeKind::kInt)},
                                        {"b", plain(TypeKind::kString)},
                                        {"in", Type::structure({{"z", plain(TypeKind::kInt)}})}});
    return Schema{{"i", plain(TypeKind::kInt)},
                  {"j", plain(TypeKind::kInt)},
                  {"d", plain(TypeKind::kDouble)},
                  {"e", plain(TypeKind::kDouble)},
                  {"s", plain(TypeKind::kString)},
                  {"t", plain(TypeKind::kString)},
                  {"x", plain(TypeKind::kBytes)},
                  {"y", plain(TypeKind::kBytes)},
                  {"b", plain(TypeKind::kBool)},
                  {"c", plain(TypeKind::kBool)},
                  {"ts", plain(TypeKind::kTimestamp)},
                  {"tt", plain(TypeKind::kTimestamp)},
                  {"du", plain(TypeKind::kDuration)},
                  {"dv", plain(TypeKind::kDuration)},
                  {"li", Type::list(plain(TypeKind::kInt))},
                  {"ls", Type::list(plain(TypeKind::kString))},
                  {"ld", Type::list(plain(TypeKind::kDouble))},
                  {"ll", Type::list(Type::list(plain(TypeKind::kInt)))},
                  {"st", point},
                  {"lst", Type::list(point)},
                  {"record.key", plain(TypeKind::kBytes)},
                  {"record.headers", Type::map(plain(TypeKind::kBytes))},
                  {"record.offset", plain(TypeKind::kInt)}};
  }();
  return kSchema;
}

ExpressionPtr compile(const std::string& text, std::string* message) {
  ExpressionError error;
  const AstPtr ast = parse_expression(text, &error);
  if (!ast) {
    *message = error.message;
    return nullptr;
  }
  Scope scope;
  scope.schema = &test_schema();
  std::vector<ExpressionError> errors;
  ExpressionPtr expression = compile_expression(ast, scope, &errors);
  for (const ExpressionError& e : errors) *message += e.message + "; ";
  return expression;
}

ColumnPtr constant(const std::string& text) {
  std::string message;
  const ExpressionPtr expression = compile(text, &message);
  REQUIRE_MESSAGE(expression, text << ": " << message);
  Batch batch;
  batch.rows = 1;
  RowErrors errors;
  return make_evaluator(expression)->evaluate(batch, std::make_shared<Arena>(), errors);
}

// One row of values by column name, from "i = 5; st.a = 1; record.headers.k = b'v'".
class Bindings {
 public:
  explicit Bindings(const std::string& text) {
    for (size_t at = 0; at < text.size();) {
      size_t end = text.find(';', at);
      if (end == std::string::npos) end = text.size();
      const std::string part = text.substr(at, end - at);
      at = end + 1;
      const size_t equals = part.find('=');
      if (equals == std::string::npos) continue;
      const size_t first = part.find_first_not_of(' ');
      const size_t last = part.find_last_not_of(' ', equals - 1);
      values_[part.substr(first, last + 1 - first)] = constant(part.substr(equals + 1));
    }
    arena_ = std::make_shared<Arena>();
    add_struct();
    add_struct_list();
    add_headers();
  }
  Cell cell(const std::string& name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? Cell{} : Cell{found->second.get(), 0};
  }

 private:
  void add_struct() {
    if (!values_.contains("st.a") && !values_.contains("st.b") && !values_.contains("st.in.z")) return;
    const Type type = test_schema()[static_cast<size_t>(find_column(test_schema(), "st"))].type;
    auto inner = std::make_shared<Column>();
    inner->type = type.fields()[2].type;
    inner->rows = 1;
    const Cell z = cell("st.in.z");
    static constexpr uint8_t kNull = 1;
    if (!z.column) inner->nulls = &kNull;
    inner->children.push_back(expr::gather_column(Type(TypeKind::kInt), &z, 1, arena_));
    auto outer = std::make_shared<Column>();
    outer->type = type;
    outer->rows = 1;
    const Cell a = cell("st.a");
    const Cell b = cell("st.b");
    outer->children = {expr::gather_column(Type(TypeKind::kInt), &a, 1, arena_),
                       expr::gather_column(Type(TypeKind::kString), &b, 1, arena_), inner};
    values_["st"] = outer;
  }
  // lst is [st, null] when `lst` is bound to anything.
  void add_struct_list() {
    if (!values_.contains("lst")) return;
    const Type type = test_schema()[static_cast<size_t>(find_column(test_schema(), "lst"))].type;
    auto list = std::make_shared<Column>();
    list->type = type;
    list->rows = 1;
    const Cell items[] = {cell("st"), Cell{}};
    list->children = {expr::gather_column(type.element(), items, 2, arena_)};
    list->spans = new (arena_->array<Span>(1)) Span{0, 2};
    values_["lst"] = list;
  }
  void add_headers() {
    std::vector<Cell> keys;
    std::vector<Cell> items;
    const std::string prefix = "record.headers.";
    for (const auto& [name, value] : values_) {
      if (name.rfind(prefix, 0) != 0) continue;
      header_names_.push_back(constant("'" + name.substr(prefix.size()) + "'"));
      keys.push_back({header_names_.back().get(), 0});
      items.push_back({value.get(), 0});
    }
    if (keys.empty()) return;
    auto map = std::make_shared<Column>();
    map->type = Type::map(Type(TypeKind::kBytes));
    map->rows = 1;
    const auto count = static_cast<uint32_t>(keys.size());
    map->children = {expr::gather_column(Type(TypeKind::kString), keys.data(), count, arena_),
                     expr::gather_column(Type(TypeKind::kBytes), items.data(), count, arena_)};
    map->spans = new (arena_->array<Span>(1)) Span{0, count};
    values_["record.headers"] = map;
  }

  std::map<std::string, ColumnPtr> values_;
  std::vector<ColumnPtr> header_names_;
  ArenaPtr arena_;
};

std::string show(const Column& column, uint32_t row) {
  if (column.type.kind() == TypeKind::kNull || column.is_null(row)) return "null";
  switch (column.type.kind()) {
    case TypeKind::kNull: return "null";
    case TypeKind::kBool: return column.bools[row] ? "true" : "false";
    case TypeKind::kInt: return fmt::format("{}", column.ints[row]);
    case TypeKind::kDouble: {
      const std::string text = expr::format_double(column.doubles[row]);
      return text.find_first_of(".eNI") == std::string::npos ? text + ".0" : text;
    }
    case TypeKind::kString: return fmt::format("\"{}\"", column.strings[row]);
    case TypeKind::kBytes: return fmt::format("b\"{}\"", column.strings[row]);
    case TypeKind::kTimestamp: return expr::format_rfc3339(column.ints[row]);
    case TypeKind::kDuration: return expr::format_duration(column.ints[row]);
    case TypeKind::kList: {
      std::string text = "[";
      for (uint32_t i = 0; i < column.spans[row].count; i++)
        text += (i > 0 ? ", " : "") + show(*column.children[0], column.spans[row].begin + i);
      return text + "]";
    }
    case TypeKind::kStruct: {
      std::string text = "{";
      for (size_t i = 0; i < column.children.size(); i++)
        text += (i > 0 ? ", " : "") + column.type.fields()[i].name + ": " + show(*column.children[i], row);
      return text + "}";
    }
    case TypeKind::kMap: return fmt::format("map of {}", column.spans[row].count);
  }
  return "";
}

enum class Dead { kNone, kNull, kCopies };

// A batch whose live rows hold the bindings, in order.
Batch make_batch(const std::vector<Bindings>& rows, Dead dead, const ArenaPtr& arena) {
  std::vector<int> source;  // binding per physical row, -1: null
  auto selection = std::make_shared<std::vector<uint32_t>>();
  for (size_t i = 0; i < rows.size(); i++) {
    if (dead != Dead::kNone) source.push_back(dead == Dead::kNull ? -1 : static_cast<int>(i));
    selection->push_back(static_cast<uint32_t>(source.size()));
    source.push_back(static_cast<int>(i));
  }
  Batch batch;
  batch.rows = static_cast<uint32_t>(source.size());
  if (dead != Dead::kNone) batch.selection = selection;
  for (const Field& field : test_schema()) {
    std::vector<Cell> cells;
    for (int i : source) cells.push_back(i < 0 ? Cell{} : rows[static_cast<size_t>(i)].cell(field.name));
    batch.columns.push_back(expr::gather_column(field.type, cells.data(), batch.rows, arena));
  }
  return batch;
}

// What the live rows of a batch come out as.
std::vector<std::string> results(Evaluator& evaluator, const Batch& batch, const ArenaPtr& arena) {
  RowErrors errors;
  const ColumnPtr column = evaluator.evaluate(batch, arena, errors);
  std::vector<std::string> shown;
  size_t next = 0;
  for_each_live(batch, [&](uint32_t row) {
    if (next < errors.entries.size() && errors.entries[next].row == row) {
      CHECK(column->is_null(row));
      CHECK(errors.entries[next].message.size() < 200);
      shown.push_back("error: " + errors.entries[next++].message);
    } else {
      shown.push_back(show(*column, row));
    }
  });
  CHECK(next == errors.entries.size());
  return shown;
}

bool matches(const std::string& expected, const std::string& actual) {
  if (expected.rfind("error: ", 0) == 0)
    return actual.rfind("error: ", 0) == 0 && actual.find(expected.substr(7)) != std::string::npos;
  return expected == actual;
}

void check_group(const std::vector<Semantics>& group) {
  const std::string text = group.front().expression;
  std::string message;
  const ExpressionPtr expression = compile(text, &message);
  const std::string expected = group.front().expected;
  if (expected.rfind("lint: ", 0) == 0) {
    CHECK_MESSAGE(!expression, text);
    CHECK_MESSAGE(message.find(expected.substr(6)) != std::string::npos, text << " -> " << message);
    return;
  }
  REQUIRE_MESSAGE(expression, text << ": " << message);
  std::vector<Bindings> bindings;
  for (const Semantics& row : group) bindings.emplace_back(row.bindings);
  const auto evaluator = make_evaluator(expression);
  const auto arena = std::make_shared<Arena>();
  for (size_t i = 0; i < group.size(); i++) {
    const auto one = results(*evaluator, make_batch({bindings[i]}, Dead::kNone, arena), arena);
    CHECK_MESSAGE(matches(group[i].expected, one[0]),
                  text << " with " << std::string(group[i].bindings) << " is " << one[0]);
  }
  for (const Dead dead : {Dead::kNone, Dead::kNull, Dead::kCopies}) {
    const auto many = results(*evaluator, make_batch(bindings, dead, arena), arena);
    for (size_t i = 0; i < group.size(); i++)
      CHECK_MESSAGE(matches(group[i].expected, many[i]), text << " among others with " << std::string(group[i].bindings)
                                                              << " is " << many[i] << " mode "
                                                              << static_cast<int>(dead));
  }
}

void check_table(const std::vector<Semantics>& table) {
  std::vector<std::string> order;
  std::map<std::string, std::vector<Semantics>> groups;
  for (const Semantics& row : table) {
    if (!groups.contains(row.expression)) order.emplace_back(row.expression);
    groups[row.expression].push_back(row);
  }
  for (const std::string& expression : order) check_group(groups[expression]);
}

}  // namespace

TEST_CASE("semantics: arithmetic and conversions") { check_table(expr_tests::arithmetic_semantics()); }
TEST_CASE("semantics: logic, comparison and null") { check_table(expr_tests::logic_semantics()); }
TEST_CASE("semantics: rounding and extremes") { check_table(expr_tests::number_semantics()); }
TEST_CASE("semantics: strings and bytes") { check_table(expr_tests::text_semantics()); }
TEST_CASE("semantics: timestamps and durations") { check_table(expr_tests::time_semantics()); }
TEST_CASE("semantics: parts of strings, patterns") { check_table(expr_tests::substring_semantics()); }
TEST_CASE("semantics: macros over lists") { check_table(expr_tests::macro_semantics()); }
TEST_CASE("semantics: lists, structs and maps") { check_table(expr_tests::nested_semantics()); }

}  // namespace millrace
