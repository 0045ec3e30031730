// Seeded well-typed expressions over random rows, failing ones included: the value of a row does not depend on the rows
// beside it, and canonical text means the same.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <random>

#include "expr/program.h"

namespace millrace {
namespace {

// What an expression of a type may look like. %X: an expression of type X; $: a name for an item, of the type behind
// it, which later parts of the template may use.
const std::map<char, std::vector<std::string>>& templates() {
  static const std::map<char, std::vector<std::string>> kTemplates = {
      {'I',
       {"i",
        "j",
        "0",
        "1",
        "-7",
        "9223372036854775807",
        "(%I + %I)",
        "(%I * %I)",
        "(%I - %I)",
        "(%I / %I)",
        "(%I % %I)",
        "size(%S)",
        "size(%L)",
        "size(%M)",
        "%L[%I]",
        "(%B ? %I : %I)",
        "int(%D)",
        "%S.indexOf(%S)",
        "count_of(%S, %S)",
        "millis(%T)",
        "%T.getHours(%Z)",
        "abs(%I)",
        "least(%I, %I, %I)",
        "int(%S)",
        "millis(%U)",
        "%S.lastIndexOf(%S, %I)",
        "size(%L.filter($I, %B))",
        "%K[%I][%I]",
        "%T.getDate()"}},
      {'D',
       {"d", "1.5", "(%D + %D)", "(%D / %D)", "double(%I)", "round(%D, %I)", "floor(%D)", "greatest(%D, %D)",
        "(%B ? %D : %D)"}},
      {'S',
       {"s",
        "t",
        "''",
        "'aä,b'",
        "(%S + %S)",
        "%S.substring(%I)",
        "%S.substring(%I, %I)",
        "%S.trim()",
        "%S.charAt(%I)",
        "%S.replace(%S, %S)",
        "%S.upperAscii()",
        "%M.join(%S)",
        "%M[%I]",
        "string(%I)",
        "(%B ? %S : %S)",
        "extract(%S, %P)",
        "split_part(%S, %S, %I)",
        "format(%T, %F)",
        "string(%T)",
        "format(%T, 'HH', %Z)"}},
      {'B',
       {"b",
        "true",
        "(%I < %I)",
        "(%S == %S)",
        "(%B && %B)",
        "(%B || %B)",
        "!%B",
        "(%I in %L)",
        "(%S in %M)",
        "(%L == %L)",
        "has(i)",
        "%S.contains(%S)",
        "%S.matches(%P)",
        "%L.all($I, %B)",
        "%L.exists($I, %B)",
        "%L.exists_one($I, %B)",
        "%M.all($S, %B)",
        "%M.exists($S, %B)",
        "(%K == %K)",
        "(%T < %T)",
        "(%I == null)",
        "%K.exists($L, %B)",
        "(%L in %K)"}},
      {'L',
       {"li", "[]", "[%I, %I]", "(%L + %L)", "%L.map($I, %I)", "%L.filter($I, %B)", "%L.map($I, %B, %I)",
        "%M.map($S, %I)", "(%B ? %L : %L)", "range(%I)", "%K[%I]", "%K.map($L, size(%L))"}},
      {'M',
       {"ls", "[%S]", "%S.split(%S)", "%S.split(%S, %I)", "%M.map($S, %S)", "%L.map($I, %S)", "%M.filter($S, %B)"}},
      {'K', {"[%L, %L]", "%L.map($I, %L)", "%M.map($S, [%I])", "%K.filter($L, %B)", "%K.map($L, %L.map($I, %I))"}},
      {'T', {"at", "timestamp(%I)", "timestamp_ms(%I)", "truncate(%T, %U)", "(%T + %U)", "(%B ? %T : %T)"}},
      {'U', {"duration('10s')", "(%T - %T)", "duration_ms(%I)", "(%U - %U)"}},
      {'P', {"'a+'", "'(b)|c'", "'^.'", "s"}},
      {'F', {"'yyyy-MM-dd HH:mm:ss.SSS'", "'EEE'", "s"}},
      {'Z', {"'+02:00'", "'Europe/Berlin'", "'UTC'", "t"}},
  };
  return kTemplates;
}

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  std::string expression() {
    static constexpr char kTypes[] = "IDSBLMKTU";
    return one(kTypes[random_() % (sizeof kTypes - 1)], 4);
  }

 private:
  std::string one(char type, int depth) {
    std::vector<std::string> names;
    for (const auto& [name, of] : items_)
      if (of == type) names.push_back(name);
    if (!names.empty() && random_() % 3 == 0) return names[random_() % names.size()];
    const std::vector<std::string>& choices = templates().at(type);
    std::string text = choices[random_() % choices.size()];
    // Deep down, a few tries for a leaf.
    for (int i = 0; i < 20 && depth <= 0 && text.find('%') != text.npos; i++)
      text = choices[random_() % choices.size()];
    return fill(text, depth);
  }

  std::string fill(const std::string& text, int depth) {
    if (depth < -6) return "null";
    std::string out;
    const size_t before = items_.size();
    for (size_t i = 0; i < text.size(); i++) {
      const bool type = i + 1 < text.size() && text[i + 1] >= 'A' && text[i + 1] <= 'Z';
      if (text[i] == '%' && type) {
        out += one(text[++i], depth - 1);
      } else if (text[i] == '$') {
        items_.emplace_back(fmt::format("v{}", items_.size()), text[++i]);
        out += items_.back().first;
      } else {
        out += text[i];
      }
    }
    items_.resize(before);
    return out;
  }

