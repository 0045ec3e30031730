// Seeded mutations of good expressions through the parser, the checker and the evaluator: nothing crashes, error
// offsets lie in the text, and canonical text is stable.
#include <doctest/doctest.h>

#include <random>

#include "expr/expression.h"

namespace millrace {
namespace {

const char* const kSeeds[] = {
    "status == \"paid\" && amount * 2 + 1 > 10",
    "has(a) ? s.size() : [1, 2, 3][i]",
    "timestamp('2024-01-01T00:00:00Z') + duration('1h30m') > at",
    "x in ['a', \"b\", r'c', '''d'''] || !(y >= -5)",
    "string(d) + b'\\xff' + 'a\\u00e4\\n' == null",
    "st.in.z + li[0] % 7 / -3 - 0x1F",
    "record.headers.trace != record.headers['x'] && record.key == b''",
    "true ? 1.5e-3 : .5 // comment",
    "random(1, 10) + int('5') + millis(at) + at.getHours('+02:00')",
    "{'a': [1], 2: f(x).y(z)}",
    "li.map(v, v > 1, li.filter(w, w != v + y).size()).exists(q, q == i)",
    "li.all(v, s.split(',').exists_one(w, int(w) == v)) ? s.replace('a', x) : x.substring(1, i)",
    "format(at, 'yyyy-MM-dd HH:mm', 'Europe/Berlin') + extract(s, '(a+)b') + split_part(x, '/', y)",
    "[[at, truncate(at, duration('10s'))], [timestamp_ms(i), at]].map(w, w[1] - w[0])",
    "round(d * 0.908, 3) + greatest(d, 1.5, floor(d)) == 1.0 || s.matches('^[a-z]+$')",
    "range(i).map(k, [k, y]).filter(w, w[0] in li).map(w, s + string(w[1])).join('-')",
};

Schema fuzz_schema() {
  const Type number(TypeKind::kInt);
  const Type text(TypeKind::kString);
  return {{"i", number},
          {"amount", number},
          {"s", text},
          {"status", text},
          {"x", text},
          {"d", Type(TypeKind::kDouble)},
          {"a", Type(TypeKind::kBool)},
          {"y", number},
          {"at", Type(TypeKind::kTimestamp)},
          {"li", Type::list(number)},
          {"st", Type::structure({{"in", Type::structure({{"z", number}})}})},
          {"record.key", Type(TypeKind::kBytes)},
          {"record.headers", Type::map(Type(TypeKind::kBytes))}};
}

std::string mutate(std::string text, std::mt19937_64& random) {
  static const std::string kPieces[] = {"(",
                                        ")",
                                        "[",
                                        "]",
                                        "'",
                                        "\"",
                                        "\\",
                                        "+",
                                        "-",
                                        "!",
                                        "?",
                                        ":",
                                        ".",
                                        ",",
                                        "&&",
                                        "null",
                                        "in",
                                        "0",
                                        "9223372036854775807",
                                        "i",
                                        "s",
                                        "li",
                                        "st",
                                        "\xff",
                                        "''",
                                        "1e308",
                                        "d",
                                        "has(",
                                        "size(",
                                        " ",
                                        "//",
                                        "u",
                                        "at",
                                        "%",
                                        "/",
                                        "==",
                                        "<",
                                        "record",
                                        "{",
                                        "}",
                                        ".map(v, ",
                                        ".all(w, ",
                                        ".filter(v, v ",
                                        "v",
                                        "range(",
                                        ".split(",
                                        "matches(s, '",
                                        "format(at, '",
                                        "Europe/Berlin",
                                        "extract("};
  const size_t changes = 1 + random() % 4;
  for (size_t n = 0; n < changes; n++) {
    const size_t at = text.empty() ? 0 : random() % text.size();
    const std::string& piece = kPieces[random() % std::size(kPieces)];
    switch (random() % 5) {
      case 0: text.insert(at, piece); break;
      case 1: text.erase(at, 1 + random() % 4); break;
      case 2: text.replace(at, 1 + random() % 5, piece); break;
      case 3: text.insert(at, text.substr(random() % (text.size() + 1), random() % 20)); break;
      default: text.insert(at, kSeeds[random() % std::size(kSeeds)]); break;
    }
    if (text.size() > 2000) text.resize(2000);
  }
  return text;
}

Batch null_batch(const Schema& schema, const ArenaPtr& arena) {
  Batch batch;
  batch.rows = 2;
  for (const Field& field : schema) {
    ColumnBuilder builder(field.type, arena, 2);
    if (field.type.kind() == TypeKind::kStruct) {
      const Type inner = field.type.fields()[0].type;
      ColumnBuilder leaf(Type(TypeKind::kInt), arena, 2);
      leaf.ints[0] = 1;
      leaf.set_null(1);
      ColumnBuilder middle(inner, arena, 2);
      middle.children.push_back(leaf.finish(2));
      builder.children.push_back(middle.finish(2));
    } else if (field.type.kind() == TypeKind::kList || field.type.kind() == TypeKind::kMap) {
      if (field.type.kind() == TypeKind::kMap)
        builder.children.push_back(ColumnBuilder(Type(TypeKind::kString), arena, 0).finish(0));
      builder.children.push_back(ColumnBuilder(field.type.element(), arena, 0).finish(0));
    } else {
      builder.set_null(0);
      builder.nulls()[0] = 0;
    }
    builder.set_null(1);
    batch.columns.push_back(builder.finish(2));
  }
  return batch;
}

}  // namespace

TEST_CASE("mutated expressions") {
  const Schema schema = fuzz_schema();
  Scope scope;
  scope.schema = &schema;
  scope.random_seed = 1;
  scope.random_index_column = 0;
  std::mt19937_64 random(20240229);
  const auto arena = std::make_shared<Arena>();
  const Batch batch = null_batch(schema, arena);
  size_t parsed = 0;
  size_t evaluated = 0;
  for (int round = 0; round < 40'000; round++) {
    const std::string text = mutate(kSeeds[random() % std::size(kSeeds)], random);
    ExpressionError error;
    const AstPtr ast = parse_expression(text, &error);
    if (!ast) {
      if (error.offset > text.size() || error.message.empty()) FAIL(text);
      continue;
    }
    parsed++;
    const std::string canonical = to_text(*ast);
    const AstPtr again = parse_expression(canonical, &error);
    if (!again || to_text(*again) != canonical) FAIL(text << " -> " << canonical);
    std::vector<ExpressionError> errors;
    const ExpressionPtr expression = compile_expression(ast, scope, &errors);
    for (const ExpressionError& e : errors)
      if (e.offset > text.size() || e.message.empty()) FAIL(text);
    if (!expression) continue;
    evaluated++;
    RowErrors row_errors;
    const auto memory = std::make_shared<Arena>();
    const ColumnPtr column = make_evaluator(expression)->evaluate(batch, memory, row_errors);
    if (column->rows != 2 || !(column->type == expression->type())) FAIL(text);
  }
  CHECK(parsed > 1000);
  CHECK(evaluated > 1000);
}

}  // namespace millrace
