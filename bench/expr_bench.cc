// CPU time per row of common expressions on batches of 1,024 rows: `expr_bench [milliseconds per expression]`.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <ctime>

#include "expr/expression.h"

namespace millrace {
namespace {

constexpr uint32_t kRows = 1024;

const Schema kSchema = {{"status", Type(TypeKind::kString)},
                        {"amount", Type(TypeKind::kInt)},
                        {"price", Type(TypeKind::kDouble)},
                        {"at", Type(TypeKind::kTimestamp)},
                        {"b", Type(TypeKind::kBool)},
                        {"note", Type(TypeKind::kString)},
                        {"url", Type(TypeKind::kString)},
                        {"extra", Type(TypeKind::kString)},
                        {"items", Type::list(Type(TypeKind::kInt))}};

Batch make_batch(const ArenaPtr& arena, bool selected) {
  static constexpr std::string_view kStatus[] = {"paid", "open", "cancelled", "refunded"};
  Batch batch;
  batch.rows = kRows;
  std::vector<ColumnBuilder> builders;
  for (const Field& field : kSchema) builders.emplace_back(field.type, arena, kRows);
  uint64_t state = 1;
  auto selection = std::make_shared<std::vector<uint32_t>>();
  ColumnBuilder items(Type(TypeKind::kInt), arena, kRows * 8);
  uint32_t item_count = 0;
  for (uint32_t i = 0; i < kRows; i++) {
    state = state * 6364136223846793005 + 1442695040888963407;
    builders[0].strings[i] = arena->copy(kStatus[state >> 62]);
    builders[1].ints[i] = static_cast<int64_t>(state >> 50);
    builders[2].doubles[i] = static_cast<double>(state >> 50) / 100;
    builders[3].ints[i] = static_cast<int64_t>(state >> 14);
    builders[4].bools[i] = (state >> 40) & 1;
    builders[5].strings[i] = "Order Note";
    if (i % 8 == 7) builders[5].set_null(i);
    builders[6].strings[i] = arena->copy(fmt::format(
        "https://www.nexmark.com/{:x}/abo/{:x}/item.htm?query=1&channel_id={}", state >> 44, state >> 40, state >> 50));
    builders[7].strings[i] = arena->copy(fmt::format("{0:x}{0:o}cc{0:x} some more text {0:o}", state));
    const auto size = static_cast<uint32_t>(state >> 61);
    builders[8].spans[i] = {item_count, size};
    for (uint32_t k = 0; k < size; k++) items.ints[item_count++] = static_cast<int64_t>(state >> (40 + k));
    if ((state >> 33) & 1) selection->push_back(i);
  }
  builders[8].children.push_back(items.finish(item_count));
  for (ColumnBuilder& builder : builders) batch.columns.push_back(builder.finish(kRows));
  if (selected) batch.selection = selection;
  return batch;
}

void measure(const std::string& text, bool selected, std::chrono::milliseconds time) {
  Scope scope;
  scope.schema = &kSchema;
  std::vector<ExpressionError> errors;
  const AstPtr ast = parse_expression(text, nullptr);
  MR_CHECK(ast);
  const ExpressionPtr expression = compile_expression(ast, scope, &errors);
  MR_CHECK(expression);
  const Batch batch = make_batch(std::make_shared<Arena>(), selected);
  const auto evaluator = make_evaluator(expression);
  ArenaPool pool;
  RowErrors row_errors;
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const std::clock_t cpu_start = std::clock();  // CPU time: other processes do not count
  uint64_t rows = 0;
  while (Clock::now() - start < time) {
    for (int i = 0; i < 64; i++) {
      evaluator->evaluate(batch, pool.take(), row_errors);
      row_errors.clear();
    }
    rows += 64 * batch.live();
  }
  const double nanos = static_cast<double>(std::clock() - cpu_start) * (1e9 / CLOCKS_PER_SEC);
  fmt::print("{:8.2f} ns/row  {}  {}\n", nanos / static_cast<double>(rows), selected ? "1 of 2" : "all   ", text);
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  const std::chrono::milliseconds time(argc > 1 ? std::atoi(argv[1]) : 100);
  for (const char* text :
       {"status == \"paid\"", "amount * 2 + 1", "amount > 100", "price * 1.5 > 10.0",
        "status == \"paid\" && amount > 100", "status in [\"paid\", \"open\"]", "b ? amount : 0",
        "status == \"vip\" ? amount * 2 : amount / 3", "amount % 10 == 3", "at + duration(\"5m\")", "at.getHours()",
        "note == \"Order Note\"", "has(note) && note.size() > 3", "status.upperAscii()", "string(amount)",
        "status + \"!\"",
        // strings
        "count_of(extra, 'c')", "size(extra.split('c')) - 1", "split_part(url, '/', 4)", "url.split('/')",
        "extract(url, 'channel_id=([^&]*)')", "url.matches('item')", "extra.substring(3, 9)",
        "extra.replace('c', 'CC')", "url.split('/').join('-')", "url.indexOf('abo')", "extra.trim()",
        // times
        "format(at, 'yyyy-MM-dd HH:mm:ss.SSS')", "format(at, 'HH:mm', 'Europe/Berlin')",
        "truncate(at, duration('10s'))", "at.getHours('Europe/Berlin')", "round(price * 0.908, 3)",
        // lists
        "[amount, 1]", "[[at, at + duration('5m')], [at - duration('5m'), at]]", "items.map(i, i * 2 + amount)",
        "items.filter(i, i % 2 == 0)", "items.exists(i, i > amount)",
        "range(6).map(k, truncate(at, duration('10s')) - duration_ms(k * 10000))"})
    for (const bool selected : {false, true}) millrace::measure(text, selected, time);
  return 0;
}