  std::mt19937_64 random_;
  std::vector<std::pair<std::string, char>> items_;
};

const Schema& schema() {
  static const Schema kSchema = {{"i", Type(TypeKind::kInt)},
                                 {"j", Type(TypeKind::kInt)},
                                 {"d", Type(TypeKind::kDouble)},
                                 {"s", Type(TypeKind::kString)},
                                 {"t", Type(TypeKind::kString)},
                                 {"b", Type(TypeKind::kBool)},
                                 {"at", Type(TypeKind::kTimestamp)},
                                 {"li", Type::list(Type(TypeKind::kInt))},
                                 {"ls", Type::list(Type(TypeKind::kString))}};
  return kSchema;
}

template <class T>
const T& pick(const std::vector<T>& values, std::mt19937_64& random) {
  return values[random() % values.size()];
}

ColumnPtr random_column(const Type& type, uint32_t rows, std::mt19937_64& random, const ArenaPtr& arena, bool nulls) {
  ColumnBuilder builder(type, arena, rows);
  uint32_t items = 0;
  for (uint32_t row = 0; row < rows; row++) {
    switch (type.kind()) {
      case TypeKind::kBool: builder.bools[row] = random() % 2; break;
      case TypeKind::kInt: builder.ints[row] = pick<int64_t>({0, 1, 2, 3, -1, 5, INT64_MAX, INT64_MIN}, random); break;
      case TypeKind::kDouble: builder.doubles[row] = pick<double>({0, 1.5, -2.5, 1e300, 0.125}, random); break;
      case TypeKind::kTimestamp:
        builder.ints[row] = pick<int64_t>({0, -1, 1'700'000'000'123'456, -62'135'596'800'000'000, INT64_MAX}, random);
        break;
      case TypeKind::kString:
        builder.strings[row] = pick<std::string_view>({"", "a", "b,c", "ä日", "aab", "UTC", "(", "12"}, random);
        break;
      default:
        builder.spans[row] = {items, static_cast<uint32_t>(random() % 4)};
        items += builder.spans[row].count;
        break;
    }
  }
  if (type.kind() == TypeKind::kList)
    builder.children.push_back(random_column(type.element(), items, random, arena, nulls));
  for (uint32_t row = 0; row < rows && nulls; row++)
    if (random() % 8 == 0) builder.set_null(row);
  return builder.finish(rows);
}

// Every live row of a batch as text of its failure, or its cell.
struct Outcome {
  ColumnPtr column;
  std::map<uint32_t, std::string> errors;
};

Outcome evaluate(Evaluator& evaluator, const Batch& batch, const ArenaPtr& arena) {
  RowErrors errors;
  Outcome outcome;
  outcome.column = evaluator.evaluate(batch, arena, errors);
  for (const RowErrors::Entry& entry : errors.entries) outcome.errors[entry.row] = entry.message;
  return outcome;
}

bool is_nan(const Column& column, uint32_t row) {
  return column.type.kind() == TypeKind::kDouble && !column.is_null(row) && column.doubles[row] != column.doubles[row];
}

bool same(const Outcome& a, const Outcome& b, uint32_t row) {
  const bool failed = a.errors.contains(row);
  if (failed != b.errors.contains(row)) return false;
  if (failed) return a.errors.at(row) == b.errors.at(row);
  if (is_nan(*a.column, row)) return is_nan(*b.column, row);
  return expr::equal_cells({a.column.get(), row}, {b.column.get(), row});
}

ExpressionPtr compiled(const std::string& text) {
  ExpressionError error;
  const AstPtr ast = parse_expression(text, &error);
  if (!ast) FAIL(text << ": " << error.message);
  Scope scope;
  scope.schema = &schema();
  std::vector<ExpressionError> errors;
  return compile_expression(ast, scope, &errors);
}

}  // namespace

TEST_CASE("the value of a row does not depend on the others") {
  constexpr uint32_t kRows = 12;
  const char* const seed = std::getenv("EXPR_SEED");
  std::mt19937_64 random(seed ? std::strtoull(seed, nullptr, 10) : 20240615);
  size_t compared = 0;
  size_t failed = 0;
  size_t loops = 0;
  for (int round = 0; round < 6000; round++) {
    const std::string text = Generator(random()).expression();
    const ExpressionPtr expression = compiled(text);
    if (!expression) continue;  // always fails
    loops += std::dynamic_pointer_cast<const expr::Program>(expression)->has_loops;
    const auto arena = std::make_shared<Arena>();
    Batch batch;
    batch.rows = kRows;
    for (const Field& field : schema())
      batch.columns.push_back(random_column(field.type, kRows, random, arena, round % 2 == 0));
    const auto evaluator = make_evaluator(expression);
    const Outcome together = evaluate(*evaluator, batch, arena);
    const ExpressionPtr canonical = compiled(to_text(*parse_expression(text, nullptr)));
    REQUIRE(canonical);
    const Outcome again = evaluate(*make_evaluator(canonical), batch, arena);
    for (uint32_t row = 0; row < kRows; row++) {
      Batch alone = batch;
      alone.selection = std::make_shared<std::vector<uint32_t>>(1, row);
      const Outcome single = evaluate(*evaluator, alone, arena);
      if (!same(together, single, row)) {
        const auto reason = [row](const Outcome& o) { return o.errors.contains(row) ? o.errors.at(row) : "a value"; };
        FAIL(text << " in row " << row << " with the others: " << reason(together) << ", alone: " << reason(single));
      }
      if (!same(together, again, row)) FAIL(text << " in canonical text, row " << row);
      compared++;
      failed += together.errors.contains(row);
    }
  }
  CHECK(compared > 20'000);
  CHECK(failed > 1000);
  CHECK(compared - failed > 10'000);
  CHECK(loops > 300);
}

}  // namespace millrace
