#include "blocks.h"

namespace millrace {

AggregatePtr make_aggregate(const std::string& name, TypeKind kind, const std::vector<AggregateNumber>& numbers) {
  const auto registry = builtin_aggregates();
  const AggregateFunction* function = registry->find(name);
  REQUIRE(function != nullptr);
  AggregateArguments arguments;
  arguments.types.assign(function->max_values, Type(kind));
  arguments.numbers = numbers;
  std::string refusal;
  return function->make(arguments, &refusal);
}

void fold(Block& block, size_t aggregate, const Type& type, const std::vector<Cell>& cells) {
  std::vector<Row> rows;
  for (const Cell& cell : cells) rows.push_back({cell});
  const Batch batch = make_batch({{"x", type}}, rows);
  std::vector<void*> states(cells.size(), block.state());
  std::vector<uint32_t> indexes(cells.size());
  for (uint32_t i = 0; i < indexes.size(); i++) indexes[i] = i;
  const AccumulatorSet& set = block.set;
  set.aggregates()[aggregate]->add(
      {cells.size(), states.data(), indexes.data(), batch.columns[0].get(), nullptr, nullptr, set.offset(aggregate)});
}

Cell result(Block& block, size_t aggregate) {
  const auto arena = std::make_shared<Arena>();
  const Aggregate& function = *block.set.aggregates()[aggregate];
  ColumnBuilder column(function.type(), arena, 1);
  void* state = block.state();
  const uint32_t row = 0;
  function.write(&state, block.set.offset(aggregate), 1, &row, column);
  Batch batch;
  batch.rows = 1;
  batch.columns = {column.finish(1)};
  const int64_t time_ms = 0;
  batch.event_time_ms = &time_ms;
  return read_batch({{"x", function.type()}}, batch)[0].row[0];
}

}  // namespace millrace
